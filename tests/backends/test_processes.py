"""What is true of worker processes alone: pickles, batches, workers, and what is left behind (CONTRACT 10)."""

from __future__ import annotations

import copyreg
import ctypes
import os
import pickle
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults import executor_of, raises, workers
from gates import Gate
from patience import LIMIT, in_time, until

from graphfutures import BrokenGraphError, GraphExecutor, allow_failure
from graphfutures.backends.processes.files import LARGE
from graphfutures.backends.processes.functions import Functions

pytestmark = pytest.mark.ci


@pytest.fixture
def executor() -> Iterator[GraphExecutor]:
    with executor_of(2) as one:
        yield one


@pytest.fixture
def alone() -> Iterator[GraphExecutor]:
    """With one worker only."""
    with executor_of(1) as one:
        yield one


def added(total: int, n: int) -> int:
    return total + n


def takes(thing: object) -> bool:
    return thing is not None


# -- what travels -------------------------------------------------------------------------------


def test_how_a_class_is_pickled_may_be_registered_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    functions, thread = Functions(), threading.current_thread()
    with pytest.raises(TypeError):
        functions.dumps(thread)
    for value in ("one", "two"):
        monkeypatch.setitem(copyreg.dispatch_table, type(thread), lambda _, value=value: (str, (value,)))
        assert pickle.loads(functions.dumps(thread)) == value
    monkeypatch.delitem(copyreg.dispatch_table, type(thread))
    with pytest.raises(TypeError):
        functions.dumps(thread)


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def unreadable() -> Unreadable:
    return Unreadable()


def unreadable_if(number: int) -> Unreadable | None:
    return Unreadable() if number else None


def lock_if(number: int) -> object:
    return threading.Lock() if number else None


class OddError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} {two}")


def odd() -> None:
    raise OddError(1, 2)


class LockedError(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()


def locked() -> None:
    raise LockedError


def test_what_cannot_travel_harms_one_task(executor):
    lock = threading.Lock()
    cases = [
        (executor.submit(takes, lock), TypeError, "cannot pickle", "could not be sent"),
        (executor.submit(lambda: lock), TypeError, "cannot pickle", "could not be sent"),
        (executor.submit(lambda: (n for n in ())), TypeError, "cannot pickle", "its value cannot be pickled"),
        (executor.submit(unreadable), ValueError, "invalid literal", "its value, which came from a worker process"),
        (executor.submit(takes, Unreadable()), ValueError, "invalid literal", "was not run: its function"),
        (executor.submit(odd), Exception, "OddError: 1 2 .*cannot be unpickled .*missing 1 required", ""),
        (executor.submit(locked), Exception, "LockedError: with a lock .*cannot be pickled .*_thread.lock", ""),
    ]
    good = [executor.submit(abs, -n) for n in range(20)]
    for future, kind, text, note in cases:
        with pytest.raises(kind, match=text) as caught:
            future.result(LIMIT)
        assert note in "".join(getattr(caught.value, "__notes__", []))
    assert [future.result(LIMIT) for future in good] == list(range(20))


class Hiding:
    """An object that is not looked into."""

    def __init__(self, hidden: object) -> None:
        self.hidden = hidden


def takes_two(one: object, other: object = None) -> None:
    del one, other


def test_the_note_says_what_could_not_be_sent(executor):
    value, lock = executor.submit(abs, -1), threading.Lock()
    cases = {
        executor.submit(takes_two, lock): "argument 'one'",
        executor.submit(takes_two, value, Hiding(value)): "argument 'other'",
        executor.submit(takes_two, [value], other=[value, lock]): "argument 'other'",
        executor.submit(lambda: lock): "its function",
    }
    for future, what in cases.items():
        note = f"{future.key} could not be sent to a worker process: {what} cannot be pickled"
        assert note in future.exception(LIMIT).__notes__
    with pytest.raises(TypeError) as caught:
        list(executor.map(takes_two, [1, 2], [1, lock], timeout=LIMIT))
    assert "argument 'other' cannot be pickled" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("fn", "args", "what"),
    [
        (takes, (threading.Lock(),), "could not be sent to a worker process"),
        (takes, (Unreadable(),), "was not run"),
        (unreadable, (), "was run, but its value, which came from a worker process"),
        (threading.Lock, (), "was run, but its value cannot be pickled"),
    ],
)
def test_the_note_says_which_task_it_was(executor, fn, args, what):
    future = executor.submit(fn, *args)
    waits_for_nothing = executor.options(retries=1).submit(fn, *args)
    for failed in (future, waits_for_nothing):
        with pytest.raises((TypeError, ValueError)) as caught:
            failed.result(LIMIT)
        assert [note for note in caught.value.__notes__ if note.startswith(f"{failed.key} {what}")]


@pytest.mark.parametrize(("fn", "what"), [(unreadable_if, "was run"), (lock_if, "was run"), (takes, "was not run")])
def test_the_note_says_which_call_of_a_map_it_was(executor, fn, what):
    with pytest.raises((TypeError, ValueError)) as caught:
        list(executor.map(fn, [0, 0, Unreadable() if fn is takes else 1, 0]))
    assert f"{fn.__name__}[2] {what}" in "".join(caught.value.__notes__)


def test_a_function_is_called_after_calls_of_it_that_could_not_be_sent(alone):
    lock = threading.Lock()
    assert isinstance(alone.submit(takes, lock).exception(LIMIT), TypeError)
    assert isinstance(alone.submit(takes, lock).exception(LIMIT), TypeError)
    assert alone.submit(takes, 1).result(LIMIT)
    assert list(alone.map(takes, range(3))) == [True] * 3


def test_explain_what_was_sent_along_with_what_it_needs(gate, alone):
    learnt_to_be_quick(alone)
    begin: Future[int] = Future()
    running = alone.submit(gate.passage, begin)
    dependent = alone.submit(added, running, 1)
    begin.set_result(1)
    gate.arrived()
    assert alone.explain(dependent).startswith(f"{dependent.key} was sent to worker 0 0.")
    assert alone.explain(dependent).endswith(f" s ago, to run there after {running.key}")
    gate.open()
    assert dependent.result(LIMIT) == 2


def test_an_exception_shows_where_it_was_raised(executor):
    error = executor.submit(raises).exception(LIMIT)
    assert "on purpose" in str(error)
    assert "in raises" in str(error.__cause__)


def test_also_in_functions_that_are_sent_whole(executor):
    def outer() -> None:
        def inner() -> None:
            raise ValueError("on purpose")

        inner()

    error = executor.submit(outer).exception(LIMIT)
    assert str(error.__cause__).count(f'"{__file__}"') == 2
    assert 'raise ValueError("on purpose")' in str(error.__cause__)


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
    exec("def f(n):\n    return seven + n + more\ndef g(n, *others, **named):\n    return f(n)", names)
    Counted.times = 0
    futures = [executor.submit(names["g"], n) for n in range(200)]
    futures += [executor.submit(names["g"], 200, []), executor.submit(names["g"], 201, named=0)]
    assert [future.result(LIMIT) for future in futures] == [7 + n for n in range(202)]
    assert Counted.times == 1
    names["more"] = 100
    futures = [executor.submit(names["g"], n) for n in range(200)]
    assert [future.result(LIMIT) for future in futures] == [107 + n for n in range(200)]
    assert Counted.times == 2


class Noted:
    """Notes in a file that it is read."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return noted, (self.file,)


def noted(file: str) -> Noted:
    with open(file, "a") as times:
        times.write("x")
    return Noted(file)


def test_a_function_is_sent_once_and_again_when_what_it_names_is_bound_anew(tmp_path):
    times = tmp_path / "times"
    names: dict[str, Any] = {"__name__": "made_up", "thing": Noted(str(times)), "more": 0}
    exec("def f(n):\n    return (thing is not None) + n + more", names)
    with GraphExecutor(1, backend="processes") as executor:
        for read, names["more"] in [("x", 0), ("x", 0), ("xx", 100), ("xx", 100)]:
            for n in range(5):  # one message each
                assert executor.submit(names["f"], n).result(LIMIT) == 1 + n + names["more"]
            assert times.read_text() == read


def known_functions() -> int:
    import gc

    from graphfutures.worker.loop import Worker

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


def test_futures_that_nobody_needs_are_gone(executor):
    head = executor.submit(abs, -1)
    middle = executor.submit(abs, head)
    last = executor.submit(abs, middle)
    gone = [weakref.ref(head), weakref.ref(middle)]
    del head, middle
    assert last.result(LIMIT) == 1
    assert until(lambda: [one() for one in gone] == [None, None])


# -- batches --------------------------------------------------------------------------------------


def test_a_chain_whose_head_fails_is_not_run(executor):
    futures = [executor.submit(raises)]
    for n in range(500):
        futures.append(executor.submit(added, futures[-1], n))
    assert isinstance(futures[-1].exception(LIMIT), KeyError)
    assert {record.name for record in executor.attempts() if record.good} <= {"raises"}


def test_an_outcome_is_told_whatever_follows_it(executor, gate):
    learnt_to_be_quick(executor)
    futures = [executor.submit(gate.passage if n % 10 == 9 else abs, n) for n in range(20)]
    done = [future for future in futures if future.name == "abs"]
    assert len(list(as_completed(done[:9], LIMIT))) == 9
    gate.open()
    assert [future.result(LIMIT) for future in futures] == list(range(20))


def test_what_was_handed_to_a_busy_worker_is_given_to_one_that_was_idle_all_the_time(executor, gate):
    learnt_to_be_quick(executor)
    begin: Future[int] = Future()
    long = executor.submit(gate.passage, begin)
    short = [executor.submit(added, begin, n) for n in range(100)]
    assert until(lambda: len(executor._hub.backend.idle) == len(executor._hub.backend.attendants))
    begin.set_result(0)  # all of them are ready at once, and are handed to the one that is woken
    assert [future.result(LIMIT) for future in short] == list(range(100))
    assert not long.done()
    gate.open()
    assert long.result(LIMIT) == 0


def test_what_was_handed_to_a_busy_worker_is_given_to_an_idle_one(executor, gate):
    learnt_to_be_quick(executor)
    long = executor.submit(gate.passage, "long")
    short = [executor.submit(abs, -n) for n in range(100)]
    assert [future.result(LIMIT) for future in short] == list(range(100))
    assert not long.done()
    gate.open()
    assert long.result(LIMIT) == "long"


def learnt_to_be_quick(executor: GraphExecutor) -> None:
    """Have all workers seen to be quick, so that they are handed many tasks at once."""
    assert [future.result(LIMIT) for future in [executor.submit(abs, -n) for n in range(2000)]] == [*range(2000)]


def test_what_was_sent_counts_as_started(alone, gate):
    learnt_to_be_quick(alone)
    begin: Future[int] = Future()
    futures = [alone.submit(gate.passage, begin)] + [alone.submit(added, begin, n) for n in range(10)]
    begin.set_result(0)
    gate.arrived()
    assert alone.stats()["running"] == 11, "all of them were handed over at once"
    assert not any(future.cancel() for future in futures)
    gate.open()
    assert [future.result(LIMIT) for future in futures] == [0, *range(10)]


def after_the_first_time(file: str, act: Any) -> None:
    if os.path.exists(file):
        act()
    open(file, "a").close()


def test_what_was_sent_and_has_come_back_counts_as_not_started(gate, tmp_path):
    again = Gate()
    args = str(tmp_path / "there"), again.passage
    executor = GraphExecutor(1, backend="processes", initializer=after_the_first_time, initargs=args)
    learnt_to_be_quick(executor)
    begin: Future[int] = Future()
    futures = [executor.submit(gate.passage, begin)] + [executor.submit(added, begin, n) for n in range(10)]
    begin.set_result(0)
    gate.arrived()
    [worker] = workers()
    worker.kill()
    again.arrived()  # a new worker, which was not sent anything yet
    assert all(future.cancel() for future in futures[1:])
    again.close()
    gate.open()
    assert futures[0].result(LIMIT) == 0
    in_time(executor.shutdown)


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_of_ours_settles_everything(gate, monkeypatch):
    from graphfutures.backends.processes import attendant

    executor = GraphExecutor(2, backend="processes")
    futures = [executor.submit(gate.passage, n) for n in range(2)]
    futures += [executor.submit(abs, futures[0]), executor.submit(repr, allow_failure(futures[1]))]
    gate.arrived(2)
    monkeypatch.setattr(attendant, "record_of", lambda *_, **__: raises())
    gate.open()
    for future in futures:
        assert isinstance(future.exception(LIMIT), BrokenGraphError)
    with pytest.raises(BrokenGraphError, match="internal failure"):
        executor.submit(abs, -1)
    in_time(executor.shutdown)


def test_queues_of_fork_are_refused_with_advice():
    import multiprocessing

    queue = multiprocessing.get_context("fork").Queue()
    executor = GraphExecutor(1, backend="processes", initializer=abs, initargs=(queue,))
    future = executor.submit(abs, -1)
    with pytest.raises(BrokenGraphError, match=r"cannot be sent.*get_context\('spawn'\)"):
        future.result(LIMIT)
    in_time(executor.shutdown)
    queue.close()


class Fifo:
    """Where C code waits until something is written."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._file = os.open(path, os.O_RDWR)

    def write(self) -> None:
        os.write(self._file, b"x")

    def close(self) -> None:
        self.write()
        os.close(self._file)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    one = Fifo(tmp_path / "fifo")
    yield one
    one.close()


def holds_the_interpreter(fifo: str) -> int:
    """Be in C code, which nobody can interrupt, until something is written."""
    file = os.open(fifo, os.O_RDWR)
    open(f"{fifo} is read", "x").close()
    return ctypes.PyDLL(None).read(file, ctypes.create_string_buffer(1), 1)


def test_what_waits_for_a_running_task_can_be_cancelled(executor):
    gate = Gate()
    try:
        running = [executor.submit(gate.passage, number) for number in range(2)]
        waiting = [executor.submit(abs, one) for one in running]
        gate.arrived(2)
        waiting += [executor.submit(abs, one) for one in running]
        assert all(one.cancel() for one in waiting)
    finally:
        gate.open()
        gate.close()
    assert [one.result(LIMIT) for one in running] == [0, 1]


def test_a_worker_whose_c_code_holds_the_interpreter(executor, fifo):
    long = executor.submit(holds_the_interpreter, fifo.path)
    assert until(lambda: os.path.exists(f"{fifo.path} is read"))
    short = [executor.submit(abs, -n) for n in range(10)]
    assert [future.result(LIMIT) for future in short] == list(range(10))
    assert not long.done()
    fifo.write()
    assert long.result(LIMIT) == 1


def many(begin: int, n: int) -> bytes:
    return bytes([begin + n]) * LARGE


@pytest.mark.parametrize("function", [added, many])
def test_what_was_done_before_c_code_holds_the_interpreter_is_told(alone, fifo, function):
    learnt_to_be_quick(alone)
    begin: Future[int] = Future()
    short = [alone.submit(function, begin, n) for n in range(10)]
    long = alone.submit(lambda path, _: holds_the_interpreter(path), fifo.path, begin)
    begin.set_result(0)  # all of them are handed over at once
    assert [future.result(LIMIT) for future in short] == [function(0, n) for n in range(10)]
    assert not long.done()
    fifo.write()
    assert long.result(LIMIT) == 1


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
