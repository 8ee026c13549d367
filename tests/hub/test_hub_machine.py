"""The whole hub under commands that come late and in any order: nothing is lost, nothing happens twice.

Unlike the machine of ``test_manual.py``, which knows what must follow from each step taken at once, this one puts
steps off: a command is made for a future or an attempt as they are now, and executed when they may be something
else.  And the backend may be asleep, so that what was posted lies in the inbox until something else wakes the hub.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from patience import in_time
from soaking import soak

from graphfutures import GraphExecutor, GraphFuture, allow_failure, unpack
from graphfutures.core.graph import Place
from graphfutures.core.invariants import check
from graphfutures.core.states import NEW
from graphfutures.testing import ManualBackend

PLACES = 2
Command = Callable[[], object]
#: whether a command is put off
LATE = st.sampled_from([False, False, True])


class Made(Exception):
    """A failure that a test has made up."""


class Sleepy(ManualBackend):
    """Does not look at what is posted while it is asleep, as workers that are busy do not."""

    asleep = False

    def wake(self) -> None:
        if not self.asleep:
            super().wake()

    nudge = wake


class Ordered(dict[Any, None]):
    """A set that is gone through in one order in every run, or Hypothesis could not run an example again."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


def flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for part in value for leaf in flat(part)]
    if isinstance(value, dict):
        return flat([*value.values()])
    return [value]


def told(value: Any) -> Any:
    """What can be compared of a value: of an exception its type and arguments."""
    return (type(value).__name__, [*value.args]) if isinstance(value, BaseException) else value


def outcome(future: Future[Any]) -> Any:
    """The value, or the exception, of a future that is done."""
    if future.cancelled():
        return CancelledError()
    return future.exception(0) or future.result(0)


class Submitted:
    """What is known of a task; its future may be gone.

    :param number: which it is.
    :param inputs: the numbers of the tasks it depends on, and foreign futures.
    :param tolerant: whether it takes their failures as values.
    """

    def __init__(self, number: int, inputs: list[Any], tolerant: bool) -> None:
        self.number = number
        self.inputs = inputs
        self.tolerant = tolerant
        self.made: Any = None  # with which the attempt that counts was ended without being called
        self.end: Any = None  # told by its first callback
        self.callbacks = 0
        self.called: list[int] = []  # which callbacks, as they were called
        self.cancelled = False  # whether a cancel() has said so

    def value(self, inputs: list[Any]) -> Any:
        return self.number, [told(one) for one in inputs]


class HubMachine(RuleBasedStateMachine):
    """Drives an executor through ManualBackend."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Submitted] = []
        self.numbers: dict[int, int] = {}  # of tasks, by the serials of their futures
        self.futures: dict[int, GraphFuture[Any]] = {}  # those that the user has not dropped
        self.items: list[tuple[int, GraphFuture[Any], int]] = []
        self.foreign: list[Future[Any]] = []
        #: attempts that were taken and not ended: which task, which of its attempts; its future, where
        self.held: dict[tuple[int, int], tuple[GraphFuture[Any], Place]] = {}
        self.late: list[Command] = []
        self.shut = self.cancelling = False
        self.inside = False  # whether a task is running that may submit, shut or not

    @initialize(
        slots=st.integers(1, 4), shapes=st.lists(st.integers(0, 2), min_size=3, max_size=8), taken=st.integers(0, 4)
    )
    def start(self, slots: int, shapes: list[int], taken: int) -> None:
        self.backend = Sleepy(slots, places=PLACES, patience=5)
        self.executor = GraphExecutor(backend=self.backend)
        self.hub = self.executor._hub
        self.hub.scheduler.unsettled = Ordered()  # type: ignore[assignment]
        for number, shape in enumerate(shapes):  # something to begin with, or most machines would do little
            self.submit([*range(number)][-shape:] if shape else [], shape, number % 4 == 3, 0, False)
        self.take(0, taken)

    def do(self, command: Command, late: bool) -> None:
        if late:
            self.late.append(command)
        else:
            command()

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def execute_a_late_command(self, data: st.DataObject) -> None:
        self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))()

    @rule(asleep=st.booleans())
    def sleep_or_wake(self, asleep: bool) -> None:
        self.backend.asleep = asleep
        self.backend.wake()

    # -- submitting -------------------------------------------------------------------------

    def submit(self, inputs: list[Any], shape: int, tolerant: bool, priority: float, inner: bool) -> None:
        """Submit a task; ``inputs`` are numbers of tasks, and foreign futures."""
        inputs = [one for one in inputs if one in self.futures or one in self.foreign]  # others were dropped meanwhile
        task = Submitted(len(self.tasks), inputs, tolerant)
        futures = [self.futures[one] if isinstance(one, int) else one for one in inputs]
        given: list[Any] = [allow_failure(one) if tolerant else one for one in futures]
        arguments = [given, [given[:1], {"rest": given[1:]}], [[{"all": [[one] for one in given]}]]][shape]

        def call(*values: Any) -> Any:
            if inner:
                self.submit([], 0, False, 0, False)
            return task.value(flat([*values]))

        door = self.executor.options(priority=priority) if priority else self.executor
        try:
            future = door.submit(call, *arguments)
        except RuntimeError:
            assert self.cancelling or (self.shut and not self.inside), "an executor that is open has refused a task"
            return
        self.numbers[future.serial] = task.number
        self.tasks.append(task)
        self.futures[task.number] = future
        self.add_callback(task.number)

    @rule(
        data=st.data(),
        shape=st.integers(0, 2),
        tolerant=st.booleans(),
        priority=st.sampled_from([0, 0, 1, -1.5]),
        inner=st.booleans(),
        late=LATE,
    )
    def submits(
        self, data: st.DataObject, shape: int, tolerant: bool, priority: float, inner: bool, late: bool
    ) -> None:
        known = [*self.futures, *self.foreign]
        inputs = data.draw(st.lists(st.sampled_from(known), max_size=4)) if known else []
        self.do(lambda: self.submit(inputs, shape, tolerant, priority, inner), late)

    @precondition(lambda self: self.futures and not self.shut)
    @rule(data=st.data())
    def unpacks(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.futures]))
        self.items += [(number, item, n) for n, item in enumerate(unpack(self.futures[number], 2))]

    @rule()
    def makes_a_foreign_future(self) -> None:
        self.foreign.append(Future())

    @precondition(lambda self: self.foreign)
    @rule(data=st.data(), how=st.sampled_from(["result", "exception", "cancel"]), late=LATE)
    def settles_a_foreign_future(self, data: st.DataObject, how: str, late: bool) -> None:
        future = data.draw(st.sampled_from(self.foreign))

        def settle() -> None:
            if future.done():
                return
            if how == "result":
                future.set_result(("foreign", []))
            elif how == "exception":
                future.set_exception(Made("foreign"))
            else:
                assert future.cancel()

        self.do(settle, late)

    # -- attempts ---------------------------------------------------------------------------

    @rule(place=st.integers(0, PLACES - 1), n=st.integers(1, 4), late=LATE)
    def takes(self, place: int, n: int, late: bool) -> None:
        self.do(lambda: self.take(place, n), late)

    def take(self, place: int, n: int) -> None:
        batch = self.backend.take(n, place=place)
        assert len(batch) <= n
        for future in batch:
            number = self.numbers[future.serial]
            self.held[number, future.attempt] = future, self.backend._places[place]
        assert len(self.backend.held(place)) <= self.backend.max_workers

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["finish", "fail", "run", "run", "revoke"]), late=LATE)
    def ends_an_attempt(self, data: st.DataObject, how: str, late: bool) -> None:
        attempt = data.draw(st.sampled_from([*self.held]))
        self.do(lambda: self.end(*attempt, how), late)

    def end(self, number: int, attempt: int, how: str) -> None:
        if (number, attempt) not in self.held:
            return  # ended by another command; what the backend says then is tested elsewhere
        task, (future, _) = self.tasks[number], self.held[number, attempt]
        if how == "run" and attempt != future.attempt:
            how = "finish"  # it was taken once more, and only that attempt can be run
        counts = future.running() and attempt == future.attempt
        before = future.done()
        del self.held[number, attempt]
        if how == "revoke":
            self.backend.revoke(future, attempt=attempt)
            assert future.done() == before
            return
        if how == "run":
            self.inside = counts
            self.backend.run(future)
            self.inside = False
        elif how == "finish":
            self.backend.finish(future, ("made", [number, attempt]), attempt=attempt)
        else:
            self.backend.fail(future, Made(number, attempt), attempt=attempt)
        assert future.done() == (before or counts), "a fact counts exactly while its attempt is the current one"
        if counts and how != "run":
            task.made = ("made" if how == "finish" else "Made"), [number, attempt]

    @rule(place=st.integers(0, PLACES - 1), again=st.integers(0, 4), late=LATE)
    def loses_a_place(self, place: int, again: int, late: bool) -> None:
        def lose() -> None:
            self.backend.lose(place)
            self.take(PLACES - 1 - place, again)  # of the attempts that were lost may still be heard

        self.do(lose, late)

    # -- what users do with futures ---------------------------------------------------------

    @precondition(lambda self: self.futures)
    @rule(data=st.data(), force=st.booleans(), late=LATE)
    def cancels(self, data: st.DataObject, force: bool, late: bool) -> None:
        number = data.draw(st.sampled_from([*self.futures]))
        self.do(lambda: self.cancel(number, force), late)

    def cancel(self, number: int, force: bool) -> None:
        future = self.futures.get(number)
        if future is None:
            return
        before, running = future.cancelled(), future.running()
        verdict = future.cancel(force=force)
        assert verdict == future.cancelled()
        assert verdict or future.done() or future.running()
        assert not (verdict and running), "a running task was cancelled, though nothing can stop it"
        assert verdict or not before
        self.tasks[number].cancelled |= verdict

    @precondition(lambda self: self.futures)
    @rule(data=st.data(), late=LATE)
    def adds_a_callback(self, data: st.DataObject, late: bool) -> None:
        number = data.draw(st.sampled_from([*self.futures]))
        self.do(lambda: self.add_callback(number), late)

    def add_callback(self, number: int) -> None:
        future, task = self.futures.get(number), self.tasks[number]
        if future is None:
            return
        which = task.callbacks
        task.callbacks += 1

        def called(future: GraphFuture[Any]) -> None:
            task.called.append(which)
            end = told(outcome(future)) if future.done() else "it is not done"
            if task.end is None:
                task.end = end
            elif task.end != end:
                task.end = f"it was {task.end}, then {end}"

        future.add_done_callback(called)

    @precondition(lambda self: len(self.futures) > 4)
    @rule(data=st.data())
    def drops(self, data: st.DataObject) -> None:
        del self.futures[data.draw(st.sampled_from([*self.futures]))]

    @precondition(lambda self: len(self.tasks) > 8 and not self.shut)
    @rule(cancelling=st.booleans(), late=LATE)
    def shuts_down(self, cancelling: bool, late: bool) -> None:
        self.do(lambda: self.shut_down(cancelling), late)

    def shut_down(self, cancelling: bool) -> None:
        self.shut = True
        self.cancelling = self.cancelling or cancelling
        self.executor.shutdown(wait=False, cancel_futures=cancelling)
        if cancelling:
            for future in self.futures.values():
                assert future.done() or future.running(), "it is left pending by a shutdown that cancels"

    # -- what must hold ---------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        if not hasattr(self, "backend"):
            return
        current = {(number, attempt) for (number, attempt), (_, place) in self.held.items() if self.alive(place)}
        for number, future in self.futures.items():
            self.is_consistent(number, future, (number, future.attempt) in current)
        outstanding = [
            (future, attempt, place) for (_, attempt), (future, place) in self.held.items() if self.alive(place)
        ]
        known = [*self.futures.values()]
        if not self.hub.inbox:  # where an item may be settled already
            known += [item for _, item, _ in self.items]
        check(self.hub.scheduler, [future for future in known if future.state is not NEW], outstanding)

    def alive(self, place: Place) -> bool:
        return place in self.backend._places

    def is_consistent(self, number: int, future: GraphFuture[Any], held: bool) -> None:
        task = self.tasks[number]
        called = tuple(task.called)  # on another thread meanwhile
        assert future.running() == (held and not future.done())
        assert not (future.running() and future.done())
        assert future.done() or not future.cancelled()
        assert future.done() or not called, "a callback was called before the end"
        assert future.cancelled() or not task.cancelled, "it was cancelled once"
        assert len(set(called)) == len(called), "a callback was called twice"
        if future.done():
            assert task.end is None or task.end == told(outcome(future))
        else:
            with pytest.raises(TimeoutError):
                future.result(0)

    def teardown(self) -> None:
        if not hasattr(self, "backend"):
            return
        self.backend.asleep = False
        self.backend.wake()
        while self.late:
            self.late.pop()()
            self.everything_holds()
        self.shut_down(False)
        for future in self.foreign:
            if not future.done():
                future.set_result(("foreign", []))
        while True:
            for place in range(PLACES):
                self.take(place, 4)
            if not self.held:
                break
            for number, attempt in [*self.held]:
                self.end(number, attempt, "run")
            self.everything_holds()
        self.hub.apply()
        unsettled = [number for number, future in self.futures.items() if not future.done()]
        assert not unsettled, f"left pending before the end of shutdown: {unsettled}"
        in_time(self.executor.shutdown)
        assert not self.hub.scheduler.unsettled
        for task in self.tasks:
            self.ended_well(task)
        for number, item, n in self.items:
            assert item.done()
            end = self.tasks[number].end
            if item.cancelled() or item.exception(0) is not None:
                assert self.failed(end) or (item.cancelled() and self.cancelling), "what it is an item of has a value"
            else:
                assert item.result(0) == end[n]

    def failed(self, end: Any) -> bool:
        """Whether a task ended without a value, as its callbacks were told."""
        return end[0] in ("Made", "CancelledError")

    def ended_well(self, task: Submitted) -> None:
        assert task.end is not None, "it was never told of"
        assert sorted(task.called) == [*range(task.callbacks)], "each callback is called once"
        inputs = [self.tasks[one].end if isinstance(one, int) else told(outcome(one)) for one in task.inputs]
        troubles = [] if task.tolerant else [end for end in inputs if self.failed(end)]
        if task.made is not None:
            assert task.end == task.made
            assert not troubles, "it ran without an input"
        elif task.end == told(CancelledError()):
            assert task.cancelled or task.end in troubles or self.cancelling, "nobody has cancelled it"
        elif self.failed(task.end):
            assert task.end in troubles, "it has failed for no reason"
        else:
            assert task.end == (task.number, inputs)
            assert not troubles, "it ran without an input"


TestHubMachine = HubMachine.TestCase
TestHubMachine.settings = settings(max_examples=75, stateful_step_count=50, deadline=None)


@pytest.mark.long
@pytest.mark.parametrize("number", range(20))
def test_long_hub_machine(number: int) -> None:
    soak(HubMachine, number, examples=1_000, steps=80)
