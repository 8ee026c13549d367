"""Waits inside tasks where something else comes between: other waits, limits, lanes, interruptions, polls."""

import sys
import threading
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor, as_completed, wait

import pytest
from patience import LIMIT, in_time, until

from graphfutures import DeadlockError, GraphExecutor, allow_failure, blocked, current_executor, current_task
from graphfutures.testing import SeededBackend


def in_turn(future):
    return future.result()


def by_as_completed(future):
    return list(as_completed([future]))


def by_first_exception(future):
    return wait([future], return_when=FIRST_EXCEPTION)


def by_first_completed(future):
    return wait([future], return_when=FIRST_COMPLETED)


def in_blocked(future):
    with blocked():
        return future.result()


@pytest.mark.parametrize("way", [in_turn, by_as_completed, by_first_exception, by_first_completed, in_blocked])
def test_a_circle_of_single_futures_is_told_however_they_wait(way):
    futures, complete = {}, threading.Event()

    def ask(other):
        with blocked():
            complete.wait(LIMIT)
        return way(futures[other])

    with GraphExecutor(2) as executor:
        futures["a"], futures["b"] = executor.submit(ask, "b"), executor.submit(ask, "a")
        complete.set()
        errors = [futures[name].exception(LIMIT) for name in "ab"]
    assert any(isinstance(error, DeadlockError) for error in errors)


def by_as_completed_of(futures):
    return [future.exception() for future in as_completed(futures)]


def by_first_completed_of(futures):
    left = set(futures)
    while left:
        left = wait(left, return_when=FIRST_COMPLETED).not_done


@pytest.mark.parametrize("way", [by_as_completed_of, by_first_completed_of])
@pytest.mark.parametrize("circles", [1, 3, 120])
def test_what_is_left_in_the_end_may_be_a_circle(way, circles):
    complete, mine = threading.Event(), []

    def ask():
        with blocked():
            complete.wait(LIMIT)
        return way(mine)

    with GraphExecutor(2) as executor:
        asking = executor.submit(ask)
        mine += [executor.submit(abs, -number) for number in range(20)]
        mine += [executor.submit(len, [asking, number]) for number in range(circles)]
        complete.set()
        assert isinstance(asking.exception(LIMIT), DeadlockError)
        assert [future.result(LIMIT) for future in mine[:20]] == list(range(20))


def test_one_that_may_come_is_no_circle():
    gate, mine = threading.Event(), []

    def ask():
        gate.wait(LIMIT)
        return next(as_completed(mine)).result()

    with GraphExecutor(2) as executor:
        asking = executor.submit(ask)
        last = executor.submit(gate.wait, LIMIT)
        mine += [executor.submit(abs, asking), executor.submit(int, last)]
        gate.set()
        assert asking.result(LIMIT) == 1
        assert mine[0].result(LIMIT) == 1


def test_the_last_one_closes_a_circle_of_choices():
    """Two wait for either of two, each of which comes to wait for one of them."""
    gates, futures = [threading.Event() for _ in range(2)], {}

    def choose():
        return [future.exception(0) for future in wait([futures["a"], futures["b"]], return_when=FIRST_COMPLETED).done]

    def ask(number):
        with blocked():
            gates[number].wait(LIMIT)
        return futures["chooser"].result()

    with GraphExecutor(4) as executor:
        futures["a"], futures["b"] = (executor.submit(ask, number) for number in range(2))
        futures["chooser"] = executor.submit(choose)
        assert until(lambda: futures["chooser"] in executor._hub.waits)
        for gate in gates:
            gate.set()
        (error,) = futures["chooser"].result(LIMIT)
        assert isinstance(error, DeadlockError)


def test_those_who_waited_together_go_on_one_after_the_other():
    gate = threading.Event()

    def ask():
        wait([first])
        wait([current_executor().submit(int)])
        return in_turn(first)

    with GraphExecutor(2) as executor:
        first = executor.submit(gate.wait, LIMIT)
        asking = [executor.submit(ask) for _ in range(50)]
        gate.set()
        assert not wait(asking, LIMIT).not_done


def test_what_a_waiter_runs_itself_is_not_its_own_time():
    gate = threading.Event()

    def ask():
        return current_executor().submit(gate.wait, LIMIT).result()

    with GraphExecutor(1) as executor:
        patient = executor.options(timeout=0.1).submit(ask)
        with pytest.raises(TimeoutError):
            patient.result(0.3)
        gate.set()
        assert patient.result(LIMIT) is True


def test_an_inline_task_that_submits_is_not_kept():
    with GraphExecutor(backend="inline") as executor:
        for _ in range(10):
            executor.submit(lambda: current_executor().submit(int) and None)
        assert not executor._hub.waits


def test_polling_inside_a_task_leaves_nothing_behind():
    gate = threading.Event()

    def poll():
        for _ in range(100):
            with pytest.raises(TimeoutError):
                slow.result(0)

    with GraphExecutor(2) as executor:
        slow = executor.submit(gate.wait, LIMIT)
        executor.submit(poll).result(LIMIT)
        assert not executor._hub.scheduler._awaited
        gate.set()


def test_an_inline_task_that_exits_takes_no_worker_with_it():
    gate = threading.Event()
    with GraphExecutor(1, backends={"inline": 1}) as executor:
        first = executor.submit(gate.wait, LIMIT)
        exits = executor.options(backend="inline").submit(lambda _: sys.exit(3), first)
        gate.set()
        assert isinstance(exits.exception(LIMIT), SystemExit)
        assert executor.submit(int).result(LIMIT) == 0


def test_an_inline_task_holds_up_nobodys_time_limit():
    gate = threading.Event()
    with GraphExecutor(2, backends={"inline": 1}) as executor:
        late, later = (executor.options(timeout=limit).submit(gate.wait, LIMIT) for limit in (0.05, 0.1))
        inline = executor.options(backend="inline").submit(lambda _: gate.wait(LIMIT), allow_failure(late))
        assert isinstance(later.exception(LIMIT), TimeoutError)
        assert not inline.done()
        gate.set()
        assert inline.result(LIMIT) is True


def test_a_crowd_in_one_lane_holds_up_no_other():
    gate = threading.Event()
    with ThreadPoolExecutor(2) as pool, GraphExecutor(1, backends={"pool": pool}) as executor:
        there = executor.options(backend="pool")
        slow = there.submit(gate.wait, LIMIT)
        asking = [executor.submit(wait, [slow]) for _ in range(70)]
        assert executor.submit(int).result(LIMIT) == 0
        gate.set()
        assert not wait([slow, *asking], LIMIT).not_done
        assert there.submit(int).result(LIMIT) == 0


def test_a_lane_that_two_threads_name_at_once_is_made_once():
    for _ in range(20):
        executor, meeting = GraphExecutor(backend="inline"), threading.Barrier(4)

        def name(executor=executor, meeting=meeting):
            meeting.wait(LIMIT)
            executor.options(backend="threads").submit(int).result(LIMIT)

        users = [threading.Thread(target=name) for _ in range(4)]
        for user in users:
            user.start()
        for user in users:
            user.join(LIMIT)
        in_time(executor.shutdown)


@pytest.mark.parametrize("seed", range(5))
def test_tasks_wait_inside_on_a_seeded_backend(seed):
    def ask():
        inside = current_executor()
        chained = [inside.submit(abs, inside.submit(int, n)) for n in range(5)]
        return sum(future.result() for future in as_completed(chained)) + inside.submit(int, 7).result()

    with GraphExecutor(backend=SeededBackend(seed)) as executor:
        assert executor.submit(ask).result(LIMIT) == 17


def test_a_task_whose_time_is_over_may_still_wait():
    over, gate = threading.Event(), threading.Event()

    def late():
        over.wait(LIMIT)
        inside = current_executor().submit(int, 5).result()
        gate.set()
        return inside, current_task().cancelled()

    with GraphExecutor(1) as executor:
        failed = executor.options(timeout=0.05).submit(late)
        seen = executor.submit(repr, allow_failure(failed))
        failed.exception(LIMIT)
        over.set()
        assert gate.wait(LIMIT)
        assert "TaskTimeoutError" in seen.result(LIMIT)
