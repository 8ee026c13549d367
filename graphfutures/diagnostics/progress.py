"""Bars that say how many of some futures are done: one for each function, drawn beside whatever else the program does.

A thread looks at the futures about ten times a second.  No callback is added to them: one of ours has a value fetched
from wherever it is before it is called.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import RLock
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from itertools import chain
from logging import getLogger
from math import isfinite
from time import perf_counter
from typing import Any, Final, Generic, Protocol, TextIO, TypeVar, cast
from weakref import WeakSet

from graphfutures import errors
from graphfutures.bells import Bell, Thread
from graphfutures.core.states import FAILED
from graphfutures.diagnostics.naming import function_of
from graphfutures.futures import GraphFuture

LOGGER = getLogger("graphfutures")
F = TypeVar("F", bound="Future[Any]")
#: so many functions have a bar each, all others one together
NAMES: Final = 10
#: characters of a name at most
LONG: Final = 30
#: seconds between two looks, and between two lines where no terminal shows them
PACE: Final = 0.1
RARE: Final = 30.0
#: looking takes one part in so many of the time at most
SHARE: Final = 20
_open: WeakSet[_Watcher] = WeakSet()


def progress(futures: Iterable[F], *, file: TextIO | None = None, mininterval: float | None = None) -> Progress[F]:
    """Draw how many of some futures are done, and go on at once.

    ``for future in progress(futures)`` yields them as they complete, as ``as_completed`` does.  Not iterated over, it
    draws in the background until all are done, and delays nobody, neither the program nor its end.

    The bars are those of `tqdm <https://tqdm.github.io>`_ where that is installed and a terminal or a notebook shows
    them, else one line of text.  There is one for each function, and one for all others if there are more than ten.

    :param futures: of ours, of others, of several executors; each counts once.
    :param file: to write to, by default ``sys.stderr``; a notebook shows its own bars unless one is given.
    :param mininterval: seconds between two drawings at least; by default 0.1, and 30 where the file is no terminal,
        which has a line each time, and one at the end.
    :return: to be iterated over, or left alone; to end the iteration closes the bars.
    :raises TypeError: for what is no future, and for other arguments of the wrong type.
    :raises ValueError: for a negative ``mininterval``.
    """
    if mininterval is not None:
        if not isinstance(mininterval, (int, float)) or isinstance(mininterval, bool):
            raise TypeError(f"mininterval must be a number of seconds, not {mininterval!r:.80}")
        if not (isfinite(mininterval) and mininterval >= 0):
            raise ValueError(f"mininterval must be finite and 0 or greater, but is {mininterval}")
    if file is not None and not hasattr(file, "write"):
        raise TypeError(f"file must be a text file that is open for writing, not {file!r:.80}")
    found = _checked(futures)
    watcher = _Watcher([_Group(name, some) for name, some in _by_name(found)], file, mininterval)
    watcher.begin()
    return Progress(found, watcher)


class Progress(Generic[F]):
    """What :func:`progress` returns: yields each future once, as it completes, and goes on where it was left."""

    def __init__(self, futures: Sequence[F], watcher: _Watcher) -> None:
        self._completed = cast("Iterator[F]", as_completed(futures))
        self._watcher = watcher

    def __iter__(self) -> Iterator[F]:
        try:
            yield from chain(self._completed)  # which does not close it when this is
        finally:
            self._watcher.close()

    def __repr__(self) -> str:
        return f"<progress of {self._watcher.text()}>"


def _checked(futures: Any) -> list[Any]:
    """Each of the futures once."""
    if isinstance(futures, Future):
        raise TypeError("progress takes several futures: put this one into a list")
    try:
        iterator = iter(futures)
    except TypeError:
        raise TypeError(f"progress takes futures, a list of them for instance, not {futures!r:.80}") from None
    found = list(iterator)
    for kind in set(map(type, found)):
        if not issubclass(kind, Future):
            if hasattr(kind, "_asyncio_future_blocking"):
                raise errors.asyncio_future("what progress is given")
            raise TypeError(f"progress takes futures, but among these is an object of type {kind.__name__}")
    return list(dict.fromkeys(found))


def _by_name(futures: list[Any]) -> list[tuple[str, list[Any]]]:
    named: dict[str, list[Any]] = {}
    for future in futures:
        name = future.name if isinstance(future, GraphFuture) else type(future).__name__
        try:
            named[name].append(future)
        except KeyError:
            named[name] = [future]
    functions: dict[str, list[Any]] = {}
    for name, some in named.items():
        functions.setdefault(function_of(name), []).extend(some)
    if len(functions) <= NAMES:
        return list(functions.items())
    most = set(sorted(functions, key=lambda name: -len(functions[name]))[:NAMES])
    others = list(chain.from_iterable(some for name, some in functions.items() if name not in most))
    return [*((name, some) for name, some in functions.items() if name in most), ("others", others)]


class _Group:
    """The futures of one name.

    :param name: whatever users call their tasks.
    :param futures: with that name.
    """

    def __init__(self, name: str, futures: list[Any]) -> None:
        name = name if name.isprintable() else repr(name)[1:-1]
        self.name = name if len(name) <= LONG else f"{name[: LONG - 1]}…"
        self.total = len(futures)
        self.failed = 0
        self.cancelled = 0
        self._left = futures  # and no other, so that no value is kept alive

    @property
    def done(self) -> int:
        return self.total - len(self._left)

    @property
    def losses(self) -> str:
        """How many have no value."""
        losses = [(self.failed, "failed"), (self.cancelled, "cancelled")]
        return ", ".join(f"{number:,} {how}" for number, how in losses if number)

    def look(self) -> None:
        left: list[Any] = []
        failed = cancelled = 0
        for future in self._left:
            if not future.done():
                left.append(future)
            elif future.cancelled():
                cancelled += 1
            elif isinstance(future, GraphFuture):
                failed += future.state is FAILED
            else:
                failed += future.exception() is not None
        self._left = left
        self.failed += failed
        self.cancelled += cancelled


class _Drawing(Protocol):
    def draw(self, groups: Sequence[_Group], text: str) -> None: ...

    def close(self) -> None: ...


class _Bars:
    """tqdm's bars.

    :param make: the class of them.
    """

    def __init__(self, make: Any, groups: Sequence[_Group], file: TextIO | None) -> None:
        looks = {"file": file, "unit": " tasks", "dynamic_ncols": True, "mininterval": 0, "miniters": 1}
        self._bars = [make(total=group.total, desc=group.name, **looks) for group in groups]

    def draw(self, groups: Sequence[_Group], _: str) -> None:
        for bar, group in zip(self._bars, groups, strict=True):
            bar.set_postfix_str(group.losses, refresh=False)
            if not bar.update(group.done - bar.n):
                bar.refresh()  # for the clock

    def close(self) -> None:
        for bar in self._bars:
            bar.close()


class _Line:
    """A line that is written anew on a terminal, lines one below the other elsewhere."""

    def __init__(self, file: Any, *, terminal: bool) -> None:
        self._file = file
        self._terminal = terminal
        self._length = 0

    def draw(self, _: object, text: str) -> None:
        if self._terminal:
            text = text[: (os.get_terminal_size(self._file.fileno()).columns or 80) - 1]
            self._length, before = len(text), self._length
            self._file.write(f"\r{text.ljust(before)}")
        else:
            self._file.write(f"{text}\n")
        self._file.flush()

    def close(self) -> None:
        if self._terminal:
            self._file.write("\n")
            self._file.flush()


class _Watcher:
    """Looks at futures until all of them are done, and draws how many are."""

    def __init__(self, groups: list[_Group], file: TextIO | None, mininterval: float | None) -> None:
        self._groups = groups
        self._file = file
        self._interval = mininterval
        self._drawing: _Drawing | None = None
        self._lock = RLock()
        self._over = Bell()
        self._process = os.getpid()
        self._start = perf_counter()
        self._drawn = 0.0

    def begin(self) -> None:
        """Draw for the first time, and have a thread go on with it."""
        try:
            self._drawing, terminal = _drawing(self._groups, self._file)
        except Exception as error:
            self._failed(error)
            return
        if self._interval is None:
            self._interval = PACE if terminal else RARE
        self._drawn = self._start if not terminal else 0.0
        _open.add(self)
        if self._look():
            try:
                Thread(self._watch, name="progress").start()
            except RuntimeError:
                pass  # the interpreter exits, or there are too many threads: it is drawn at the end

    def text(self) -> str:
        """What a line says."""
        told = [
            f"{group.name} {group.done:,}/{group.total:,}" + (f" ({group.losses})" if group.losses else "")
            for group in self._groups
        ]
        if len(told) > 1:
            whole = f"{sum(group.done for group in self._groups):,}/{sum(group.total for group in self._groups):,}"
            told = [f"{whole}: {', '.join(told)}"]
        return "".join(told) or "no futures"

    def close(self, patience: float = -1) -> None:
        """Draw for the last time.

        :param patience: seconds to wait for one who draws just now.
        """
        if self._process != os.getpid():
            return  # a forked child, where that one is not
        self._over.set()
        if self._lock.acquire(True, patience):
            try:
                if self._drawing is not None:
                    self._look(last=True)
            finally:
                self._lock.release()

    def _watch(self) -> None:
        pause = PACE
        while not self._over.wait(pause):
            begun = perf_counter()
            with self._lock:
                if self._drawing is None or not self._look():
                    return
            pause = max(PACE, SHARE * (perf_counter() - begun))

    def _look(self, *, last: bool = False) -> bool:
        """Look, and draw if it is time to; whether there is more to come."""
        drawing = self._drawing
        try:
            for group in self._groups:
                group.look()
            last = last or not any(group.done < group.total for group in self._groups)
            now = perf_counter()
            if last:
                self._drawing = None  # first, so that nobody who is interrupted in the rest does it twice
                _open.discard(self)
            if drawing is not None and self._groups and (last or now - self._drawn >= (self._interval or 0)):
                self._drawn = now
                drawing.draw(self._groups, f"{self.text()}, {now - self._start:.1f} s")
            if last and drawing is not None and self._groups:
                drawing.close()
        except Exception as error:
            self._failed(error)
            return False
        return not last

    def _failed(self, error: Exception) -> None:
        """The file was closed, or a future is not what it seems: the program is not to suffer for that."""
        self._drawing = None
        _open.discard(self)
        LOGGER.debug("progress is not drawn any more: %r", error)


def _drawing(groups: Sequence[_Group], file: TextIO | None) -> tuple[_Drawing | None, bool]:
    """What draws, and whether it can do so often."""
    where: Any = file or sys.stderr
    terminal = where is not None and hasattr(where, "isatty") and where.isatty()
    if groups and (terminal or (file is None and "IPython" in sys.modules)):
        try:
            from tqdm.auto import tqdm
        except ImportError:
            pass
        else:
            notebook = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)
            if terminal or notebook:
                make = type("Bar", (tqdm,), {"monitor_interval": 0})  # no thread that looks after the bars
                return _Bars(make, groups, where if terminal else None), True
    return (None, False) if where is None else (_Line(where, terminal=terminal), terminal)


@atexit.register
def _close_all() -> None:
    """The interpreter ends, and every executor of ours has: no thread is to be in the middle of a line."""
    for watcher in tuple(_open):
        watcher.close(1.0)
