"""Ray as the engine of a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final
from uuid import uuid4

from graphfutures import config, errors
from graphfutures.backends.clusters.engine import Crash, Lost
from graphfutures.backends.clusters.pump import Cluster
from graphfutures.backends.clusters.work import Kept
from graphfutures.exits import first_again

#: seconds between looks at how many tasks can run at once
LOOK: Final = 1.0
#: seconds that the thread has to end
END: Final = 10.0
#: how often a batch is begun again whose worker has died
CRASHES: Final = 3
#: resources that Ray knows by itself, and how they are asked for
KNOWN: Final[Mapping[str, str]] = {"cpu": "num_cpus", "gpu": "num_gpus", "memory": "memory"}
#: the variable by which Ray is told whether it may be reached from other machines
ALONE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class Ray:
    """A cluster of Ray's.

    :param pump: is told.
    :param address: of one, ``ray://…``; None for the one that this process is connected to, or that ``RAY_ADDRESS``
        names, else one on this machine.
    :param workers: how many tasks that runs at once.
    :raises ImportError: if Ray is not installed.
    :raises OSError: if nobody answers at the address.
    """

    def __init__(self, pump: Cluster, address: str | None, workers: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise errors.no_extra("ray", "ray", error) from error
        self._connection = connection = _connected(ray, address, workers)
        first_again()  # Ray ends itself at exit, and the graph has to be drained before
        self._ray: Any = ray
        self._pump = pump
        self._forked = False
        self._topic = uuid4().hex
        self._threads = 1
        self._mailbox = connection.mailbox
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._taking = False  # whether what batches tell while they run is asked for
        self._look()
        self._thread = Thread(target=self._work, name=f"{self._topic[:8]}_ray", daemon=True)
        self._thread.start()

    @property
    def dashboard_link(self) -> str | None:
        """Of the cluster."""
        url = self._connection.dashboard
        return f"http://{url}" if url else None

    def threads(self) -> int:
        """See ``Engine``."""
        return self._threads

    def send(self, number: int, name: str, pickled: bytes, needs: list[Any], wishes: Mapping[str, Any]) -> Any:
        """See ``Engine``."""
        if "workers" in wishes:
            raise ValueError("workers cannot be chosen on Ray, resources can")
        crashes = wishes.get("crash_retries", CRASHES)
        options: dict[str, Any] = {"name": name, "num_cpus": 1, "num_returns": 2, "max_retries": crashes}
        own: dict[str, float] = {}
        for resource, amount in wishes.get("resources", {}).items():
            if resource.lower() in KNOWN:
                options[KNOWN[resource.lower()]] = amount
            else:
                own[resource] = amount
        run = self._connection.run.options(**options, resources=own)
        reports, kept = run.remote(self._connection.name, self._topic, pickled, *needs)
        crash = Crash(crashes + 1, begun=True)  # Ray counts the deaths of workers that run it
        reports.future().add_done_callback(partial(self._over, number, kept, crash))
        return kept

    def withdraw(self, handle: Any) -> None:
        """See ``Engine``."""
        with suppress(Exception):
            self._ray.cancel(handle)

    def sole(self, ticket: int, taker: int) -> None:
        """See ``Engine``: what comes out of Ray's store is copied anyway."""

    def fetch(self, handle: Any) -> Kept:
        """See ``Engine``."""
        if self._forked or not self._ray.is_initialized():
            raise errors.cluster_gone(_ENDED)
        try:
            kept: Kept = self._ray.get(handle)
        except self._ray.exceptions.RayError as error:
            raise errors.cluster_gone(str(error)) from error
        return kept

    def fetch_later(self, handle: Any, done: Callable[[Kept | None, BaseException | None], object]) -> None:
        """See ``Engine``."""

        def fetched(future: Any) -> None:
            error = future.exception()
            if error is None:
                done(future.result(), None)
            else:
                done(None, self._failure(error, Crash(1)) or Lost())

        handle.future().add_done_callback(fetched)

    def revive(self, handle: Any) -> None:
        """See ``Engine``: Ray does that by itself."""

    def put(self, kept: Kept) -> Any:
        """See ``Engine``."""
        return self._ray.put(kept)

    def lost(self) -> Exception | None:
        """See ``Engine``."""
        return errors.cluster_gone(_ENDED) if self._forked or not self._ray.is_initialized() else None

    def forked(self) -> None:
        """See ``Engine``."""
        self._forked = True

    def close(self) -> None:
        """See ``Engine``."""
        if self._forked:
            return
        self._calls.put(None)
        self._thread.join(END)
        with suppress(Exception):
            self._mailbox.leave.remote(self._topic)
            self._connection.forget(self._topic)
        self._connection.left(self._ray)

    # -- in threads of Ray's ------------------------------------------------------------------

    def _over(self, number: int, kept: Any, crash: Crash, reports: Any) -> None:
        error = reports.exception()
        if error is None:
            for report in reports.result():
                self._pump.heard(report)
            self._pump.over(number, None)
        else:
            self._calls.put(partial(self._failed, number, kept, crash, error))

    def _taken(self, reports: Any) -> None:
        if reports.exception() is None:
            for report in reports.result():
                self._pump.heard(report)
            self._calls.put(self._take)
        else:  # the mailbox has died, and is begun again; what it had is told again
            self._taking = False

    # -- in a thread of its own ---------------------------------------------------------------

    def _work(self) -> None:
        self._take()
        while True:
            try:
                call = self._calls.get(timeout=LOOK)
            except Empty:
                call = self._look
            if call is None:
                return
            with suppress(Exception):
                call()

    def _look(self) -> None:
        if self._ray.is_initialized():
            self._threads = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            if not self._taking:
                self._take()

    def _take(self) -> None:
        self._taking = True
        try:
            self._mailbox.take.remote(self._topic).future().add_done_callback(self._taken)
        except Exception:  # it is tried again at the next look
            self._taking = False

    def _failed(self, number: int, kept: Any, crash: Crash, error: BaseException) -> None:
        with suppress(Exception):
            self._ray.get(kept, timeout=LOOK)  # else Ray writes that nobody has looked at its failure
        self._pump.over(number, self._failure(error, crash))

    def _failure(self, error: BaseException, crash: Crash) -> BaseException | None:
        kinds = self._ray.exceptions
        lost = kinds.ObjectLostError, kinds.LocalRayletDiedError
        if isinstance(error, kinds.RayTaskError):
            cause: BaseException = error.cause
            if isinstance(cause, lost):
                return Lost()
            # what it needs has failed, of which is told there
            gone = kinds.WorkerCrashedError, kinds.NodeDiedError, kinds.TaskCancelledError
            return None if isinstance(cause, gone) else cause
        if isinstance(error, (kinds.WorkerCrashedError, kinds.OutOfMemoryError, kinds.NodeDiedError)):
            return crash
        return Lost() if isinstance(error, (*lost, kinds.TaskCancelledError)) else error


_ENDED: Final = "this process is not connected to Ray any more"


class _Connection:
    """Of this process to Ray, which all executors share.

    :param ray: the module.
    :param own: whether it was made for them, and ends with the last one.
    :param dashboard: where that is.
    """

    def __init__(self, ray: Any, own: bool, dashboard: str) -> None:
        from graphfutures.backends.clusters import ray_work

        self.own = own
        self.dashboard = dashboard
        self.name = f"graphfutures-{uuid4().hex}"
        self.mailbox: Any = ray.remote(num_cpus=0, max_restarts=-1)(ray_work.Mailbox).options(name=self.name).remote()
        self.run: Any = ray.remote(ray_work.run)
        self.forget = ray_work.forget
        self.worker = _worker(ray)
        self.users = 0

    def left(self, ray: Any) -> None:
        """One executor does not need it any more."""
        with _LOCK:
            self.users -= 1
            if self.own and not self.users and _connections == [self]:
                _connections.clear()
                if ray.is_initialized() and _worker(ray) == self.worker:
                    ray.shutdown()


_LOCK: Final = Lock()
#: the one that there is, if there is one
_connections: Final[list[_Connection]] = []


def _connected(ray: Any, address: str | None, workers: int) -> _Connection:
    """A connection, with one user more.

    :raises OSError: if there is none to be had.
    """
    with _LOCK:
        own, dashboard = False, ""
        if not ray.is_initialized():
            own = True
            dashboard = _begun(ray, address, workers)
        elif address is not None and not ray.util.client.ray.is_connected():
            raise errors.no_cluster(address, RuntimeError("this process is connected to another Ray: ray.shutdown()"))
        if own or not _connections or _connections[0].worker != _worker(ray):
            _connections[:] = [_Connection(ray, own, dashboard)]
        (connection,) = _connections
        connection.users += 1
        return connection


def _begun(ray: Any, address: str | None, workers: int) -> str:
    """Connect to a cluster, or start one; where its dashboard is, if it has any."""
    if address is not None or "RAY_ADDRESS" in os.environ:
        try:
            context = ray.init(address, log_to_driver=False)
        except (OSError, TimeoutError) as error:
            raise errors.no_cluster(address or os.environ["RAY_ADDRESS"], error) from error
        return context.dashboard_url or ""
    # What workers put before their own path, one after the other, is ours at last.
    paths = ray.job_config.JobConfig(_py_driver_sys_path=[path for path in reversed(sys.path) if path])
    folder = config.temp_dir()
    with _on_loopback(ray):
        ray.init(
            "local",
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            job_config=paths,
            **({} if folder is None else {"_temp_dir": folder}),
        )
    return ""


def _worker(ray: Any) -> str:
    """This process, as the cluster that it is connected to knows it."""
    found = ray.get_runtime_context()
    return f"{found.get_worker_id()} of {found.get_node_id()}"  # the first alone may be the same in the next Ray


@contextmanager
def _on_loopback(ray: Any) -> Iterator[None]:
    """What Ray starts meanwhile listens on loopback only, as it does anyway where it supports no clusters."""
    constants, before = ray._private.ray_constants, os.environ.get(ALONE)
    allowed = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    os.environ[ALONE] = "0"  # for its processes
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = allowed
        os.environ.pop(ALONE)
        if before is not None:
            os.environ[ALONE] = before
