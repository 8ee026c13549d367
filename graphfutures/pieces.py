"""``map`` where a worker runs what it is handed in order: many calls of it go in one task, a *piece*.

Which calls a piece stands for is settled when it is sent: as many of the next ones as take a few milliseconds, by what
others have taken.  As long as there are calls that no piece has drawn, a piece is in the graph that has drawn none.

        add ──▸ calls ──▸ draw ──▸ a worker ──▸ tell ──▸ told ──▸ values
                  ▴                      │
                  └────── give_back ◂────┘

Each side first writes, and then looks at what the other one writes, so that neither waits for the other: the thread of
the user that adds and iterates takes no lock, unless calls come after it was said that none will start any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from heapq import heappop, heappush
from os import getpid
from threading import RLock
from time import monotonic
from typing import Any, Final, TypeVar

from graphfutures import errors
from graphfutures.calls import name_of
from graphfutures.core.states import CANCELLED, DONE
from graphfutures.futures import GraphFuture, cancel_all

R = TypeVar("R")
#: how many calls go in one piece at most, and how many seconds they should take
MOST = 2048
TARGET = 0.005
#: seconds of work below which the last calls are not divided further among the workers
LEAST = 0.0005


class Piece(GraphFuture[None]):
    """Some calls of a map, as one task of the graph.

    :param mapped: the map.
    """

    __slots__ = ("first", "mapped", "start", "stop")

    def __init__(self, mapped: Mapped) -> None:
        hub = mapped.hub
        super().__init__(hub, next(hub.serials), mapped.fn)
        self.mapped = mapped
        #: its calls that have not been told of, and the first one of those that it was sent with
        self.first = self.start = self.stop = 0


class Mapped:
    """The calls of one ``map`` by their numbers, and how they have ended.

    :param hub: of the graph.
    :param fn: what is called.
    :param lane: of the backend that runs them.
    :param nested: the number of the task that maps, 0 if none does.
    :param workers: how many share them.
    :param single: whether each has one argument.
    """

    def __init__(self, hub: Any, fn: Callable[..., Any], lane: str, nested: int, workers: int, *, single: bool) -> None:
        self.hub = hub
        self.fn = fn
        self.single = single
        #: the futures that have not settled of the view through which this goes, if it is one
        self.pending: set[GraphFuture[Any]] | None = None
        #: the argument or arguments of each call, None once it has ended; who adds one sees to it that there is a piece
        self.calls: list[Any] = []
        #: a piece that has drawn none yet
        self.open: Piece | None = None
        self._lane = lane
        self._nested = nested
        self._workers = workers
        #: by the number of the first: values in a row, or the future of a failure, which nobody gets past
        self._told: dict[int, list[Any] | GraphFuture[Any]] = {}
        #: the calls that are tasks of their own
        self._futures: dict[int, GraphFuture[Any]] = {}
        self._holes: deque[int] = deque()  # their numbers, as far as nobody has drawn
        self._next = 0  # the first call that was never drawn
        self._back: list[tuple[int, int]] = []  # a heap: from where to where calls were given back
        self._over: GraphFuture[Any] | None = None  # how calls end that have not started, if they never will
        self._crashes: dict[int, int] = {}  # how many workers a call has killed that went alone
        self._wakers: dict[int, GraphFuture[None]] = {}
        self._drawing = RLock()
        self._whole = False
        self._size = 1
        self._seconds = 0.0  # what a call takes
        self._process = getpid()

    # -- for the thread that maps and iterates --------------------------------------------------

    def add_future(self, future: GraphFuture[Any]) -> None:
        """One more call, which is a task of its own."""
        number = len(self.calls)
        self._futures[number] = future
        self._holes.append(number)
        self.calls.append(None)

    def values(self, end: float | None) -> Generator[Any, None, None]:
        """The values in order.

        :param end: when there is no more waiting.
        """
        self._whole = True
        return self._values(end)

    def _values(self, end: float | None) -> Generator[Any, None, None]:
        number, last = 0, len(self.calls)
        found: Any = None
        try:
            while number < last:
                found = self._found(number, end)
                if type(found) is list:
                    number += len(found)
                    found.reverse()
                    while found:
                        yield found.pop()
                else:
                    number += 1
                    yield value_in_time(found, end)
        finally:
            found = None  # its exception leads back here
            self.cancel()

    def _found(self, number: int, end: float | None) -> Any:
        future = self._futures.pop(number, None)
        if future is not None:
            return future
        while (found := self._told.pop(number, None)) is None:
            waker = self._wakers[number] = GraphFuture()
            try:
                if number not in self._told:
                    if getpid() != self._process:
                        raise errors.made_before_fork(self.label(number))
                    self.hub.nudge()
                    waker.result(None if end is None else end - monotonic())
            finally:
                self._wakers.pop(number, None)
        return found

    def cancel(self) -> None:
        """Nobody wants what has not started."""
        if self._over is None:
            self._over = _CANCELLED
        piece = self.open
        cancel_all([*self._futures.values(), *([piece] if piece is not None else ())])

    # -- for those who serve workers ------------------------------------------------------------

    def draw(self, piece: Piece, most: int | None = None) -> bool:
        """Settle which calls a piece stands for, unless it was sent before; False if there are none left for it.

        :param most: how many at most.
        """
        if self.open is piece:
            self.open = None  # first: whoever adds calls that are not seen here finds that there is no open piece
        with self._drawing:
            if self._over is not None:
                self._drop(piece)
            elif piece.start == piece.stop:
                piece.start, piece.stop = self._drawn(self._share() if most is None else min(most, self._share()))
            piece.first = piece.start
        self.more()
        return piece.start < piece.stop

    def tell(self, piece: Piece, number: int, values: list[Any], failure: BaseException | None = None) -> None:
        """The first calls of a piece have ended.

        :param number: how many.
        :param values: theirs, up to the first one that has failed.
        :param failure: what that has raised.
        """
        start = piece.start
        if start == piece.stop:
            return  # it was cancelled meanwhile
        piece.start += number
        self.calls[start : piece.start] = [None] * number
        if values:
            self._put(start, values)
        if failure is not None:
            self._put(start + len(values), _failed(failure))

    def give_back(self, piece: Piece, number: int) -> None:
        """The last calls of a piece have not been started, and never will be as calls of this piece."""
        stop = piece.stop
        if piece.start == stop:
            return  # it was cancelled meanwhile
        piece.stop -= number
        with self._drawing:
            heappush(self._back, (piece.stop, stop))
        self.more()

    def learn(self, piece: Piece, seconds: float, running: int = 0) -> None:
        """What the calls of a piece have taken that have been told of, and so many more."""
        number = piece.start - piece.first + running
        if number:
            each = max(seconds / number, 1e-8)
            self._seconds = each if each > self._seconds else (self._seconds + each) / 2
            self._size = max(1, min(2 * max(number, self._size), int(TARGET / self._seconds), MOST))

    def limit(self, number: int) -> None:
        """More calls than that make too large a message now."""
        self._size = max(1, number)

    def crashed(self, piece: Piece) -> int:
        """The worker has died that ran a piece: how often that has happened to its only call, 0 if it has several."""
        if piece.stop - piece.start != 1:
            return 0
        crashes = self._crashes[piece.start] = self._crashes.get(piece.start, 0) + 1
        return crashes

    def isolate(self, piece: Piece) -> None:
        """Have each call of a piece that was not told of go alone from now on."""
        with self._drawing:
            for number in range(piece.start, piece.stop):
                heappush(self._back, (number, number + 1))
        piece.start = piece.stop
        self.more()

    # -- pieces ---------------------------------------------------------------------------------

    def more(self) -> None:
        """See to it that there is a piece for calls that none has drawn; unless nothing is to start any more."""
        if not self._back and self._next >= len(self.calls):
            return
        if self._over is not None:
            with self._drawing:
                self._drop()
            return
        if self.open is not None:
            return
        self.open = piece = Piece(self)
        nested = self._nested or (piece.serial if self._next else 0)
        if nested or self._lane:
            piece.mark(nested=nested, lane=self._lane)
        piece._listen(self._settled)
        self.hub.continued(piece)
        if self.pending is not None:
            self.pending.add(piece)
            piece._listen(self.pending.discard)

    def _settled(self, piece: GraphFuture[Any]) -> None:
        """A piece has settled; if it has no value nothing will start any more."""
        assert isinstance(piece, Piece)
        if piece.state is DONE:
            return
        if getpid() != self._process:
            while self._wakers:
                self._wakers.popitem()[1].set_result(None)  # whoever waits will see that this is a forked child
            return
        if self.open is piece:
            self.open = None
        if self._over is None:
            self._over = _CANCELLED if piece.state is CANCELLED else _failed(piece._error())
        with self._drawing:
            self._drop(piece)

    def _share(self) -> int:
        """How many calls the next piece should have."""
        left = len(self.calls) - self._next
        if not self._whole or self._back:
            return self._size
        least = int(LEAST / self._seconds) if self._seconds else 1
        return min(self._size, max(1, least, left // (2 * self._workers)))

    def _drawn(self, most: int) -> tuple[int, int]:
        """From where to where the next calls are."""
        if self._back:
            start, stop = heappop(self._back)
            if stop - start > most:
                heappush(self._back, (start + most, stop))
            return start, min(stop, start + most)
        last = len(self.calls)  # first: the holes that are not seen now come after that
        while self._holes and self._holes[0] == self._next:
            self._next += 1
            self._holes.popleft()
        start = self._next
        stop = min(start + most, last, self._holes[0] if self._holes else last)
        self._next = max(start, stop)
        return start, self._next

    def _drop(self, piece: Piece | None = None) -> None:
        """Tell of all that has not started, and of what is left of a piece, as something that never will."""
        over = self._over
        assert over is not None, "somebody has said so"
        if piece is not None and piece.start < piece.stop:
            start, piece.start = piece.start, piece.stop
            self._put(start, over)
        while True:
            start, stop = self._drawn(MOST)
            if start == stop:
                return
            self._put(start, over)

    def _put(self, number: int, found: list[Any] | GraphFuture[Any]) -> None:
        self._told[number] = found
        waker = self._wakers.pop(number, None)
        if waker is not None:
            waker.set_result(None)

    def label(self, number: int) -> str:
        """What to call one of the calls."""
        return f"{name_of(self.fn)}[{number}]"


def value_in_time(future: Future[R], end: float | None) -> R:
    """The value of a future that nobody else asks for."""
    try:
        try:
            return future.result(None if end is None else end - monotonic())
        finally:
            future.cancel()
    finally:
        del future  # breaks the circle of its exception and this frame


def _failed(error: BaseException) -> GraphFuture[Any]:
    future: GraphFuture[Any] = GraphFuture()
    future.set_exception(error)
    return future


_CANCELLED: Final[GraphFuture[Any]] = GraphFuture()
_CANCELLED.cancel()
