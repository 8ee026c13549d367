"""Values in files that processes map: the buffers of a pickle (protocol 5, out of band), then the pickle itself.

A file is filled with ``write``, so that a full file system is an ``OSError`` and not the death of whoever touches the
memory; it is read by mapping it, copy-on-write, so that nobody sees what another one does to the value.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, Final, TypeAlias

from graphfutures.backends.processes.owning import ALONE, LARGE, mapped_files, references, shares_memory

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None

#: a file system in memory, where there is one
MEMORY: Final = "/dev/shm"
#: bytes: buffers begin at multiples of this, for vector instructions
ALIGNED: Final = 64
#: bytes from which on a copy is in memory of large pages: to fill it takes a quarter of the time
HUGE: Final = 4_194_304
#: how many files are mapped at once at most, and which part of those that this process may have open: each of them
#: is one for as long as its value lives
MAPS: Final = 8192
PART: Final = 4


#: where a value is to be read: the path of its file, the size of that, where its buffers and its pickle begin and end
Layout: TypeAlias = tuple[str, int, tuple[tuple[int, int], ...]]


class Pickled:
    """A value as it is sent: its pickle, and its large buffers, which still are those of the value.

    :param value: itself.
    :param dumps: pickles it.
    :raises Exception: what pickling raises.
    """

    __slots__ = ("buffers", "linked", "text")

    def __init__(self, value: Any, dumps: Callable[..., bytes]) -> None:
        self.buffers: list[Any] = []
        #: whether it holds futures of the worker that sends it, so that it cannot be in a file
        self.linked = False
        self.text = dumps(value, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=self._stays_in)

    def _stays_in(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # it is not contiguous
            return True
        if raw.nbytes < LARGE:
            return True
        self.buffers.append(raw)
        return False

    @property
    def size(self) -> int:
        """Bytes."""
        sizes: list[int] = [buffer.nbytes for buffer in self.buffers]
        return len(self.text) + sum(sizes)

    @property
    def is_large(self) -> bool:
        """Whether it is too large for a message."""
        return not self.linked and (bool(self.buffers) or len(self.text) >= LARGE)

    def part(self) -> None:
        """Whatever happens to the value from now on does not change this: what somebody has is copied."""
        self.buffers = [copied(buffer) if shares_memory(buffer) else buffer for buffer in self.buffers]

    def value(self, loads: Callable[..., Any]) -> Any:
        """The value again, once.

        :param loads: reads a pickle.
        :raises Exception: what unpickling raises.
        """
        self.part()
        return loads(self.text, buffers=self.buffers)


def copied(buffer: Any) -> bytearray | mmap.mmap:
    """Memory of one's own with the same in it."""
    size = memoryview(buffer).nbytes
    if size < HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(buffer)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        memory[:] = buffer
        return memory
    # Without the GIL, and by two threads: more than the copying, it is new memory that takes its time.
    to, of, half = numpy.frombuffer(memory, "u1"), numpy.frombuffer(buffer, "u1"), size // 2
    other = Thread(target=numpy.copyto, args=(to[half:], of[half:]), daemon=True)
    other.start()
    numpy.copyto(to[:half], of[:half])
    other.join()
    return memory


def _places(parts: Sequence[Any]) -> tuple[tuple[int, int], ...]:
    """Where in their file parts begin and end."""
    places: list[tuple[int, int]] = []
    end = 0
    for part in parts:
        begin = -(-end // ALIGNED) * ALIGNED
        end = begin + len(part)
        places.append((begin, end))
    return tuple(places)


def write(path: str, parts: Sequence[Any]) -> Layout:
    """Write buffers, and the pickle behind them, into a new file; if it cannot be filled nothing is left of it.

    :raises OSError: if there is no room.
    """
    places, at = _places(parts), 0
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    try:
        for part, (begin, end) in zip(parts, places, strict=True):
            if begin > at:
                os.write(descriptor, bytes(begin - at))
            left = memoryview(part)
            while left:
                left = left[os.write(descriptor, left) :]
            at = end
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    return path, at, places


def mapped(layout: Layout) -> mmap.mmap | bytearray:
    """The file, mapped so that changes stay here; a copy of it once there are too many of these.

    :raises OSError: if it is gone.
    """
    with open(layout[0], "rb", buffering=0) as file:
        if len(mapped_files) < _most():
            memory = mmap.mmap(file.fileno(), layout[1], access=mmap.ACCESS_COPY)
            mapped_files.add(memory)
            return memory
        copy = bytearray(layout[1])
        left = memoryview(copy)
        while left:
            number = file.readinto(left)
            if not number:
                raise OSError(f"{layout[0]} has been cut short")
            left = left[number:]
        return copy


class Mapper:
    """Maps files for tasks that run one after the other: where one has left the memory as it was, it serves the next.

    To map a file again costs as much as to read it: each of its pages is looked up, and let go in the end.
    """

    def __init__(self) -> None:
        #: what was mapped last, if the next task may have it
        self.memory: mmap.mmap | None = None
        self._path = ""
        self._used = False

    def mapped(self, layout: Layout) -> mmap.mmap | bytearray:
        """See ``mapped``."""
        memory: Any = self.memory
        if memory is None or self._path != layout[0] or references(memory) != ALONE + 1 or not _is_as_in_file(memory):
            memory = mapped(layout)
            self.memory, self._path = memory if type(memory) is mmap.mmap else None, layout[0]
        self._used = True
        return memory  # type: ignore[no-any-return]

    def next(self) -> None:
        """A task has read all that it needs: what it did not need goes."""
        if not self._used:
            self.memory = None
        self._used = False


#: where in an entry of the table of pages its flags are, and those of pages that are not here, or are a file's
_FLAGS: Final = 7 if sys.byteorder == "little" else 0
_OF_FILE: Final = bytes(flags for flags in range(256) if flags & 0x20 or not flags & 0xC0)


def _is_as_in_file(memory: mmap.mmap) -> bool:
    """Whether no page was written to, and so became one of this process; False where the system does not say."""
    from ctypes import addressof, c_char

    first = addressof(c_char.from_buffer(memory)) // mmap.PAGESIZE
    size = -(-len(memory) // mmap.PAGESIZE) * 8
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as table:
            table.seek(first * 8)
            entries = table.read(size)
    except OSError:
        return False
    return len(entries) == size and not entries[_FLAGS::8].translate(None, _OF_FILE)


def _most() -> int:
    """How many files may be mapped."""
    if resource is None:
        return MAPS
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAPS if soft == resource.RLIM_INFINITY else min(MAPS, soft // PART)


def read(layout: Layout, loads: Callable[..., Any], memory: mmap.mmap | bytearray | None = None) -> Any:
    """A value of its own, whose buffers are the file's.

    :param loads: reads a pickle.
    :param memory: the file, if it is mapped already.
    :raises Exception: what unpickling raises.
    """
    view = memoryview(mapped(layout) if memory is None else memory)
    *buffers, text = [view[begin:end] for begin, end in layout[2]]
    return loads(text, buffers=buffers)


def write_somewhere(folders: Sequence[str], name: str, parts: Sequence[Any], room: int) -> Layout:
    """Write a value into the first folder that has room.

    :param room: bytes that may go into shared memory.
    :raises OSError: if none has any.
    """
    size = _places(parts)[-1][1]
    failure: OSError | None = None
    for folder in folders:
        if folder.startswith(MEMORY) and size > room and folder is not folders[-1]:
            continue
        try:
            return write(os.path.join(folder, name), parts)
        except OSError as error:
            failure = error
    if failure is None:
        failure = FileNotFoundError("there is no folder for values")
    with suppress(Exception):
        failure.add_note(f"no room for a value of {size:,} bytes in {' or '.join(folders)}")
    raise failure
