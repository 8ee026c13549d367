"""The hub with a backend whose every attempt the test starts and ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from soaking import soak

from graphfutures import GraphExecutor, GraphFuture, allow_failure, unpack
from graphfutures.core.invariants import check
from graphfutures.core.states import RUNNING, SETTLED
from graphfutures.errors import BrokenGraphError
from graphfutures.testing import ManualBackend

LIMIT = 20.0


def make(**options: Any) -> tuple[ManualBackend, GraphExecutor]:
    backend = ManualBackend(**options)
    return backend, GraphExecutor(backend=backend)


def add(*numbers: int) -> int:
    return sum(numbers)


def finish_all(backend: ManualBackend, places: int = 1) -> None:
    """Run whatever there is to run, until nothing is left."""
    while True:
        taken = [future for place in range(places) for future in backend.take(2, place=place)]
        held = backend.held()
        for future in held:
            backend.run(future)
        if not taken and not held:
            return


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "it hangs"


# -- what the backend promises ----------------------------------------------------------------


def test_the_test_decides_the_order() -> None:
    backend, executor = make()
    first, second = executor.submit(add, 1), executor.submit(add, 2)
    both = executor.submit(add, first, second)
    assert backend.take(5) == [first, second]
    assert backend.held() == backend.held(0) == [first, second]
    backend.finish(second, 20)
    assert backend.take() == []
    backend.run(first)
    assert backend.take() == [both]
    backend.run(both)
    assert both.result(0) == 21
    executor.shutdown()
    assert backend.take() == []


def test_no_more_than_max_workers_are_handed_over() -> None:
    backend, executor = make(max_workers=2, places=2)
    futures = [executor.submit(add, n) for n in range(5)]
    assert backend.take(10, place=0) == futures[:2]
    assert backend.take(10, place=1) == futures[2:4]
    backend.finish(futures[0])
    assert backend.take(10, place=1) == []
    assert backend.take(10, place=0) == futures[4:]
    finish_all(backend)
    executor.shutdown()


def test_misuse_is_told() -> None:
    backend, executor = make()
    future = executor.submit(add, 1)
    with pytest.raises(LookupError, match="was not taken"):
        backend.finish(future)
    with pytest.raises(IndexError):
        backend.take(place=1)
    backend.take()
    backend.run(future)
    for again in (backend.finish, backend.run, backend.revoke):
        with pytest.raises(LookupError, match="ended already"):
            again(future)
    executor.shutdown()
    with pytest.raises(ValueError, match="greater than 0"):
        ManualBackend(0)
    with pytest.raises(ValueError, match="greater than 0"):
        ManualBackend(places=0)


def test_a_test_that_forgets_an_attempt_does_not_hang() -> None:
    backend, executor = make(patience=0.01)
    future, dependent = executor.submit(add, 1), None
    dependent = executor.submit(add, future)
    backend.take()
    executor.shutdown()
    for each in (future, dependent):
        with pytest.raises(BrokenGraphError, match="add-1"):
            each.result(0)


# -- facts in any order -----------------------------------------------------------------------


def test_a_failure_is_there_before_anybody_asks_for_work() -> None:
    backend, executor = make()
    head = executor.submit(add, 1)
    tail = executor.submit(add, executor.submit(add, head))
    backend.take()
    backend.fail(head, ValueError("no"))
    assert isinstance(tail.exception(0), ValueError)
    late = executor.submit(add, head)
    assert isinstance(late.exception(0), ValueError)
    executor.shutdown()


def test_cancel_before_and_after_the_start() -> None:
    backend, executor = make()
    running, waiting = executor.submit(add, 1), executor.submit(add, 2)
    dependent = executor.submit(add, waiting, running)
    backend.take()
    assert not running.cancel()
    assert running.running()
    assert waiting.cancel()
    assert dependent.cancelled()
    assert backend.take() == []
    backend.run(running)
    assert running.result(0) == 1
    executor.shutdown()


def test_a_revoked_task_runs_again() -> None:
    backend, executor = make()
    future = executor.submit(add, 1)
    backend.take()
    backend.revoke(future)
    assert not future.running()
    assert backend.take() == [future]
    backend.run(future)
    assert future.result(0) == 1
    executor.shutdown()


def test_a_task_that_is_called_off_is_cancelled_with_its_dependents() -> None:
    backend = ManualBackend(1)
    executor = GraphExecutor(backend=backend)
    future = executor.submit(abs, -1)
    dependent, other = executor.submit(abs, future), executor.submit(abs, -2)
    backend.take()
    assert backend.take() == [], "its slot is taken"
    executor._hub.called_off(future, future.attempt, future.place)
    assert future.cancelled()
    assert dependent.cancelled()
    assert executor.stats()["cancelled"] == 2
    assert backend.take() == [other], "its slot is free"
    backend.finish(other)
    executor.shutdown()


def test_a_revoked_task_can_be_cancelled() -> None:
    backend, executor = make()
    future = executor.submit(add, 1)
    backend.take()
    assert not future.cancel()
    backend.revoke(future)
    assert future.cancel()
    assert backend.take() == []
    executor.shutdown()


def test_the_tasks_of_a_lost_place_run_again_elsewhere() -> None:
    backend, executor = make(places=2)
    futures = [executor.submit(add, n) for n in range(3)]
    total = executor.submit(add, *futures)
    assert backend.take(2, place=0) == futures[:2]
    assert backend.take(2, place=1) == futures[2:]
    backend.run(futures[0])
    assert backend.lose(0) == [futures[1]]
    assert backend.take(2, place=1) == [futures[1]]
    backend.run(futures[1])
    backend.run(futures[2])
    assert futures[0].result(0) == 0, "what was done stays done"
    assert backend.take(place=0) == [total]
    backend.run(total)
    assert total.result(0) == 3
    executor.shutdown()


def test_late_facts_of_a_lost_place_do_not_count_while_the_task_waits() -> None:
    backend, executor = make()
    futures = [executor.submit(add, n) for n in range(3)]
    backend.take(3)
    backend.lose()
    backend.finish(futures[0], "stale")
    backend.fail(futures[1], ValueError("stale"))
    backend.revoke(futures[2])
    assert not any(future.done() or future.running() for future in futures)
    finish_all(backend)
    assert [future.result(0) for future in futures] == [0, 1, 2]
    executor.shutdown()


def test_late_facts_of_a_lost_place_do_not_count_while_the_task_runs_again() -> None:
    backend, executor = make()
    futures = [executor.submit(add, n) for n in range(3)]
    backend.take(3)
    backend.lose()
    assert set(backend.take(3)) == set(futures)
    backend.finish(futures[0], "stale", attempt=1)
    backend.fail(futures[1], ValueError("stale"), attempt=1)
    backend.revoke(futures[2], attempt=1)
    assert all(future.running() for future in futures)
    finish_all(backend)
    assert [future.result(0) for future in futures] == [0, 1, 2]
    executor.shutdown()


def test_a_late_fact_after_the_end_of_a_task_changes_nothing() -> None:
    backend, executor = make()
    done, cancelled = executor.submit(add, 1), executor.submit(add, 2)
    backend.take(2)
    backend.lose()
    assert cancelled.cancel()
    backend.take()
    backend.run(done)
    backend.fail(done, ValueError("stale"), attempt=1)
    backend.finish(cancelled, "stale", attempt=1)
    assert done.result(0) == 1
    assert cancelled.cancelled()
    calls: list[Any] = []
    done.add_done_callback(calls.append)
    assert calls == [done]
    executor.shutdown()


def test_a_callback_is_called_once_though_a_lost_place_is_heard_of_late() -> None:
    backend, executor = make()
    future = executor.submit(add, 1)
    calls: list[Any] = []
    future.add_done_callback(calls.append)
    backend.take()
    backend.lose()
    backend.finish(future, "stale")
    finish_all(backend)
    executor.shutdown()
    assert calls == [future]
    assert future.result(0) == 1


def test_a_task_that_is_run_by_the_test_may_submit() -> None:
    backend, executor = make()
    inner: list[GraphFuture[int]] = []
    outer = executor.submit(lambda: inner.append(executor.submit(add, 5)))
    other = executor.submit(add, 6)
    backend.take()
    backend.run(outer)
    assert backend.take() == inner, "a nested task goes before those from outside"
    backend.run(inner[0])
    assert inner[0].result(0) == 5
    assert backend.take() == [other]
    backend.run(other)
    executor.shutdown()


def test_foreign_futures_and_items_need_no_attempt() -> None:
    backend, executor = make()
    foreign: Future[Any] = Future()
    a, b = unpack(executor.submit(list, foreign), 2)
    assert backend.take() == []
    foreign.set_result([1, 2])
    (task,) = backend.take()
    backend.run(task)
    assert (a.result(0), b.result(0)) == (1, 2)
    executor.shutdown()


def test_another_executors_future_is_foreign() -> None:
    (first, one), (second, two) = make(), make()
    x = one.submit(add, 1)
    y = two.submit(add, x)
    first.take()
    assert second.take() == []
    first.run(x)
    assert second.take() == [y]
    second.run(y)
    assert y.result(0) == 1
    one.shutdown()
    two.shutdown()


# -- the end ----------------------------------------------------------------------------------


def test_shutdown_waits_for_attempts_that_run_and_for_all_that_follows() -> None:
    backend, executor = make()
    head = executor.submit(add, 1)
    tail = executor.submit(add, head)
    backend.take()
    ending = in_thread(executor.shutdown)
    backend.run(head)
    assert backend.take() == [tail]
    backend.run(tail)
    join(ending)
    assert tail.result(0) == 1


def test_shutdown_without_waiting_still_drains() -> None:
    backend, executor = make()
    head = executor.submit(add, 1)
    tail = executor.submit(add, head)
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1)
    finish_all(backend)
    assert tail.result(0) == 1
    executor.shutdown()


def test_shutdown_that_cancels_leaves_what_runs_alone() -> None:
    backend, executor = make()
    foreign: Future[Any] = Future()
    head, waiting = executor.submit(add, 1), executor.submit(add, foreign)
    tail = executor.submit(add, head)
    backend.take()
    executor.shutdown(wait=False, cancel_futures=True)
    assert tail.cancelled()
    assert waiting.cancelled()
    assert head.running()
    backend.run(head)
    assert head.result(0) == 1
    executor.shutdown()


@pytest.mark.parametrize("late", [lambda b, f: b.revoke(f), lambda b, f: b.lose()], ids=["revoked", "lost"])
def test_what_comes_back_during_shutdown_is_not_forgotten(late: Callable[[Any, Any], object]) -> None:
    backend, executor = make()
    future = executor.submit(add, 1)
    backend.take()
    executor.shutdown(wait=False)
    late(backend, future)
    finish_all(backend)
    assert future.result(0) == 1
    executor.shutdown()


@pytest.mark.parametrize("late", [lambda b, f: b.revoke(f), lambda b, f: b.lose()], ids=["revoked", "lost"])
def test_what_comes_back_after_a_shutdown_that_cancels_is_cancelled(late: Callable[[Any, Any], object]) -> None:
    backend, executor = make()
    future = executor.submit(add, 1)
    dependent = executor.submit(add, allow_failure(future))
    backend.take()
    executor.shutdown(wait=False, cancel_futures=True)
    late(backend, future)
    # It counts as not started again; whichever way it goes, shutdown(wait=True) must find it settled.
    finish_all(backend)
    executor.shutdown()
    assert future.done()
    assert dependent.done()


def test_an_internal_failure_settles_everything() -> None:
    backend, executor = make()
    futures = [executor.submit(add, n) for n in range(3)]
    futures.append(executor.submit(add, *futures))
    backend.take()

    class Unexpected(Exception):
        pass

    def break_down() -> None:
        raise Unexpected

    executor._hub.inbox.append((break_down, ()))
    with pytest.raises(Unexpected):
        backend.take()
    for future in futures:
        with pytest.raises(BrokenGraphError, match="Unexpected"):
            future.result(0)
    with pytest.raises(BrokenGraphError):
        executor.submit(add, 1)
    executor.shutdown()


# -- several threads --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_threads_end_attempts_while_others_submit_cancel_and_revoke(seed: int) -> None:
    backend, executor = make(max_workers=8, places=2)
    futures: list[GraphFuture[Any]] = []
    failed: list[GraphFuture[Any]] = []
    submitted = threading.Event()

    def submit() -> None:
        rng = random.Random(seed)
        for n in range(600):
            inputs = rng.sample(futures[-20:], min(len(futures), rng.randint(0, 3)))
            futures.append(executor.submit(lambda n, *_: n, n, *inputs))
        submitted.set()

    def work(place: int, seed: int) -> None:
        rng = random.Random(seed)
        while True:
            batch = backend.take(rng.randint(1, 4), place=place)
            for future in rng.sample(batch, len(batch)):
                chance = rng.random()
                if chance < 0.05:
                    failed.append(future)
                    backend.fail(future, ValueError(future.key))
                elif chance < 0.2:
                    backend.revoke(future)
                else:
                    backend.run(future)
            if not batch and submitted.is_set() and all(f.done() for f in futures):
                return

    def cancel(seed: int) -> None:
        rng = random.Random(seed)
        while not submitted.is_set():
            if futures:
                rng.choice(futures).cancel()

    workers = [in_thread(lambda n=n: work(n % 2, 10 * seed + n)) for n in range(4)]  # type: ignore[misc]
    others = [in_thread(submit), in_thread(lambda: cancel(seed))]
    join(*others, *workers)
    executor._hub.apply()
    check(executor._hub.scheduler, futures)
    executor.shutdown()
    for n, future in enumerate(futures):
        if future.cancelled():
            continue
        error = future.exception(0)
        if error is None:
            assert future.result(0) == n
        else:
            assert isinstance(error, ValueError)
            assert any(error.args == (cause.key,) for cause in failed)


def test_waiters_in_threads_are_woken_by_each_way_to_settle() -> None:
    backend, executor = make(max_workers=5)
    futures = [executor.submit(add, n) for n in range(3)]
    cancelled = executor.submit(add, 3)
    inherits = executor.submit(add, futures[1])
    waited = [*futures, cancelled, inherits]
    seen: list[tuple[int, str]] = []

    def wait_for(number: int) -> None:
        try:
            seen.append((number, str(waited[number].result(LIMIT))))
        except BaseException as error:
            seen.append((number, type(error).__name__))

    threads = [in_thread(lambda n=n: wait_for(n)) for n in range(5)]  # type: ignore[misc]
    backend.take(3)
    cancelled.cancel()
    backend.fail(futures[1], KeyError("x"))
    backend.run(futures[0])
    backend.finish(futures[2], None)
    join(*threads)
    assert sorted(seen) == [(0, "0"), (1, "KeyError"), (2, "None"), (3, "CancelledError"), (4, "KeyError")]
    executor.shutdown()


# -- any order at all -------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Facts in any order, against a model that says how each future must end."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[GraphFuture[Any]] = []
        self.inputs: dict[GraphFuture[Any], list[Any]] = {}
        self.tolerated: set[GraphFuture[Any]] = set()
        self.ends: dict[Any, Any] = {}  # how it ended: a value, an exception, or CancelledError
        self.foreign: list[Future[Any]] = []
        self.stale: list[tuple[GraphFuture[Any], int]] = []
        self.open = True
        self.calls: list[GraphFuture[Any]] = []

    @initialize(places=st.integers(1, 3), slots=st.integers(1, 4))
    def start(self, places: int, slots: int) -> None:
        self.places = places
        self.backend = ManualBackend(slots, places=places)
        self.executor = GraphExecutor(backend=self.backend)

    def note(self, future: Any, end: Any) -> None:
        """Model: this future has ended; what follows follows."""
        if future in self.ends:
            return
        self.ends[future] = end
        if isinstance(end, BaseException):
            for heir, inputs in self.inputs.items():
                if future in inputs and heir not in self.tolerated:
                    self.note(heir, end)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tolerant=st.booleans(), priority=st.sampled_from([0, 0, 1, -1]))
    def submit(self, data: st.DataObject, tolerant: bool, priority: int) -> None:
        known = [*self.futures, *self.foreign]
        chosen = data.draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
        door = self.executor.options(priority=priority) if priority else self.executor
        future = door.submit(lambda *values: len(values), *[allow_failure(f) if tolerant else f for f in chosen])
        future.add_done_callback(self.calls.append)
        self.futures.append(future)
        self.inputs[future] = chosen
        if tolerant:
            self.tolerated.add(future)
            return
        for dependency in chosen:
            if isinstance(self.ends.get(dependency), BaseException):
                self.note(future, self.ends[dependency])
                break

    @rule()
    def make_foreign(self) -> None:
        self.foreign.append(Future())

    @precondition(lambda self: any(not f.done() for f in self.foreign))
    @rule(data=st.data(), how=st.sampled_from(["finish", "fail", "cancel"]))
    def settle_foreign(self, data: st.DataObject, how: str) -> None:
        future = data.draw(st.sampled_from([f for f in self.foreign if not f.done()]))
        if how == "finish":
            future.set_result(7)
            self.note(future, 7)
        elif how == "fail":
            error = KeyError("foreign")
            future.set_exception(error)
            self.note(future, error)
        else:
            future.cancel()
            self.note(future, CancelledError())

    @rule(data=st.data(), n=st.integers(1, 5))
    def take(self, data: st.DataObject, n: int) -> None:
        place = data.draw(st.integers(0, self.places - 1))
        for future in self.backend.take(n, place=place):
            assert future not in self.ends
            for dependency in self.inputs[future]:
                assert dependency in self.ends

    def current(self) -> list[GraphFuture[Any]]:
        return self.backend.held()

    @precondition(lambda self: self.current())
    @rule(data=st.data(), how=st.sampled_from(["finish", "run", "fail", "revoke"]))
    def end_attempt(self, data: st.DataObject, how: str) -> None:
        future = data.draw(st.sampled_from(self.current()))
        if how == "finish":
            self.backend.finish(future, "made up")
            self.note(future, "made up")
        elif how == "run":
            self.backend.run(future)
            self.note(future, len(self.inputs[future]))
        elif how == "fail":
            error = ValueError(future.key)
            self.backend.fail(future, error)
            self.note(future, error)
        else:
            self.backend.revoke(future)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, self.places - 1))
        held = self.backend.held(place)
        self.stale += [(future, future.attempt) for future in held]
        assert self.backend.lose(place) == held

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), how=st.sampled_from(["finish", "fail", "revoke"]))
    def late_fact(self, data: st.DataObject, how: str) -> None:
        future, number = data.draw(st.sampled_from(self.stale))
        self.stale.remove((future, number))
        if how == "finish":
            self.backend.finish(future, "stale", attempt=number)
        elif how == "fail":
            self.backend.fail(future, OSError("stale"), attempt=number)
        else:
            self.backend.revoke(future, attempt=number)

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        future = data.draw(st.sampled_from(self.futures))
        if future in self.ends:
            assert future.cancel() == isinstance(self.ends[future], CancelledError)
        else:
            running = future in self.current()
            assert future.cancel() == (not running)
            if not running:
                self.note(future, CancelledError())

    @rule(cancelling=st.booleans())
    def shut_down(self, cancelling: bool) -> None:
        running = self.current()
        self.executor.shutdown(wait=False, cancel_futures=cancelling)
        self.open = False
        if cancelling:
            for future in self.futures:
                if future not in running:
                    self.note(future, CancelledError())

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not self.futures:
            return
        hub = self.executor._hub
        places = [(f, f.attempt, self.backend._handed[f, f.attempt].place) for f in self.current()]
        hub.apply()
        check(hub.scheduler, self.futures, places)
        assert not hub.inbox
        for future in self.futures:
            assert future.done() == (future in self.ends), future
            assert future.running() == (future in self.current())
            if future.done():
                self.ended_as_the_model_says(future)
        self.stats_add_up()

    def ended_as_the_model_says(self, future: GraphFuture[Any]) -> None:
        end = self.ends[future]
        assert future.state in SETTLED
        if isinstance(end, CancelledError):
            assert future.cancelled()
        elif isinstance(end, BaseException):
            error = future.exception(0)
            assert type(error) is type(end)
            assert error.args == end.args
        else:
            assert future.result(0) == end

    def stats_add_up(self) -> None:
        stats = self.executor.stats()
        ends = [self.ends[f] for f in self.futures if f in self.ends]
        cancelled = sum(isinstance(end, CancelledError) for end in ends)
        failed = sum(isinstance(end, BaseException) for end in ends) - cancelled
        assert (stats["cancelled"], stats["failed"]) == (cancelled, failed)
        assert stats["done"] == len(ends) - cancelled - failed
        assert stats["running"] == len(self.current()) == sum(f.state is RUNNING for f in self.futures)

    def teardown(self) -> None:
        if not hasattr(self, "backend"):
            return
        for future in self.foreign:
            if not future.done():
                future.set_result(7)
                self.note(future, 7)
        while True:
            for place in range(self.places):
                self.backend.take(5, place=place)
            if not self.current():
                break
            for future in self.current():
                self.backend.run(future)
                self.note(future, len(self.inputs[future]))
        self.it_is_as_the_model_says()
        self.executor.shutdown()
        assert sorted(f.serial for f in self.calls) == [f.serial for f in self.futures], "one callback each"
        assert not self.executor._hub.scheduler.unsettled


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.long
@pytest.mark.parametrize("number", range(10))
def test_long_machine(number: int) -> None:
    soak(Machine, number, examples=1_000, steps=60)


def test_a_failure_that_a_test_decides_on_is_retried() -> None:
    backend = ManualBackend()
    with GraphExecutor(backend=backend) as executor:
        future = executor.options(retries=1).submit(abs, -1)
        (first,) = backend.take()
        backend.fail(first, OSError("1"))
        assert not future.done()
        backend.run(*backend.take())
        assert future.result(LIMIT) == 1


@pytest.mark.parametrize("error", [OSError, "why", None])
def test_a_failure_has_to_be_an_exception(error: Any) -> None:
    backend = ManualBackend()
    with GraphExecutor(backend=backend) as executor:
        future = executor.submit(abs, -1)
        backend.take()
        with pytest.raises(TypeError, match="error must be an exception"):
            backend.fail(future, error)
        with pytest.raises(TypeError):
            backend.take("a")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="n must not be negative"):
            backend.take(-1)
        backend.finish(future, 7)
        assert future.result(LIMIT) == 7
