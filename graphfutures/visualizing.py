"""Pictures of delayed objects, of graphs as dask writes them, and of futures with what has led to them."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from graphfutures import errors
from graphfutures.calls import Allowed, Lazy, find, futures_of, name_of
from graphfutures.core.states import CANCELLED, DONE, FAILED, READY, RUNNING, SETTLED, WAITING
from graphfutures.diagnostics import pictures
from graphfutures.diagnostics.boxes import CALL, VALUE
from graphfutures.diagnostics.naming import function_of, without_tokens
from graphfutures.diagnostics.pictures import Picture
from graphfutures.futures import GraphFuture
from graphfutures.graphs import Key, Piece, pieces
from graphfutures.overview import Overview

Calls = dict[Hashable, tuple[str, str, Iterable[Hashable]]]


def visualize(*things: Any, filename: str | os.PathLike[str] | None = None, **options: Any) -> Picture:
    """A picture of what it takes to compute some things, or, of futures, of what led to them.

    :param things: delayed objects and futures, also inside containers; graphs as dask writes them, which are mappings
        of keys to tasks; collections of dask's.  Futures alone, all of one executor, are shown with how they went.
    :param filename: of the file, ``.svg``, ``.dot`` or ``.mmd`` (Mermaid); none is written without it.
    :param options: ``color="time"``, for futures alone, instead of ``"state"``; ``group=True`` for one box for all
        tasks of a function, False for one each, None for groups of more than 300; ``direction="right"`` or ``"down"``.
    :return: the picture, which notebooks show.
    :raises TypeError: for a thing that has no graph, or an unknown option.
    :raises ValueError: for an unknown value of an option or ending of the file, and for a graph that is none.
    """
    graphs: list[tuple[Mapping[Key, Any], list[Key]]] = []
    futures: list[Future[Any]] = []
    for thing in things:
        if isinstance(thing, Mapping):
            graphs.append((thing, list(thing)))
        elif hasattr(type(thing), "__dask_graph__"):
            graphs.append((thing.__dask_graph__(), _flat(thing.__dask_keys__())))
        else:
            plan = find((thing,), None)
            if plan is None:
                raise errors.no_picture_of(thing)
            for source in futures_of(plan):
                if isinstance(source, Lazy):
                    lazy: Any = source
                    graphs.append((lazy.__dask_graph__(), lazy.__dask_keys__()))
                else:
                    futures.append(source.future if isinstance(source, Allowed) else source)
    owners = {future._owner for future in futures if isinstance(future, GraphFuture)}
    if len(owners) == 1 and not graphs and all(isinstance(future, GraphFuture) for future in futures):
        return _of_futures(owners.pop(), futures, filename, options)
    calls: Calls = {}
    for graph, wanted in graphs:
        calls |= calls_of(graph, wanted)
    for future in futures:
        _add_future(calls, future)
    alone = len(graphs) == 1 and len(graphs[0][1]) == 1
    title = function_of(str(graphs[0][1][0])) if alone else "graph"
    return pictures.of_calls(title, calls, filename, **options)


def calls_of(graph: Mapping[Key, Any], wanted: Iterable[Key]) -> Calls:
    """What is called for each key that it takes to compute some, its state, and which keys it needs.

    :raises KeyError: for a wanted key that the graph has not got.
    :raises ValueError: for a dependency that it has not got, or keys that need each other.
    """
    calls: Calls = {}
    for key, piece in pieces(graph, wanted).items():
        if piece.fn is None and isinstance(piece.args[0], (Future, Allowed)):
            _add_future(calls, piece.args[0], key)
            continue
        needs: dict[Hashable, None] = dict.fromkeys(piece.needs)
        plan = find(piece.args, None) if piece.fn is not None else None
        for source in futures_of(plan) if plan is not None else ():
            if isinstance(source, Lazy):
                lazy: Any = source
                calls |= calls_of(lazy.__dask_graph__(), lazy.__dask_keys__())
                needs[lazy.key] = None
            else:
                needs[_add_future(calls, source)] = None
        calls[key] = _name(key, piece), VALUE if piece.fn is None else CALL, tuple(needs)
    return calls


def _name(key: Key, piece: Piece) -> str:
    """What a picture calls the function of a key: by its key if that has a token in it, which nobody has chosen."""
    if isinstance(key, str) and without_tokens(key) != key:
        return function_of(key)
    if piece.fn is None:
        return "another key" if piece.needs else type(piece.args[0]).__name__
    fn: Any = piece.fn
    while type(fn).__module__.startswith("graphfutures."):  # one of ours, around what is called
        inner = getattr(fn, "fn", None) or getattr(fn, "node", None)
        if inner is None:
            break
        fn = getattr(inner, "func", inner)
    return name_of(fn)


def _add_future(calls: Calls, source: Any, key: Hashable = None) -> Hashable:
    future = source.future if isinstance(source, Allowed) else source
    key = ("future", id(future)) if key is None else key
    name = future.key if isinstance(future, GraphFuture) else f"a {type(future).__name__}"
    calls[key] = name, _state(future), ()
    return key


def _state(future: Future[Any]) -> str:
    state = getattr(future, "state", None)
    if state in (READY, RUNNING, *SETTLED):
        return str(state)
    if not future.done():
        return WAITING
    return CANCELLED if future.cancelled() else DONE if future.exception() is None else FAILED


def _of_futures(hub: Any, futures: list[Any], filename: Any, options: dict[str, Any]) -> Picture:
    """With what has led to them, as their executor remembers it, which may be gone itself."""
    overview = Overview(hub)
    overview._max_workers = hub.backend.max_workers
    return pictures.of_snapshot(overview.snapshot(), filename, [future.key for future in futures], **options)


def _flat(keys: Any) -> list[Key]:
    return [key for part in keys for key in _flat(part)] if isinstance(keys, list) else [keys]
