"""What is true of worker processes alone: deaths, pickles, batches, and what is left behind (CONTRACT 10)."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from gates import Gate
from patience import LIMIT, in_time, until

from graphfutures import BrokenGraphError, GraphExecutor, WorkerCrashedError, allow_failure

pytestmark = pytest.mark.ci


@pytest.fixture
def executor() -> Iterator[GraphExecutor]:
    one = GraphExecutor(2, backend="processes")
    yield one
    in_time(one.shutdown)
    assert until(lambda: not workers()), workers()


@pytest.fixture
def gate(executor: GraphExecutor) -> Iterator[Gate]:
    one = Gate()
    yield one
    one.close()


def workers() -> list[psutil.Process]:
    """The worker processes of this one's executors, and not of other pools."""
    return [
        child for child in psutil.Process().children() if "--process-name GraphExecutor" in " ".join(_command(child))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# -- deaths -------------------------------------------------------------------------------------


def exits() -> None:
    os._exit(3)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults() -> None:
    ctypes.string_at(0)


class When:
    """Does something when it is pickled, or read back, by a worker.

    :param act: what.
    :param parent: the process that may do so unharmed.
    """

    def __init__(self, act: Callable[[], object], reading: bool) -> None:
        self.act = act
        self.reading = reading
        self.parent = os.getpid()

    def __reduce__(self) -> Any:
        if not self.reading and os.getpid() != self.parent:
            self.act()
        return read_back, (self.act, self.reading, self.parent)


def read_back(act: Callable[[], object], reading: bool, parent: int) -> When:
    if reading and os.getpid() != parent:
        act()
    made = When(act, reading)
    made.parent = parent
    return made


def runs(act: Callable[[], object]) -> object:
    return act()


def takes(thing: When) -> bool:
    return thing is not None


def gives(act: Callable[[], object]) -> When:
    made = When(act, reading=False)
    made.parent = 0
    return made


class Called(When):
    """A callable object, which travels with every task."""

    def __call__(self) -> str:
        return "called"


PLACES: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "running": lambda act: (runs, act),
    "reading an argument": lambda act: (takes, When(act, reading=True)),
    "pickling the result": lambda act: (gives, act),
    "reading the function": lambda act: (partial(takes, When(act, reading=True)),),
}
DEATHS = {"os._exit": (exits, "exit code 3"), "SIGKILL": (is_killed, "SIGKILL"), "SIGSEGV": (segfaults, "SIGSEGV")}


def raises() -> None:
    raise KeyError("on purpose")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("death", DEATHS)
def test_a_task_that_kills_its_worker(executor, place, death):
    act, told = DEATHS[death]
    before = [executor.submit(abs, -n) for n in range(50)]
    bad = executor.options(crash_retries=1).submit(*PLACES[place](act))
    dependent = executor.submit(takes, bad)
    after = [executor.submit(abs, -n) for n in range(50)]
    with pytest.raises(WorkerCrashedError, match=rf"was running 2 times when its worker process .*{told}"):
        bad.result(LIMIT)
    with pytest.raises(BrokenProcessPool):
        dependent.result(LIMIT)
    assert [future.result(LIMIT) for future in before + after] == [*range(50)] * 2
    assert executor.submit(pow, 2, 5).result(LIMIT) == 32
    assert not executor._broken


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("act", "kind"), [(raises, KeyError), (sys.exit, SystemExit)])
def test_a_task_that_raises(executor, place, act, kind):
    bad = executor.submit(*PLACES[place](act))
    dependent = executor.submit(takes, bad)
    assert isinstance(bad.exception(LIMIT), kind)
    assert isinstance(dependent.exception(LIMIT), kind)
    assert executor.submit(pow, 2, 5).result(LIMIT) == 32
    assert not [record for record in executor.attempts() if record.name == "takes" and place == "running"]


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
    future = executor.submit(once, DEATHS[death][0], str(tmp_path / "tries"))
    assert executor.submit(abs, future).result(LIMIT) == 2
    assert f"{future.key} runs again: its worker process" in caplog.text
    assert DEATHS[death][1] in caplog.text


def test_a_task_without_crash_retries_is_not_run_twice(executor, tmp_path):
    careful = executor.options(crash_retries=0)
    tries = [tmp_path / str(number) for number in range(40)]
    futures = [careful.submit(once, is_killed if number == 20 else int, str(file)) for number, file in enumerate(tries)]
    failed = [number for number, future in enumerate(futures) if future.exception(LIMIT)]
    assert 20 in failed
    assert all(os.path.getsize(file) == 1 for file in tries if file.exists())
    assert all(isinstance(futures[number].exception(0), WorkerCrashedError) for number in failed)


def test_an_idle_worker_that_dies(executor):
    for _ in range(5):
        assert executor.submit(abs, -1).result(LIMIT) == 1
        for worker in workers():
            worker.kill()
            worker.wait(LIMIT)
    assert [executor.submit(abs, -n).result(LIMIT) for n in range(20)] == list(range(20))


def test_a_worker_that_dies_during_shutdown(executor, gate):
    passing = [executor.submit(gate.passage, number) for number in range(2)]
    later = [executor.submit(abs, future) for future in passing]
    gate.arrived(2)
    executor.shutdown(wait=False)
    for worker in workers():
        worker.kill()
    gate.open()
    assert [future.result(LIMIT) for future in later] == [0, 1]


def test_workers_that_die_at_once_break_the_executor():
    executor = GraphExecutor(2, backend="processes", initializer=exits)
    futures = [executor.submit(abs, -1) for _ in range(4)]
    for future in futures:
        assert isinstance(future.exception(LIMIT), BrokenGraphError)
    with pytest.raises(BrokenGraphError, match=r"worker processes die before they have run anything.*exit code 3"):
        executor.submit(abs, -1)
    in_time(executor.shutdown)


def chain_of(executor: GraphExecutor, number: int) -> Any:
    total = executor.submit(abs, 0)
    for n in range(number):
        total = executor.submit(added, total, n)
    return total


def added(total: int, n: int) -> int:
    return total + n


def test_values_are_right_while_workers_are_killed(executor):
    for _ in range(5):
        futures = [chain_of(executor, 2000) for _ in range(3)]
        for worker in workers():
            worker.kill()
        assert [future.result(LIMIT) for future in futures] == [1999000] * 3


# -- what travels -------------------------------------------------------------------------------


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def unreadable() -> Unreadable:
    return Unreadable()


class OddError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} {two}")


def odd() -> None:
    raise OddError(1, 2)


def test_what_cannot_travel_harms_one_task(executor):
    lock = threading.Lock()
    cases = [
        (executor.submit(takes, lock), TypeError, "cannot pickle"),
        (executor.submit(lambda: lock), TypeError, "cannot pickle"),
        (executor.submit(lambda: (n for n in ())), TypeError, "cannot pickle"),
        (executor.submit(unreadable), ValueError, "invalid literal"),
        (executor.submit(takes, Unreadable()), ValueError, "invalid literal"),
        (executor.submit(odd), Exception, "OddError: 1 2"),
    ]
    good = [executor.submit(abs, -n) for n in range(20)]
    for future, kind, text in cases:
        with pytest.raises(kind, match=text) as caught:
            future.result(LIMIT)
    assert [future.result(LIMIT) for future in good] == list(range(20))
    assert caught.value is not None


def test_the_note_says_which_task_could_not_be_sent(executor):
    future = executor.submit(takes, threading.Lock())
    error = future.exception(LIMIT)
    assert future.key in "".join(error.__notes__)


def test_an_exception_shows_where_it_was_raised(executor):
    error = executor.submit(raises).exception(LIMIT)
    assert "on purpose" in str(error)
    assert "in raises" in str(error.__cause__)


class Doubler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, n: int) -> int:
        return n * self.factor

    __call__ = times


def test_functions_of_all_kinds(executor):
    def closure(n: int) -> int:
        return n * factor

    factor = 2
    for fn in (closure, lambda n: n * 2, Doubler(2).times, Doubler(2), partial(pow, 2), int, abs, str):
        assert executor.submit(fn, 2).result(LIMIT) == fn(2)


class Counted:
    """Counts how often it is pickled."""

    times = 0

    def __reduce__(self) -> Any:
        Counted.times += 1
        return int, (7,)


def test_a_function_is_pickled_once_and_again_when_what_it_names_is_bound_anew(executor):
    names: dict[str, Any] = {"__name__": "made_up", "seven": Counted(), "more": 0}
    exec("def f(n):\n    return seven + n + more\ndef g(n):\n    return f(n)", names)
    Counted.times = 0
    futures = [executor.submit(names["g"], n) for n in range(200)]
    assert [future.result(LIMIT) for future in futures] == [7 + n for n in range(200)]
    assert Counted.times == 1
    names["more"] = 100
    futures = [executor.submit(names["g"], n) for n in range(200)]
    assert [future.result(LIMIT) for future in futures] == [107 + n for n in range(200)]
    assert Counted.times == 2


def known_functions() -> int:
    import gc

    from graphfutures.backends.processes.worker import Worker

    return sum(len(one._functions) for one in gc.get_objects() if isinstance(one, Worker))


def test_functions_that_are_gone_are_forgotten_by_workers():
    with GraphExecutor(1, backend="processes") as executor:
        for n in range(200):
            assert executor.submit(lambda n=n: n).result(LIMIT) == n
        assert executor.submit(known_functions).result(LIMIT) < 20


def append(values: list[int]) -> list[int]:
    values.append(1)
    return values


def test_every_task_has_its_own_copy_of_a_value(executor):
    empty = executor.submit(list)
    assert [executor.submit(append, empty).result(LIMIT) for _ in range(3)] == [[1]] * 3
    ones = [executor.submit(append, empty) for _ in range(50)]
    assert [one.result(LIMIT) for one in ones] == [[1]] * 50
    assert empty.result(LIMIT) == []


# -- batches --------------------------------------------------------------------------------------


def test_a_chain_whose_head_fails_is_not_run(executor):
    futures = [executor.submit(raises)]
    for n in range(500):
        futures.append(executor.submit(added, futures[-1], n))
    assert isinstance(futures[-1].exception(LIMIT), KeyError)
    assert {record.name for record in executor.attempts() if record.good} <= {"raises"}


def test_an_outcome_is_told_whatever_follows_it(executor, gate):
    for future in [executor.submit(abs, -n) for n in range(2000)]:  # so that tasks are taken to be short
        future.result(LIMIT)
    futures = [executor.submit(gate.passage if n % 10 == 9 else abs, n) for n in range(20)]
    done = [future for future in futures if future.name == "abs"]
    assert len(list(as_completed(done[:9], LIMIT))) == 9
    gate.open()
    assert [future.result(LIMIT) for future in futures] == list(range(20))


def test_what_was_handed_to_a_busy_worker_is_given_to_one_that_was_idle_all_the_time(gate, executor):
    for future in [executor.submit(abs, -n) for n in range(2000)]:
        future.result(LIMIT)
    begin: Future[int] = Future()
    long = executor.submit(gate.passage, begin)
    short = [executor.submit(added, begin, n) for n in range(100)]
    assert until(lambda: all(one.idle for one in executor._hub.backend.attendants))
    begin.set_result(0)  # all of them are ready at once, and are handed to the one that is woken
    assert [future.result(LIMIT) for future in short] == list(range(100))
    assert not long.done()
    gate.open()
    assert long.result(LIMIT) == 0


def test_what_was_handed_to_a_busy_worker_is_given_to_an_idle_one(gate, executor):
    for future in [executor.submit(abs, -n) for n in range(2000)]:
        future.result(LIMIT)
    long = executor.submit(gate.passage, "long")
    short = [executor.submit(abs, -n) for n in range(100)]
    assert [future.result(LIMIT) for future in short] == list(range(100))
    assert not long.done()
    gate.open()
    assert long.result(LIMIT) == "long"


def test_long_tasks_that_were_taken_to_be_short_run_side_by_side(gate, executor):
    for future in [executor.submit(abs, -n) for n in range(2000)]:
        future.result(LIMIT)
    long = [executor.submit(gate.passage, n) for n in range(2)]
    short = [executor.submit(added, 0, n) for n in range(10)]
    gate.arrived(2)  # although both were handed to one worker, and so were all that have to be given back first
    gate.open()
    assert [future.result(LIMIT) for future in [*long, *short]] == [0, 1, *range(10)]


# -- workers ----------------------------------------------------------------------------------------


def test_tasks_run_in_the_main_thread_of_another_process(executor):
    assert executor.submit(os.getpid).result(LIMIT) != os.getpid()
    assert executor.submit(lambda: threading.current_thread() is threading.main_thread()).result(LIMIT)
    assert not executor.submit(lambda: __import__("multiprocessing").current_process().daemon).result(LIMIT)


def of_environment(name: str) -> str | None:
    return os.environ.get(name)


def test_libraries_start_no_more_threads_than_there_are_processors(executor, monkeypatch):
    from loky import cpu_count

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with GraphExecutor(2, backend="processes") as other:
        assert other.submit(of_environment, "OMP_NUM_THREADS").result(LIMIT) == str(max(1, cpu_count() // 2))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with GraphExecutor(2, backend="processes") as other:
        assert other.submit(of_environment, "OMP_NUM_THREADS").result(LIMIT) == "7"


def test_a_worker_is_replaced_after_so_many_tasks():
    with GraphExecutor(1, backend="processes", max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(LIMIT) for _ in range(9)]
    assert [len(set(pids[n : n + 3])) for n in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_a_wait_at_exit_breaks_nothing_while_no_worker_is_there(executor):
    assert executor._hub.backend.help() is False
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_idle_workers_leave(monkeypatch):
    from graphfutures.backends.processes import attendant

    monkeypatch.setattr(attendant, "IDLE", 0.05)
    with GraphExecutor(2, backend="processes") as executor:
        assert executor.submit(abs, -1).result(LIMIT) == 1
        assert until(lambda: not workers())
        assert executor.submit(abs, -2).result(LIMIT) == 2


def test_the_number_of_workers_is_that_of_the_processors():
    from loky import cpu_count

    with GraphExecutor(backend="processes") as executor:
        assert executor._max_workers == cpu_count()


def test_queues_of_fork_are_refused_with_advice():
    import multiprocessing

    queue = multiprocessing.get_context("fork").Queue()
    executor = GraphExecutor(1, backend="processes", initializer=abs, initargs=(queue,))
    future = executor.submit(abs, -1)
    with pytest.raises(BrokenGraphError, match=r"cannot be sent.*get_context\('spawn'\)"):
        future.result(LIMIT)
    in_time(executor.shutdown)
    queue.close()


def test_a_worker_whose_c_code_holds_the_interpreter(executor):
    long = executor.submit(holds_the_lock, 200_000)
    short = [executor.submit(abs, -n) for n in range(10)]
    assert [future.result(LIMIT) for future in short] == list(range(10))
    assert long.result(LIMIT) == 0


def holds_the_lock(microseconds: int) -> int:
    return ctypes.PyDLL(None).usleep(microseconds)


def test_nothing_is_left_of_what_was_opened(executor: GraphExecutor, tmp_path: Path) -> None:
    me = psutil.Process()
    with GraphExecutor(2, backend="processes") as first:
        first.submit(abs, -1).result(LIMIT)
    descriptors = me.num_fds()
    for _ in range(5):
        with GraphExecutor(2, backend="processes") as other:
            assert pickle.loads(other.submit(pickle.dumps, 1).result(LIMIT)) == 1
    assert me.num_fds() <= descriptors


def test_a_failure_that_is_allowed_is_waited_for(executor):
    futures = []
    for n in range(50):
        failing = executor.submit(raises if n % 2 else abs, *([] if n % 2 else [-n]))
        futures.append(executor.submit(repr, allow_failure(failing)))
    for n, future in enumerate(futures):
        assert future.result(LIMIT) == ("KeyError('on purpose')" if n % 2 else str(n))


def test_a_future_that_is_given_with_and_without_its_failure(executor):
    futures = [executor.submit(abs, -1)]
    for _ in range(200):
        futures.append(executor.submit(max, [futures[-1], allow_failure(futures[-1])]))
    assert futures[-1].result(LIMIT) == 1


def test_beside_threads_in_one_graph():
    with GraphExecutor(2, "mine", backends={"processes": 2}) as executor:
        far = executor.options(backend="processes")
        assert far.submit(os.getpid).result(LIMIT) != os.getpid()
        total = executor.submit(abs, 0)
        for n in range(300):
            total = (far if n % 3 else executor).submit(added, total, n)
        assert total.result(LIMIT) == sum(range(300))
        wide = [(far if n % 2 else executor).submit(added, far.submit(abs, -n), n) for n in range(200)]
        assert [future.result(LIMIT) for future in wide] == [2 * n for n in range(200)]
