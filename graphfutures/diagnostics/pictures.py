"""Pictures of graphs."""

from __future__ import annotations

from os import PathLike
from typing import Any

from graphfutures.diagnostics.snapshot import Snapshot


def of_snapshot(snapshot: Snapshot, path: str | PathLike[str] | None, **options: Any) -> Any:
    """A picture of what an executor remembers, and of what is pending."""
    raise NotImplementedError
