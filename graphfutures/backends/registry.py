"""Backends by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from graphfutures import config, errors
from graphfutures.backends.base import Backend
from graphfutures.backends.inline import Inline
from graphfutures.backends.threads import Threads


class Request(NamedTuple):
    """What an executor asks of the backend that it is made with, in the words of its constructor."""

    max_workers: int
    name: str
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]


def _threads(request: Request) -> Backend:
    return Threads(request.max_workers, request.name, request.initializer, request.initargs)


def _inline(request: Request) -> Backend:
    return Inline(request.initializer, request.initargs)


BACKENDS: Final[Mapping[str, Callable[[Request], Backend]]] = {"threads": _threads, "inline": _inline}
#: dask's names for the same
ALIASES: Final[Mapping[str, str]] = {
    "threading": "threads",
    "threaded": "threads",
    "sync": "inline",
    "synchronous": "inline",
    "single-threaded": "inline",
}


def make(backend: str | Backend, request: Request) -> Backend:
    """A backend by its name or alias; one that is ready made is returned as it is.

    :raises ValueError: for an unknown name.
    :raises TypeError: for something that is neither.
    """
    if isinstance(backend, str):
        name = ALIASES.get(backend, backend)
        if name not in BACKENDS:
            raise errors.unknown_backend(backend, [*BACKENDS, *ALIASES], config.source_of(backend))
        return BACKENDS[name](request)
    if not isinstance(backend, type) and hasattr(backend, "capabilities"):
        return backend
    raise errors.no_backend(backend, [*BACKENDS, *ALIASES])
