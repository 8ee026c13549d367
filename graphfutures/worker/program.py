"""What a worker process runs, from its beginning to its end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from graphfutures.backends.processes.messages import Page
from graphfutures.current import here
from graphfutures.worker.loop import Worker

#: bytes of the largest block of memory that a process of the GNU C library may keep when it is free, as it finds out
#: when it lets go of such a one: the values of tasks come and go all the time, and new memory costs more than they do
KEPT: Final = (32 << 20) - 8192


def main(
    connection: Any,
    page: Any,
    initializer: bytes | None,
    initargs: tuple[Any, ...],
    token: str,
    max_workers: int,
    folders: Sequence[str],
) -> None:
    """Serve an attendant; called in the main thread of a new process."""
    with suppress(MemoryError):
        bytes(KEPT)  # no page of it is touched; the allocator learns from its end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    worker = Worker(connection, Page(page.detach()) if page is not None else None, token, max_workers, folders)
    if not worker.initialize(initializer, initargs):
        return
    threading.Thread(target=worker.watch, name="watch", daemon=True).start()
    try:
        worker.work()
    except BaseException:  # a signal handler of the user's has raised between tasks
        connection.close()  # so that this is heard of now: threads of the user's may keep the process
        raise
    here.task = None
    if "graphfutures.ending" in sys.modules:  # executors of tasks; multiprocessing waits for their processes first
        sys.modules["graphfutures.ending"].at_exit()
