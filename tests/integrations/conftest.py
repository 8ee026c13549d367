"""Each test here runs on each backend.

A test that asks for more than every backend can do says so by ``@pytest.mark.asks(shares_memory=True)`` and the like,
fields of ``Capabilities`` with the value it needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import LIMIT, until

from graphfutures import GraphExecutor, schedulers
from graphfutures.backends.base import Capabilities
from graphfutures.backends.inline import Inline
from graphfutures.backends.processes import attendant
from graphfutures.backends.processes.pool import Processes
from graphfutures.backends.threads import Threads

BACKENDS: dict[str, Capabilities] = {
    "threads": Threads.capabilities,
    "inline": Inline.capabilities,
    "processes": Processes.capabilities,
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asks(**capabilities): for backends with these capabilities only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        asked: dict[str, Any] = {}
        for mark in metafunc.definition.iter_markers("asks"):
            asked.update(mark.kwargs)
        able = [name for name, found in BACKENDS.items() if asked.items() <= found._asdict().items()]
        # For the session, so that workers are there before the threads of a test are counted.
        metafunc.parametrize("backend", able, indirect=True, scope="session")


def meet(folder: Path) -> None:
    """Wait until two worker processes are here, with all that collections need imported."""
    import dask.array
    import dask.bag
    import dask.dataframe  # noqa: F401

    (folder / str(os.getpid())).touch()
    assert until(lambda: len([*folder.iterdir()]) == 2, 3 * LIMIT)


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphExecutor]:
    """Two worker processes that serve all tests: to start them for each would take minutes."""
    executor = GraphExecutor(2, "shared-processes", backend="processes")  # not in "with", where it would be the default
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attendant, "IDLE", 3600.0)  # they do not leave while other tests run
        list(executor.map(meet, [tmp_path_factory.mktemp("workers")] * 2))
        yield executor
        executor.shutdown()


@pytest.fixture
def processes_by_name(processes: GraphExecutor) -> Iterator[None]:
    """Has the ``processes`` backend mean these two, where they are asked for by name."""
    schedulers._shared["processes", 2] = processes
    yield
    del schedulers._shared["processes", 2]  # before others shut what is shared


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Its name."""
    name: str = request.param
    if name == "processes":
        request.getfixturevalue("processes")
    return name


@pytest.fixture
def executor(request: pytest.FixtureRequest, backend: str) -> Iterator[GraphExecutor]:
    """Two workers."""
    if backend == "processes":
        yield request.getfixturevalue("processes")
    else:
        with GraphExecutor(2, backend=backend) as executor:
            yield executor
