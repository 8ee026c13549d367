"""What ran when and where, as a trace for Perfetto and Chrome.

The format is the "Trace Event Format" of the Chromium project.  Its slices may lie beside each other or one inside the
other on a track, nothing else: a reader drops one that overlaps another.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from heapq import heappush, heapreplace
from itertools import chain
from os import PathLike

from graphfutures.diagnostics.naming import without_tokens
from graphfutures.diagnostics.replacing import replacing
from graphfutures.diagnostics.snapshot import Snapshot

#: how deep slices are put into each other; Perfetto drops what is deeper than 512
DEEPEST = 256
#: in how many tracks of a worker a place inside another slice is looked for
SEARCHED = 32


def write(snapshot: Snapshot, path: str | PathLike[str]) -> None:
    """Write a trace to a file.

    :param snapshot: of an executor.
    :param path: of the file, JSON; ``.gz`` at its end has it compressed.
    :raises OSError: if it cannot be written.
    """
    trace = _Trace(snapshot)
    about = {"name": snapshot.name, "workers": snapshot.workers, "attempts": len(snapshot.attempts)}
    about |= {"missing": snapshot.missing, "pending": len(snapshot.pending)}
    if snapshot.without:
        about["without an attempt"] = len(snapshot.without)
    with replacing(path) as file:
        file.write(f'{{"displayTimeUnit":"ms","otherData":{json.dumps(about)},"traceEvents":[\n')
        lines = chain(trace.names(), trace.slices(), trace.arrows())
        file.write(next(lines))
        for line in lines:
            file.write(",\n")
            file.write(line)
        file.write("\n]}\n")


class _Tracks:
    """The tracks of one worker, filled in the order in which attempts began.

    :param worker: its number.
    """

    def __init__(self, worker: int) -> None:
        self._worker = worker
        #: of each track that is searched, the slices that are open: number of the attempt, its start and its stop
        self._open: list[list[tuple[int, int, int]]] = []
        #: when the further tracks are free, with their numbers
        self._further: list[tuple[int, int]] = []
        self.count = 0

    def place(self, number: int, start: int, stop: int) -> tuple[int, int | None]:
        """On which track an attempt is drawn, and which one it is inside of there, if any.

        Two that begin at once are on two tracks, so that at no moment there is a doubt which one is meant.
        """
        for track, stack in enumerate(self._open):
            while stack and stack[-1][2] <= start:
                stack.pop()
            if not stack or (stop <= stack[-1][2] and stack[-1][1] < start and len(stack) < DEEPEST):
                around = stack[-1][0] if stack else None
                stack.append((number, start, stop))
                return track, around
        if self._further and self._further[0][0] <= start:
            track = self._further[0][1]
            heapreplace(self._further, (stop, track))
            return track, None
        track = self.count
        self.count += 1
        if track < SEARCHED:
            self._open.append([(number, start, stop)])
        else:
            heappush(self._further, (stop, track))
        return track, None

    @property
    def names(self) -> Iterator[str]:
        """What the tracks are called."""
        yield f"worker {self._worker}"
        for number in range(2, self.count + 1):
            yield f"worker {self._worker} ({number})"


class _Trace:
    """A snapshot as the events of a trace, in nanoseconds since the first start."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._attempts = attempts = snapshot.attempts
        first = min([attempt.start for attempt in attempts], default=0.0)
        self._starts = starts = array("q", (round((attempt.start - first) * 1e9) for attempt in attempts))
        ends = zip(attempts, starts, strict=True)  # what took no time has one nanosecond, else it would be no slice
        self._stops = stops = array("q", (max(round((one.stop - first) * 1e9), start + 1) for one, start in ends))
        self._order = list(range(len(attempts)))
        self._order.sort(key=stops.__getitem__, reverse=True)
        self._order.sort(key=starts.__getitem__)
        self._workers: dict[int, _Tracks] = {}
        self._track = array("q", bytes(8 * len(attempts)))
        #: whether others are inside
        self._around = bytearray(len(attempts))
        for number in self._order:
            worker = attempts[number].worker
            tracks = self._workers.get(worker) or self._workers.setdefault(worker, _Tracks(worker))
            self._track[number], around = tracks.place(number, starts[number], stops[number])
            if around is not None:
                self._around[around] = True
        first_track = 1
        self._first_track: dict[int, int] = {}
        for worker in sorted(self._workers):
            self._first_track[worker] = first_track
            first_track += self._workers[worker].count

    def names(self) -> Iterator[str]:
        """Those of the executor and of all tracks."""
        yield _metadata("process_name", 0, name=self._snapshot.name or "GraphExecutor")
        for worker, first in self._first_track.items():
            for track, name in enumerate(self._workers[worker].names, first):
                yield _metadata("thread_name", track, name=name)
                yield _metadata("thread_sort_index", track, sort_index=track)

    def slices(self) -> Iterator[str]:
        """One for each attempt, in the order in which they began."""
        quoted: dict[str, tuple[str, str]] = {}
        times = Counter(self._repeated())
        so_far: Counter[int] = Counter()
        for number in self._order:
            attempt = self._attempts[number]
            serial, name, size, good, needs = attempt.serial, attempt.name, attempt.size, attempt.good, attempt.needs
            label, text = quoted.get(name) or quoted.setdefault(name, _quoted(name))
            about = f'"key":"{text}-{serial}","seconds":{max(attempt.stop - attempt.start, 0.0):.9f}'
            if serial in times:
                so_far[serial] += 1
                about += f',"attempt":{so_far[serial]}'
            if size:
                about += f',"bytes":{size}'
            if needs:
                about += f',"needs":{json.dumps(needs)}'
            start, length = self._starts[number], self._stops[number] - self._starts[number]
            kind = '"cat":"task"' if good else '"cat":"task,failed","cname":"terrible"'
            yield (
                f'{{"ph":"X","name":"{label}{"" if good else " (failed)"}",{kind},"pid":1,"tid":{self._tid(number)},'
                f'"ts":{_micro(start)},"dur":{_micro(length)},"args":{{{about}{"" if good else _FAILED}}}}}'
            )

    def arrows(self) -> Iterator[str]:
        """Two events for each dependency, from the end of the one attempt to the start of the other.

        Perfetto takes the slice that has begun last on the track: where others are inside of the dependency's, its own
        start is the only moment that means it.
        """
        last = self._last()
        arrow = 0
        for number in self._order:
            for need in self._attempts[number].needs:
                source = self._found(need, last)
                if source is None or source == number:
                    continue
                head = self._starts[number]
                tail = self._starts[source] if self._around[source] else min(self._stops[source] - 1, head)
                if self._starts[source] <= tail <= head:
                    arrow += 1
                    same = f'"name":"needs","cat":"needs","id":{arrow},"pid":1'
                    yield f'{{"ph":"s",{same},"tid":{self._tid(source)},"ts":{_micro(tail)}}}'
                    yield f'{{"ph":"f","bp":"e",{same},"tid":{self._tid(number)},"ts":{_micro(head)}}}'

    def _tid(self, number: int) -> int:
        return self._first_track[self._attempts[number].worker] + self._track[number]

    def _repeated(self) -> Iterator[int]:
        """The tasks of which there is more than one attempt."""
        seen: set[int] = set()
        for attempt in self._attempts:
            if attempt.serial in seen:
                yield attempt.serial
            seen.add(attempt.serial)

    def _last(self) -> dict[int, int]:
        """The last good attempt of each task, or the last one."""
        last: dict[int, int] = {}
        for number, attempt in enumerate(self._attempts):
            if attempt.good or not self._attempts[last.get(attempt.serial, number)].good:
                last[attempt.serial] = number
        return last

    def _found(self, key: str, last: dict[int, int]) -> int | None:
        """The attempt that a dependency means; None for what is no task of this executor or not remembered."""
        name, _, serial = key.rpartition("-")
        number = last.get(int(serial)) if serial.isdecimal() and len(serial) < 20 else None
        return number if number is not None and self._attempts[number].name == name else None


_FAILED = ',"failed":true'


def _quoted(name: str) -> tuple[str, str]:
    """What a slice is called, without what would make each of a graph's tasks another function, and the whole name."""
    return json.dumps(without_tokens(name))[1:-1], json.dumps(name)[1:-1]


def _micro(nanoseconds: int) -> str:
    """In microseconds, exactly: what lies inside the other still does when it is read."""
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}"


def _metadata(what: str, track: int, **values: str | int) -> str:
    return json.dumps({"ph": "M", "name": what, "pid": 1, "tid": track, "ts": 0, "args": values}, separators=(",", ":"))
