"""What the dashboard's process knows: bounded, however many tasks there are."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from threading import Lock
from time import monotonic
from typing import Any

from graphfutures.diagnostics.bars import Bars, Groups, Rows
from graphfutures.diagnostics.summary import Delays, Function

#: seconds that the task stream shows
WINDOW = 30.0
#: bars in these, about
BARS = 6_000
#: bars that are kept for pages that are opened later
KEPT = 20_000
#: moments of which levels, and what processes use, are kept
MOMENTS = 600
#: processes, of those that have ended, whose use is kept
LINES = 24
#: failed tasks that are known, in case that they are tried again
FAILURES = 50_000
#: tasks of which the end is known
ENDS = 50_000
#: failures that are listed
LISTED = 12


class Board:
    """Takes in what the user's process tells.

    :param name: of the executor.
    :param workers: how many it has.
    """

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self.lock = Lock()
        #: how often something has been told
        self.version = 0
        self.ended = False
        #: whether a page was ever opened
        self.opened = False
        self.time = self.begin = 0.0
        self._heard = monotonic()
        self.groups = Groups()
        self.functions: dict[str, Function] = {}
        self.pending: dict[str, Counter[str]] = {}
        #: by function, tasks that have ended without an attempt that said so, by state
        self.without: dict[str, Counter[str]] = {}
        self.edges: Counter[tuple[str, str]] = Counter()
        self.rows = Rows(workers)
        #: seconds that are about as wide as can be seen
        self.width = max(0.005, WINDOW * max(1, workers) / BARS)
        self._bars, self._handed = Bars(self.width), Bars(self.width)
        #: bars, and times of handing over, with their number among all
        self.stream: deque[tuple[bool, list[Any]]] = deque(maxlen=KEPT)
        self.streamed = 0
        self.levels: deque[tuple[float, int, int, int]] = deque(maxlen=MOMENTS)
        self.processes: dict[str, int] = {}
        self.used: dict[str, deque[tuple[float, float, float]]] = {}
        self.held: deque[tuple[float, float]] = deque(maxlen=MOMENTS)
        self.state: dict[str, Any] = {}
        self.missed = self.attempts = self.failures = 0
        #: by function, how many failed attempts were followed by another one
        self.repeated: Counter[str] = Counter()
        self.failed: deque[tuple[float, str, int]] = deque(maxlen=LISTED)
        self._again: dict[int, str] = {}
        self._delays = Delays(ENDS)

    def tell(self, what: Any) -> None:
        """Take in attempts, or what is pending."""
        with self.lock:
            if type(what) is tuple:
                self._take(what)
            elif "missed" in what:
                self.missed += what["missed"]
            else:
                self._note(what)
            self.version += 1

    def _take(self, attempts: Sequence[tuple[Any, ...]]) -> None:
        found, functions, row_of, again = self.groups.found, self.functions, self.rows.of, self._again
        before, ended = self._delays.before, self._delays.ended
        bars, handed = [], []
        for row in attempts:
            serial, name, worker, start, stop, _size, good, *needs = row
            if name not in found:
                name = self.groups.of(name)
            function = functions.get(name)
            if function is None:
                function = functions[name] = Function(name)
            delay = before(worker, start, stop, needs[::2])
            function.add(stop - start, delay, good=good)
            if again and serial in again:
                self.repeated[again.pop(serial)] += 1
            if good:
                ended(serial, worker, stop)
            else:
                self._failed(row, name)
            place = row_of(worker, start, stop)
            bars.append((place, start, stop, name, good, worker))
            if needs:
                if delay is not None and delay.handed > self.width / 4:
                    handed.append((place, start - delay.handed, start, "", True, worker))
                for number, need in zip(needs[::2], needs[1::2], strict=True):
                    if number:
                        self.edges[need if need in found else self.groups.of(need), name] += 1
        self.attempts += len(attempts)
        self._bars.add(bars)
        self._handed.add(handed)

    def _failed(self, row: tuple[Any, ...], name: str) -> None:
        serial, label, worker, _, stop = row[:5]
        self.failures += 1
        self.failed.append((stop - self.begin, f"{label}-{serial}", worker))
        self._again[serial] = name
        if len(self._again) > FAILURES:
            self._again.clear()

    def _note(self, state: dict[str, Any]) -> None:
        self.state = state
        self.time, self.begin, self._heard = state["time"], state["begin"], monotonic()
        pending: dict[str, Counter[str]] = {}
        for (label, of_tasks), number in state["counts"]:
            pending.setdefault(self.groups.of(label), Counter())[of_tasks] += number
        self.pending = pending
        for (label, of_tasks), number in state["without"]:
            self.without.setdefault(self.groups.of(label), Counter())[of_tasks] += number
        states = state["states"]
        running, ready, waiting = [states.get(one, 0) for one in ("running", "ready", "waiting")]
        self.levels.append((self.time, running, ready, waiting))
        self.processes = state["processes"]
        if state["held"] is not None:
            self.held.append((self.time, state["held"]))
        for lower, bars in ((True, self._handed.take()), (False, self._bars.take())):
            self.stream.extend((lower, bar) for bar in bars)
            self.streamed += len(bars)

    def use(self, label: str, memory: float, cpu: float) -> None:
        """A process uses so many bytes, and so many per cent of a CPU."""
        with self.lock:
            now = self.time + monotonic() - self._heard
            if label not in self.used and len(self.used) >= LINES:
                for gone in self.used.keys() - self.processes.keys():
                    del self.used[gone]
            self.used.setdefault(label, deque(maxlen=MOMENTS)).append((now, memory, cpu))

    def since(self, streamed: int) -> list[tuple[bool, list[Any]]]:
        """The bars that came after so many, as far as they are kept."""
        number = min(self.streamed - streamed, len(self.stream))
        return [self.stream[place] for place in range(len(self.stream) - number, len(self.stream))]

    def known(self) -> dict[str, Counter[str]]:
        """How many tasks of each function are in each state; those that have any pending first."""
        most = sorted(self.functions, key=lambda one: -self.functions[one].seconds)
        names = dict.fromkeys([*self.pending, *most, *self.without])
        known: dict[str, Counter[str]] = {}
        for name in names:
            states = known[name] = Counter(self.pending.get(name, {}))
            function = self.functions.get(name)
            if function is not None:
                states["done"] = function.attempts - function.failed
                states["failed"] = function.failed - self.repeated[name]
            states.update(self.without.get(name, {}))
        return known
