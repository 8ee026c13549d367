"""A cluster that tells anything in any order, late, twice or not at all: every task settles, and rightly.

The pump is the real one, and so is what runs in a worker; the engine between them does what Hypothesis says.
"""

from __future__ import annotations

import gc
import logging
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from patience import LIMIT
from soaking import soak

from graphfutures import GraphExecutor, GraphFuture
from graphfutures.backends.base import Exchange
from graphfutures.backends.clusters import work
from graphfutures.backends.clusters.engine import Crash, Lost
from graphfutures.backends.clusters.forming import TARGET
from graphfutures.backends.clusters.hearing import LOGGER, LOSSES
from graphfutures.backends.clusters.pump import Cluster
from graphfutures.backends.clusters.work import HELD, LARGE, MISSING, STAYS, Kept, Report
from graphfutures.backends.processes.messages import RAISED, SKIPPED
from graphfutures.crashes import WorkerCrashedError
from graphfutures.errors import BrokenGraphError, TaskFailedError

KINDS = st.sampled_from(["small", "small", "small", "large", "apart", "huge", "fails"])
MOST_LARGE = st.sampled_from(["huge", "huge", "apart", "apart", "large", "small", "fails"])


class Made(Exception):
    """A failure that a test has made up."""


class Torn(Exception):
    """Of something in the cluster that is no task."""


def combine(number: int, kind: str, *values: Any) -> Any:
    """A value that tells of all that it was made from; what it was made from is spoilt."""
    total = number + 2 * sum(map(weight, values))
    for value in values:
        if isinstance(value, list):
            value.clear()
    if kind == "fails":
        raise Made(total)
    if kind == "small":
        return total
    text = total.to_bytes(HELD + 1 if kind == "huge" else LARGE, "big")
    return text if kind == "large" else [text]


def weight(value: Any) -> int:
    if isinstance(value, list):
        (value,) = value
    return int.from_bytes(value, "big") if isinstance(value, bytes) else value


class Sent:
    """A batch, as the engine has it.

    :param kept: what it has kept, once it has been run, as long as that is not lost.
    """

    def __init__(self, number: int, pickled: bytes, needs: list[Sent], kept: Kept | None = None) -> None:
        self.number = number
        self.pickled = pickled
        self.needs = needs
        self.kept = kept
        noted = [0]
        self.notes = work.Notes(noted.append, lambda: noted[-1])
        #: what it has kept when it was last run
        self.promised: set[int] = set()
        self.dead = False  # whether it is given up, there
        self.ended = False  # whether its end was told
        #: of whom it may have values, and whether all of these had some when it was run
        self.tickets = {*kept.values} if kept is not None else {task[0] for task in work._read(pickled).tasks}
        self.whole = kept is not None

    @property
    def is_put(self) -> bool:
        return not self.pickled


class Driven:
    """An engine that does nothing by itself."""

    dashboard_link = None

    def __init__(self, threads: int, seconds: float) -> None:
        self.number = threads
        self.seconds = seconds  # that each task takes
        self.sent: list[Sent] = []
        self.puts: list[Sent] = []
        self.fetches: list[tuple[Sent, Callable[..., object]]] = []
        self.sole_ones: dict[int, int] = {}  # of tasks whose values are for one alone: the ticket of that one
        self.why: Exception | None = None
        self.closed = False
        self.is_slow = False  # whether the time of a batch is always over

    def threads(self) -> int:
        return self.number

    def send(self, number: int, name: str, pickled: bytes, needs: list[Any], wishes: Any) -> Sent:
        assert all(isinstance(need, Sent) for need in needs), "it needs what was not sent"
        sent = Sent(number, pickled, needs)
        known = sent.tickets.union(*[need.tickets for need in needs])
        holes = [ticket for task in work._read(pickled).tasks if len(task) == 4 for _, ticket in task[3]]
        assert known.issuperset(holes), "it needs what it does not get"
        self.sent.append(sent)
        return sent

    def withdraw(self, handle: Sent) -> None:
        handle.dead = handle.ended = True

    def sole(self, ticket: int, taker: int) -> None:
        assert ticket not in self.sole_ones
        self.sole_ones[ticket] = taker

    def fetch(self, handle: Sent) -> Kept:
        return self.run(handle, lambda _: None)

    def fetch_later(self, handle: Sent, done: Callable[..., object]) -> None:
        self.fetches.append((handle, done))

    def revive(self, handle: Sent) -> None:
        handle.dead = handle.is_put

    def put(self, kept: Kept) -> Sent:
        self.puts.append(Sent(0, b"", [], kept))
        return self.puts[-1]

    def lost(self) -> Exception | None:
        return self.why

    def forked(self) -> None:
        """Nobody forks here."""

    def close(self) -> None:
        self.closed = True

    def run(self, sent: Sent, tell: Callable[[Report], object]) -> Kept:
        """Run a batch, and whatever of its needs is lost; one that has been run is as it was, as lineage has it."""
        if sent.kept is None:
            kept = [self.run(need, lambda _: None) for need in sent.needs]
            copies = [pickle.loads(pickle.dumps(one)) for one in kept]
            reports: list[Report] = []
            batch = work._read(sent.pickled)
            if self.is_slow:
                batch = batch._replace(budget=-1.0)

            def told(report: bytes) -> None:
                reports.append(pickle.loads(report))

            def asked(taker: int) -> set[int]:
                return {ticket for ticket, one in self.sole_ones.items() if one == taker}

            sent.kept = work.Run(batch, copies, told, False, asked, sent.notes).whole()
            assert sent.promised <= {*sent.kept.values}, "what others count on is not there any more"
            sent.promised = {*sent.kept.values}
            # How long it has really taken, and when some of it was told, would be another thing each time.
            outcomes = [(*outcome[:3], 0.0, self.seconds) for report in reports for outcome in report.outcomes]
            sent.whole = all(how not in (RAISED, SKIPPED, MISSING) for _, how, *_ in outcomes)
            if all(need.whole for need in sent.needs):
                assert outcomes[0][1] != MISSING, "the first one was sent without what it needs"
            there = {*sent.kept.values}.union(*[one.values for one in kept])
            assert not any(how == MISSING and told in there for _, how, told, *_ in outcomes), "it lacks what is there"
            handed = {ticket: taker for report in reports for ticket, taker in report.handed.items()}
            tell(reports[-1]._replace(outcomes=outcomes, handed=handed, running=0))
        return sent.kept


class Stepped(Cluster):
    """Its pump is whoever rings for it."""

    _turning = _rung = _sleeps = False

    def start(self, hub: Exchange) -> None:
        super().start(hub)
        self.hub = hub

    def wake(self) -> None:
        self._rung = True
        if self._turning or self._sleeps:
            return
        self._turning = True
        try:
            while self._rung:
                self._rung = False
                while self._turn(self.hub):
                    pass
        finally:
            self._turning = False

    nudge = attend = close = wake

    def _ring(self) -> None:
        self._rung = True

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """It turns once all is there."""
        self._sleeps = True
        yield
        self._sleeps = False
        self.wake()


class ClusterMachine(RuleBasedStateMachine):
    """Drives an executor through an engine."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[tuple[str, list[int]]] = []
        self.serials: dict[int, int] = {}  # numbers of tasks, by serial
        self.futures: dict[int, GraphFuture[Any]] = {}  # those that the user has not dropped
        self.reports: list[tuple[Sent, Report]] = []  # that are on their way, in order
        self.cancelled: set[int] = set()
        self.blamed: set[int] = set()  # tasks that may fail for what has become of their batches
        self.losses: dict[int, int] = {}
        self.has_lost = False  # whether the cluster has lost anything
        self.alarms = logging.Handler(logging.WARNING)
        self.alarms.handle = self.alarm  # type: ignore[method-assign]
        LOGGER.addHandler(self.alarms)

    def alarm(self, record: logging.LogRecord) -> bool:
        assert self.has_lost or "has lost it" not in record.getMessage(), "nothing was"
        return True

    @initialize(
        threads=st.integers(1, 3),
        seconds=st.sampled_from([0.0, TARGET / 3, TARGET]),
        shapes=st.lists(st.tuples(KINDS, st.integers(0, 2)), min_size=3, max_size=8),
    )
    def start(self, threads: int, seconds: float, shapes: list[tuple[str, int]]) -> None:
        self.engine = Driven(threads, seconds)
        self.cluster = Stepped(lambda _: self.engine, None, "machine", None, ())
        self.executor = GraphExecutor(backend=self.cluster)
        for kind, inputs in shapes:
            self.add(kind, [*self.futures][-inputs:] if inputs else [])

    # -- what the user does -------------------------------------------------------------------

    def add(self, kind: str, inputs: list[int], **options: Any) -> None:
        number = len(self.tasks)
        self.tasks.append((kind, inputs))
        submit = self.executor.options(**options).submit if options else self.executor.submit
        future = submit(combine, number, kind, *[self.futures[one] for one in inputs])
        self.futures[number] = future
        self.serials[future.serial] = number

    @precondition(lambda self: self.engine.why is None)
    @rule(kind=KINDS, data=st.data(), priority=st.sampled_from([0, 0, 0, 1]))
    def submit(self, kind: str, data: st.DataObject, priority: int) -> None:
        inputs = data.draw(st.lists(st.sampled_from([*self.futures]), max_size=3)) if self.futures else []
        self.add(kind, inputs, **({"priority": priority} if priority else {}))

    @precondition(lambda self: self.engine.why is None)
    @rule(kind=st.sampled_from(["small", "large", "apart", "huge"]), data=st.data())
    def put(self, kind: str, data: st.DataObject) -> None:
        """Somebody puts a value, and a task needs it, beside others."""
        inputs = data.draw(st.lists(st.sampled_from([*self.futures]), max_size=2)) if self.futures else []
        number = len(self.tasks)
        self.tasks.append((kind, []))
        self.futures[number] = self.executor.put(combine(number, kind))
        self.add("small", [number, *inputs])

    @precondition(lambda self: self.engine.why is None)
    @rule(kind=KINDS, links=st.integers(2, 6))
    def submit_chain(self, kind: str, links: int) -> None:
        self.add(kind, [])
        for _ in range(links):
            self.add(kind, [len(self.tasks) - 1])
            del self.futures[len(self.tasks) - 2]

    @precondition(lambda self: self.engine.why is None and len(self.tasks) < 50)
    @rule(kinds=st.lists(MOST_LARGE, min_size=2, max_size=8), held=st.booleans())
    def submit_tree(self, kinds: list[str], held: bool) -> None:
        """It is there at once, and nobody has what is inside of it, or somebody has one of that."""
        with self.cluster.asleep():
            level = [*range(len(self.tasks), len(self.tasks) + len(kinds))]
            for kind in kinds:
                self.add(kind, [])
            inner = level[held:]
            while len(level) > 1:
                pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
                level = []
                for pair, kind in zip(pairs, kinds, strict=False):
                    level.append(len(self.tasks))
                    self.add(kind, pair)
                inner += level
            for number in inner[:-1]:
                del self.futures[number]

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        del self.futures[data.draw(st.sampled_from([*self.futures]))]

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.futures]))
        if self.futures[number].cancel():
            self.cancelled.add(number)

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def watch(self, data: st.DataObject) -> None:
        """Somebody waits for the value, so that it is fetched before it is told of."""
        self.futures[data.draw(st.sampled_from([*self.futures]))].add_done_callback(lambda _: None)

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.futures]))
        if self.futures[number].done():
            self.check(number)

    # -- what the cluster does ----------------------------------------------------------------

    def open(self) -> list[Sent]:
        return [one for one in self.engine.sent if not one.ended and not one.dead]

    def runnable(self) -> list[Sent]:
        return [one for one in self.open() if not any(need.dead for need in one.needs)]

    @precondition(lambda self: self.runnable())
    @rule(data=st.data(), late=st.booleans())
    def run(self, data: st.DataObject, late: bool) -> None:
        """A batch is run to its end, or was before and is again, its worker having died."""
        sent = data.draw(st.sampled_from(self.runnable()))
        sent.kept = None
        self.engine.run(sent, lambda report: self.reports.append((sent, report)))
        if not late:
            self.told()
            self.over(sent, None)

    @precondition(lambda self: self.reports)
    @rule()
    def told(self) -> None:
        """Whatever is on its way arrives."""
        reports, self.reports = self.reports, []
        for _, report in reports:
            self.cluster.heard(pickle.dumps(report))
        self.cluster.wake()

    @precondition(lambda self: self.runnable())
    @rule(data=st.data())
    def told_in_part(self, data: st.DataObject) -> None:
        """A batch has begun, and some of its tasks have ended, and no more is heard of that run."""
        sent = data.draw(st.sampled_from(self.runnable()))
        reports: list[Report] = []
        self.engine.run(sent, reports.append)
        sent.kept = None
        for report in reports:
            ends, ahead = [0], set()  # what was handed on is told of with the end of whoever took it
            for n, (ticket, *_) in enumerate(report.outcomes):
                ahead.discard(ticket)
                ahead.update([report.handed[ticket]] if ticket in report.handed else ())
                if not ahead:
                    ends.append(n + 1)
            number = data.draw(st.sampled_from(ends))
            rest = report.outcomes[number:]
            part = report._replace(outcomes=report.outcomes[:number], running=rest[0][0] if rest else 0)
            self.cluster.heard(pickle.dumps(part))
        self.cluster.wake()

    def over(self, sent: Sent, failure: BaseException | None) -> None:
        self.reports = [one for one in self.reports if one[0] is not sent]  # what comes after it is not heard
        sent.ended = True
        if failure is not None:
            self.has_lost = sent.dead = True
            sent.kept = None
        self.cluster.over(sent.number, failure)
        self.cluster.wake()

    def hand(self, sent: Sent) -> list[int]:
        batch = self.cluster._hearing.batches.get(sent.number)
        return [] if batch is None else [self.serials[future.serial] for future, _ in batch.hand.values()]

    @precondition(lambda self: self.open())
    @rule(data=st.data(), begun=st.booleans())
    def crash(self, data: st.DataObject, begun: bool) -> None:
        sent = data.draw(st.sampled_from(self.open()))
        hand = self.hand(sent)
        if begun or len(hand) == 1:
            self.blamed.update(hand)
        self.over(sent, Crash(4, begun=begun))

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.lost(data.draw(st.sampled_from(self.open())))

    def lost(self, sent: Sent) -> None:
        for number in self.hand(sent):
            self.losses[number] = self.losses.get(number, 0) + 1
            if self.losses[number] > LOSSES:
                self.blamed.add(number)
        was_there = sent.number in self.cluster._hearing.batches
        self.over(sent, Lost())
        if was_there:
            assert not any(need.dead and not need.is_put for need in sent.needs), "what it needs is not made again"

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def tear(self, data: st.DataObject) -> None:
        """A batch fails with what is no failure of its tasks."""
        sent = data.draw(st.sampled_from(self.open()))
        self.blamed.update(self.hand(sent))
        self.over(sent, Torn())

    def kept(self) -> list[Sent]:
        return [one for one in [*self.engine.sent, *self.engine.puts] if one.kept is not None]

    @precondition(lambda self: self.kept())
    @rule(data=st.data(), dead=st.booleans())
    def lose_value(self, data: st.DataObject, dead: bool) -> None:
        """What was kept is gone with its worker; the cluster makes it again, or gives it up."""
        sent = data.draw(st.sampled_from(self.kept()))
        self.has_lost = True
        if sent.is_put:
            sent.dead = True  # for what is sent from now on; what was made of it can be made again
        else:
            sent.kept = None
            sent.dead = dead and sent.ended

    @precondition(lambda self: self.engine.fetches)
    @rule(data=st.data(), how=st.sampled_from(["kept", "kept", "lost", "torn"]))
    def fetched(self, data: st.DataObject, how: str) -> None:
        sent, done = self.engine.fetches.pop(data.draw(st.integers(0, len(self.engine.fetches) - 1)))
        hand = self.hand(sent)
        if how == "torn":
            self.blamed.update(hand)
            done(None, Torn())
        elif how == "lost":
            self.has_lost = True
            for number in hand:
                self.losses[number] = self.losses.get(number, 0) + 1
                if self.losses[number] > LOSSES:
                    self.blamed.add(number)
            done(None, Lost())
        else:
            done(self.engine.run(sent, lambda _: None), None)
        self.cluster.wake()

    @rule(threads=st.integers(1, 3), slow=st.booleans())
    def change(self, threads: int, slow: bool) -> None:
        self.engine.number = threads
        self.engine.is_slow = slow

    @precondition(lambda self: len(self.tasks) > 12)
    @rule()
    def lose_cluster(self) -> None:
        self.engine.why = self.engine.why or BrokenGraphError("it is gone")
        self.cluster.wake()
        self.blamed.update(range(len(self.tasks)))

    # -- what must hold -----------------------------------------------------------------------

    def expected(self, number: int) -> Any:
        """The value of a task.

        :raises Made: if it has none.
        """
        kind, inputs = self.tasks[number]
        return combine(number, kind, *map(self.expected, inputs))

    def failures(self, number: int) -> list[Any]:
        """What those of its ancestors have raised that have done so by themselves."""
        found = []
        for one in sorted(self.ancestors(number)):
            if self.tasks[one][0] == "fails" and not any(self.failures(need) for need in self.tasks[one][1]):
                with pytest.raises(Made) as raised:
                    self.expected(one)
                found.append(raised.value.args)
        return found

    def ancestors(self, number: int) -> set[int]:
        return {number}.union(*[self.ancestors(one) for one in self.tasks[number][1]])

    def check(self, number: int) -> None:
        future = self.futures[number]
        before = self.ancestors(number)
        if future.cancelled():
            assert before & self.cancelled, "nobody has cancelled it"
            return
        error = future.exception(0)
        if error is None:
            assert future.result(0) == self.expected(number)
        elif isinstance(error, Made):
            assert error.args in self.failures(number)
        else:
            assert type(error) in (WorkerCrashedError, BrokenGraphError, TaskFailedError, Torn)
            assert before & self.blamed, f"nothing has become of it that makes it {error!r}"

    def teardown(self) -> None:
        """The cluster does its work from now on: every task settles, and nothing is left."""
        LOGGER.removeHandler(self.alarms)
        if not hasattr(self, "executor"):
            return
        for _ in range(100 + len(self.tasks)):
            self.told()
            for one in self.open():
                if any(need.dead for need in one.needs):
                    self.lost(one)
                elif not one.ended:
                    one.kept = None
                    self.engine.run(one, lambda report: self.cluster.heard(pickle.dumps(report)))
                    self.over(one, None)
            fetches, self.engine.fetches = self.engine.fetches, []
            for sent, done in fetches:
                done(self.engine.run(sent, lambda _: None), None)
            self.cluster.wake()
        for number, future in self.futures.items():
            assert future.done(), f"task {number} is lost"
            self.check(number)
        hearing, sending = self.cluster._hearing, self.cluster._sending
        assert not hearing.batches
        assert not hearing.facts
        assert not hearing.returned
        assert not hearing._fetching
        assert all(future.done() for future in [*hearing._losses, *sending.suspects])
        assert not sending.where
        assert not sending.tickets
        assert not sending.unsure
        self.executor.shutdown(wait=False)


# -- what was found -------------------------------------------------------------------------------


def made() -> tuple[Driven, Stepped, GraphExecutor]:
    engine = Driven(1, 0.0)
    cluster = Stepped(lambda _: engine, None, "made", None, ())
    return engine, cluster, GraphExecutor(backend=cluster)


def run_to_its_end(engine: Driven, cluster: Stepped, sent: Sent) -> None:
    engine.run(sent, lambda report: cluster.heard(pickle.dumps(report)))
    cluster.over(sent.number, None)
    cluster.wake()


@pytest.mark.parametrize(("failure", "told"), [(Crash(4), WorkerCrashedError), (None, TaskFailedError)])
def test_what_ends_before_it_has_begun_is_not_sent_for_ever(failure: Any, told: type[Exception]) -> None:
    engine, cluster, executor = made()
    future = executor.submit(combine, 0, "small")
    for _ in range(10):
        if not future.done():
            cluster.over(engine.sent[-1].number, failure)
            cluster.wake()
    assert type(future.exception(0)) is told
    assert len(engine.sent) == 4
    executor.shutdown()


def test_what_may_not_begin_twice_does_not_if_the_cluster_loses_it() -> None:
    engine, cluster, executor = made()
    future = executor.options(crash_retries=0).submit(combine, 0, "small")
    (sent,) = engine.sent
    cluster.heard(pickle.dumps(Report(sent.number, "run", "worker", None, min(sent.tickets), [], {})))
    cluster.over(sent.number, Lost())
    cluster.wake()
    assert isinstance(future.exception(0), TaskFailedError)
    assert engine.sent == [sent]
    executor.shutdown()


def test_what_needs_something_that_could_not_be_sent_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, cluster, executor = made()

    def refuse(*_: Any) -> Any:
        raise Torn

    gate = executor.submit(combine, 0, "small")  # behind which the others are sent in one turn
    monkeypatch.setattr(engine, "send", refuse)
    one, other = executor.submit(combine, 1, "small", gate), executor.submit(combine, 2, "small", gate)
    both = executor.submit(combine, 3, "small", one, other)
    run_to_its_end(engine, cluster, engine.sent[0])
    assert gate.result(0) == 0
    assert all(isinstance(future.exception(0), Torn) for future in (one, other, both))
    executor.shutdown()


BEGUN, GO = threading.Event(), threading.Event()


def wait_until_told(_: Any) -> bool:
    return GO.wait(LIMIT)


def shortened(value: Any) -> int:
    return len(value)


def grown(number: int) -> bytes:
    assert BEGUN.wait(LIMIT)
    return bytes(LARGE + number)


def test_what_follows_a_value_that_is_handed_on_does_not_hold_back_its_end() -> None:
    engine, cluster, executor = made()
    BEGUN.clear()
    GO.clear()
    for name, large in [("grown", True), ("shortened", False), ("wait_until_told", False)]:
        cluster._pace.learn(name, 0.0, LARGE * large)
    cluster._pace.learn_mean(0.0)
    first = executor.submit(combine, 1, "small")  # behind which they are sent in one turn
    last = executor.submit(wait_until_told, executor.submit(shortened, executor.submit(grown, first)))
    run_to_its_end(engine, cluster, engine.sent[0])
    sent = engine.sent[-1]
    assert len(sent.tickets) == 3

    def tell(report: bytes) -> None:
        BEGUN.set()  # it is told of by itself that the first one runs
        if len(pickle.loads(report).outcomes) == 2:
            GO.set()
        cluster.heard(report)

    kept = [need.kept for need in sent.needs if need.kept is not None]
    sent.kept = work.run(sent.pickled, kept, tell)
    cluster.over(sent.number, None)
    cluster.wake()
    assert last.result(0) is True
    executor.shutdown()


@pytest.mark.parametrize("held", [False, True])
def test_what_reads_a_large_value_comes_along_for_it_unless_somebody_has_that(held: bool) -> None:
    engine, cluster, executor = made()
    for name, large in [("combine", True), ("shortened", False)]:
        cluster._pace.learn(name, 0.0, (HELD + 1) * large)
    cluster._pace.learn_mean(0.0)
    gate = executor.submit(wait_until_told, None)  # behind which they are sent in one turn
    before = len(engine.sent)
    futures = [executor.submit(combine, 1, "large", gate)]
    last = executor.submit(shortened, futures[0])
    if not held:
        futures.clear()
    GO.set()
    run_to_its_end(engine, cluster, engine.sent[0])
    assert [len(sent.tickets) for sent in engine.sent[before:]] == ([1, 1] if held else [2])
    for sent in engine.sent[before:]:
        run_to_its_end(engine, cluster, sent)
    assert last.result(0) >= LARGE
    executor.shutdown()


def test_no_more_is_taken_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, LARGE)  # so that each goes alone
    cluster._pace.learn_mean(0.0)
    taken: list[int] = []
    exchange = cluster.hub.exchange

    def counted(*args: Any) -> Any:
        tasks = exchange(*args)
        taken.append(len(tasks or ()))
        return tasks

    monkeypatch.setattr(cluster.hub, "exchange", counted)
    with cluster.asleep():
        futures = [executor.submit(combine, number, "large") for number in range(100)]
        more = [executor.submit(combine, number, "large", future) for number, future in enumerate(futures)]
    for sent in islice(engine.sent, 0, None):  # which grows meanwhile
        run_to_its_end(engine, cluster, sent)
    assert all(future.done() for future in [*futures, *more])
    assert sum(taken) < 3 * 200
    executor.shutdown()


@pytest.mark.parametrize("slow_first", [False, True])
def test_a_chain_of_large_values_stops_by_time_and_is_made_again_as_it_was(slow_first: bool) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, LARGE)
    cluster._pace.learn_mean(0.0)
    gate = executor.submit(wait_until_told, None)  # behind which they are sent in one turn
    last: Any = gate
    for number in range(1, 6):
        last = executor.submit(combine, number, "apart", last)
    GO.set()
    run_to_its_end(engine, cluster, engine.sent[0])
    sent = engine.sent[1]
    assert len(sent.tickets) == 5
    runs = []
    for is_slow in (slow_first, not slow_first):
        engine.is_slow, sent.kept = is_slow, None
        reports: list[Report] = []
        kept = engine.run(sent, reports.append)
        runs.append(([*kept.values], [how for report in reports for _, how, *_ in report.outcomes]))
    assert runs[0] == runs[1]
    assert runs[0][1] == ([STAYS] + 4 * [SKIPPED] if slow_first else 5 * [STAYS])
    engine.why = BrokenGraphError("that is all")
    cluster.wake()
    assert last.done()
    executor.shutdown()


def test_a_batch_that_is_made_again_slowly_has_all_that_it_had() -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, 0)
    cluster._pace.learn_mean(0.0)
    gate = executor.submit(wait_until_told, None)  # behind which they are sent in one turn
    last = [executor.submit(combine, number, "small", gate) for number in range(5)]
    GO.set()
    run_to_its_end(engine, cluster, engine.sent[0])
    sent = engine.sent[1]
    first = engine.run(sent, lambda report: cluster.heard(pickle.dumps(report)))
    cluster.over(sent.number, None)
    cluster.wake()
    assert [future.result(0) for future in last] == [number + 2 for number in range(5)]
    assert len(first.values) == 5, "they go together"
    sent.kept, engine.is_slow = None, True
    assert {*engine.run(sent, lambda _: None).values} == {*first.values}
    executor.shutdown()


def test_a_batch_that_went_further_though_it_lacked_something_goes_as_far_again() -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, 0)
    cluster._pace.learn_mean(0.0)
    gate = executor.submit(wait_until_told, None)  # behind which they are sent in one turn
    futures = [executor.submit(combine, 0, "small", gate), executor.submit(combine, 1, "fails", gate)]
    futures += [executor.submit(combine, 2, "small", futures[-1]), executor.submit(combine, 3, "small", gate)]
    GO.set()
    run_to_its_end(engine, cluster, engine.sent[0])
    sent = engine.sent[1]
    assert len(sent.tickets) == 4
    kept = []
    for engine.is_slow in (True, False, True):
        sent.kept = None
        kept.append([*engine.run(sent, lambda _: None).values])
    assert [len(values) for values in kept] == [1, 2, 2]
    engine.why = BrokenGraphError("that is all")
    cluster.wake()
    assert all(future.done() for future in futures)
    executor.shutdown()


def test_a_value_that_was_handed_to_a_task_that_was_taken_back_is_made_again() -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, LARGE)
    cluster._pace.learn_mean(0.0)
    gate = executor.submit(wait_until_told, None)  # behind which they are sent in one turn
    kinds = ["small", "apart", "apart", "apart"]
    leaves = [executor.submit(combine, number, kind, gate) for number, kind in enumerate(kinds)]
    sums = [executor.submit(combine, 4, "apart", *leaves[:2]), executor.submit(combine, 5, "apart", *leaves[2:])]
    last = executor.submit(combine, 6, "apart", *sums)
    del leaves, sums
    GO.set()
    run_to_its_end(engine, cluster, engine.sent[0])
    sent = engine.sent[1]
    assert len(sent.tickets) == 7
    reports: list[Report] = []
    engine.is_slow = True
    engine.run(sent, reports.append)
    (report,) = reports
    assert [how for _, how, *_ in report.outcomes[1:]] == 6 * [SKIPPED]
    cluster.heard(pickle.dumps(report._replace(outcomes=report.outcomes[:3])))  # then its worker dies
    cluster.wake()
    engine.is_slow, sent.kept = False, None
    for sent in islice(engine.sent, 1, None):  # which grows meanwhile
        run_to_its_end(engine, cluster, sent)
    assert weight(last.result(0)) == weight(tree_of(kinds))
    executor.shutdown()


def tree_of(kinds: list[str]) -> Any:
    leaves = [combine(number, kind, True) for number, kind in enumerate(kinds)]
    return combine(6, "apart", combine(4, "apart", *leaves[:2]), combine(5, "apart", *leaves[2:]))


@pytest.mark.parametrize("failure", [Lost(), Crash(4)])
def test_a_value_that_was_handed_on_is_made_again_with_what_was_made_of_it(failure: Exception) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn_mean(0.0)
    cluster._pace.learn("combine", 0.0, LARGE)
    gate = executor.submit(wait_until_told, None)  # behind which they are sent in one turn
    last: Any = gate
    for number in range(1, 4):
        last = executor.submit(combine, number, "apart", last)
    last.add_done_callback(lambda _: None)  # so that its value is fetched, which is lost meanwhile
    GO.set()
    run_to_its_end(engine, cluster, engine.sent[0])
    sent = engine.sent[1]
    assert len(sent.tickets) == 3
    kept = engine.run(sent, lambda report: cluster.heard(pickle.dumps(report)))
    assert len(kept.values) == 1
    cluster.wake()
    assert not last.done()
    sent.kept, sent.dead = None, True
    cluster.over(sent.number, failure)
    cluster.wake()
    for sent in engine.sent[2:]:
        assert not any(need.dead for need in sent.needs)
    for sent in islice(engine.sent, 2, None):  # which grows meanwhile
        engine.run(sent, lambda report: cluster.heard(pickle.dumps(report)))
        cluster.over(sent.number, None)
        cluster.wake()
        for where, done in engine.fetches[1:]:
            done(engine.run(where, lambda _: None), None)
        del engine.fetches[1:]
        cluster.wake()
    assert weight(last.result(0)) == weight(combine(3, "apart", combine(2, "apart", combine(1, "apart", True))))
    executor.shutdown()


@pytest.mark.parametrize("kind", ["small", "fails"])
def test_what_was_sent_ahead_in_vain_is_not_taken_for_lost(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, 0)
    cluster._pace.learn_mean(0.0)
    FAILED.clear()
    with cluster.asleep():
        first = executor.submit(combine, 1, "small")
        second = executor.options(retries=1).submit(once_only, kind == "fails")
        cluster._pace.learn("once_only", 0.0, 0)
        last = executor.submit(weight, second)  # which goes alone, since it is not known
    both, ahead = engine.sent
    assert len(both.tickets) == 2
    engine.is_slow = kind == "small"
    run_to_its_end(engine, cluster, both)
    engine.is_slow = False
    assert first.result(0) == 1
    assert not second.done()
    run_to_its_end(engine, cluster, engine.sent[2])
    assert second.result(0) == 2
    run_to_its_end(engine, cluster, ahead)
    assert not last.done()
    run_to_its_end(engine, cluster, engine.sent[3])
    assert last.result(0) == 2
    assert not caplog.records
    executor.shutdown()


FAILED: list[int] = []


def once_only(fails: bool) -> int:
    if fails and not FAILED:
        FAILED.append(1)
        raise Made
    return 2


@pytest.mark.parametrize("watched", [False, True])
def test_values_of_one_batch_come_together(watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, LARGE)
    cluster._pace.learn_mean(0.0)
    asked: list[Sent] = []
    monkeypatch.setattr(cluster._sending.values, "fetch", lambda sent: asked.append(sent) or engine.fetch(sent))
    with cluster.asleep():
        futures = [executor.submit(combine, number, "apart") for number in range(10)]
        for future in futures if watched else ():
            future.add_done_callback(lambda _: None)
    (sent,) = engine.sent
    run_to_its_end(engine, cluster, sent)
    assert len(engine.fetches) == watched
    for where, done in engine.fetches:
        done(engine.run(where, lambda _: None), None)
    cluster.wake()
    assert [weight(future.result(0)) for future in futures] == [*range(10)]
    assert asked == ([] if watched else [sent])
    assert all(future._outcome.came is None for future in futures)
    executor.shutdown()


def test_what_came_along_goes_with_whoever_has_it() -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, LARGE)
    cluster._pace.learn_mean(0.0)
    with cluster.asleep():
        futures = [executor.submit(combine, number, "apart") for number in range(10)]
    run_to_its_end(engine, cluster, engine.sent[0])
    del futures[2:]
    first, second = (future._outcome for future in futures)
    gc.collect()
    assert weight(futures[0].result(0)) == 0
    assert (first.came is None, second.came is None) == (True, False)
    assert [there() for there in first.batch.values.values() if there() is not None] == [first, second]
    executor.shutdown()


def test_values_that_turn_out_to_be_huge_are_no_reason_to_go_alone() -> None:
    engine, cluster, executor = made()
    engine.number = 3
    cluster._pace.learn("combine", 0.0, LARGE)
    cluster._pace.learn_mean(0.0)
    with cluster.asleep():
        futures = [executor.submit(combine, number, "huge") for number in range(12)]
    assert len(engine.sent) == 3
    for sent in islice(engine.sent, 0, None):  # which grows meanwhile
        run_to_its_end(engine, cluster, sent)
    assert all(future.done() for future in futures)
    assert cluster._pace.of("combine") is not None
    executor.shutdown()


def test_few_are_taken_in_vain_of_what_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, HELD + 1)
    cluster._pace.learn_mean(0.0)
    returned: list[Any] = []
    monkeypatch.setattr(cluster, "_give_back", lambda hub, back: returned.extend(back) or give_back(hub, back))
    give_back = Stepped._give_back.__get__(cluster)
    with cluster.asleep():
        futures = [executor.submit(combine, number, "huge") for number in range(100)]
    for sent in islice(engine.sent, 0, None):  # which grows meanwhile
        run_to_its_end(engine, cluster, sent)
    assert all(future.done() for future in futures)
    assert len(engine.sent) == 100
    assert len(returned) < 20 * 100
    executor.shutdown()


def test_how_many_are_taken_grows_to_no_number_without_end() -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", 0.0, HELD + 1)
    cluster._pace.learn_mean(0.0)
    with cluster.asleep():
        futures = [executor.submit(combine, number, "huge") for number in range(40)]
    for sent in islice(engine.sent, 0, None):  # which grows meanwhile
        run_to_its_end(engine, cluster, sent)
    assert all(future.done() for future in futures)
    assert cluster._most < math.inf
    for _ in range(1100):
        assert executor.submit(abs, -1).done() is False
        run_to_its_end(engine, cluster, engine.sent[-1])
    assert cluster._most == math.inf
    executor.shutdown()


@pytest.mark.parametrize(("seconds", "sent"), [(0.0, 16), (0.3 * TARGET, 4), (TARGET, 2), (60.0, 1)])
def test_as_many_are_sent_as_a_thread_does_soon(seconds: float, sent: int) -> None:
    engine, cluster, executor = made()
    cluster._pace.learn("combine", seconds, HELD + 1)
    cluster._pace.learn_mean(seconds)
    with cluster.asleep():
        futures = [executor.submit(combine, number, "huge") for number in range(100)]
    assert len(engine.sent) == sent
    for one in islice(engine.sent, 0, None):
        run_to_its_end(engine, cluster, one)
    assert all(future.done() for future in futures)
    executor.shutdown()


def is_one(first: Any, second: Any, *, more: Any) -> bool:
    return all(first is one for one in [second, *more])


@pytest.mark.parametrize("kind", ["small", "apart"])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_value_that_is_needed_in_several_places_is_one_object(kind: str, held: bool, ahead: bool) -> None:
    engine, cluster, executor = made()
    with cluster.asleep():
        value = executor.submit(combine if kind == "apart" else list, *((1, kind) if kind == "apart" else ([1],)))
        last = executor.submit(is_one, value, value, more=[value]) if ahead else None
    run_to_its_end(engine, cluster, engine.sent[0])
    if last is None:
        last = executor.submit(is_one, value, value, more=[value])
    if not held:
        del value
    for sent in islice(engine.sent, 1, None):
        run_to_its_end(engine, cluster, sent)
    assert last.result(0) is True
    executor.shutdown()


@pytest.mark.parametrize("others", [0, 1])
def test_a_value_that_somebody_else_has_had_is_for_nobody_alone(others: int) -> None:
    engine, cluster, executor = made()

    def run_all() -> None:
        for sent in islice(engine.sent, 0, None):
            if not sent.ended:
                engine.run(sent, lambda report: cluster.heard(pickle.dumps(report)))
                sent.ended = True
                cluster.over(sent.number, None)
                cluster.wake()

    source = executor.submit(combine, 0, "large")
    run_all()
    for number in range(others):
        assert executor.submit(combine, number, "small", source).result is not None
    run_all()  # they may run again, should their values be lost
    last = executor.submit(combine, 9, "small", source)
    del source
    cluster.wake()
    assert len(engine.sole_ones) == (0 if others else 1)
    run_all()
    assert last.result(0) == 9
    executor.shutdown()


def test_what_was_taken_back_is_no_input_in_the_batch_that_it_was_in() -> None:
    engine, cluster, executor = made()
    cluster._pace.learn_mean(0.0)  # so that many are taken at once; of those that are not known each goes alone
    chain = [executor.submit(combine, 0, "small")]
    for number in range(1, 3):
        chain.append(executor.submit(combine, number, "small", chain[-1]))
    other = executor.submit(combine, 3, "small")
    after = executor.submit(combine, 4, "small", other)
    cluster.wake()
    batches = {label[0]: sent for sent in engine.sent for label in work._read(sent.pickled).labels}
    assert len(batches) == len(engine.sent) == 5
    for future in (other, after, chain[0]):  # there is room for one then, and the other one is given back
        cluster.over(batches[future.serial].number, Lost())
    cluster.wake()
    again = [label[0] for sent in engine.sent[5:] for label in work._read(sent.pickled).labels]
    engine.why = BrokenGraphError("that is all")
    cluster.wake()
    executor.shutdown()
    assert again == [other.serial, after.serial]


TestClusterMachine = ClusterMachine.TestCase
TestClusterMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_soak(part: int) -> None:
    soak(ClusterMachine, part, examples=300, steps=60)
