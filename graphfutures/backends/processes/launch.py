"""What a new process is given that cannot be pickled elsewhere."""

from __future__ import annotations

from typing import Any


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
