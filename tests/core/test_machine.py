"""Any facts in any order: the machine keeps its promises, and at the end nothing is left."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from soaking import soak

from graphfutures.core import states
from graphfutures.core.circles import circle
from graphfutures.core.graph import Place, Task
from graphfutures.core.invariants import check
from graphfutures.core.rebuilding import rebuilt
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import DONE, FAILED, NEW, READY, RUNNING, SETTLED, WAITING

LANE = st.sampled_from(["", "", "side"])


class CheckedTask(Task):
    """A task whose every change of state must stand in the table."""

    __slots__ = ("_state",)

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, after: str) -> None:
        before = getattr(self, "_state", None)
        assert before is None or (before, after) in states.ALLOWED, f"{before} → {after}"
        self._state = after

    def __repr__(self) -> str:
        return f"t{self.serial}:{self._state}"


def edges(task: Task) -> tuple[Task, ...]:
    return () if task.state in SETTLED else task.dependencies


class Machine(RuleBasedStateMachine):
    """Drives a scheduler with places of threads, and places that run in order and can be lost."""

    futures = Bundle("futures")
    batching = True

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(batching=self.batching, resources={"gpu": 2})
        self.scheduler.lane("side")
        self.tasks: list[Task] = []
        self.outstanding: list[tuple[Task, int, Place]] = []
        self.postponed: list[Task] = []
        self.blocked: list[tuple[Task, int, Place]] = []
        self.places = [Place("threads", 2), Place("side", 2, lane="side")]
        self.cancelled_in_vain: set[Task] = set()

    @initialize(
        target=futures,
        workers=st.integers(1, 2),
        shapes=st.lists(st.tuples(st.integers(0, 2), LANE), min_size=3, max_size=8),
        taken=st.integers(0, 4),
    )
    def start(self, workers: int, shapes: list[tuple[int, str]], taken: int) -> MultipleResults[Task]:
        if self.batching:
            self.places += [self.worker(f"worker {n}", "side" if n else "") for n in range(workers)]
        for inputs, lane in shapes:  # something to begin with, or most machines would do little
            self.add(self.tasks[-inputs:] if inputs else [], lane=lane)
        for place in reversed(self.places):
            self.handed_over(place, self.scheduler.taken(place, taken))
        return multiple(*self.tasks)

    def worker(self, name: str, lane: str) -> Place:
        return Place(name, 4, sequential=True, lane=lane)

    def add(self, dependencies: list[Task], *, at_once: bool = False, **attributes: object) -> Task:
        task = CheckedTask(len(self.tasks), tuple(dependencies))
        if any(attributes.values()):
            task.mark(**attributes)
        self.tasks.append(task)
        place, batch = self.places[0], list[Task]()
        if at_once and self.scheduler.entered(task, place, batch):
            assert batch == [task]
            self.handed_over(place, batch)
        else:
            self.scheduler.submitted((task,))
        return task

    @rule(
        target=futures,
        data=st.data(),
        priority=st.sampled_from([0, 0, 0, 1, 2.5, -1]),
        nested=st.integers(0, 2),
        lane=LANE,
        gpus=st.sampled_from([0, 0, 0, 1, 2]),
        at_once=st.booleans(),
    )
    def submit(self, data: st.DataObject, priority: float, nested: int, lane: str, gpus: int, at_once: bool) -> Task:
        chosen = data.draw(st.lists(st.sampled_from(self.tasks), max_size=4))
        tolerated = data.draw(st.lists(st.sampled_from(chosen), max_size=2)) if chosen else []
        resources = {"gpu": gpus} if gpus else {}
        rest = {"priority": priority, "nested": nested, "tolerated": tuple(tolerated)}
        return self.add(chosen, at_once=at_once, lane=lane, resources=resources, **rest)

    @rule(target=futures)
    def submit_outside(self) -> Task:
        task = CheckedTask(len(self.tasks))
        task.mark(outside=True)
        task.state = WAITING
        self.scheduler.unsettled.add(task)
        self.tasks.append(task)
        return task

    @rule(target=futures, parent=futures)
    def unpack(self, parent: Task) -> Task:
        return self.add([parent], derived=True)

    @precondition(lambda self: any(t.outside and t.state is WAITING for t in self.tasks))
    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "cancelled"]))
    def outside_settles(self, data: st.DataObject, how: str) -> None:
        task = data.draw(st.sampled_from([t for t in self.tasks if t.outside and t.state is WAITING]))
        if how == "done":
            self.scheduler.resolved(task)
        else:
            assert self.scheduler.failed_elsewhere(task, cancelled=how == "cancelled")

    @rule(data=st.data(), want=st.integers(1, 4))
    def take(self, data: st.DataObject, want: int) -> None:
        place = data.draw(st.sampled_from(self.places))
        ready = [t for t in self.tasks if t.state is READY and t.lane == place.lane and not t.resources]
        free = max(0, place.slots - place.held)
        batch = self.scheduler.taken(place, want)
        assert len(batch) >= min(free, want, len(ready))
        assert len(batch) <= free
        self.handed_over(place, batch)

    @precondition(lambda self: self.outstanding)
    @rule(task=futures, data=st.data())
    def hand_on(self, task: Task, data: st.DataObject) -> None:
        """An attempt waits for a task, and runs that itself if it is ready."""
        waiter, number, place = attempt = data.draw(st.sampled_from(self.outstanding))
        held, ready = place.held, task.state is READY
        if self.has_handed_on(attempt):
            return
        if self.scheduler.handed_on(waiter, number, place, task):
            assert ready
            assert attempt not in self.blocked
            assert place.held == held
            self.handed_over(place, [task])

    def has_handed_on(self, attempt: tuple[Task, int, Place]) -> bool:
        """Its thread runs another one, and it does nothing before that has returned."""
        return attempt[:2] in self.scheduler._lenders.values()

    @rule(tasks=st.lists(futures, max_size=3))
    def urge(self, tasks: list[Task]) -> None:
        self.scheduler.urged(tasks)

    def handed_over(self, place: Place, batch: list[Task]) -> None:
        here: set[Task] = {t for t in self.tasks if t.state is RUNNING and t.place is place}
        for task in batch:
            assert task.lane == place.lane
            self.outstanding.append((task, task.attempt, place))
            for dependency in task.dependencies:
                met = dependency.state is DONE or dependency in task.tolerated
                assert met or (place.sequential and dependency in here), "handed over without an input"

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data(), how=st.sampled_from(["finish", "turn", "repeat", "fail", "revoke", "retry", "join"]))
    def attempt_returns(self, data: st.DataObject, how: str) -> None:
        task, number, place = attempt = data.draw(st.sampled_from(self.outstanding))
        if self.has_handed_on(attempt):
            return
        current = task.state is RUNNING and task.attempt == number
        if how in ("finish", "turn", "join") and current and task.unmet and task.along:
            how = "revoke"  # a worker cannot run what it lacks the inputs of
        self.outstanding.remove(attempt)
        if attempt in self.blocked:
            self.blocked.remove(attempt)
        inside = (task, number) in self.scheduler._lenders
        match how:
            case "turn" | "repeat" if self.scheduler.turned(task, number, place, batch := [], how == "repeat"):
                counted = True
                ready = [t for t in self.tasks if t.state is READY and t.lane == place.lane and not t.resources]
                assert not batch if inside else batch or not ready
                self.handed_over(place, batch)
            case "finish" | "turn":
                counted = self.scheduler.finished(task, number, place)
            case "join":
                inner = [t for t in self.tasks if not circle(task, [t], edges)]
                found = tuple(data.draw(st.lists(st.sampled_from(inner), max_size=3))) if inner else ()
                counted = self.scheduler.joined(task, number, place, found)
            case "fail":
                counted = self.scheduler.failed(task, number, place)
            case "revoke" | "repeat":
                counted = self.scheduler.revoked(task, number, place)
            case _:
                counted = self.scheduler.revoked(task, number, place, later=True)
                if counted:
                    self.postponed.append(task)
        assert counted == current, "a fact counts exactly while its attempt is the current one"

    @precondition(lambda self: self.postponed)
    @rule(data=st.data())
    def due(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.postponed))
        self.postponed.remove(task)
        self.scheduler.due(task)

    @rule(task=futures, force=st.booleans())
    def cancel(self, task: Task, force: bool) -> None:
        before = task.state
        verdict = self.scheduler.cancelled(task, force=force)
        if before in (WAITING, READY):
            assert verdict
        if before is RUNNING:
            assert verdict == force

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data())
    def block(self, data: st.DataObject) -> None:
        task, number, _ = attempt = data.draw(st.sampled_from(self.outstanding))
        if self.has_handed_on(attempt):
            return
        computes = task.state is RUNNING and task.attempt == number
        lent = self.scheduler.blocked(*attempt)
        assert lent == ((computes or (task, number) in self.scheduler.overdue) and attempt not in self.blocked)
        if lent:
            self.blocked.append(attempt)

    @precondition(lambda self: self.blocked)
    @rule(data=st.data(), at_once=st.booleans())
    def unblock(self, data: st.DataObject, at_once: bool) -> None:
        attempt = data.draw(st.sampled_from(self.blocked))
        assert self.scheduler.unblocked(*attempt, at_once=at_once) == (attempt[:2] in self.lent())
        if at_once:
            assert attempt[:2] not in self.scheduler._blocked
        self.blocked = [attempt for attempt in self.blocked if attempt[:2] in self.scheduler._blocked]

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data(), back=st.booleans())
    def tokens_only(self, data: st.DataObject, back: bool) -> None:
        """An attempt waits where it lends no slot, or waits no more."""
        task, number, _ = attempt = data.draw(st.sampled_from(self.outstanding))
        if attempt not in self.blocked and not self.has_handed_on(attempt):
            (self.scheduler.tokens_back if back else self.scheduler.tokens_lent)(task, number)

    def lent(self) -> set[tuple[Task, int]]:
        return {(task, number) for task, number, _ in self.blocked}

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        task, number, place = data.draw(st.sampled_from(self.outstanding))
        if not place.sequential:
            current = task.state is RUNNING and task.attempt == number
            assert self.scheduler.expired(task, number) == current

    @precondition(lambda self: len(self.places) > 2)
    @rule(data=st.data())
    def lose_place(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.places[2:]))
        self.places.remove(place)
        self.outstanding = [a for a in self.outstanding if a[2] is not place]
        self.blocked = [a for a in self.blocked if a[2] is not place]
        self.scheduler.lost(place)
        self.places.append(self.worker(place.name + "'", place.lane))

    @rule(budget=st.integers(1, 5))
    def spread(self, budget: int) -> None:
        self.scheduler.spread(budget)

    @rule()
    def settle_derived(self) -> None:
        news, self.scheduler.news = self.scheduler.news, []
        for task in news:
            if task.derived and task.state is WAITING:
                self.scheduler.resolved(task)

    @invariant()
    def everything_holds(self) -> None:
        resumed, self.scheduler.resumed = self.scheduler.resumed, []
        self.blocked = [attempt for attempt in self.blocked if attempt[:2] not in resumed]
        self.postponed = [task for task in self.postponed if task.state not in SETTLED]
        check(self.scheduler, self.tasks, self.outstanding, self.postponed)
        for task in self.tasks:
            if task.state is FAILED and task.blame is not None:
                assert task.blame.state is FAILED

    def teardown(self) -> None:
        """Run to the end: every task settles, every slot comes back."""
        scheduler = self.scheduler
        for task in self.tasks:
            if task.outside:
                scheduler.resolved(task)
        for task in self.postponed:
            scheduler.due(task)
        for attempt in self.blocked:
            scheduler.unblocked(*attempt)
        for _ in range(10 * len(self.tasks) + 10):
            while scheduler.spread(None):
                pass
            self.settle_derived()
            for task, number, where in self.outstanding:
                scheduler.finished(task, number, where)
            self.outstanding = [
                (task, task.attempt, place) for place in self.places[:2] for task in scheduler.taken(place, 2)
            ]
        assert not scheduler.unsettled
        assert not scheduler.overdue
        assert not scheduler.postponed
        assert not scheduler.tokens.held
        assert not scheduler._spreading
        assert not scheduler._blocked
        assert not scheduler._lenders
        assert not scheduler.lent_tokens
        assert all(where.held == 0 for where in self.places)
        assert not any(task.state is NEW for task in self.tasks)
        for task in self.tasks:
            assert not task.dependents
            assert task.state in SETTLED


class InProcessMachine(Machine):
    """The same without places that run in order: ``turned`` is for these."""

    batching = False

    @precondition(lambda self: not (self.blocked or self.scheduler._lenders))
    @rule(data=st.data())
    def interrupted(self, data: st.DataObject) -> None:
        """An exchange of the first place was interrupted: after handing over, or while a report was applied."""
        place = self.places[0]
        here = [attempt for attempt in self.outstanding if attempt[2] is place]
        current = [attempt for attempt in here if attempt[1] == attempt[0].attempt and attempt[0].state is RUNNING]
        started = data.draw(st.lists(st.sampled_from(current), unique=True)) if current else []
        self.outstanding = [attempt for attempt in self.outstanding if attempt[2] is not place] + started
        known = {*self.scheduler.unsettled, *self.scheduler.news}
        for task, number, _ in started:
            if data.draw(st.booleans()) and not self.scheduler.turned(task, number, place, []):
                self.scheduler.finished(task, number, place)
        self.scheduler = rebuilt(self.scheduler, known, place, [task for task, _, _ in started])


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestInProcessMachine = InProcessMachine.TestCase
TestInProcessMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_what_is_put_off_is_put_off_still_when_the_graph_is_begun_anew() -> None:
    scheduler, place, task = Scheduler(), Place("threads", 1), CheckedTask(0)
    scheduler.submitted([task])
    scheduler.taken(place)
    assert scheduler.revoked(task, 1, place, later=True)
    scheduler = rebuilt(scheduler, [task], place, [])
    check(scheduler, [task], postponed=[task])
    assert scheduler.taken(place) == []
    scheduler.due(task)
    assert scheduler.taken(place) == [task]


@pytest.mark.long
@pytest.mark.parametrize("kind", [Machine, InProcessMachine])
@pytest.mark.parametrize("number", range(20))
def test_long_machine(kind: type[Machine], number: int) -> None:
    soak(kind, number, examples=1_000, steps=60)
