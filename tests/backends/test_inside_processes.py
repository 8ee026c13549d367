"""Tasks on worker processes that submit and wait, and those that are stopped (CONTRACT 5, 6, 9)."""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures import Future as StandardFuture
from pathlib import Path
from typing import Any

import pytest
from patience import LIMIT, in_time, until

from graphfutures import (
    FIRST_COMPLETED,
    DeadlockError,
    GraphExecutor,
    TaskTimeoutError,
    WorkerCrashedError,
    allow_failure,
    as_completed,
    blocked,
    current_executor,
    current_task,
    delayed,
    multiprocessing,
    quote,
    unpack,
    wait,
)
from graphfutures.backends.processes.attendant import GRACE

pytestmark = pytest.mark.ci
MADE: dict[str, Any] = {}


@pytest.fixture(params=[1, 2], ids=lambda workers: f"{workers}-workers")
def executor(request: pytest.FixtureRequest) -> Iterator[GraphExecutor]:
    with GraphExecutor(request.param, backend="processes") as one:
        yield one


@pytest.fixture
def single() -> Iterator[GraphExecutor]:
    with GraphExecutor(1, backend="processes") as one:
        yield one


# -- waits ------------------------------------------------------------------------------------------


def by_result(futures: list[Any]) -> int:
    return sum(future.result() for future in futures)


def by_time_limit(futures: list[Any]) -> int:
    return sum(future.result(timeout=LIMIT) for future in futures)


def by_wait(futures: list[Any]) -> int:
    done, left = wait(futures)
    assert not left
    return sum(future.result(0) for future in done)


def by_first_completed(futures: list[Any]) -> int:
    total, left = 0, set(futures)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        total += sum(future.result(0) for future in done)
    return total


def by_as_completed(futures: list[Any]) -> int:
    return sum(future.result(0) for future in as_completed(futures))


def by_map(futures: list[Any]) -> int:
    return sum(current_executor().map(int, futures))


def tree(depth: int, way: Any) -> int:
    if not depth:
        return 1
    return int(way([current_executor().submit(tree, depth - 1, way) for _ in range(3)]))


@pytest.mark.parametrize(
    "way",
    [by_result, by_time_limit, by_wait, by_first_completed, by_as_completed, by_map],
    ids=lambda way: way.__name__,
)
def test_a_tree_of_tasks_that_wait(executor, way):
    roots = [executor.submit(tree, 2, way) for _ in range(3)]
    assert in_time(lambda: [root.result() for root in roots]) == [9] * 3


def deep(levels: int) -> int:
    return 0 if not levels else current_executor().submit(deep, levels - 1).result() + 1


def test_waits_deeper_than_a_stack(single):
    assert in_time(lambda: single.submit(deep, 150).result()) == 150


def test_closures_over_the_executor(executor):
    def squares(number: int) -> int:
        return sum(future.result() for future in [executor.submit(pow, n, 2) for n in range(number)])

    assert executor.submit(squares, 5).result(LIMIT) == 30


def spell(seconds: float) -> tuple[float, float]:
    begin = time.perf_counter()
    end = begin + seconds
    while time.perf_counter() < end:
        pass
    return begin, end


def spells(number: int) -> list[tuple[float, float]]:
    before = spell(0.01)
    futures = [current_executor().submit(spell, 0.01) for _ in range(number)]
    return [before, *(future.result() for future in as_completed(futures)), spell(0.01)]


def test_no_more_tasks_compute_at_a_time_than_there_are_workers(executor):
    roots = [executor.submit(spells, 4) for _ in range(3)]
    times = [time for root in roots for time in root.result(LIMIT)]
    changes = sorted([(begin, 1) for begin, _ in times] + [(end, -1) for _, end in times])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    assert most <= executor._max_workers


def waits_for_itself() -> int:
    MADE["future"] = current_executor().submit(other_end)
    return int(MADE["future"].result())


def other_end() -> int:
    return int(MADE["future"].result())


def test_a_circle_is_seen(single):
    with pytest.raises(DeadlockError, match="need each other"):
        single.submit(waits_for_itself).result(LIMIT)


def in_a_thread() -> int:
    executor = current_executor()
    values: list[int] = []
    thread = threading.Thread(target=lambda: values.append(executor.submit(abs, -3).result(LIMIT)))
    thread.start()
    with blocked():
        thread.join(LIMIT)
    return values[0]


def test_a_thread_of_a_task_submits(executor):
    assert executor.submit(in_a_thread).result(LIMIT) == 3


# -- what is submitted ------------------------------------------------------------------------------


def about() -> tuple[str, str, int, bool]:
    task = current_task()
    return task.name, task.key, task.attempt, task.cancelled()


def test_a_task_knows_itself(executor):
    assert executor.options(name="me").submit(about).result(LIMIT) == ("me", "me-1", 1, False)


def add(*numbers: int, more: int = 0) -> int:
    return sum(numbers) + more


def diamond() -> Any:
    executor = current_executor()
    head = executor.submit(abs, -2)
    left, right = executor.submit(add, head, 1), executor.submit(add, 10, more=head)
    listed = executor.submit(sum, [left, right, executor.put(100)])
    return listed.result(), executor.submit(len, quote([1, 2])).result(), executor.submit(lambda: 5).result()


def test_futures_are_arguments_there_as_well(executor):
    assert executor.submit(diamond).result(LIMIT) == (115, 2, 5)


def fails() -> None:
    raise LookupError("no such thing")


def sees_a_failure() -> Any:
    executor = current_executor()
    head = executor.submit(fails)
    allowed = executor.submit(repr, allow_failure(head)).result()
    dependent = executor.submit(abs, head)
    try:
        dependent.result()
    except LookupError as error:
        return allowed, str(error), "".join(getattr(error, "__notes__", []))
    return None


def test_a_failure_there_is_that_of_a_task(executor):
    allowed, text, notes = executor.submit(sees_a_failure).result(LIMIT)
    assert allowed == "LookupError('no such thing')"
    assert text == "no such thing"
    assert "fails-" in notes


def hidden_future() -> Any:
    class Hides:
        def __init__(self) -> None:
            self.future = current_executor().submit(abs, -1)

    return current_executor().submit(repr, Hides())


def foreign_future() -> Any:
    return current_executor().submit(abs, StandardFuture())


@pytest.mark.parametrize("what", [hidden_future, foreign_future], ids=lambda what: what.__name__)
def test_futures_that_cannot_be_arguments_are_refused(executor, what):
    with pytest.raises(TypeError, match=r"argument|current_executor\(\)"):
        executor.submit(what).result(LIMIT)


def returns_futures(number: int) -> Any:
    return [current_executor().submit(abs, -n) for n in range(number)]


def test_futures_in_a_value_are_joined(executor):
    assert executor.options(join=True).submit(returns_futures, 4).result(LIMIT) == [0, 1, 2, 3]


def test_futures_in_a_value_are_futures_here(executor):
    futures = executor.submit(returns_futures, 3).result(LIMIT)
    assert [future.result(LIMIT) for future in futures] == [0, 1, 2]


def often_enough(path: str) -> int:
    with open(path, "ab") as file:
        file.write(b"x")
    if os.path.getsize(path) < 3:
        raise ValueError("not yet")
    return os.path.getsize(path)


def with_options(path: str) -> Any:
    view = current_executor().options(retries=5, name="again")
    future = view.submit(often_enough, path)
    return future.result(), future.name


def test_options_are_kept_there(executor, tmp_path):
    assert executor.submit(with_options, str(tmp_path / "times")).result(LIMIT) == (3, "again")


def with_wrong_options() -> None:
    current_executor().options(retry=5)


def test_wrong_options_are_refused_there(executor):
    with pytest.raises(TypeError, match="retry"):
        executor.submit(with_wrong_options).result(LIMIT)


def calls_back() -> Any:
    told: list[Any] = []
    there = threading.Event()

    def note(future: Any) -> None:
        told.append(future.result())
        there.set()

    future = current_executor().submit(abs, -7)
    future.add_done_callback(note)
    with blocked():
        assert there.wait(LIMIT)
    return told, future.done(), future.exception()


def test_callbacks_are_called_there(executor):
    assert executor.submit(calls_back).result(LIMIT) == ([7], True, None)


def cancels() -> Any:
    executor = current_executor()
    futures = [executor.submit(pow, n, 2) for n in range(50)]
    last = executor.submit(abs, futures[-1])
    verdict = last.cancel()
    try:
        last.result()
    except CancelledError:
        return verdict, last.cancelled(), sum(future.result() for future in futures)
    return verdict, last.cancelled(), None


def test_what_has_not_started_is_cancelled_from_there(single):
    assert single.submit(cancels).result(LIMIT) == (True, True, sum(n * n for n in range(50)))


def late_child(path: str) -> int:
    deadline = time.perf_counter() + LIMIT
    while not os.path.exists(path) and time.perf_counter() < deadline:
        time.sleep(0.005)
    return int(current_executor().submit(abs, -9).result())


def test_tasks_submit_while_the_graph_is_drained(executor, tmp_path):
    future = executor.submit(late_child, str(tmp_path / "go"))
    executor.shutdown(wait=False)
    (tmp_path / "go").touch()
    assert future.result(LIMIT) == 9


def test_tasks_submit_no_more_once_futures_are_cancelled(executor, tmp_path):
    future = executor.submit(late_child, str(tmp_path / "go"))
    assert until(future.running)
    executor.shutdown(wait=False, cancel_futures=True)
    (tmp_path / "go").touch()
    with pytest.raises((RuntimeError, CancelledError)):
        future.result(LIMIT)


def test_an_executor_is_pickled_for_its_own_workers_only(executor):
    pickled = pickle.dumps(executor)
    with pytest.raises(TypeError, match="its own worker processes"):
        pickle.loads(pickled)
    with GraphExecutor(1) as threads, pytest.raises(TypeError, match="worker processes"):
        pickle.dumps(threads)
    with GraphExecutor(1, backend="processes") as other, pytest.raises(TypeError, match="its own worker processes"):
        other.submit(repr, executor).result(LIMIT)


def elsewhere(backend: str) -> int:
    executor = current_executor()
    head = executor.submit(abs, -2)
    return int(executor.options(backend=backend).submit(pow, head, 3).result())


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_a_task_that_is_submitted_there_may_run_on_another_backend(executor, backend):
    assert executor.submit(elsewhere, backend).result(LIMIT) == 8


def test_a_task_of_another_backend_submits_to_threads():
    with GraphExecutor(2, backends={"processes": 1}) as executor:
        assert executor.options(backend="processes").submit(deep, 2).result(LIMIT) == 2


def computes() -> Any:
    return delayed(int)("x").compute()


def gets() -> Any:
    return current_executor().get({"a": (int, "x")}, "a")


@pytest.mark.parametrize("what", [computes, gets])
def test_a_graph_that_fails_there(executor, what):
    with pytest.raises(ValueError, match="invalid literal"):
        executor.submit(what).result(LIMIT)


def asks_for_too_much() -> Any:
    return current_executor().options(resources={"gpu": 1}).submit(abs, -1)


def test_what_submit_would_have_raised_there_is_the_exception_of_the_future(executor):
    with pytest.raises(ValueError, match="resource 'gpu'"):
        executor.submit(asks_for_too_much).result(LIMIT).result(LIMIT)
    with pytest.raises(ValueError, match="resource 'gpu'"):
        executor.options(join=True).submit(asks_for_too_much).result(LIMIT)


def test_map_gives_futures_as_well(executor):
    squares = list(executor.map(lambda n: executor.submit(pow, n, 2), range(4)))
    assert [square.result(LIMIT) for square in squares] == [0, 1, 4, 9]


def first_of_three() -> int:
    futures = [current_executor().submit(pow, n, 2) for n in range(3)]
    next(as_completed(futures))
    return sum(future.done() for future in futures)


def test_a_wait_that_is_over_waits_for_nothing_new(single):
    for _ in range(2):
        single.submit(in_a_thread).result(LIMIT)  # another worker is there
        assert single.submit(first_of_three).result(LIMIT) == 1


def closes_a_view() -> Any:
    view = current_executor().options(name="one")
    future = view.submit(sleeps, 0.05)
    view.shutdown()
    try:
        view.submit(abs, -1)
    except RuntimeError as error:
        return future.done(), str(error)
    return None


def test_a_view_is_shut_there(executor):
    assert executor.submit(closes_a_view).result(LIMIT) == (True, "cannot schedule new futures after shutdown")


def uses_processes() -> Any:
    return multiprocessing.get({"a": (abs, -1)}, "a")


def test_executors_that_a_worker_has_made_end_with_it():
    executor = GraphExecutor(1, backend="processes")
    assert executor.submit(uses_processes).result(LIMIT) == 1
    begin = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - begin < GRACE / 2


# -- deaths -----------------------------------------------------------------------------------------


def dies_once(path: str) -> int:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 5


def waits_for_one_that_dies(path: str) -> int:
    return int(current_executor().submit(dies_once, path).result()) + 1


def test_a_worker_that_dies_inside_a_wait(executor, tmp_path):
    assert executor.submit(waits_for_one_that_dies, str(tmp_path / "died")).result(LIMIT) == 6


def dies() -> None:
    os._exit(3)


def sees_a_death() -> str:
    try:
        current_executor().submit(dies).result()
    except WorkerCrashedError as error:
        return str(error)
    return ""


def test_a_task_that_kills_its_workers_does_not_take_its_waiter_with_it(executor):
    assert "exit code 3" in executor.submit(sees_a_death).result(LIMIT)


# -- stopped ----------------------------------------------------------------------------------------


def endless() -> None:
    while True:
        time.sleep(0.01)


def holds_everything() -> None:
    pow(3, 10**9)  # in C, with the GIL


def test_a_task_is_stopped_when_its_time_is_over(executor):
    others = [executor.submit(pow, n, 2) for n in range(20)]
    late = executor.options(timeout=0.2).submit(endless)
    others += [executor.submit(pow, n, 2) for n in range(20)]
    with pytest.raises(TaskTimeoutError, match=r"endless-21 has run for longer than its timeout of 0.2 s"):
        late.result(LIMIT)
    assert [other.result(LIMIT) for other in others] == [n * n for n in range(20)] * 2


def test_a_task_whose_c_code_holds_the_interpreter_is_stopped(single):
    with pytest.raises(TaskTimeoutError):
        single.options(timeout=0.2).submit(holds_everything).result(LIMIT)
    assert single.submit(abs, -1).result(LIMIT) == 1


def slow_once(path: str) -> int:
    if not os.path.exists(path):
        Path(path).touch()
        endless()
    return 8


def test_a_task_is_tried_again_after_its_time_was_over(single, tmp_path):
    assert single.submit(sleeps, 0).result(LIMIT) == 4  # what takes longest is to import this module
    view = single.options(timeout=0.3, retries=1)
    assert view.submit(slow_once, str(tmp_path / "slow")).result(LIMIT) == 8


def quick_after_a_wait(seconds: float) -> int:
    return int(current_executor().submit(sleeps, seconds).result())


def sleeps(seconds: float) -> int:
    time.sleep(seconds)
    return 4


def test_time_spent_blocked_is_not_counted(executor):
    warm = [executor.submit(sleeps, 0.1) for _ in range(4)]
    assert [future.result(LIMIT) for future in warm] == [4] * 4
    assert executor.options(timeout=0.4).submit(quick_after_a_wait, 0.8).result(LIMIT) == 4


def marks(path: str) -> None:
    Path(path).touch()
    endless()


def test_a_running_task_is_stopped_by_force(executor, tmp_path):
    running = executor.submit(marks, str(tmp_path / "begun"))
    dependent = executor.submit(abs, running)
    others = [executor.submit(pow, n, 2) for n in range(20)]
    assert until((tmp_path / "begun").exists)
    assert not running.cancel()
    assert running.cancel(force=True)
    assert dependent.cancelled()
    assert [other.result(LIMIT) for other in others] == [n * n for n in range(20)]


def test_what_was_cancelled_by_force_is_not_waited_for_at_the_end(tmp_path):
    executor = GraphExecutor(1, backend="processes")
    running = executor.submit(marks, str(tmp_path / "begun"))
    assert until((tmp_path / "begun").exists)
    assert running.cancel(force=True)
    begin = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - begin < GRACE / 2


def test_what_was_sent_and_has_not_started_is_cancelled_by_force_alone(single, tmp_path):
    for n in range(300):
        single.submit(abs, n)  # so that many are sent at once
    first = single.submit(sleeps, 0.3)
    queued = [single.submit(abs, -n) for n in range(10)]
    assert queued[5].cancel(force=True)
    assert first.result(LIMIT) == 4
    assert [future.result(LIMIT) for future in queued if future is not queued[5]] == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def unpacks(count: int) -> tuple[int, ...]:
    quotient, *rest = unpack(current_executor().submit(divmod, 17, 5), count)
    return quotient.result(), *(one.result() for one in rest)


def test_unpacking_in_a_worker(executor):
    assert executor.submit(unpacks, 2).result(LIMIT) == (3, 2)
    with pytest.raises(ValueError, match=r"into 3 futures: divmod-\d+ returned it"):
        executor.submit(unpacks, 3).result(LIMIT)


def of_pauses(seconds: float) -> int:
    executor = current_executor()
    parts = [executor.submit(time.sleep, seconds) for _ in range(3)]
    return int(executor.submit(lambda *of: len(of), *parts).result())


def test_what_is_handed_over_as_a_wait_begins_runs(single):
    interval = sys.getswitchinterval()
    for _ in range(5):
        for number in range(12):
            assert single.submit(abs, -number).result(LIMIT) == number
        single.submit(time.sleep, 0.008).result(LIMIT)  # now it is handed one task more than it runs
        future = single.submit(of_pauses, 0.03)
        end = time.monotonic() + 0.05
        sys.setswitchinterval(0.02)  # its attendant hears of the wait along with what was submitted before
        while time.monotonic() < end:
            pass
        sys.setswitchinterval(interval)
        assert future.result(LIMIT) == 3
