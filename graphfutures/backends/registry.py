"""Backends by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from graphfutures import config, errors
from graphfutures.backends.base import Backend
from graphfutures.backends.executor import Wrapped
from graphfutures.backends.inline import Inline
from graphfutures.backends.threads import Threads


class Request(NamedTuple):
    """What an executor asks of the backend that it is made with, in the words of its constructor.

    :param max_workers: how many tasks are to run at once, by default what ``config`` says.
    :param name: for threads.
    :param initializer: to be called first in each worker, with ``initargs``.
    :param limit: ``max_workers`` if it was given, else None.
    :param max_tasks: after how many tasks a worker process is replaced, None for never.
    :param max_shared_bytes: that values may take of shared memory, None for half of what is free.
    :param security: for an address of dask's.
    """

    max_workers: int
    name: str
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    limit: int | None
    max_tasks: int | None = None
    max_shared_bytes: int | None = None
    security: Any = None


def _threads(request: Request) -> Backend:
    return Threads(request.max_workers, request.name, request.initializer, request.initargs)


def _inline(request: Request) -> Backend:
    return Inline(request.initializer, request.initargs)


def _processes(request: Request) -> Backend:
    from graphfutures.backends.processes.pool import Processes

    rest = request.max_tasks, request.max_shared_bytes
    return Processes(_workers(request), request.name, request.initializer, request.initargs, *rest)


def _workers(request: Request) -> int:
    """How many processes are started, if nobody says: as many as may run at once here."""
    if request.limit is None and config.max_workers_of_environment() is None:
        from loky import cpu_count  # which brings half of multiprocessing, as what is started does

        return int(cpu_count())
    return request.max_workers


def _dask(request: Request, source: Any = None) -> Backend:
    from graphfutures.backends.clusters.dask import Dask
    from graphfutures.backends.clusters.pump import Cluster

    def make(pump: Cluster) -> Dask:
        return Dask(pump, source, _workers(request), request.name, request.security)

    return Cluster(make, request.limit, request.name, request.initializer, request.initargs)


def _ray(request: Request, source: str | None = None) -> Backend:
    from graphfutures.backends.clusters.pump import Cluster
    from graphfutures.backends.clusters.ray import Ray

    def make(pump: Cluster) -> Ray:
        return Ray(pump, source, _workers(request))

    return Cluster(make, request.limit, request.name, request.initializer, request.initargs)


BACKENDS: Final[Mapping[str, Callable[[Request], Backend]]] = {
    "threads": _threads,
    "processes": _processes,
    "inline": _inline,
    "dask": _dask,
    "ray": _ray,
}
#: dask's names for the same
ALIASES: Final[Mapping[str, str]] = {
    "threading": "threads",
    "threaded": "threads",
    "multiprocessing": "processes",
    "sync": "inline",
    "synchronous": "inline",
    "single-threaded": "inline",
    "distributed": "dask",
    "dask.distributed": "dask",
}


#: what addresses of clusters begin with
ADDRESSES: Final[Mapping[str, Callable[[Request, str], Backend]]] = {"tcp://": _dask, "tls://": _dask, "ray://": _ray}
#: the entry points by which others offer backends: each a callable that takes a Request and returns a Backend
GROUP: Final = "graphfutures.backends"
#: ready-made ones that an executor has got
_taken: WeakSet[Backend] = WeakSet()


def make(backend: str | Backend | Executor, request: Request) -> Backend:
    """A backend by its name or alias, or one for an executor; one that is ready made is returned as it is.

    :raises ValueError: for an unknown name, an initializer for the workers of an executor, or a backend that another
        executor has got.
    :raises TypeError: for something that is none of these.
    :raises ImportError: for a backend of others that cannot be loaded.
    """
    if isinstance(backend, str):
        name = ALIASES.get(backend, backend)
        if name.startswith((*ADDRESSES,)):
            return ADDRESSES[name.partition("://")[0] + "://"](request, name)
        return BACKENDS[name](request) if name in BACKENDS else _made_elsewhere(name, request)
    if is_cluster(backend):
        return _dask(request, backend)
    if isinstance(backend, Executor):
        if request.initializer is not None:
            raise errors.initializer_elsewhere(backend)
        return Wrapped(backend, request.limit, request.name)
    if not isinstance(backend, type) and hasattr(backend, "capabilities"):
        if any(backend is other for other in _taken):
            raise errors.backend_taken(backend)
        _taken.add(backend)
        return backend
    raise errors.no_backend(backend, [*BACKENDS, *ALIASES])


def is_cluster(backend: Any) -> bool:
    """Whether something is a client or a cluster of distributed's, which is not imported for that."""
    distributed = sys.modules.get("distributed")
    if distributed is None or isinstance(backend, str):
        return False
    from distributed.deploy.cluster import Cluster as Deployed

    return isinstance(backend, (distributed.Client, Deployed))


def check_name(name: str) -> None:
    """Refuse what is no name of a backend, without making one.

    :raises ValueError: for an unknown name.
    """
    if name not in BACKENDS and name not in ALIASES and not name.startswith((*ADDRESSES,)):
        _offered(name)


def _offered(name: str) -> Any:
    """The entry point of a backend of others."""
    from importlib.metadata import entry_points  # which takes as long as the rest of this package

    offered = entry_points(group=GROUP)
    if name not in offered.names:
        known = dict.fromkeys([*BACKENDS, *ALIASES, *sorted(offered.names)])  # ours go before others of that name
        raise errors.unknown_backend(name, known, config.source_of(name))
    return offered[name]


def _made_elsewhere(name: str, request: Request) -> Backend:
    offered = _offered(name)
    try:
        factory: Callable[[Request], Backend] = offered.load()
    except Exception as error:
        raise errors.backend_not_loaded(name, offered.value, error) from error
    return factory(request)
