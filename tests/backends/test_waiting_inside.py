"""Tasks that wait: their slot is lent meanwhile, so that any number of workers is enough (CONTRACT 6)."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from gates import occupied
from patience import LIMIT, in_time, until

from graphfutures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    GraphExecutor,
    as_completed,
    wait,
)
from graphfutures.current import blocked, current_executor, current_task

pytestmark = pytest.mark.asks(shares_memory=True, makes_workers=True)
in_workers = pytest.mark.asks(submits_run=False)
#: seconds in which something would have happened that must not happen
MOMENT = 0.05

Futures = Sequence["Future[int]"]


def by_result(executor: Executor, futures: Futures) -> int:
    return sum(future.result() for future in futures)


def by_exception(executor: Executor, futures: Futures) -> int:
    assert [future.exception() for future in futures] == [None] * len(futures)
    return sum(future.result(0) for future in futures)


def by_wait(executor: Executor, futures: Futures) -> int:
    done, left = wait(futures, return_when=ALL_COMPLETED)
    assert not left
    return sum(future.result(0) for future in done)


def by_first_completed(executor: Executor, futures: Futures) -> int:
    total, left = 0, set(futures)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        assert done
        total += sum(future.result(0) for future in done)
    return total


def by_first_exception(executor: Executor, futures: Futures) -> int:
    done, left = wait(futures, return_when=FIRST_EXCEPTION)
    assert not left  # none fails
    return sum(future.result(0) for future in done)


def by_as_completed(executor: Executor, futures: Futures) -> int:
    return sum(future.result(0) for future in as_completed(futures))


def by_map(executor: Executor, futures: Futures) -> int:
    return sum(executor.map(int, futures))


def by_time_limit(executor: Executor, futures: Futures) -> int:
    return sum(future.result(timeout=LIMIT) for future in futures)


WAYS = [
    by_result,
    by_exception,
    by_wait,
    by_first_completed,
    by_first_exception,
    by_as_completed,
    by_map,
    by_time_limit,
]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
#: those of the standard library, which take futures of others as well
MIXED = [by_wait, by_first_completed, by_first_exception, by_as_completed]


class Count:
    """How many tasks compute, and how many did so at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self.most = 0

    def _add(self, number: int) -> None:
        with self._lock:
            self._now += number
            self.most = max(self.most, self._now)

    @contextmanager
    def computing(self) -> Iterator[None]:
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._add(-1)
        try:
            yield
        finally:
            self._add(1)


@pytest.fixture
def often() -> Iterator[None]:
    """Threads that take turns far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def add(*numbers: int) -> int:
    return sum(numbers)


# -- with any number of workers -------------------------------------------------------------------


@each_way
def test_a_tree_of_tasks_that_wait(executor, way):
    def tree(depth: int) -> int:
        if not depth:
            return 1
        return way(executor, [executor.submit(tree, depth - 1) for _ in range(3)])

    roots = [executor.submit(tree, 3) for _ in range(4)]
    assert in_time(lambda: [root.result() for root in roots]) == [27] * 4


@each_way
def test_what_is_waited_for_has_dependencies(executor, way):
    def head(n: int) -> int:
        chains = []
        for start in range(n):
            future = executor.submit(int, start)
            for _ in range(20):
                future = executor.submit(add, future, 1)
            chains.append(future)
        chains.append(executor.submit(add, *chains))
        return way(executor, chains)

    assert executor.submit(head, 5).result(LIMIT) == 2 * (5 * 20 + 10)


@each_way
def test_what_is_waited_for_is_done_already(executor, way):
    futures = [executor.submit(int, n) for n in range(5)]
    wait(futures, LIMIT)
    assert executor.submit(lambda: way(executor, futures)).result(LIMIT) == 10


@in_workers
@each_way
def test_the_roots_after_it_are_waited_for(executor, held, way):
    roots: list[Future[int]] = []
    first = executor.submit(lambda _: way(executor, roots), held)
    roots += [executor.submit(add, held, n) for n in range(10)]
    held.set_result(100)
    assert first.result(LIMIT) == 1045


def test_a_failure_comes_to_the_one_who_waits(executor):
    def outer(ask: Callable[[Future[Any]], Any]) -> Any:
        return ask(executor.submit(int, "no number"))

    with pytest.raises(ValueError, match="no number"):
        executor.submit(outer, lambda f: f.result()).result(LIMIT)
    assert isinstance(executor.submit(outer, lambda f: f.exception()).result(LIMIT), ValueError)
    failed = executor.submit(outer, lambda f: wait([f, executor.submit(int)], return_when=FIRST_EXCEPTION).done)
    assert "no number" in str({f.exception() for f in failed.result(LIMIT)})


def test_a_cancellation_comes_to_the_one_who_waits(executor, held):
    waiting = executor.submit(abs, held)

    def outer() -> str:
        waiting.cancel()
        return type(waiting.exception() if not waiting.cancelled() else None).__name__

    assert executor.submit(outer).result(LIMIT) == "NoneType"


@in_workers
def test_a_cancellation_during_the_wait_ends_it(executor, held):
    waiting, begun = executor.submit(abs, held), threading.Event()

    def outer() -> bool:
        begun.set()
        return wait([waiting]).done == {waiting} and waiting.cancelled()

    outer_future = executor.submit(outer)
    assert begun.wait(LIMIT)
    assert waiting.cancel()
    assert outer_future.result(LIMIT)


@pytest.mark.parametrize("way", MIXED, ids=lambda way: way.__name__)
def test_futures_of_a_thread_pool_among_ours(executor, way):
    with ThreadPoolExecutor(2) as pool:

        def outer() -> int:
            theirs = [pool.submit(abs, -n) for n in range(5)]
            ours = [executor.submit(abs, -100 * n) for n in range(5)] + [executor.submit(add, *theirs)]
            return way(executor, [*theirs, *ours]) + way(executor, [*ours, *theirs])

        assert executor.submit(outer).result(LIMIT) == 2 * 1020


@in_workers
@pytest.mark.parametrize("way", [by_wait, by_first_exception, by_as_completed], ids=lambda way: way.__name__)
def test_a_future_of_a_thread_pool_that_needs_the_slot(case, executor, gate, way):
    """Theirs ends only when one of ours has run, for which the one who waits must have lent its slot."""
    begun, submitted = threading.Event(), threading.Event()
    roots: list[Future[int]] = []
    with ThreadPoolExecutor(1) as pool:

        def outer() -> int:
            begun.set()
            assert submitted.wait(LIMIT)
            return way(executor, [pool.submit(lambda: roots[0].result(LIMIT)), executor.submit(int, 5)])

        waiting = executor.submit(outer)
        assert begun.wait(LIMIT)
        occupied(executor, gate, case.workers - 1)
        roots.append(executor.submit(int, 7))
        submitted.set()
        assert waiting.result(LIMIT) == 12


@in_workers
@each_way
def test_two_executors_wait_for_each_other_in_turn(executor, way):
    with GraphExecutor(1) as other:

        def down(depth: int, mine: Executor, others: Executor) -> int:
            return 1 + way(others, [others.submit(down, depth - 1, others, mine)]) if depth else 0

        assert executor.submit(down, 30, executor, other).result(LIMIT) == 30


# -- how many compute -----------------------------------------------------------------------------


@in_workers
@each_way
def test_never_more_compute_than_there_are_workers(case, executor, often, way):
    count = Count()

    def tree(depth: int) -> int:
        with count.computing():
            sum(range(500))
            if not depth:
                return 1
            futures = [executor.submit(tree, depth - 1) for _ in range(3)]
            sum(range(500))
            with count.waiting():
                found = way(executor, futures)
            sum(range(500))
            return found

    roots = [executor.submit(tree, 3) for _ in range(10)]
    assert in_time(lambda: [root.result() for root in roots]) == [27] * 10
    assert 1 <= count.most <= case.workers


@in_workers
def test_between_two_yields_nothing_is_lent(case, executor, often):
    count = Count()

    def inner() -> int:
        with count.computing():
            sum(range(500))
        return 1

    def outer() -> int:
        with count.computing():
            found, iterator = 0, as_completed([executor.submit(inner) for _ in range(10)])
            while True:
                with count.waiting():
                    future = next(iterator, None)
                sum(range(500))
                if future is None:
                    return found
                found += future.result()

    assert in_time(lambda: [f.result() for f in [executor.submit(outer) for _ in range(20)]]) == [10] * 20
    assert 1 <= count.most <= case.workers


@in_workers
def test_while_a_yielded_future_is_looked_at_nobody_else_begins(case, executor, gate):
    ran = threading.Event()
    occupied(executor, gate, case.workers - 1)

    def outer() -> bool:
        iterator = as_completed([executor.submit(int, n) for n in range(3)])
        next(iterator)
        executor.submit(ran.set)
        early = ran.wait(MOMENT)
        assert len(list(iterator)) == 2
        return early

    assert executor.submit(outer).result(LIMIT) is False
    assert ran.wait(LIMIT)


# -- scarce slots ---------------------------------------------------------------------------------


def told_in_time(ask: Callable[..., Any], *arguments: Any) -> bool:
    try:
        return ask(*arguments) is not None
    except TimeoutError:
        return False


TIMED = {
    "result": lambda f: told_in_time(f.result, 0.01),
    "exception": lambda f: told_in_time(f.exception, 0.01),
    "wait": lambda f: bool(wait([f], 0.01).done),
    "wait for the first": lambda f: bool(wait([f], 0.01, FIRST_COMPLETED).done),
    "as_completed": lambda f: told_in_time(list, as_completed([f], 0.01)),
    "map": lambda f: told_in_time(list, current_executor().map(abs, [f], timeout=0.01)),
}


@in_workers
@pytest.mark.parametrize("ask", TIMED.values(), ids=TIMED.keys())
def test_a_wait_whose_time_is_over_goes_on_at_once(case, executor, gate, held, ask):
    never, scarce = executor.submit(abs, held), threading.Event()

    def outer() -> str:
        while not scarce.is_set():
            assert not ask(never)
        assert not ask(never)  # while others stand before the gate in all slots, that of this task included
        return "went on"

    waiting = executor.submit(outer)
    others = occupied(executor, gate, case.workers)
    scarce.set()
    assert waiting.result(LIMIT) == "went on"
    assert not any(f.done() for f in others)


@in_workers
def test_a_wait_of_no_time_at_all(case, executor, gate, held):
    never = executor.submit(abs, held)

    def outer() -> list[bool]:
        return [told_in_time(never.result, timeout) for timeout in (0, -1, 0.0)] * 10

    waiting = [executor.submit(outer) for _ in range(10)]
    others = occupied(executor, gate, case.workers)
    assert [f.result(LIMIT) for f in waiting] == [[False] * 30] * 10
    assert not any(f.done() for f in others)


# -- blocked() ------------------------------------------------------------------------------------


@in_workers
def test_blocked_lends_the_slot(executor, case):
    events = [threading.Event() for _ in range(case.workers)]

    def outer(event: threading.Event) -> bool:
        with blocked():
            return event.wait(LIMIT)

    waiting = [executor.submit(outer, event) for event in events]
    setters = [executor.submit(event.set) for event in events]
    assert wait(setters, LIMIT).not_done == set()
    assert [f.result(LIMIT) for f in waiting] == [True] * case.workers


@in_workers
def test_blocked_takes_the_slot_back(case, executor, gate):
    begun, event, back = threading.Event(), threading.Event(), threading.Event()

    def outer() -> str:
        with blocked():
            begun.set()
            assert event.wait(LIMIT)
        back.set()
        return "has it"

    waiting = executor.submit(outer)
    assert begun.wait(LIMIT)
    others = occupied(executor, gate, case.workers)
    event.set()
    assert not back.wait(MOMENT)  # every slot is taken
    gate.open()
    assert waiting.result(LIMIT) == "has it"
    wait(others, LIMIT)


@in_workers
def test_never_more_compute_with_blocked(case, executor, often):
    count, lock = Count(), threading.Lock()

    def outer() -> None:
        with count.computing():
            sum(range(500))
            with count.waiting(), blocked(), lock:
                pass
            sum(range(500))

    wait([executor.submit(outer) for _ in range(200)], LIMIT)
    assert 1 <= count.most <= case.workers


def test_blocked_lets_exceptions_pass(executor):
    def outer(error: type[BaseException]) -> None:
        with blocked():
            raise error("mine")

    for error in (ValueError, TimeoutError, KeyError):
        assert type(executor.submit(outer, error).exception(LIMIT)) is error
    assert executor.submit(int, 7).result(LIMIT) == 7


def test_blocked_inside_blocked_and_waits_inside_it(executor):
    def outer() -> int:
        with blocked(), blocked():
            first = executor.submit(int, 5).result()
            with blocked():
                return first + by_as_completed(executor, [executor.submit(int, n) for n in range(3)])

    assert [executor.submit(outer).result(LIMIT) for _ in range(5)] == [8] * 5


def test_blocked_outside_of_tasks_has_no_effect():
    with blocked(), blocked():
        assert True


# -- what a task knows of itself ------------------------------------------------------------------


def test_current_task(executor):
    def look() -> tuple[Any, ...]:
        task = current_task()
        return task.name, task.key, task.attempt, task.cancelled()

    future = executor.submit(look)
    assert future.result(LIMIT) == ("look", future.key, 1, False)
    named = executor.options(name="mine").submit(look)
    assert named.result(LIMIT) == ("mine", named.key, 1, False)
    assert named.key.startswith("mine-")


def test_current_task_is_again_the_outer_one_after_a_wait(executor):
    def key() -> str:
        return current_task().key

    def outer() -> tuple[str, list[str], str]:
        before, inner = key(), [executor.submit(key) for _ in range(3)]
        return before, [f.result() for f in inner] + [executor.submit(key).result()], key()

    future = executor.submit(outer)
    before, inner, after = future.result(LIMIT)
    assert before == after == future.key
    assert len({*inner, future.key}) == 5


@in_workers
def test_a_task_may_look_whether_it_is_cancelled(executor):
    begun, asked = threading.Event(), threading.Event()

    def look() -> tuple[bool, bool]:
        before = current_task().cancelled()
        begun.set()
        assert asked.wait(LIMIT)
        return before, current_task().cancelled()

    future = executor.submit(look)
    assert begun.wait(LIMIT)
    assert future.cancel() is False
    assert future.cancel(force=True) is False
    asked.set()
    assert future.result(LIMIT) == (False, True)
    assert executor.submit(lambda: current_task().cancelled()).result(LIMIT) is False


@in_workers
def test_to_be_asked_without_force_is_nothing_to_look_at(executor):
    begun, asked = threading.Event(), threading.Event()

    def look() -> bool:
        begun.set()
        assert asked.wait(LIMIT)
        return current_task().cancelled()

    future = executor.submit(look)
    assert begun.wait(LIMIT)
    assert future.cancel() is False
    asked.set()
    assert future.result(LIMIT) is False


def test_current_executor(executor):
    assert executor.submit(current_executor).result(LIMIT) is executor
    assert executor.submit(lambda: current_executor().submit(current_executor).result()).result(LIMIT) is executor


def test_the_current_executor_is_that_of_the_task(executor):
    with GraphExecutor(1) as other:

        def outer() -> list[Any]:
            return [current_executor(), other.submit(current_executor).result(), current_executor()]

        assert executor.submit(outer).result(LIMIT) == [executor, other, executor]


@pytest.mark.parametrize("ask", [current_task, current_executor], ids=["current_task", "current_executor"])
def test_outside_of_tasks_there_is_nothing_current(executor, ask):
    with pytest.raises(RuntimeError, match=ask.__name__):
        ask()
    executor.submit(int).result(LIMIT)
    with pytest.raises(RuntimeError, match=ask.__name__):
        ask()
    found = executor.submit(lambda: in_a_thread(ask)).result(LIMIT)
    assert isinstance(found, RuntimeError)


def in_a_thread(ask: Callable[[], Any]) -> Any:
    try:
        return in_time(ask)
    except RuntimeError as error:
        return error


def test_in_a_callback_there_is_nothing_current(executor, held):
    found: Future[Any] = Future()
    executor.submit(abs, held).add_done_callback(lambda _: found.set_result(in_a_callback()))
    held.set_result(-1)
    assert isinstance(found.result(LIMIT), RuntimeError)


def in_a_callback() -> Any:
    try:
        return current_task()
    except RuntimeError as error:
        return error


# -- who goes first -------------------------------------------------------------------------------


@in_workers
def test_what_is_submitted_inside_goes_before_roots(case, executor, gate):
    log: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def outer() -> None:
        begun.set()
        assert go.wait(LIMIT)
        for n in range(3):
            executor.submit(log.append, f"inner {n}")

    first = executor.submit(outer)
    assert begun.wait(LIMIT)
    occupied(executor, gate, case.workers - 1)
    roots = [executor.submit(log.append, f"root {n}") for n in range(3)]
    go.set()
    assert wait([first, *roots], LIMIT).not_done == set()
    assert log == ["inner 0", "inner 1", "inner 2", "root 0", "root 1", "root 2"]


@in_workers
@pytest.mark.parametrize("way", [way for way in WAYS if way is not by_map], ids=lambda way: way.__name__)
def test_a_lent_slot_goes_first_to_what_is_waited_for(case, executor, gate, way):
    log: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def note(text: str, *inputs: Any) -> int:
        log.append(text)
        return 1

    def outer() -> int:
        begun.set()
        assert go.wait(LIMIT)
        for n in range(3):
            executor.submit(note, f"inner {n}")
        needed = executor.submit(note, "needed", executor.submit(note, "needed before"))
        for n in range(3, 6):
            executor.submit(note, f"inner {n}")
        return way(executor, [needed])

    first = executor.submit(outer)
    assert begun.wait(LIMIT)
    occupied(executor, gate, case.workers - 1)
    root = executor.submit(note, "root")
    go.set()
    assert wait([first, root], LIMIT).not_done == set()
    assert first.result(0) == 1
    assert log[:2] == ["needed before", "needed"]


@in_workers
@pytest.mark.one_worker
def test_who_asks_for_the_slot_back_gets_it_before_anything_new(executor, gate):
    log: list[str] = []
    begun, event = threading.Event(), threading.Event()

    def outer() -> None:
        with blocked():
            begun.set()
            assert event.wait(LIMIT)
        log.append("went on")

    waiting = executor.submit(outer)
    assert begun.wait(LIMIT)
    occupied(executor, gate, 1)
    roots = [executor.submit(log.append, f"root {n}") for n in range(3)]
    event.set()
    asks = until(lambda: executor._hub.backend._place.resuming)
    gate.open()
    assert asks
    assert wait([waiting, *roots], LIMIT).not_done == set()
    assert log == ["went on", "root 0", "root 1", "root 2"]


@in_workers
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_who_has_waited_goes_on_before_anything_new(case, executor, gate, way):
    log: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def outer() -> None:
        begun.set()
        assert go.wait(LIMIT)
        way(executor, [executor.submit(int, 1)])
        log.append("went on")

    first = executor.submit(outer)
    assert begun.wait(LIMIT)
    occupied(executor, gate, case.workers - 1)
    roots = [executor.submit(log.append, f"root {n}") for n in range(3)]
    go.set()
    assert wait([first, *roots], LIMIT).not_done == set()
    assert log == ["went on", "root 0", "root 1", "root 2"]


@in_workers
def test_in_a_loop_each_result_is_looked_at_before_the_next_task_begins(case, executor, gate):
    log: list[str] = []

    def inner(n: int) -> int:
        log.append(f"inner {n}")
        return n

    def outer() -> None:
        for future in as_completed([executor.submit(inner, n) for n in range(4)]):
            log.append(f"looked at {future.result()}")

    occupied(executor, gate, case.workers - 1)
    executor.submit(outer).result(LIMIT)
    steps = [text.split()[0] for text in log]
    assert steps == ["inner", "looked"] * 4
