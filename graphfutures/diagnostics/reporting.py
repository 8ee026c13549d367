"""One page that says where the time went."""

from __future__ import annotations

from os import PathLike

from graphfutures.diagnostics.snapshot import Snapshot


def write(snapshot: Snapshot, path: str | PathLike[str]) -> None:
    """Write it to a file."""
    raise NotImplementedError
