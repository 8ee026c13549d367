"""What a new process runs, and what it is given that cannot be pickled elsewhere."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

#: a program of its own, which the process that starts it does not import
PROGRAM: Final = "graphfutures.worker.loop"


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
