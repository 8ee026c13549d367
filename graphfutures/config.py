"""What holds where the caller says nothing: the environment, then our defaults."""

from __future__ import annotations

import logging
import os
from typing import Any

LOGGER = logging.getLogger("graphfutures")
DEFAULT_BACKEND = "threads"
_told: set[str] = set()


def _variable(name: str) -> str | None:
    """A variable of the environment; where it is not set, ``os.environ.get`` takes two exceptions to say so."""
    environ: Any = os.environ
    found = getattr(environ, "_data", None)
    if found is not None and environ.encodekey(name) not in found:
        return None
    value: str | None = environ.get(name)
    return value


def default_backend() -> str:
    """The backend named by ``GRAPHFUTURES_BACKEND``, else threads."""
    name = _variable("GRAPHFUTURES_BACKEND")
    if not name:
        return DEFAULT_BACKEND
    if name not in _told:
        _told.add(name)
        LOGGER.info("backend %r is taken from GRAPHFUTURES_BACKEND", name)
    return name


def source_of(name: str) -> str:
    """Where an unusable backend name may have come from, for the message."""
    return " (from GRAPHFUTURES_BACKEND)" if name == os.environ.get("GRAPHFUTURES_BACKEND") else ""


def default_max_workers() -> int:
    """The number in ``GRAPHFUTURES_MAX_WORKERS``, else that of ThreadPoolExecutor.

    :raises ValueError: for a variable that is no number above 0.
    """
    given = _variable("GRAPHFUTURES_MAX_WORKERS")
    if given:
        if not given.isdecimal() or not int(given):
            raise ValueError(f"GRAPHFUTURES_MAX_WORKERS must be an integer greater than 0, not {given!r}")
        return int(given)
    count: Any = getattr(os, "process_cpu_count", os.cpu_count)
    return min(32, (count() or 1) + 4)
