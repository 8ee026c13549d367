"""The conformance suite: every test here runs over each backend with 1, 2 and 4 workers.

A new backend joins by one line in ``BACKENDS``.  A test that asks for more than every backend can do says so by
``@pytest.mark.asks(shares_memory=True)`` and the like, fields of ``Capabilities`` with the value it needs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest
from gates import Gate
from patience import in_time

from graphfutures import GraphExecutor
from graphfutures.backends.base import Capabilities
from graphfutures.backends.inline import Inline
from graphfutures.backends.threads import Threads

BACKENDS: dict[str, Capabilities] = {
    "threads": Threads.capabilities,
    "inline": Inline.capabilities,
}
WORKERS = (1, 2, 4)


@dataclass(frozen=True)
class Case:
    """One backend with a number of workers."""

    backend: str
    workers: int
    capabilities: Capabilities

    @property
    def at_once(self) -> int:
        """How many tasks run at the same time."""
        return 1 if self.capabilities.submits_run else self.workers


CASES = [Case(name, workers, found) for name, found in BACKENDS.items() for workers in WORKERS]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asks(**capabilities): for backends with these capabilities only")
    config.addinivalue_line("markers", "one_worker: with one worker only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    asked: dict[str, Any] = {}
    for mark in metafunc.definition.iter_markers("asks"):
        asked.update(mark.kwargs)
    one = metafunc.definition.get_closest_marker("one_worker") is not None
    chosen = [
        case
        for case in CASES
        if all(getattr(case.capabilities, name) == value for name, value in asked.items())
        and (case.workers == 1 or not one)
    ]
    metafunc.parametrize("case", chosen, ids=lambda case: f"{case.backend}-{case.workers}", indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def make(case: Case) -> Iterator[Callable[..., GraphExecutor]]:
    """Makes executors of the case; they are shut at the end, with nothing left pending."""
    made: list[GraphExecutor] = []

    def executor(*args: Any, **kwargs: Any) -> GraphExecutor:
        made.append(GraphExecutor(*(args or (case.workers,)), backend=case.backend, **kwargs))
        return made[-1]

    yield executor
    for one in made:
        in_time(one.shutdown)
        stats = one.stats()
        assert (stats["waiting"], stats["ready"], stats["running"]) == (0, 0, 0)


@pytest.fixture
def executor(make: Callable[..., GraphExecutor]) -> GraphExecutor:
    return make()


@pytest.fixture
def gate(make: object) -> Iterator[Gate]:
    """A gate that opens before the executors are shut."""
    one = Gate()
    yield one
    one.close()


@pytest.fixture
def held(make: object) -> "Iterator[Future[Any]]":
    """A future of nobody: what depends on it does not start, on any backend, until the test settles it."""
    future: Future[Any] = Future()
    yield future
    if not future.done():
        future.cancel()
