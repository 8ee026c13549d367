"""What ran when and where, as a trace for Perfetto and Chrome."""

from __future__ import annotations

from os import PathLike

from graphfutures.diagnostics.snapshot import Snapshot


def write(snapshot: Snapshot, path: str | PathLike[str]) -> None:
    """Write it to a file."""
    raise NotImplementedError
