"""``map`` on worker processes, where many calls go in one task and nobody sees that (CONTRACT 1, 2, 4, 5, 7, 8)."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from faults import executor_of, workers
from gates import Gate
from patience import LIMIT, in_time, until

from graphfutures import BrokenGraphError, GraphExecutor, WorkerCrashedError, current_executor
from graphfutures.backends.processes import attendant

pytestmark = pytest.mark.ci


@pytest.fixture
def executor() -> Iterator[GraphExecutor]:
    with executor_of(2) as one:
        yield one


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Where calls leave their marks."""
    return str(tmp_path / "marks")


class Step:
    """Calls that leave a mark, and of which some do something.

    :param file: for the marks.
    :param acts: what to do, by the number of the call.
    """

    def __init__(self, file: str, acts: dict[int, Callable[[], object]]) -> None:
        self.file = file
        self.acts = acts

    def __call__(self, n: int) -> int:
        with open(self.file, "a") as marks:
            marks.write(f"{n}\n")
        if n in self.acts:
            self.acts[n]()
        return n


class Thing:
    """What can be told to be gone."""

    def __init__(self, n: int) -> None:
        self.n = n


def marked(file: str) -> Counter[int]:
    """How often each call was begun."""
    try:
        return Counter(map(int, Path(file).read_text().split()))
    except FileNotFoundError:
        return Counter()


def raises() -> None:
    raise KeyError("on purpose")


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# -- values and failures --------------------------------------------------------------------------


def test_many_values_come_in_order_and_in_few_tasks(executor):
    assert list(executor.map(abs, range(0, -20_000, -1))) == list(range(20_000))
    assert list(executor.map(pow, range(5000), repeat(2))) == [n * n for n in range(5000)]
    assert len(executor.attempts()) < 500


def test_functions_and_values_of_all_kinds(executor):
    def closure(n: int) -> tuple[int, str]:
        return n, "x" * factor

    factor = 3
    for fn in (closure, lambda n: [n], partial(divmod, 7), "{:>8}".format, Step(os.devnull, {})):
        assert list(executor.map(fn, range(1, 100))) == [fn(n) for n in range(1, 100)]
    for values in ([(n, "x") for n in range(50)], [None, 1, "2", b"3", 4.5, (6,), Path("7"), {8: 9}]):
        assert list(executor.map(repr, values)) == list(map(repr, values))


def append(values: list[int]) -> list[int]:
    values.append(1)
    return values


def test_every_call_has_arguments_of_its_own(executor):
    empty: list[int] = []
    assert list(executor.map(append, [empty] * 100)) == [[1]] * 100
    assert empty == []


def test_an_exception_comes_at_its_turn_and_shows_where_it_was_raised(executor, file):
    values = executor.map(Step(file, {700: raises}), range(1000))
    for n in range(700):
        assert next(values) == n
    with pytest.raises(KeyError) as caught:
        next(values)
    assert "in raises" in str(caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(values)


def test_all_calls_are_run_though_nobody_iterates(executor, file):
    executor.map(Step(file, {5: raises, 700: raises}), range(1000))
    executor.shutdown()
    assert marked(file) == Counter(range(1000))


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def harmed(file: str, thing: object, n: int) -> object:
    """A mark, and something that may not be fit to travel."""
    Step(file, {})(n)
    return threading.Lock() if thing == "lock" else (n for n in ()) if thing == "generator" else thing


@pytest.mark.parametrize(
    ("thing", "kind", "runs"),
    [
        (threading.Lock(), TypeError, False),
        (Unreadable(), ValueError, False),
        ("lock", TypeError, True),
        ("generator", TypeError, True),
    ],
)
def test_what_cannot_travel_harms_one_call(executor, file, thing, kind, runs):
    bad = {0, 7, 8, 150}
    calls = [thing if n in bad else None for n in range(300)]
    first = executor.map(harmed, repeat(file), calls, range(300))
    others = [executor.map(harmed, repeat(file), calls[n:], range(n, 300)) for n in (1, 9)]
    with pytest.raises(kind) as caught:
        next(first)
    for values, start, stop in zip(others, (1, 9), (7, 150), strict=True):
        for _ in range(start, stop):
            assert next(values) is None
        with pytest.raises(kind):
            next(values)
    if not runs and kind is TypeError:
        assert "harmed[0] could not be sent" in "".join(caught.value.__notes__)


def test_after_what_cannot_travel_the_others_are_run(executor, file):
    bad = {0, 7, 8, 150}
    executor.map(harmed, repeat(file), [threading.Lock() if n in bad else None for n in range(300)], range(300))
    executor.shutdown()
    assert marked(file) == Counter(set(range(300)) - bad)


def test_a_function_that_cannot_travel(executor):
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        next(executor.map(lambda n: lock, range(100)))
    with pytest.raises(ValueError, match="invalid literal"):
        next(executor.map(partial(max, Unreadable()), range(100)))
    assert list(executor.map(abs, range(100))) == list(range(100))


def test_arguments_that_make_large_messages(executor):
    many = [bytes(300_000)] * 40
    assert list(executor.map(len, [b""] * 3000 + many)) == [0] * 3000 + [300_000] * 40
    assert list(executor.map(len, [[b""]] * 3000 + [[one] for one in many])) == [1] * 3040
    assert sum(map(len, executor.map(bytes, [300_000] * 40))) == 12_000_000


def test_what_an_iterable_gives_is_run_before_it_ends(executor, gate):
    def elements() -> Iterator[int]:
        for n in range(3):
            yield n
            gate.arrived()  # only after that call has begun
            gate.let_through()

    assert list(in_time(executor.map, gate.passage, elements())) == [0, 1, 2]


def test_what_an_iterable_gave_before_it_raised_is_run(executor, file):
    def broken() -> Iterator[int]:
        yield from range(500)
        raise LookupError("no more")

    with pytest.raises(LookupError):
        executor.map(Step(file, {}), broken())
    executor.shutdown()
    assert marked(file) == Counter(range(500))


# -- what is seen when --------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [3, 3000])
def test_what_has_ended_is_there_whatever_runs_after_it(executor, gate, file, before):
    values = executor.map(Step(file, {before: gate.passage}), range(before + 100))
    for n in range(before):
        assert next(values) == n
    gate.arrived()
    assert until(lambda: len(marked(file)) == before + 100), "the other worker runs what comes after it"
    gate.open()
    assert list(values) == list(range(before, before + 100))


def test_values_are_told_within_20_ms(executor):
    late = []
    for _ in range(5):
        values = executor.map(ended, [0.0] * 3 + [0.0, 0.3] * 2)
        for _ in range(3):
            end = next(values)
            late.append(time.time() - end)
    assert min(late) < 0.02


def ended(seconds: float) -> float:
    """When it ended."""
    end = time.time() + seconds
    while time.time() < end:
        pass
    return time.time()


def test_no_call_waits_behind_a_long_one_while_a_worker_is_idle(executor, gate, file):
    list(executor.map(abs, range(5000)))
    values = executor.map(Step(file, dict.fromkeys(range(3000, 3002), gate.passage)), range(4000))
    gate.arrived(2)  # of one and the same piece, mostly
    gate.open()
    assert list(values) == list(range(4000))


def test_long_calls_begin_about_in_order_at_both_workers(executor, gate, file):
    list(executor.map(abs, range(5000)))
    values = executor.map(Step(file, dict.fromkeys(range(20), gate.passage)), range(20))
    for n in range(0, 20, 2):
        gate.arrived(2)
        assert gate.nobody_new()
        assert max(marked(file)) < n + 4  # one more may have been handed to each of them
        gate.let_through()
    assert list(values) == list(range(20))


def test_a_timeout(executor, gate):
    assert list(executor.map(Step(os.devnull, {}), range(2))) == [0, 1]
    values = executor.map(Step(os.devnull, {2: gate.passage}), range(10), timeout=1)
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(TimeoutError):
        next(values)


# -- giving up ------------------------------------------------------------------------------------------


def test_what_has_not_started_is_not_run_once_the_iterator_is_closed(executor, gate, file):
    values = executor.map(Step(file, dict.fromkeys(range(1000, 1002), gate.passage)), range(100_000))
    assert next(values) == 0
    gate.arrived(2)
    values.close()
    gate.open()
    executor.shutdown()
    assert len(marked(file)) < 10_000


def test_after_an_exception_the_rest_is_not_run(executor, gate, file):
    values = executor.map(Step(file, {0: raises, 1: gate.passage, 2: gate.passage}), range(100_000))
    with pytest.raises(KeyError):
        next(values)
    gate.open()
    executor.shutdown()
    assert len(marked(file)) < 10_000


@pytest.mark.parametrize("of_view", [False, True])
def test_cancel_futures_cancels_what_has_not_started(executor, gate, file, of_view):
    door = executor.options(backend="processes") if of_view else executor
    # Each from there on: what is queued behind one is taken by the other worker only when that has nothing else.
    values = door.map(Step(file, dict.fromkeys(range(1000, 100_000), gate.passage)), range(100_000))
    gate.arrived(2)
    door.shutdown(wait=False, cancel_futures=True)
    gate.open()
    found: list[int] = []
    with pytest.raises(CancelledError):
        found.extend(values)
    in_time(door.shutdown)
    assert found == list(range(len(found)))
    assert len(marked(file)) < 10_000
    if of_view:
        assert executor.submit(abs, -1).result(LIMIT) == 1


def test_the_iterator_keeps_no_executor_and_no_values_alive(executor):
    one = GraphExecutor(2, backend="processes")
    values = one.map(Thing, range(1000))
    gone = weakref.ref(one)
    gc.collect()
    gc.disable()
    try:
        del one
        assert gone() is None
        value = weakref.ref(next(values))
        assert value() is None
        assert [value.n for value in values] == list(range(1, 1000))
    finally:
        gc.enable()


def test_arguments_are_let_go_of_when_the_calls_have_ended(executor, gate):
    things = [Thing(n) for n in range(100)]
    gone = [weakref.ref(thing) for thing in things]
    values = executor.map(partial(waits_at, gate.passage, 99), things)
    del things
    assert [next(values) for _ in range(99)] == list(range(99))
    assert not any(reference() for reference in gone[:99])
    gate.open()
    assert next(values) == 99


def waits_at(passage: Any, last: int, thing: Thing) -> int:
    return passage(thing.n) if thing.n == last else thing.n


# -- failures of the executor ---------------------------------------------------------------------------


def test_workers_that_cannot_be_had():
    executor = GraphExecutor(2, backend="processes", initializer=raises)
    values = executor.map(abs, range(1000))
    with pytest.raises(BrokenGraphError):
        in_time(next, values)
    with pytest.raises(BrokenGraphError):
        executor.map(abs, range(1000))
    in_time(executor.shutdown)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_internal_failure_of_an_attendant(monkeypatch):
    monkeypatch.setattr(attendant, "GRACE", 0.1)
    with GraphExecutor(2, backend="processes") as executor:
        monkeypatch.setattr(attendant.Attendant, "_take_report", raises)
        values = executor.map(abs, range(1000))
        with pytest.raises(BrokenGraphError, match="internal failure"):
            in_time(next, values)
        assert isinstance(executor._hub.refusal, BrokenGraphError)


def test_after_shutdown_nothing_is_taken(executor):
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(abs, range(1000))
    assert list(executor.map(abs, [])) == []


# -- deaths ---------------------------------------------------------------------------------------------


def test_only_the_call_that_kills_workers_fails(executor, file):
    values = executor.map(Step(file, {300: is_killed}), range(600))
    in_time(executor.shutdown)
    assert set(marked(file)) == set(range(600))
    for n in range(300):
        assert next(values) == n
    with pytest.raises(WorkerCrashedError, match=r"Step\[300\] was running 4 times when .* SIGKILL"):
        next(values)


class Once:
    """Does something once, in whatever process."""

    def __init__(self, act: Callable[[], object], file: str) -> None:
        self.act = act
        self.file = file

    def __call__(self) -> None:
        try:
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self.act()


def test_what_was_told_is_not_run_again(executor, gate, file):
    values = executor.map(Step(file, {500: Once(gate.passage, file + "1")}), range(1000))
    assert [next(values) for _ in range(500)] == list(range(500))
    gate.arrived()
    assert until(lambda: len(marked(file)) == 1000)  # the other one runs the rest, and tells it
    for worker in workers():
        worker.kill()
    assert list(values) == list(range(500, 1000))
    again = marked(file)
    assert [n for n in range(500) if again[n] != 1] == []
    assert again[500] == 2


# -- what is single --------------------------------------------------------------------------------------


def test_options_go_with_single_tasks(executor):
    assert list(executor.options(name="one").map(abs, range(50))) == list(range(50))
    assert [attempt.name for attempt in executor.attempts()] == ["one"] * 50
    assert list(executor.map(abs, range(50), buffersize=4)) == list(range(50))
    with GraphExecutor(2, backend="processes", max_pending=5) as other:
        assert list(other.map(abs, range(50))) == list(range(50))
        assert len(other.attempts()) == 50


def test_futures_among_the_elements(executor, gate):
    late = executor.submit(gate.passage, -7)
    calls: list[Any] = list(range(1000))
    calls[3] = calls[500] = executor.submit(abs, -9)
    calls[998] = late
    values = executor.map(abs, calls)
    expected = [9 if n in (3, 500) else n for n in range(998)]
    assert [next(values) for _ in range(998)] == expected
    gate.open()
    assert list(values) == [7, 999]


def test_futures_only(executor):
    futures = [executor.submit(abs, -n) for n in range(100)]
    assert list(executor.map(sum, [futures[:n] for n in range(100)])) == [sum(range(n)) for n in range(100)]


class SlowToRead:
    """A function that a worker needs longer to read than it has for a piece."""

    def __reduce__(self) -> Any:
        return read_slowly, ()

    def __call__(self, n: int) -> int:
        return n


def read_slowly() -> SlowToRead:
    time.sleep(0.05)
    return SlowToRead()


def test_a_function_that_is_slow_to_read(executor):
    assert list(executor.map(SlowToRead(), range(1000), timeout=LIMIT)) == list(range(1000))


def test_workers_are_replaced_after_so_many_calls():
    with GraphExecutor(1, backend="processes", max_tasks_per_child=3) as executor:
        pids = list(executor.map(pid, range(9)))
    assert set(Counter(pids).values()) == {3}


def pid(_: int) -> int:
    return os.getpid()


# -- with others --------------------------------------------------------------------------------------------


def test_a_thread_that_iterates_lends_its_slot():
    def maps(*calls: int) -> list[int]:
        door = current_executor().options(backend="processes")
        return list(door.map(Step(os.devnull, {400: gate.passage}), *calls))

    gate = Gate()
    with GraphExecutor(1, backends={"processes": 2}) as executor:
        outer = executor.submit(maps, range(1000))
        gate.arrived()
        assert executor.submit(abs, -1).result(LIMIT) == 1
        gate.open()
        assert outer.result(LIMIT) == list(range(1000))
    gate.close()


def test_a_view_waits_for_its_maps(executor, file):
    view = executor.options(backend="processes")
    view.map(Step(file, {}), range(3000))
    in_time(view.shutdown)
    assert marked(file) == Counter(range(3000))
    with pytest.raises(RuntimeError):
        view.map(abs, range(10))


def test_maps_in_the_way_of_other_tasks(executor):
    maps = [executor.map(abs, range(n, n + 20_000)) for n in range(3)]
    others = [executor.submit(abs, -n) for n in range(500)]
    assert [other.result(LIMIT) for other in others] == list(range(500))
    assert [list(values) for values in maps] == [list(range(n, n + 20_000)) for n in range(3)]


# -- whatever happens -----------------------------------------------------------------------------------


class Random:
    """Calls of random length, of which some fail."""

    def __init__(self, seed: int, fails: float) -> None:
        self.seed = seed
        self.fails = fails

    def __call__(self, n: int) -> Any:
        rng = random.Random(f"{self.seed} {n}")
        threading.Event().wait(rng.choice([0.0] * 300 + [0.001, 0.02, 0.05]))
        if rng.random() < self.fails:
            raise KeyError(n)
        return rng.choice([n, str(n), (n, n), None])

    def expected(self, n: int) -> tuple[list[Any], int | None]:
        """The values of the first calls, and which one of them fails first."""
        values = []
        for number in range(n):
            rng = random.Random(f"{self.seed} {number}")
            rng.choice([0.0] * 300 + [0.001, 0.02, 0.05])
            if rng.random() < self.fails:
                return values, number
            values.append(rng.choice([number, str(number), (number, number), None]))
        return values, None


def chaos(seed: int) -> None:
    """A map on workers that are killed at random: every value is right."""
    rng = random.Random(seed)
    with GraphExecutor(rng.choice([1, 2, 3]), backend="processes") as executor:
        ended = threading.Event()

        def kill() -> None:
            turns = random.Random(f"{seed} kills")
            for _ in range(turns.randint(0, 3)):
                if ended.wait(turns.choice([0.0, 0.01, 0.1, 0.3])):
                    return
                for worker in workers()[:1]:
                    worker.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        calls = Random(seed, rng.choice([0.0, 0.0, 0.0005]))
        number = rng.choice([3, 100, 5000])
        values, failed = calls.expected(number)
        found: list[Any] = []
        failure = None
        try:
            found.extend(executor.map(calls, range(number), timeout=LIMIT))
        except KeyError as error:
            failure = error.args[0]
        finally:
            ended.set()
            killer.join(LIMIT)
        assert (found, failure) == (values, failed)
        in_time(executor.shutdown)


@pytest.mark.parametrize("seed", range(12))
def test_chaos(seed):
    chaos(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 2000, 100))
def test_long_chaos(first):
    for seed in range(first, first + 100):
        print(seed)
        chaos(seed)
