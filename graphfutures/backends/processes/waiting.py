"""Waiting for a message, for the death of a process, or for a ring of the bell."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from time import perf_counter
from typing import Any

#: ``multiprocessing.connection.wait`` takes a tenth of a millisecond each time, and is for where this is not
POLLS = hasattr(select, "poll")
#: whether one can send no more than there is room for
SENDS_PARTS = POLLS and os.name == "posix" and hasattr(socket, "MSG_DONTWAIT")
#: bytes from which on a message is not copied to be sent with its length in one piece
LARGE = 16_384
#: seconds for which a message is waited for awake
AWAKE = 0.0005


class Messages:
    """Whether there is a message on a connection.

    :param connection: by which messages come.
    """

    def __init__(self, connection: Any) -> None:
        self._sources = [connection]
        self._numbers: dict[int, Any] = {}
        if POLLS:
            self._poll = select.poll()
            self._watch(connection)

    def _watch(self, source: Any) -> None:
        number = source if isinstance(source, int) else source.fileno()
        self._numbers[number] = source
        self._poll.register(number, select.POLLIN)

    def found(self, seconds: float | None) -> list[Any]:
        """What is to be read of what is watched, perhaps nothing after so many seconds."""
        if not POLLS:
            return wait(self._sources, seconds)
        return [self._numbers[number] for number, _ in self._poll.poll(None if seconds is None else seconds * 1000)]


class Awake(Messages):
    """The same, for who waits awake for a moment if the last one came soon: to wake up takes longer than that."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        #: whether it had to wait less than ``AWAKE`` for the last message, and what was done since took no longer
        self.soon = False

    def come(self) -> None:
        """Wait for a message."""
        since = perf_counter()
        while self.soon:
            if self.found(0):
                return
            self.soon = perf_counter() - since < AWAKE
        self.found(None)
        self.soon = perf_counter() - since < AWAKE


class Waiting(Messages):
    """For one thread that serves one process.

    Whoever sends to a process that is about to send, too, must read, or both may wait for each other once the pipe is
    full in both directions.  So what comes while a message is being sent is read, and kept for ``read``.

    :param connection: to the process; messages go and come by it.
    :param process: the one at its other end.
    """

    def __init__(self, connection: Any, process: Any) -> None:
        super().__init__(connection)
        self._connection = connection
        self._kept: deque[bytes] = deque()
        self._bell, self._hand = Pipe(duplex=False)
        if os.name == "posix":
            os.set_blocking(self._hand.fileno(), False)
        self._pidfd = -1
        self.dead = False
        if hasattr(os, "pidfd_open"):  # a process that the worker has forked may hold its pipes, but not this
            with suppress(OSError):
                self._pidfd = os.pidfd_open(process.pid)
        self._end: Any = self._pidfd if self._pidfd >= 0 else process.sentinel
        self._sources += [self._bell, self._end]
        if POLLS:
            self._watch(self._bell)
            self._watch(self._end)
        if SENDS_PARTS:
            self._socket = socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
            self._room = select.poll()
            self._room.register(connection.fileno(), select.POLLIN | select.POLLOUT)
            self._room.register(self._end, select.POLLIN)

    def ring(self) -> None:
        """Wake the thread."""
        with suppress(OSError):  # it is gone
            if os.name == "posix":
                os.write(self._hand.fileno(), b"\0")
            else:
                self._hand.send_bytes(b"\0")

    def wait(self, seconds: float | None) -> bool:
        """Wait until there is something to be seen to; whether there is a message to be read."""
        if self._kept:
            return True
        found = self.found(seconds)
        if self._bell in found:
            if os.name == "posix":
                os.read(self._bell.fileno(), 4096)
            else:
                self._bell.recv_bytes()
        if self._end in found:
            self.dead = True
        return self._connection in found

    def read(self) -> bytes:
        """The next message."""
        return self._kept.popleft() if self._kept else self._connection.recv_bytes()

    def send(self, message: bytes) -> None:
        """Send a message.

        :raises OSError: if the process is dead.
        """
        if not SENDS_PARTS:
            self._connection.send_bytes(message)
            return
        # As the connection at the other end reads it.
        size = len(message)
        length = struct.pack("!i", size) if size <= 0x7FFFFFFF else struct.pack("!iQ", -1, size)
        if size < LARGE:
            self._send_all(length + message)
        else:
            self._send_all(length)
            self._send_all(message)

    def _send_all(self, part: bytes) -> None:
        left = memoryview(part)
        while True:
            with suppress(BlockingIOError):
                left = left[self._socket.send(left, socket.MSG_DONTWAIT) :]
            if not left:
                return
            found = dict(self._room.poll())
            events = found.pop(self._connection.fileno(), 0)
            if events & select.POLLIN:
                try:
                    self._kept.append(self._connection.recv_bytes())
                except EOFError:
                    raise BrokenPipeError from None
            elif found:  # it is dead
                raise BrokenPipeError

    def close(self) -> None:
        """Let go of what was opened."""
        self._bell.close()
        self._hand.close()
        if SENDS_PARTS:
            self._socket.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
