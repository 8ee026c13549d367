"""``performance_report``: a report of what the executors of this process did in a block of code."""

from __future__ import annotations

import os
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from weakref import ref

from graphfutures import errors
from graphfutures.config import LOGGER
from graphfutures.history import CHANGING, REMEMBERED, remember

#: the executors that are there, and the blocks that have begun
_executors: dict[int, ref[Any]] = {}
_blocks: list[performance_report] = []


def noted(executor: Any) -> None:
    """An executor was made."""
    key = id(executor)
    _executors[key] = ref(executor, lambda _: _executors.pop(key, None))
    for block in tuple(_blocks):
        block._watch(executor)


class performance_report:
    """``with performance_report("report.html"):`` writes a report of what ran in the block, as dask's does.

    Of every executor of this process, whether it was made before or in the block, all attempts are told that started in
    it and have returned at its end; each executor has a section of its own.  All of these attempts are remembered
    until then.  The report is written also if the block raises.

    :param path: of the file, HTML.
    :param executor: the only one that is told of; None for all.
    :raises ImportError: without Bokeh, at the beginning of the block.
    :raises FileNotFoundError: for a folder that is not there, likewise.
    :raises IsADirectoryError: for a path that is a folder, likewise.
    :raises TypeError: for an ``executor`` that is not ours.
    """

    def __init__(self, path: str | os.PathLike[str], executor: Any = None) -> None:
        self._path = os.fspath(path)
        if executor is not None and not hasattr(executor, "snapshot"):
            raise TypeError(f"executor must be a GraphExecutor, not {executor!r:.80}")
        self._only = executor
        self._watched: list[Any] = []  # kept alive until the end
        self._begin = 0.0

    def __enter__(self) -> Self:
        check()
        folder = os.path.dirname(os.path.abspath(self._path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"there is no folder {folder!r} for the report")
        if os.path.isdir(self._path):
            raise IsADirectoryError(f"{self._path!r} is a folder, and the report a file")
        self._watched.clear()
        _blocks.append(self)
        for reference in tuple(_executors.values()):
            if (executor := reference()) is not None:
                self._watch(executor)
        self._begin = perf_counter()
        return self

    def _watch(self, executor: Any) -> None:
        hub = executor._hub
        if (self._only is None or self._only._hub is hub) and executor not in self._watched:
            self._watched.append(executor)
            with CHANGING:
                if hub.history.maxlen is not None:
                    remember(hub, None)
                    hub.history.blocks = 1
                elif hub.history.blocks:
                    hub.history.blocks += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from graphfutures.diagnostics.reporting import write_all

        _blocks.remove(self)
        try:
            snapshots = [executor.snapshot() for executor in self._watched]
            told = [
                one._replace(attempts=[row for row in one.attempts if row.start >= self._begin], missing=0)
                for one in snapshots
            ]
            write_all([one for one in told if one.attempts], self._path)
        except Exception:
            if error is None:
                raise
            LOGGER.exception("the report %r of a block that has raised cannot be written", self._path)
        finally:
            for executor in self._watched:
                hub = executor._hub
                with CHANGING:
                    if hub.history.blocks:
                        hub.history.blocks -= 1
                        if not hub.history.blocks:
                            remember(hub, REMEMBERED)
            self._watched.clear()


def check(what: str = "a report") -> None:
    """See to it that Bokeh is there.

    :raises ImportError: if it is not.
    """
    from importlib.util import find_spec

    if find_spec("bokeh") is None:
        raise errors.needs_extra(what, "dashboard", ModuleNotFoundError("No module named 'bokeh'"))
