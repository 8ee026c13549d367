"""The conformance suite: every test here runs over each backend with 1, 2 and 4 workers.

A new backend joins by one line in ``BACKENDS``, an executor to be wrapped by one in ``INNER``.  A test that asks for
more than every backend can do says so by ``@pytest.mark.asks(shares_memory=True)`` and the like, fields of
``Capabilities`` with the value it needs.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import loky
import pytest
from gates import Gate
from patience import LIMIT, in_time

from graphfutures import GraphExecutor
from graphfutures.backends.base import Capabilities
from graphfutures.backends.clusters.pump import Cluster
from graphfutures.backends.inline import Inline
from graphfutures.backends.processes.pool import Processes
from graphfutures.backends.threads import Threads

BACKENDS: dict[str, Capabilities] = {
    "threads": Threads.capabilities,
    "inline": Inline.capabilities,
    "processes": Processes.capabilities,
}
WORKERS = (1, 2, 4)
IN_THREADS = Capabilities(makes_workers=False, lends=False, limits_time=False, hosts=False)
IN_PROCESSES = IN_THREADS._replace(shares_memory=False)


def process_pool(workers: int) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))


#: executors to be wrapped: how one is made, what it can do, with which numbers of workers; without threads each is
#: slow to start, so that one serves all tests
INNER: dict[str, tuple[Callable[[int], Executor], Capabilities, tuple[int, ...]]] = {
    "wrapped threads": (ThreadPoolExecutor, IN_THREADS, (1, 2)),
    "wrapped processes": (process_pool, IN_PROCESSES, (2,)),
    "wrapped loky": (loky.ProcessPoolExecutor, IN_PROCESSES, (2,)),
}
_pools: dict[str, Executor] = {}
try:
    import distributed
except ImportError:
    distributed = None
#: clusters: how a client of one is had that runs, and how it is ended
CLUSTERS: dict[str, tuple[Callable[[int], Any], tuple[int, ...]]] = {}
if distributed is not None:
    from clusters import command_line, local

    CLUSTERS["dask local"] = local, (1, 2, 4)
    CLUSTERS["dask command line"] = command_line, (2,)
try:
    import ray
except ImportError:
    ray = None
if ray is not None:
    from on_ray import OnRay

    CLUSTERS["ray"] = OnRay, (2,)
_clusters: dict[str, Any] = {}


@dataclass(frozen=True)
class Case:
    """One backend with a number of workers."""

    name: str
    workers: int
    capabilities: Capabilities
    backend: Any = None

    @property
    def at_once(self) -> int:
        """How many tasks run at the same time."""
        return 1 if self.capabilities.submits_run else self.workers


CASES = [Case(name, workers, found, name) for name, found in BACKENDS.items() for workers in WORKERS]
CASES += [Case(name, workers, found) for name, (_, found, numbers) in INNER.items() for workers in numbers]
CASES += [Case(name, workers, Cluster.capabilities) for name, (_, numbers) in CLUSTERS.items() for workers in numbers]


def needs_pool(case: Case) -> bool:
    """Whether it runs on a pool of processes, one for all tests."""
    return case.name in INNER and not case.capabilities.shares_memory


def tier(case: Case) -> Any:
    """When it is run: workers that are processes take long to start."""
    if case.name == "processes" or case.name in CLUSTERS:
        return pytest.mark.ci if case.workers == 2 else pytest.mark.long
    return pytest.mark.ci if needs_pool(case) else ()


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
    metafunc.parametrize(
        "case",
        [pytest.param(case, marks=tier(case)) for case in chosen],
        ids=lambda case: f"{case.name}-{case.workers}",
        indirect=True,
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the process pool of a case before anything looks which threads there are."""
    case = item.callspec.params.get("case") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    if case is not None and needs_pool(case) and not _works(_pools.get(case.name)):
        pool = _pools[case.name] = INNER[case.name][0](case.workers)
        list(pool.map(abs, range(4 * case.workers)))
    if case is not None and case.name in CLUSTERS and case.name not in _clusters:
        make, workers = CLUSTERS[case.name]
        _clusters[case.name] = make(max(workers))


def _works(pool: Executor | None) -> bool:
    """Whether there is a pool that no earlier test has broken."""
    try:
        return pool is not None and pool.submit(abs, -1).result(LIMIT) == 1
    except BrokenExecutor:
        return False


def pytest_unconfigure() -> None:
    for pool in _pools.values():
        pool.shutdown()
    for cluster in _clusters.values():
        cluster.close()


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    one: Case = request.param
    if one.backend is not None:
        yield one
    elif one.name in CLUSTERS:
        yield replace(one, backend=_clusters[one.name].client)
    elif needs_pool(one):
        yield replace(one, backend=_pools[one.name])
    else:
        with INNER[one.name][0](one.workers) as inner:
            yield replace(one, backend=inner)


@pytest.fixture
def make(case: Case) -> Iterator[Callable[..., GraphExecutor]]:
    """Makes executors of the case; they are shut at the end, with nothing left pending."""
    made: list[GraphExecutor] = []
    pools: list[Executor] = []

    def executor(*args: Any, **kwargs: Any) -> GraphExecutor:
        args = args or (case.workers,)
        backend = case.backend
        if case.name in INNER and not needs_pool(case):  # which may have as many workers as are asked for
            backend = INNER[case.name][0](args[0])
            pools.append(backend)
        made.append(GraphExecutor(*args, backend=backend, **kwargs))
        return made[-1]

    yield executor
    for one in made:
        in_time(one.shutdown)
        stats = one.stats()
        assert (stats["waiting"], stats["ready"], stats["running"]) == (0, 0, 0)
    for pool in pools:
        in_time(pool.shutdown)


@pytest.fixture
def executor(make: Callable[..., GraphExecutor]) -> GraphExecutor:
    return make()


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Iterator[Gate]:
    """A gate that opens before the executors are shut."""
    for name in ("make", "executor"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
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
