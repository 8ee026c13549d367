"""What dask asks of a scheduler, beyond a mapping and some keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from threading import get_ident
from types import MappingProxyType
from typing import Any

from graphfutures.arguments import quote
from graphfutures.calls import FIELDS, FLAT, OPAQUE, PAIRS, kind_of
from graphfutures.computing import Traits, run, stop, value_with_note
from graphfutures.current import blocked
from graphfutures.door import Door
from graphfutures.errors import unknown_graph, warn_of_keyword
from graphfutures.futures import GraphFuture
from graphfutures.graphs import Given, without_futures
from graphfutures.outcomes import GraphKey
from graphfutures.terms import Terms

#: what dask's own schedulers, or distributed's, take
KEYWORDS = (
    *("num_workers", "pool", "scheduler", "get", "cache", "callbacks", "chunksize", "rerun_exceptions_locally"),
    *("get_id", "dumps", "loads", "pack_exception", "raise_exception"),
    *("optimize_graph", "traverse", "retries", "priority", "resources", "workers", "allow_other_workers"),
    *("fifo_timeout", "actors", "sync", "direct", "asynchronous", "func_loads", "func_dumps", "initializer", "context"),
    "key",
)
#: what those may have meant who write something else
_OURS = ("scheduler", "num_workers", "callbacks", "retries", "priority", "chunksize", "optimize_graph", "traverse")


def check_keywords(keywords: Mapping[str, Any]) -> None:
    """Warn of keywords of a computation that nobody takes; ``workers`` are the addresses of distributed's."""
    for name, value in keywords.items():
        if name not in KEYWORDS or (name == "workers" and isinstance(value, int)):
            warn_of_keyword(name, _OURS)


def get_on(door: Door, graph: Any, keys: Any, **keywords: Any) -> Any:
    """The values of some keys of a graph, which may be one of dask's expressions.

    :param keywords: as dask's schedulers take them; those of no use here are accepted.
    """
    check_keywords(keywords)
    mapping = graph if isinstance(graph, Mapping) else _mapping_of(graph)
    traits = traits_of(graph, keywords)
    callbacks = keywords.get("callbacks")
    if callbacks or (callbacks is None and _some_are_active()):
        return _get_with_callbacks(door, without_futures(mapping), keys, callbacks, traits, keywords.get("cache"))
    return run(door, mapping, keys, traits)


def setting(name: str) -> Any:
    """What dask's configuration says, if dask is there."""
    config: Any = sys.modules.get("dask.config")
    return config.get(name, None) if config is not None else None


def annotations_for(key: str) -> dict[str, Any] | None:
    """What the ``dask.annotate`` around us says of a key, as far as it is kept; None if it says nothing."""
    annotations: Any = getattr(sys.modules.get("dask"), "get_annotations", dict)()
    if not annotations:
        return None
    found = {name: annotations[name] for name in ("retries", "priority") if name in annotations}
    return {name: value(key) if callable(value) else value for name, value in found.items()}


def traits_of(graph: Any, keywords: Mapping[str, Any] = MappingProxyType({})) -> Traits | None:
    """What the tasks of a graph have by its annotations, or by keywords; None if nothing."""
    traits = _Traits(graph, keywords)
    return traits.of if traits.any else None


def _mapping_of(expression: Any) -> Mapping[Any, Any]:
    try:
        graph = expression.__dask_graph__()
    except AttributeError:
        raise unknown_graph(expression) from None
    return graph  # type: ignore[no-any-return]


class _Traits:
    """Options that a computation gives to its tasks, by keyword or by ``dask.annotate``."""

    def __init__(self, graph: Any, keywords: Mapping[str, Any]) -> None:
        annotations = getattr(graph, "__dask_annotations__", None)
        found = annotations() if annotations is not None else {}
        self._retries = _of_all(keywords.get("retries"), found.get("retries"))
        self._priorities = _of_all(keywords.get("priority"), found.get("priority"))
        self.any = any((*self._retries, *self._priorities))

    def of(self, key: Any) -> dict[str, Any]:
        """The traits of the task of a key."""
        traits: dict[str, Any] = {}
        usual, special = self._retries
        if retries := special.get(key, usual):
            traits["terms"] = Terms(retries=int(retries))
        usual, special = self._priorities
        if priority := special.get(key, usual):
            traits["priority"] = priority
        return traits


def _of_all(given: Any, annotated: Any) -> tuple[Any, Mapping[Any, Any]]:
    if isinstance(given, Mapping):  # distributed takes one by keys as well
        return None, {**(annotated or {}), **given}
    return given, annotated or {}


def _some_are_active() -> bool:
    module: Any = sys.modules.get("dask.callbacks")
    return module is not None and bool(module.Callback.active)


def _get_with_callbacks(door: Door, graph: Any, keys: Any, callbacks: Any, traits: Traits | None, cache: Any) -> Any:
    """Dask's own loop, on our workers: its callbacks are called between its steps, and see its state."""
    import dask.local

    local: Any = dask.local
    serials: set[int] = set()

    def submit(_: Any, batch: Any) -> _Begun:
        ((key, (node, data), *_),) = batch
        given = getattr(node, "func", None)
        call = (quote(given.fn), *given.args(data)) if type(given) is Given else (quote(node), quote(data))
        begun = _Begun(door.post(_step, (key, *call), GraphKey(key), **(traits(key) if traits else {})))
        serials.add(begun.future.serial)
        return begun

    try:
        with blocked():  # the loop waits for a queue
            return local.get_async(
                submit, door._max_workers, graph, keys, callbacks=callbacks, cache=cache, chunksize=1
            )
    except BaseException as error:
        stop(door, serials, error)
        raise


class _Begun:
    """A task as dask's loop sees it."""

    def __init__(self, future: GraphFuture[Any]) -> None:
        self.future = future

    def add_done_callback(self, fn: Callable[[_Begun], object]) -> None:
        """Have this told once it is done."""
        self.future.add_done_callback(lambda _: fn(self))

    def result(self) -> Any:
        """What the loop is to know."""
        return value_with_note(self.future)


def _step(key: Any, fn: Callable[..., Any], *args: Any) -> list[Any]:
    """Run one task of dask's loop."""
    return [(key, (fn(*args), get_ident()), False)]


def some_are_collections(things: Iterable[Any]) -> bool:
    """Whether there are dask's collections in what dask looks through."""
    stack: list[Any] = [things]
    seen: set[int] = set()
    while stack:
        container = stack.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        kind = kind_of(type(container))
        if kind is PAIRS:
            items: Any = [*container, *container.values()]
        else:
            items = (
                container
                if kind is FLAT
                else [getattr(container, name, None) for name in container.__dataclass_fields__]
            )
        for cls, alike in groupby(items, type):
            kind = kind_of(cls)
            if kind is FLAT or kind is PAIRS or kind is FIELDS:
                stack += alike
            elif kind is OPAQUE and hasattr(cls, "__dask_graph__"):
                return True
    return False
