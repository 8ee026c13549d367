"""What a new process runs, and what it is given that cannot be pickled elsewhere."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from graphfutures.backends.processes.messages import Page
    from graphfutures.backends.processes.pool import Processes

#: a program of its own, which the process that starts it does not import
PROGRAM: Final = "graphfutures.worker.program"


def work(*arguments: Any) -> None:
    """Serve an attendant; called in the main thread of a new process."""
    import_module(PROGRAM).main(*arguments)


class Launched:
    """A file descriptor that the new process gets a copy of.

    :param descriptor: open in this process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> Any:
        from multiprocessing.context import get_spawning_popen

        popen: Any = get_spawning_popen()
        return Launched, (popen.duplicate_for_child(self._descriptor),)

    def detach(self) -> int:
        """The descriptor in the new process."""
        return self._descriptor


def start(pool: Processes, number: int) -> tuple[Any, Any, Page | None]:
    """Start a worker.

    :param number: of the worker.
    :return: the process, the connection to it, and the page that it shares, where that can be.
    """
    from tempfile import TemporaryFile

    from loky.backend import get_context

    from graphfutures.backends.processes.messages import Page

    context: Any = get_context("loky")
    mine, its = context.Pipe(duplex=True)

    def process(page: Any) -> Any:
        given = its, page, pool.initializer(), pool.initargs, pool.token, pool.max_workers, pool.store.folders()
        name = f"{pool.name}_{number}"
        process = context.Process(target=work, args=given, name=name, env=pool.environment)
        with pool.quiet():
            process.start()
        its.close()
        return process

    if os.name != "posix":
        return process(None), mine, None
    with TemporaryFile() as file:
        file.truncate(Page.SIZE)
        page = Page(file.fileno())
        page.leave_room(pool.store.room())
        return process(Launched(file.fileno())), mine, page
