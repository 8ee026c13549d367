"""Which executor a graph runs on: the one that the call names, or a default.

First comes what the call says, then ``set_options``, then the innermost ``with executor:`` of this context, then the
executor of the task that asks, then dask's own configuration of a pool, and last one executor for each backend, made on
first use and shared by all.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from threading import Lock
from typing import Any

from graphfutures import config
from graphfutures.backends.registry import ALIASES
from graphfutures.current import here
from graphfutures.door import Door
from graphfutures.errors import no_scheduler
from graphfutures.executor import GraphExecutor
from graphfutures.graphs import without_futures
from graphfutures.integrations.dask import setting

_MAKING = Lock()
_shared: dict[tuple[str, int], GraphExecutor] = {}


def get(graph: Any, keys: Any, *, scheduler: Any = None, num_workers: int | None = None, **keywords: Any) -> Any:
    """The values of some keys of a graph, computed by the default scheduler, or by one that is given.

    :param graph: see :meth:`GraphExecutor.get`, also for what is raised.
    :param keys: one key, or a list of them, nested at will, which gives a tuple.
    :param scheduler: a name of a backend, an executor, or a ``get`` function; ``get`` and ``pool`` are the same.
    :param num_workers: how many workers.
    """
    chosen = keywords.pop("get", None) if scheduler is None else scheduler
    if chosen is None:
        chosen = keywords.pop("pool", None)
    found = scheduler_of(chosen, num_workers)
    if isinstance(found, Executor) and not isinstance(found, Door):
        with GraphExecutor(num_workers, backend=found) as around:
            return around.get(graph, keys, **keywords)
    if not isinstance(found, Door) and isinstance(graph, Mapping):
        graph = without_futures(graph)
    return found(graph, keys, num_workers=num_workers, **keywords)


def scheduler_of(chosen: Any = None, num_workers: int | None = None) -> Any:
    """An executor, or a ``get`` function.

    :raises ValueError: for an unknown name.
    :raises TypeError: for something else that is none of these.
    """
    if chosen is None:
        chosen = config.option("scheduler")
    if chosen is get:
        chosen = None
    if chosen is None:
        chosen = config.innermost()
    if chosen is None and here.task is not None and here.task.place.hosts:
        chosen = here.task._owner.door()
    if chosen is None:
        chosen = setting("pool")
    if chosen is None:
        chosen = config.default_backend()
    if isinstance(chosen, str):
        return shared(chosen, num_workers)
    if hasattr(chosen, "apply_async"):  # a pool of multiprocessing, of threads or processes
        import dask.local

        local: Any = dask.local
        return local.MultiprocessingPoolExecutor(chosen)
    if isinstance(chosen, Executor) or callable(chosen):
        return chosen
    raise no_scheduler(chosen)


def shared(backend: str, num_workers: int | None = None) -> GraphExecutor:
    """The executor of a backend that all share, with so many workers."""
    workers = num_workers or config.option("num_workers") or setting("num_workers")
    workers = workers or config.max_workers_of_environment() or _cpus()
    key = ALIASES.get(backend, backend), workers
    with _MAKING:
        executor = _shared.get(key)
        if executor is None or executor._broken or executor._shutdown:
            _shared[key] = executor = GraphExecutor(workers, f"shared-{key[0]}", backend=backend)
    return executor


def _cpus() -> int:
    from loky import cpu_count

    return cpu_count()  # type: ignore[no-any-return]
