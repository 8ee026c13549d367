"""Where the time went, in numbers: work, critical path, speed-up, waiting, handing over and idle slots."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from graphfutures.diagnostics.amounts import in_time
from graphfutures.diagnostics.naming import function_of
from graphfutures.diagnostics.snapshot import Snapshot
from graphfutures.history import Attempt


class Delay(NamedTuple):
    """What came before an attempt, in seconds.

    :param waited: from when its inputs were there until its worker had ended what it did before.
    :param handed: from when both was so until it started: messages, the scheduler, and the transfer of values.
    :param moved: whether a value of another worker was among its inputs.
    """

    waited: float
    handed: float
    moved: bool


class Delays:
    """Tells the delay of each attempt, if the attempts come in the order in which they were reported.

    :param most: of how many tasks the end is kept at least, None for all.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._ends: dict[Hashable, tuple[float, int]] = {}
        self._older: dict[Hashable, tuple[float, int]] = {}
        self._free: dict[int, float] = {}

    def before(self, worker: int, start: float, stop: float, needs: Sequence[Hashable]) -> Delay | None:
        """What came before an attempt; None if it had no inputs, or it is not known when they were there."""
        free = self._free.get(worker, -inf)  # one that has not run anything was free, or not there
        if stop > free:
            self._free[worker] = stop
        if not needs:
            return None
        ready, moved = 0.0, False
        for need in needs:
            end = self._ends.get(need) or self._older.get(need)
            if end is None:
                return None
            if end[0] > ready:
                ready = end[0]
            moved = moved or end[1] != worker
        free = min(free, start)  # a worker whose task waits inside runs others meanwhile
        return Delay(max(0.0, free - ready), max(0.0, start - max(ready, free)), moved)

    def ended(self, key: Hashable, worker: int, stop: float) -> None:
        """A task has a value."""
        self._ends[key] = stop, worker
        if self._most is not None and len(self._ends) >= self._most:
            self._older, self._ends = self._ends, {}


@dataclass
class Function:
    """What all tasks of one function took, in seconds.

    :param name: of the function, or what the names of the tasks have in common but for numbers.
    :param attempts: how many of them there were.
    :param failed: how many of these failed.
    :param seconds: that they ran.
    :param longest: that one of them ran.
    :param waited: see :class:`Delay`.
    :param handed: see :class:`Delay`.
    """

    name: str
    attempts: int = 0
    failed: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    waited: float = 0.0
    handed: float = 0.0

    def add(self, seconds: float, delay: Delay | None, *, good: bool) -> None:
        """Add an attempt."""
        self.attempts += 1
        if not good:
            self.failed += 1
        self.seconds += seconds
        if seconds > self.longest:
            self.longest = seconds
        if delay is not None:
            self.waited += delay.waited
            self.handed += delay.handed


@dataclass
class Summary:
    """What an executor did; times in seconds.

    :param name: of the executor.
    :param workers: how many tasks it could run at once.
    :param attempts: how many there were.
    :param repeated: how many of them were not the first of their task.
    :param failed: how many of them failed.
    :param missing: of how many tasks nothing is remembered.
    :param pending: how many tasks have not settled.
    :param without: how many have failed or were cancelled without an attempt that said so.
    :param begin: start of the first attempt, on the clock of ``time.perf_counter``.
    :param wall: from there to the end of the last one.
    :param work: what all attempts took, those that ran inside the wait of another one on its worker counting once.
    :param path: keys of the tasks on the critical path, the longest chain of tasks that need each other.
    :param critical: what these took.
    :param waited: what ready tasks waited for busy workers; in all, so it may be more than ``wall``.
    :param handed: what passed between a task and a worker that were both ready, and the start.
    :param moved: what of it came before tasks that need a value of another worker.
    :param idle: slots that ran nothing, times how long.
    :param functions: those that took most come first.
    """

    name: str
    workers: int
    attempts: int = 0
    repeated: int = 0
    failed: int = 0
    missing: int = 0
    pending: int = 0
    without: int = 0
    begin: float = 0.0
    wall: float = 0.0
    work: float = 0.0
    path: list[str] = field(default_factory=list)
    critical: float = 0.0
    waited: float = 0.0
    handed: float = 0.0
    moved: float = 0.0
    idle: float = 0.0
    functions: list[Function] = field(default_factory=list)

    @property
    def possible(self) -> float:
        """The largest speed-up that these tasks allow on so many workers."""
        return self.work / least if (least := max(self.critical, self.work / self.workers)) else 1.0

    @property
    def reached(self) -> float:
        """How many tasks ran at once, on average."""
        return self.work / self.wall if self.wall else 1.0

    def sentences(self) -> list[str]:
        """The same in words."""
        if not self.attempts:
            return ["No attempt has returned yet." if self.pending else "Nothing has run.", *self._rest()]
        told = [
            f"{_count(self.attempts, 'attempt')} of {len(self.functions):,} function{_s(len(self.functions))} took "
            f"{in_time(self.work)} of work, in {in_time(self.wall)} on {_count(self.workers, 'worker')}.",
            f"The critical path is {in_time(self.critical)} long, {_chain(len(self.path))}: no number of workers makes "
            "it shorter than that.",
            f"The speed-up possible on {_count(self.workers, 'worker')} is {self.possible:.2f} at most, and "
            f"{self.reached:.2f} was reached.",
            f"Slots were idle for {in_time(self.idle)}. Added up over all tasks, {in_time(self.waited)} went by in "
            f"waiting for busy workers, and {in_time(self.handed)} in handing over to free ones"
            + (f", {in_time(self.moved)} of it with values of other workers." if self.moved else "."),
        ]
        most = [one for one in self.functions[:3] if one.seconds]
        if most:
            shares = [f"{one.name} ({one.seconds / self.work:.0%}, {in_time(one.seconds)})" for one in most]
            told.append(f"Most time was taken by {', '.join(shares)}.")
        if self.failed:
            told.append(f"{_count(self.failed, 'attempt')} failed.")
        if self.repeated:
            told.append(f"{_count(self.repeated, 'attempt')} ran a task again.")
        return [*told, *self._rest()]

    def _rest(self) -> list[str]:
        told = []
        if self.without:
            told.append(f"{_count(self.without, 'task')} failed or ended as cancelled without an attempt that said so.")
        if self.pending:
            told.append(f"{_count(self.pending, 'task')} had not settled.")
        if self.missing:
            told.append(f"Nothing is remembered of {_count(self.missing, 'task')} that had ended before (record=True).")
        return told


def summarize(snapshot: Snapshot) -> Summary:
    """Go through all attempts once."""
    attempts = snapshot.attempts
    summary = Summary(snapshot.name, max(1, snapshot.workers), len(attempts), missing=snapshot.missing)
    summary.pending = len(snapshot.pending)
    summary.without = sum(one.state != "done" for one in snapshot.without)
    if not attempts:
        return summary
    delays = Delays()
    functions: dict[str, Function] = {}
    chains: dict[str, tuple[float, str]] = {}  # how long the longest chain up to a task is, and what came before it
    longest = 0.0, ""
    seen: set[int] = set()
    for serial, name, worker, start, stop, _size, good, needs in attempts:
        seconds = stop - start
        summary.failed += not good
        summary.repeated += serial in seen
        seen.add(serial)
        delay = delays.before(worker, start, stop, needs)
        if delay is not None:
            summary.waited += delay.waited
            summary.handed += delay.handed
            if delay.moved:
                summary.moved += delay.handed
        called = function_of(name)
        function = functions.get(called)
        if function is None:
            function = functions[called] = Function(called)
        function.add(seconds, delay, good=good)
        if good:
            key = f"{name}-{serial}"
            delays.ended(key, worker, stop)
            before = max([(chains[need][0], need) for need in needs if need in chains], default=(0.0, ""))
            chains[key] = before[0] + seconds, before[1]
            longest = max(longest, (chains[key][0], key))
    summary.work = _busy(attempts)
    summary.critical, key = longest
    while key:
        summary.path.append(key)
        key = chains[key][1]
    summary.path.reverse()
    summary.begin = min(attempt.start for attempt in attempts)
    summary.wall = max(attempt.stop for attempt in attempts) - summary.begin
    summary.idle = max(0.0, summary.workers * summary.wall - summary.work)
    summary.functions = sorted(functions.values(), key=lambda function: -function.seconds)
    return summary


def _busy(attempts: Sequence[Attempt]) -> float:
    """The seconds in which workers ran anything; an attempt that waits inside may have others run meanwhile."""
    busy, ends = 0.0, dict[int, float]()
    for attempt in sorted(attempts, key=_start):
        begin = max(attempt.start, ends.get(attempt.worker, -inf))
        if attempt.stop > begin:
            busy += attempt.stop - begin
            ends[attempt.worker] = attempt.stop
    return busy


def _start(attempt: Attempt) -> float:
    return attempt.start


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{_s(number)}"


def _chain(tasks: int) -> str:
    return f"over {tasks:,} tasks, each of which needs the one before" if tasks > 1 else "which is one task"
