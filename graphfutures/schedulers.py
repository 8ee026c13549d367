"""Which executor a graph runs on: the one that the call names, or a default.

First comes what the call says, then ``set_options``, then the innermost ``with executor:`` of this context, then the
executor of the task that asks, then dask's own configuration of a scheduler, and of a pool, and last one executor for
each backend, made on first use and shared by all.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from graphfutures import config, errors
from graphfutures.backends.registry import ADDRESSES, ALIASES, BACKENDS, check_name, is_cluster
from graphfutures.current import here
from graphfutures.door import Door
from graphfutures.executor import GraphExecutor, for_one_call
from graphfutures.graphs import without_futures
from graphfutures.integrations.dask import setting

#: held while a shared executor is looked for or made, and what counts the CPUs is imported
_MAKING = config.lock_over_forks()
_shared: dict[tuple[Any, int], GraphExecutor] = {}


def get(graph: Any, keys: Any, *, scheduler: Any = None, num_workers: int | None = None, **keywords: Any) -> Any:
    """The values of some keys of a graph, computed by the default scheduler, or by one that is given.

    :param graph: see :meth:`GraphExecutor.get`, also for what is raised.
    :param keys: one key, or a list of them, nested at will, which gives a tuple.
    :param scheduler: a name of a backend, an executor, or a ``get`` function; ``get`` and ``pool`` are the same.
    :param num_workers: how many workers.
    :raises TypeError: for something that is no scheduler, or no number of workers; for both ``scheduler`` and ``get``.
    :raises ValueError: for an unknown name, or a number of workers below 1.
    """
    chosen = checked(scheduler, keywords.pop("get", None), num_workers)
    if chosen is None:
        chosen = keywords.pop("pool", None)
        _check(chosen, "pool")
    found = scheduler_of(chosen, num_workers)
    if isinstance(found, Executor) and not isinstance(found, Door):
        with for_one_call(num_workers, found) as around:
            return around.get(graph, keys, **keywords)
    if not isinstance(found, Door) and isinstance(graph, Mapping):
        graph = without_futures(graph)
    return found(graph, keys, num_workers=num_workers, **keywords)


class set_options(config.Setting):
    """Set defaults: as a statement for the whole process, as ``with set_options(…):`` in this context and undone.

    :param scheduler: what runs graphs: a name of a backend, an executor, or a ``get`` function.
    :param get: the same, by the name that it had in dask's first releases.
    :param num_workers: how many workers, where an executor is made by name.
    :raises TypeError: for an unknown option, something that is no scheduler, or a number of workers that is none.
    :raises ValueError: for an unknown name, or a number of workers below 1.
    """

    def __init__(self, **options: Any) -> None:
        known = ("scheduler", "get", "num_workers")
        if unknown := options.keys() - {*known}:
            raise errors.unknown_setting(unknown, known)
        chosen = checked(*map(options.get, known))
        if "get" in options or "scheduler" in options:
            options.pop("get", None)
            options["scheduler"] = chosen
        super().__init__(**options)


def get_by(graph: Any, keys: Any, backend: str, keywords: dict[str, Any]) -> Any:
    """The values of some keys of a graph, computed by a backend, or by a ``pool``: a keyword, or dask's setting."""
    pool = keywords.get("pool") or setting("pool")
    if pool is None:
        config.check_num_workers(keywords.get("num_workers"))
        chosen = shared(backend, keywords.get("num_workers"))  # so that no message speaks of a name that nobody gave
        return get(graph, keys, **{**keywords, "scheduler": chosen, "get": None})
    return get(graph, keys, **{**keywords, "scheduler": None, "get": None, "pool": pool})


def checked(scheduler: Any, get: Any, num_workers: Any) -> Any:
    """The scheduler that is given by one of its names.

    :raises TypeError: for something that is none, or no number of workers, and for two.
    :raises ValueError: for an unknown name, and for a number of workers below 1.
    """
    config.check_num_workers(num_workers)
    if scheduler is not None and get is not None:
        raise errors.two_schedulers()
    _check(scheduler, "scheduler")
    _check(get, "get")
    return scheduler if get is None else get


def _check(chosen: Any, called: str) -> None:
    if isinstance(chosen, str):
        if not any(name == chosen for name, _ in _shared):
            try:
                check_name(chosen)
            except ValueError as error:
                raise ValueError(f"{called}: {error}") from None
    elif chosen is not None and not _runs_graphs(chosen):
        raise errors.no_scheduler(chosen, called)


def _runs_graphs(chosen: Any) -> bool:
    known = isinstance(chosen, Executor) or callable(chosen) or hasattr(chosen, "apply_async") or is_cluster(chosen)
    return known and not isinstance(chosen, type)


def scheduler_of(chosen: Any = None, num_workers: int | None = None) -> Any:
    """An executor, or a ``get`` function.

    :param chosen: what the call says, checked.
    :raises ValueError: for an unknown name in the environment, or in dask's configuration.
    :raises TypeError: for something in dask's configuration that is no pool.
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
        chosen = _of_dask()
    if chosen is None:
        chosen = setting("pool")
    if chosen is None:
        chosen = config.default_backend()
    if isinstance(chosen, str) or is_cluster(chosen):
        return shared(chosen, num_workers)
    if hasattr(chosen, "apply_async"):  # a pool of multiprocessing, of threads or processes
        import dask.local

        local: Any = dask.local
        return local.MultiprocessingPoolExecutor(chosen)
    if _runs_graphs(chosen):
        return chosen
    raise errors.no_scheduler(chosen, "dask's pool")


def _of_dask() -> Any:
    """The scheduler in dask's configuration, None if that names none but ours."""
    chosen = setting("scheduler")
    name = chosen.lower() if isinstance(chosen, str) else ""
    if name in (*BACKENDS, *ALIASES) and ALIASES.get(name, name) != "dask":  # by which dask means the present client
        return name
    if not chosen or chosen is get:
        return None
    if _runs_graphs(chosen):
        return chosen
    import dask.base

    base: Any = dask.base
    return base.get_scheduler(scheduler=chosen)  # a Client of distributed's, or a name that means the current one


def shared(backend: Any, num_workers: int | None = None) -> GraphExecutor:
    """The executor of a backend that all share, with so many workers.

    :param backend: a name, an address, or a client or cluster of dask's, which has workers of its own.
    """
    workers = num_workers or config.option("num_workers") or setting("num_workers")
    workers = workers or config.max_workers_of_environment()
    runs = not isinstance(backend, str) or backend.startswith((*ADDRESSES,))
    with _MAKING:
        key = backend if runs else ALIASES.get(backend, backend), workers or (0 if runs else _cpus())
        executor = _shared.get(key)
        if executor is None or executor._broken or executor._shutdown:
            name = "shared-cluster" if runs else f"shared-{key[0]}"
            _shared[key] = executor = GraphExecutor(key[1] or None, name, backend=backend)
    return executor


def _cpus() -> int:
    from loky import cpu_count

    return cpu_count()  # type: ignore[no-any-return]
