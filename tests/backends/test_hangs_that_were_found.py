"""Programs that once hung, or failed, where a wait met something else halfway."""

import asyncio
import sys
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, as_completed, wait

import pytest
from patience import LIMIT, in_time, until

from graphfutures import DeadlockError, GraphExecutor, TaskTimeoutError, allow_failure


def started(executor, gate):
    """A task that runs, and stands before a gate."""
    future = executor.submit(gate.wait, LIMIT)
    assert until(future.running)
    return future


def test_a_cancellation_is_heard_by_who_holds_the_graph():
    with GraphExecutor(1) as executor:
        for _ in range(5):
            gate, late = threading.Event(), threading.Event()
            started(executor, gate)
            needs = [executor.submit(int) for _ in range(100)]
            after = executor.options(priority=9).submit(late.wait, LIMIT)
            many = [executor.submit(lambda *needs: None, *needs) for _ in range(3900)]
            victim = executor.submit(int)
            gate.set()
            assert until(lambda: not executor._hub.inbox or executor._hub._lock.acquire(False))
            if executor._hub._lock._is_owned():
                executor._hub._lock.release()
            assert in_time(victim.cancel)
            assert not after.done()
            late.set()
            assert not wait(many, LIMIT).not_done


@pytest.mark.parametrize("way", ["submits", "waits"])
def test_an_inline_task_that_a_worker_makes_ready_keeps_no_worker(way):
    gate, box = threading.Event(), []
    with GraphExecutor(1, backends={"inline": 1}) as executor:
        first = started(executor, gate)
        if way == "submits":
            inline = executor.options(backend="inline").submit(lambda _: executor.submit(int).result(), first)
        else:
            inline = executor.options(backend="inline").submit(lambda _: box[0].result(), first)
            box.append(executor.submit(int))
        gate.set()
        assert inline.result(LIMIT) == 0


@pytest.mark.parametrize("way", [lambda future: len(wait([future]).not_done), lambda future: future.result(30)])
@pytest.mark.parametrize("main", ["pool", "threads"])
def test_a_wait_on_another_lane_wakes_that_lane(way, main):
    from graphfutures.backends.threads import Threads

    with ThreadPoolExecutor(1) as pool:
        lanes = {"threads": 1} if main == "pool" else {"more": Threads(1, "more")}
        with GraphExecutor(1, backend=pool if main == "pool" else "threads", backends=lanes) as executor:
            lane = executor.options(backend=next(iter(lanes)))
            assert lane.submit(lambda: way(lane.submit(int))).result(LIMIT) == 0


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_who_waits_lends_his_tokens_wherever_he_runs(backend):
    with GraphExecutor(1, backend=backend, resources={"gpu": 1}) as executor:
        view = executor.options(resources={"gpu": 1})
        nested = in_time(view.submit, lambda: view.submit(lambda: 5).result() + 1)
        assert nested.result(LIMIT) == 6
        assert view.submit(int).result(LIMIT) == 0


def test_tokens_are_lent_through_threads_and_inline():
    with GraphExecutor(1, backends={"inline": 1}, resources={"gpu": 1}) as executor:
        here, inline = (executor.options(resources={"gpu": 1}, backend=name) for name in ("threads", "inline"))

        def outer():
            return inline.submit(lambda: here.submit(lambda: 5).result() + 1).result() + 1

        assert here.submit(outer).result(LIMIT) == 7


def test_a_tolerated_failure_is_tolerated_again():
    calls = []

    def fail():
        raise KeyError("bad")

    def flaky(error):
        calls.append(error)
        if len(calls) < 2:
            raise ValueError
        return type(error).__name__

    def interrupted():
        raise KeyboardInterrupt

    with GraphExecutor(2, backends={"inline": 1}) as executor:
        failed = executor.submit(fail)
        again = executor.options(retries=3, backoff=0.2).submit(flaky, allow_failure(failed))
        assert until(lambda: calls)
        with pytest.raises(KeyboardInterrupt):
            executor.options(backend="inline").submit(interrupted)
        assert again.result(LIMIT) == "KeyError"


def test_a_waiter_deep_in_the_stack_has_another_thread_run_what_it_waits_for():
    frames = sys.getrecursionlimit() * 6 // 10

    def deep(number, end):
        return end() if not number else deep(number - 1, end)

    with GraphExecutor(1) as executor:
        waiting = executor.submit(deep, frames, lambda: executor.submit(deep, frames, lambda: 7).result())
        assert waiting.result(LIMIT) == 7


def test_waits_one_inside_the_other_with_many_frames_between():
    with GraphExecutor(2) as executor:

        def nested(depth, frames):
            if frames:
                return nested(depth, frames - 1)
            return 1 + executor.submit(nested, depth - 1, 60).result() if depth else 0

        assert executor.submit(nested, 30, 60).result(LIMIT) == 30


def test_a_task_sees_no_event_loop_of_a_waiter():
    with GraphExecutor(1) as executor:

        async def leaf():
            return 7

        async def outer():
            return executor.submit(lambda: asyncio.run(leaf())).result()

        assert executor.submit(lambda: asyncio.run(outer())).result(LIMIT) == 7


def test_a_circle_of_what_is_left_when_nothing_has_failed():
    box, complete, gate = {}, threading.Event(), threading.Event()

    def ask():
        complete.wait(LIMIT)
        return wait([box["needs it"], box["ends well"]], return_when=FIRST_EXCEPTION)

    with GraphExecutor(3) as executor:
        asking = executor.submit(ask)
        box["needs it"], box["ends well"] = executor.submit(abs, asking), executor.submit(gate.wait, LIMIT)
        complete.set()
        assert until(lambda: executor._hub.loans)
        gate.set()
        assert isinstance(asking.exception(LIMIT), DeadlockError)


def test_the_first_failure_ends_a_wait_beside_what_needs_it():
    box, complete, gate = {}, threading.Event(), threading.Event()

    def ask():
        complete.wait(LIMIT)
        return len(wait([box["needs it"], box["fails"]], return_when=FIRST_EXCEPTION).done)

    with GraphExecutor(3) as executor:
        asking = executor.submit(ask)
        box["needs it"] = executor.submit(abs, asking)
        box["fails"] = executor.submit(lambda: divmod(gate.wait(LIMIT), 0))
        complete.set()
        assert until(lambda: executor._hub.loans)
        gate.set()
        assert asking.result(LIMIT) == 1


def test_as_completed_begun_outside_and_gone_on_with_in_a_task():
    gate = threading.Event()
    with GraphExecutor(1) as executor:
        first = executor.submit(int)
        standing = executor.submit(gate.wait, LIMIT)
        late = [executor.options(priority=-1).submit(int) for _ in range(2)]
        results = as_completed([first, *late])
        assert next(results) is first
        rest = executor.options(priority=1).submit(lambda: [future.result() for future in results])
        gate.set()
        assert rest.result(LIMIT) == [0, 0]
        assert standing.result(LIMIT) is True


def test_who_waits_for_one_whose_time_is_over_goes_on_though_that_still_runs():
    gate = threading.Event()
    with GraphExecutor(1) as executor:

        def outer():
            try:
                executor.options(timeout=0.05).submit(gate.wait, LIMIT).result()
            except TaskTimeoutError:
                gate.set()
                return "gave up"

        assert executor.submit(outer).result(LIMIT) == "gave up"


def test_a_dict_that_others_add_to_during_submit():
    growing, over = {0: Future()}, threading.Event()
    growing[0].set_result(7)

    def grow():
        number = 0
        while not over.is_set():
            number += 1
            growing[number] = number
            if number > 200:
                for key in range(1, number + 1):
                    growing.pop(key, None)
                number = 0

    with GraphExecutor(1) as executor:
        user = threading.Thread(target=grow)
        user.start()
        try:
            assert all(executor.submit(dict, growing).result(LIMIT)[0] == 7 for _ in range(300))
        finally:
            over.set()
            user.join(LIMIT)


def test_who_hands_a_task_on_answers_those_who_ask_though_another_holds_the_graph():
    """As where a worker's quick step comes between: it looks at what is posted, not at what was taken from there."""
    answered, held = [], threading.Event()

    class Lock:
        """The hub's, which another thread takes for a moment as soon as the task has let go of it."""

        def __init__(self, lock):
            self.lock, self.armed = lock, False
            self.acquire, self._is_owned = lock.acquire, lock._is_owned

        def hold(self):
            with self.lock:
                held.set()
                threading.Event().wait(0.05)

        def release(self):
            self.lock.release()
            if self.armed:
                self.armed = False
                threading.Thread(target=self.hold).start()
                held.wait(LIMIT)

        def __enter__(self):
            self.acquire()

        def __exit__(self, *exc):
            self.release()

    with GraphExecutor(1) as executor:
        hub, answer = executor._hub, threading.Lock()
        answer.acquire()

        def outer():
            inner = executor.submit(lambda: answered.append(not answer.locked()))
            hub.inbox.append((hub._answer, (answer, bool, ())))
            hub._lock = Lock(hub._lock)
            hub._lock.armed = True
            inner.result()

        executor.submit(outer).result(LIMIT)
    assert held.is_set()
    assert answered == [True]
