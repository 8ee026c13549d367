"""Ray, as tests run on it: one for all of them."""

from patience import LIMIT

from graphfutures import GraphExecutor


class OnRay:
    """An executor that has started it, and keeps it: those that are made meanwhile use the same."""

    def __init__(self, workers: int) -> None:
        self.client = "ray"
        self.executor = GraphExecutor(workers, backend="ray")
        # also has all of Ray's threads started that tests would take for their own
        list(self.executor.map(abs, range(4 * workers), timeout=LIMIT))

    def close(self) -> None:
        self.executor.shutdown()
