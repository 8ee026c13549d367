"""Whatever goes wrong in a worker process, and whenever: it is told, and costs only what ran there (CONTRACT 4, 10)."""

from __future__ import annotations

import atexit
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest
from faults import DEATHS, FAULTS, When, executor_of, is_killed, leaves, workers
from patience import LIMIT, in_time, until

from graphfutures import BrokenGraphError, GraphExecutor, TaskFailedError, WorkerCrashedError, allow_failure
from graphfutures.backends.processes import attendant, pool
from graphfutures.backends.processes.files import LARGE

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module", autouse=True)
def _what_stays() -> None:
    """Start what serves all executors to come: the resource tracker."""
    with GraphExecutor(1, backend="processes") as executor:
        assert in_time(executor.submit(abs, -1).result) == 1


@pytest.fixture(autouse=True)
def _nothing_is_left(_what_stays: None) -> Iterator[None]:
    """After a test there is no process and no descriptor that was not there before."""
    me = psutil.Process()
    processes, descriptors = me.children(recursive=True), me.num_fds()
    yield
    assert until(lambda: not [child for child in me.children(recursive=True) if child not in processes])
    assert until(lambda: me.num_fds() <= descriptors), me.num_fds() - descriptors


@pytest.fixture
def executor() -> Iterator[GraphExecutor]:
    with executor_of(2) as one:
        yield one


def works(executor: GraphExecutor) -> bool:
    return [executor.submit(abs, -n).result(LIMIT) for n in range(4)] == [0, 1, 2, 3] and not executor._broken


# -- in a task ----------------------------------------------------------------------------------


def runs(act: Callable[[], object]) -> object:
    return act()


def takes(thing: object) -> bool:
    return thing is not None


def gives(act: Callable[[], object], reading: bool, spared: int) -> When:
    return When(act, reading, spared)


def gives_much(act: Callable[[], object], reading: bool, spared: int) -> Any:
    return When(act, reading, spared), bytes(4 * LARGE)


def with_closure(thing: object) -> Callable[[], bool]:
    return lambda: thing is not None


#: each submits a task in which something goes wrong
PLACES: dict[str, Callable[..., Any]] = {
    "reading the function": lambda submit, act: submit(with_closure(When(act, reading=True))),
    "reading a callable": lambda submit, act: submit(partial(takes, When(act, reading=True))),
    "reading an argument": lambda submit, act: submit(takes, When(act, reading=True)),
    "reading a value": lambda submit, act: submit(takes, submit(gives, act, reading=True, spared=os.getpid())),
    "running": lambda submit, act: submit(runs, act),
    "pickling the result": lambda submit, act: submit(gives, act, reading=False, spared=0),
    "publishing": lambda submit, act: submit(gives_much, act, reading=False, spared=0),
    "reading a published value": lambda submit, act: submit(
        takes, submit(gives_much, act, reading=True, spared=os.getpid())
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", PLACES)
def test_in_a_task(executor, place, fault):
    act, kind, told = FAULTS[fault]
    retries = 1 if place == "running" else 0
    if FAULTS[fault].kills:
        told = rf"was running {'2 times' if retries else 'once'} when its worker process .*{told}"
    others = [executor.submit(abs, -n) for n in range(50)]
    bad = PLACES[place](executor.options(crash_retries=retries).submit, act)
    dependent = executor.submit(takes, bad)
    tolerant = executor.submit(type, allow_failure(bad))
    others += [executor.submit(abs, -n) for n in range(50)]
    error = bad.exception(LIMIT)
    assert type(error) is kind
    assert re.search(told, str(error))
    assert type(dependent.exception(LIMIT)) is kind
    assert tolerant.result(LIMIT) is kind
    assert [future.result(LIMIT) for future in others] == [*range(50)] * 2
    assert works(executor)


def fails_with(act: Callable[[], object], reading: bool) -> None:
    raise ValueError("it cannot travel", When(act, reading, spared=0))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reading", [False, True])
def test_in_an_exception_that_is_to_travel(executor, fault, reading):
    act, kind, told = FAULTS[fault]
    bad = executor.options(crash_retries=0).submit(fails_with, act, reading)
    dependent = executor.submit(takes, bad)
    kind, told = (kind, told) if FAULTS[fault].kills else (TaskFailedError, "it cannot travel")
    with pytest.raises(kind, match=told):
        bad.result(LIMIT)
    assert type(dependent.exception(LIMIT)) is kind
    assert works(executor)


def of_the_caller(parent: int, act: Callable[[], object], fails: bool) -> When:
    """What can be read in any process but that of the caller."""
    made = When(partial(only_in, parent, act), reading=True, spared=os.getpid())
    if fails:
        raise ValueError(made)
    return made


def only_in(process: int, act: Callable[[], object]) -> None:
    if os.getpid() == process:
        act()


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in DEATHS])
@pytest.mark.parametrize("fails", [False, True])
def test_in_reading_what_a_task_has_told(executor, fault, fails):
    act, kind, told = FAULTS[fault]
    bad = executor.submit(of_the_caller, os.getpid(), act, fails)
    dependent = executor.submit(takes, bad)
    with pytest.raises(kind, match=told):
        bad.result(LIMIT)
    assert isinstance(dependent.exception(LIMIT), kind) or dependent.result(0)
    assert works(executor)


def once(act: Callable[[], object], file: str) -> int:
    """Do something, but not again when this is tried again; how often it was tried."""
    with open(file, "a") as tries:
        tries.write("x")
    number = os.path.getsize(file)
    if number == 1:
        act()
    return number


@pytest.mark.parametrize("death", DEATHS)
def test_what_is_tried_again_has_a_value(executor, death, tmp_path, caplog):
    future = executor.submit(once, DEATHS[death].act, str(tmp_path / "tries"))
    assert executor.submit(abs, future).result(LIMIT) == 2
    assert f"{future.key} runs again: its worker process" in caplog.text
    assert DEATHS[death].told in caplog.text


def test_a_task_without_crash_retries_is_not_run_twice(executor, tmp_path):
    careful = executor.options(crash_retries=0)
    tries = [tmp_path / str(number) for number in range(40)]
    futures = [careful.submit(once, is_killed if number == 20 else int, str(file)) for number, file in enumerate(tries)]
    failed = [number for number, future in enumerate(futures) if future.exception(LIMIT)]
    assert 20 in failed
    assert all(os.path.getsize(file) == 1 for file in tries if file.exists())
    assert all(isinstance(futures[number].exception(0), WorkerCrashedError) for number in failed)


# -- in the initializer -------------------------------------------------------------------------


def after(passage: Callable[[], object], act: Callable[[], object]) -> object:
    passage()
    return act()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are killed are given up as soon as those that end by themselves."""
    monkeypatch.setattr(pool, "KILLED", pool.STILLBORN)


INITIALIZERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "running": lambda act: {"initializer": act},
    "reading its arguments": lambda act: {"initializer": takes, "initargs": (When(act, reading=True),)},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", INITIALIZERS)
@pytest.mark.usefixtures("quick")
def test_in_the_initializer(place, fault, gate):
    initializer = INITIALIZERS[place](partial(after, gate.passage, FAULTS[fault].act))
    executor = GraphExecutor(2, backend="processes", **initializer)
    head = executor.submit(abs, -1)
    futures = [head, executor.submit(abs, head), executor.submit(abs, -2), executor.submit(repr, allow_failure(head))]
    gate.arrived()
    gate.open()
    for future in futures:
        assert isinstance(future.exception(LIMIT), BrokenGraphError)
    told = FAULTS[fault].told if FAULTS[fault].kills or place == "running" else "exit code 1"
    with pytest.raises(BrokenGraphError, match=told):
        executor.submit(abs, -1)
    in_time(executor.shutdown)


def if_exists(file: str, expected: bool, act: Callable[[], object]) -> None:
    there = os.path.exists(file)
    open(file, "a").close()
    if there == expected:
        act()


@pytest.mark.parametrize("death", DEATHS)
def test_in_the_initializer_of_one_worker(death, tmp_path):
    args = str(tmp_path / "there"), False, DEATHS[death].act
    with GraphExecutor(2, backend="processes", initializer=if_exists, initargs=args) as executor:
        assert works(executor)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("quick")
def test_in_the_initializers_of_all_but_one_that_dies_in_the_end(fault, gate, tmp_path):
    args = str(tmp_path / "there"), True, FAULTS[fault].act
    executor = GraphExecutor(2, backend="processes", initializer=if_exists, initargs=args)
    first = executor.submit(gate.passage)
    gate.arrived()
    dependent = executor.submit(takes, first)
    assert isinstance(executor.submit(abs, -1).exception(LIMIT), BrokenGraphError)
    for worker in workers():
        worker.kill()
    assert isinstance(first.exception(LIMIT), BrokenGraphError), "nobody is left to try it again"
    assert isinstance(dependent.exception(LIMIT), BrokenGraphError)
    in_time(executor.shutdown)


# -- in an idle worker --------------------------------------------------------------------------


def at_signal(act: Callable[[], object]) -> int:
    signal.signal(signal.SIGUSR1, lambda *_: act())
    return os.getpid()


@pytest.mark.parametrize("fault", FAULTS)
def test_in_an_idle_worker(executor, fault, caplog):
    pid = executor.submit(at_signal, FAULTS[fault].act).result(LIMIT)
    assert until(lambda: len(executor._hub.backend.idle) == len(executor._hub.backend.attendants))
    os.kill(pid, signal.SIGUSR1)
    assert until(lambda: pid not in [worker.pid for worker in workers()])
    assert works(executor)
    assert not caplog.text, "no task is to blame"


def at_signal_with_a_thread(act: Callable[[], object], passage: Callable[[], object]) -> int:
    threading.Thread(target=passage).start()
    return at_signal(act)


def test_in_an_idle_worker_whose_threads_go_on(executor, gate, monkeypatch):
    monkeypatch.setattr(attendant, "GRACE", 0.1)
    pid = executor.submit(at_signal_with_a_thread, leaves, gate.passage).result(LIMIT)
    gate.arrived()
    assert until(lambda: len(executor._hub.backend.idle) == len(executor._hub.backend.attendants))
    os.kill(pid, signal.SIGUSR1)
    assert until(lambda: pid not in [worker.pid for worker in workers()])
    assert works(executor)


def test_in_idle_workers_again_and_again(executor):
    for _ in range(5):
        assert executor.submit(abs, -1).result(LIMIT) == 1
        for worker in workers():
            worker.kill()
        assert until(lambda: not workers())
    assert works(executor)


# -- during shutdown ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_in_a_task_during_shutdown(executor, gate, fault):
    act, kind, told = FAULTS[fault]
    bad = executor.options(crash_retries=0).submit(after, gate.passage, act)
    dependents = [executor.submit(takes, bad), executor.submit(type, allow_failure(bad))]
    others = [executor.submit(abs, executor.submit(gate.passage, n)) for n in range(5)]
    gate.arrived(2)
    executor.shutdown(wait=False)
    gate.open()
    in_time(executor.shutdown)
    with pytest.raises(kind, match=told):
        bad.result(0)
    assert isinstance(dependents[0].exception(0), kind)
    assert dependents[1].result(0) is kind
    assert [future.result(0) for future in others] == [*range(5)]


def at_exit(act: Callable[[], object]) -> None:
    atexit.register(act)


@pytest.mark.parametrize("fault", FAULTS)
def test_in_a_worker_that_leaves(executor, fault):
    futures = [executor.submit(at_exit, FAULTS[fault].act) for _ in range(4)]
    futures += [executor.submit(takes, future) for future in futures]
    executor.shutdown(wait=False)
    in_time(executor.shutdown)
    assert [future.exception(0) for future in futures] == [None] * 8


def test_of_all_workers_during_shutdown(executor, gate):
    passing = [executor.submit(gate.passage, number) for number in range(2)]
    later = [executor.submit(abs, future) for future in passing]
    gate.arrived(2)
    executor.shutdown(wait=False)
    for worker in workers():
        worker.kill()
    gate.open()
    assert [future.result(LIMIT) for future in later] == [0, 1]


# -- at any moment ------------------------------------------------------------------------------


def added(total: int, n: int) -> int:
    return total + n


def chain_of(executor: GraphExecutor, number: int) -> Any:
    total = executor.submit(abs, 0)
    for n in range(number):
        total = executor.submit(added, total, n)
    return total


def test_values_are_right_while_workers_are_killed(executor):
    for _ in range(5):
        futures = [chain_of(executor, 2000) for _ in range(3)]
        for worker in workers():
            worker.kill()
        assert [future.result(LIMIT) for future in futures] == [1999000] * 3
