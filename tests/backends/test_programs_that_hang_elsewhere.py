"""Programs that hang, or run out of threads, on the standard library's pools (CONTRACT 6)."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from gates import occupied
from patience import LIMIT, in_time, until

from graphfutures import FIRST_COMPLETED, FIRST_EXCEPTION, GraphExecutor, as_completed, wait
from graphfutures.current import blocked
from graphfutures.errors import DeadlockError

pytestmark = pytest.mark.asks(shares_memory=True, makes_workers=True)
in_workers = pytest.mark.asks(submits_run=False)


class Threads:
    """How many threads there are, at most, beyond those that were there before."""

    def __init__(self) -> None:
        self.before = threading.active_count()
        self.most = 0

    def look(self) -> None:
        self.most = max(self.most, threading.active_count() - self.before)

    def gone(self, limit: float, but: int) -> bool:
        """Whether no more than ``but`` are left before the time limit."""
        return until(lambda: threading.active_count() - self.before <= but, limit)


@pytest.fixture
def threads(executor: GraphExecutor) -> Threads:
    return Threads()


# -- circles --------------------------------------------------------------------------------------


def in_circle(executors: Iterable[GraphExecutor], ask: Callable[["Future[Any]"], Any]) -> list["Future[Any]"]:
    """Tasks that each wait for the next one, the last one for the first."""
    futures: list[Future[Any]] = []
    complete = threading.Event()

    def wait_on(number: int) -> Any:
        with blocked():
            assert complete.wait(LIMIT)
        return ask(futures[number % len(futures)])

    for number, executor in enumerate(executors, 1):
        futures.append(executor.options(name=f"wait_on_{number % 10}").submit(wait_on, number))
    complete.set()
    return futures


def told_of(futures: list["Future[Any]"]) -> list[DeadlockError]:
    """The error of each task of a circle: one closes it, the others get the failure of what they wait for."""
    errors = [in_time(future.exception) for future in futures]
    assert [type(error) for error in errors] == [DeadlockError] * len(futures)
    keys = {future.key for future in futures}  # type: ignore[attr-defined]
    for error in errors:
        assert all(key in str(error) for key in keys), str(error)
    return errors


@in_workers
def test_the_first_example_of_the_documentation(executor):
    futures: dict[str, Future[int]] = {}
    both = threading.Event()

    def wait_on_b() -> int:
        both.wait(LIMIT)
        futures["b"].result()  # b never completes, because it is waiting on a
        return 5

    def wait_on_a() -> int:
        both.wait(LIMIT)
        futures["a"].result()  # a never completes, because it is waiting on b
        return 6

    futures["a"] = executor.submit(wait_on_b)
    futures["b"] = executor.submit(wait_on_a)
    both.set()
    told_of([*futures.values()])
    assert executor.submit(pow, 2, 3).result(LIMIT) == 8


@in_workers
def test_who_takes_the_error_of_a_circle_lets_the_other_go_on(executor):
    futures: dict[str, Future[Any]] = {}
    both = threading.Event()

    def wait_on(other: str) -> Any:
        both.wait(LIMIT)
        try:
            return futures[other].result()
        except DeadlockError as error:
            return type(error)

    futures["a"] = executor.submit(wait_on, "b")
    futures["b"] = executor.submit(wait_on, "a")
    both.set()
    assert [future.result(LIMIT) for future in futures.values()] == [DeadlockError] * 2


def test_the_second_example_of_the_documentation(make):
    executor = make(1)

    def wait_on_future() -> int:
        return executor.submit(pow, 5, 2).result()  # there is only one worker thread, and it runs this function

    assert executor.submit(wait_on_future).result(LIMIT) == 25


CIRCLES = {
    "result": lambda f: f.result(),
    "exception": lambda f: f.exception() or f.result(),
    "wait for all": lambda f: wait([f]),
    "map": lambda f: list(f._owner.door().map(int, [f])),
}
EDGES = pytest.mark.parametrize("ask", CIRCLES.values(), ids=CIRCLES.keys())


def closed(futures: list["Future[Any]"]) -> list[BaseException]:
    """What those have failed with that were told of a circle; all of them end."""
    assert in_time(wait, futures).not_done == set()
    return [error for future in futures if isinstance(error := future.exception(0), DeadlockError)]


@in_workers
@EDGES
@pytest.mark.parametrize("number", [1, 2, 3, 20])
def test_circles_in_one_executor(executor, ask, number):
    futures = in_circle([executor] * number, ask)
    errors = closed(futures)
    assert errors
    assert any(all(future.key in str(error) for future in futures[:3]) or number > 10 for error in errors)
    assert executor.submit(int, 7).result(LIMIT) == 7


@in_workers
@pytest.mark.parametrize("number", [2, 3, 7])
def test_circles_through_two_executors(executor, number):
    with GraphExecutor(1) as other:
        told_of(in_circle([(executor, other)[n % 2] for n in range(number)], lambda f: f.result()))
        assert [each.submit(int, 7).result(LIMIT) for each in (executor, other)] == [7, 7]


def test_a_task_that_waits_for_itself(executor, held):
    futures: list[Future[Any]] = []
    futures.append(executor.submit(lambda _: futures[0].result(), held))
    in_time(held.set_result, 1)
    told_of(futures)


@in_workers
def test_a_task_that_waits_for_itself_among_others(executor):
    begun = threading.Event()
    futures: list[Future[Any]] = []

    def outer() -> Any:
        assert begun.wait(LIMIT)
        return wait([executor.submit(int), *futures])

    futures.append(executor.submit(outer))
    begun.set()
    told_of(futures)


@EDGES
def test_a_circle_through_a_dependency(executor, held, ask):
    futures: list[Any] = []
    futures.append(executor.submit(lambda _: ask(futures[-1]), held))
    for _ in range(3):
        futures.append(executor.submit(lambda x: x, futures[-1]))
    in_time(held.set_result, 1)
    assert in_time(futures[0].exception).args
    assert closed(futures[:1])
    assert futures[0].key in str(futures[0].exception())
    assert futures[3].key in str(futures[0].exception())
    assert all(isinstance(in_time(future.exception), DeadlockError) for future in futures[1:])


@in_workers
def test_a_circle_through_a_dependency_in_another_executor(executor, held):
    with GraphExecutor(1) as other:
        futures: list[Any] = [executor.submit(lambda _: futures[-1].result(), held)]
        futures.append(other.submit(lambda x: x, futures[-1]))
        futures.append(executor.submit(lambda x: x, futures[-1]))
        held.set_result(1)
        assert isinstance(in_time(futures[0].exception), DeadlockError)
        assert all(isinstance(in_time(future.exception), DeadlockError) for future in futures)


@in_workers
def test_what_a_circle_leads_to_is_no_part_of_it(executor):
    futures: list[Any] = []
    both = threading.Event()

    def wait_on(number: int) -> Any:
        with blocked():
            assert both.wait(LIMIT)
        return futures[number].result()

    futures += [executor.options(name="inside").submit(wait_on, 1 - n) for n in range(2)]
    before = executor.options(name="before").submit(wait_on, 0)
    both.set()
    for error in told_of(futures):
        assert "before" not in str(error)
    assert isinstance(in_time(before.exception), DeadlockError)


NO_CIRCLES = {
    "result with a time limit": lambda f, g: f.result(timeout=0.05),
    "exception with a time limit": lambda f, g: f.exception(timeout=0.05),
    "wait with a time limit": lambda f, g: wait([f], timeout=0.05),
    "wait for the first": lambda f, g: wait([f, g], return_when=FIRST_COMPLETED),
    "wait for the first exception": lambda f, g: wait([f, g], return_when=FIRST_EXCEPTION),
    "as_completed with a time limit": lambda f, g: list(as_completed([f, g], timeout=0.05)),
    "the first of as_completed": lambda f, g: next(as_completed([f, g])),
}


@in_workers
@pytest.mark.parametrize("ask", NO_CIRCLES.values(), ids=NO_CIRCLES.keys())
def test_a_wait_that_may_end_closes_no_circle(executor, held, ask):
    """The first one waits for the second one, or something else; the second one waits for the first one."""
    futures: list[Future[Any]] = []
    both, asked = threading.Event(), threading.Event()
    fails: Future[Any] = executor.submit(int, executor.submit(lambda _: "no number", held))

    def first() -> str:
        with blocked():
            assert both.wait(LIMIT)
        try:
            ask(futures[1], fails)
        except TimeoutError:
            pass
        return "went on"

    def second() -> str:
        with blocked():
            assert both.wait(LIMIT)
        asked.set()
        return futures[0].result() + ", too"

    futures += [executor.submit(first), executor.submit(second)]
    both.set()
    assert asked.wait(LIMIT)
    held.set_result(0)
    assert [future.result(LIMIT) for future in futures] == ["went on", "went on, too"]


# -- recursion ------------------------------------------------------------------------------------


def test_recursive_fibonacci(executor, threads):
    def fib(n: int) -> int:
        if n < 2:
            threads.look()
            return n
        left, right = executor.submit(fib, n - 1), executor.submit(fib, n - 2)
        return left.result() + right.result()

    assert in_time(executor.submit(fib, 15).result) == 610
    assert threads.most <= 100


def test_divide_and_conquer(executor):
    def sort(values: list[int]) -> list[int]:
        if len(values) < 8:
            return sorted(values)
        middle = len(values) // 2
        halves = [executor.submit(sort, half) for half in (values[:middle], values[middle:])]
        merged: list[int] = []
        left, right = (half.result()[::-1] for half in halves)
        while left and right:
            merged.append(left.pop() if left[-1] <= right[-1] else right.pop())
        return merged + left[::-1] + right[::-1]

    values = [n * 7919 % 3001 for n in range(3000)]
    assert in_time(executor.submit(sort, values).result) == sorted(values)


def test_nested_maps_three_deep(executor):
    def level(depth: int, n: int) -> int:
        return sum(executor.map(level, [depth - 1] * 6, range(6))) if depth else n

    assert in_time(lambda: list(executor.map(level, [3] * 6, range(6)))) == [6 * 6 * 15] * 6


@pytest.mark.one_worker
def test_a_thousand_deep_with_one_worker(case, executor, threads):
    depth = 20 if case.capabilities.submits_run else 1000  # a thread of the user has but one stack

    def down(depth: int) -> int:
        threads.look()
        return 1 + executor.submit(down, depth - 1).result() if depth else 0

    executor.submit(int).result(LIMIT)
    threads = Threads()
    assert in_time(executor.submit(down, depth).result) == depth
    assert threads.gone(1, 0)


@in_workers
@pytest.mark.one_worker
@pytest.mark.parametrize("way", ["wait", "as_completed", "map"])
def test_a_hundred_deep_by_other_waits(executor, threads, way):
    def down(depth: int) -> int:
        if not depth:
            return 0
        if way == "map":
            return 1 + sum(executor.map(down, [depth - 1]))
        inner = executor.submit(down, depth - 1)
        assert wait([inner]).done == {inner} if way == "wait" else [*as_completed([inner])] == [inner]
        return 1 + inner.result(0)

    executor.submit(int).result(LIMIT)
    threads = Threads()
    assert in_time(executor.submit(down, 100).result) == 100
    assert threads.gone(1, executor._max_workers)


# -- callbacks ------------------------------------------------------------------------------------


@in_workers
def test_a_callback_that_waits(case, executor, gate):
    found: Future[Any] = Future()

    def called(future: "Future[Any]") -> None:
        found.set_result(executor.submit(lambda: executor.submit(int, 5).result() + 1).result())

    occupied(executor, gate, case.workers - 1)
    executor.submit(int, 7).add_done_callback(called)
    assert found.result(LIMIT) == 6


@in_workers
def test_callbacks_that_wait_one_inside_the_other(executor):
    found: Future[Any] = Future()

    def called(depth: int, future: "Future[Any]") -> None:
        if not depth:
            found.set_result("the end")
            return
        inner = executor.submit(int)
        inner.add_done_callback(lambda f: called(depth - 1, f))
        inner.result()
        executor.submit(int, 5).result()

    executor.submit(int, 7).add_done_callback(lambda f: called(30, f))
    assert found.result(LIMIT) == "the end"


@in_workers
def test_a_callback_that_waits_for_the_dependent_of_another_executor(executor):
    with GraphExecutor(1) as other:
        found: Future[Any] = Future()
        dependents: list[Future[int]] = []
        go = threading.Event()
        head = executor.submit(go.wait, LIMIT)
        head.add_done_callback(lambda _: found.set_result([f.result(LIMIT) for f in dependents]))
        dependents += [other.submit(int, head), other.submit(int, executor.submit(int, other.submit(int, head)))]
        go.set()
        assert found.result(LIMIT) == [1, 1]


# -- nobody starves, threads are few --------------------------------------------------------------


@in_workers
def test_endless_chains_beside_roots(executor):
    stop, going = threading.Event(), threading.Barrier(3)

    def again(first: bool) -> None:
        if first:
            with blocked():
                going.wait(LIMIT)
        if not stop.is_set():
            executor.submit(again, False)

    chains = [executor.submit(again, True) for _ in range(2)]
    roots = [executor.submit(int, n) for n in range(300)]
    going.wait(LIMIT)
    try:
        assert wait(roots, LIMIT).not_done == set()
    finally:
        stop.set()
    assert wait(chains, LIMIT).not_done == set()


@in_workers
def test_a_chain_of_continuations_beside_roots(executor):
    stop = threading.Event()

    def again(_: Any) -> None:
        if not stop.is_set():
            executor.submit(again, executor.submit(int))

    chains = [executor.submit(again, None) for _ in range(2)]
    roots = [executor.submit(int, n) for n in range(300)]
    try:
        assert wait(roots, LIMIT).not_done == set()
    finally:
        stop.set()
    assert wait(chains, LIMIT).not_done == set()


@in_workers
@pytest.mark.parametrize("way", ["result", "map"])
def test_ten_thousand_tasks_that_each_wait_for_one(make, way):
    executor = make(2)
    threads = Threads()

    def inner(n: int) -> int:
        threads.look()
        return n

    def outer(n: int) -> int:
        if way == "map":
            return sum(executor.map(inner, [n]))
        return executor.submit(inner, n).result()

    number = 10_000 if way == "result" else 2_000
    assert in_time(lambda: list(executor.map(outer, range(number)))) == [*range(number)]
    assert threads.most <= 8


@in_workers
def test_many_tasks_that_wait_for_a_slow_one(case, executor, gate):
    """Bounded by the crowd that may wait before nothing new is begun, not by the number of tasks."""
    threads = Threads()
    slow = executor.submit(gate.passage, 5)

    def ask() -> int:
        return slow.result()

    gate.arrived()
    asking = [executor.submit(ask) for _ in range(1000)]
    urgent = executor.submit(int)
    assert until(lambda: executor.stats()["running"] >= min(50, case.workers), LIMIT)
    threads.look()
    gate.open()
    assert in_time(lambda: {f.result() for f in asking}) == {5}
    assert urgent.result(LIMIT) == 0
    assert threads.most <= 64 + 2 * case.workers + 4


@in_workers
def test_many_tasks_that_wait_for_one_that_is_not_begun(case, executor, held):
    slow = executor.submit(int, held)
    asking = [executor.submit(slow.result) for _ in range(300)]
    setter = executor.submit(held.set_result, 5)  # behind all those who wait for what it does
    assert in_time(lambda: {f.result() for f in asking}) == {5}
    setter.result(LIMIT)


@in_workers
def test_threads_that_stood_in_leave(case, executor, threads):
    events = [threading.Event() for _ in range(20)]

    def outer(event: threading.Event) -> None:
        with blocked():
            event.wait(LIMIT)

    asking = [executor.submit(outer, event) for event in events]
    executor.submit(int).result(LIMIT)
    assert threading.active_count() > threads.before + 20
    for event in events:
        event.set()
    wait(asking, LIMIT)
    assert threads.gone(1.5, case.workers)
    assert [executor.submit(int, n).result(LIMIT) for n in range(20)] == [*range(20)]


@pytest.fixture
def small_stack() -> Iterator[None]:
    before = threading.stack_size(256 * 1024)
    yield
    threading.stack_size(before)


@in_workers
@pytest.mark.usefixtures("small_stack")
def test_waits_fit_into_a_small_stack(executor):
    def down(depth: int) -> int:
        return 1 + executor.submit(down, depth - 1).result() if depth else 0

    assert in_time(executor.submit(down, 60).result) == 60


@in_workers
def test_many_circles_through_two_executors_at_the_same_time(executor):
    other = GraphExecutor(2)
    circles = [in_circle([executor, other], lambda f: f.result()) for _ in range(100)]
    for futures in circles:
        told_of(futures)
    in_time(other.shutdown)


@in_workers
def test_what_is_waited_for_runs_on_its_own_executor(executor, gate):
    other = GraphExecutor(1, "other")
    occupied(other, gate, 1)
    ready = other.submit(lambda: threading.current_thread().name)
    other.submit(int).cancel()  # so that all that was submitted before is part of the graph
    asked = threading.Event()

    def outer() -> str:
        asked.set()
        return ready.result()

    asking = executor.submit(outer)
    assert asked.wait(LIMIT)
    executor.submit(int).result(LIMIT)
    gate.open()
    assert asking.result(LIMIT).startswith("other_")
    in_time(other.shutdown)


@in_workers
def test_endless_chains_that_wait_beside_roots(executor):
    stop, going = threading.Event(), threading.Barrier(3)

    def again(first: bool) -> None:
        if first:
            with blocked():
                going.wait(LIMIT)
        if not stop.is_set():
            executor.submit(again, False)
            wait([executor.submit(int)])

    chains = [executor.submit(again, True) for _ in range(2)]
    roots = [executor.submit(int, n) for n in range(300)]
    going.wait(LIMIT)
    try:
        assert wait(roots, LIMIT).not_done == set()
    finally:
        stop.set()
    assert wait(chains, LIMIT).not_done == set()


@in_workers
@pytest.mark.parametrize("way", [lambda f: wait([f]), lambda f: next(as_completed([f]))], ids=["wait", "as_completed"])
def test_two_thousand_tasks_that_each_wait_for_one_by_other_ways(make, way):
    executor = make(2)
    threads = Threads()

    def inner(n: int) -> int:
        threads.look()
        return n

    def outer(n: int) -> int:
        future = executor.submit(inner, n)
        way(future)
        return future.result(0)

    assert in_time(lambda: list(executor.map(outer, range(2000)))) == [*range(2000)]
    assert threads.most <= 8


def test_inline_tasks_inside_tasks_lend_the_slot_of_those(make):
    executor = make(1)
    with GraphExecutor(backend="inline") as inline:

        def inner() -> int:
            return executor.submit(int, 7).result()

        def outer() -> int:
            return inline.submit(inner).result()

        assert executor.submit(outer).result(LIMIT) == 7


@in_workers
def test_many_tasks_that_wait_for_another_executor(case, executor, gate):
    with GraphExecutor(1) as other:
        slow = other.submit(gate.passage, 5)
        gate.arrived()
        asking = [executor.submit(slow.result) for _ in range(300)]
        last = executor.submit(int)
        assert last.result(LIMIT) == 0  # nobody knows whether the other one waits for it
        gate.open()
        assert in_time(lambda: {f.result() for f in asking}) == {5}
