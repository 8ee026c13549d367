"""Running a graph that is known whole on an executor, and bringing home what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from operator import attrgetter
from typing import Any

from graphfutures.calls import ATOMS, Allowed, Quote
from graphfutures.core.states import DONE
from graphfutures.door import Door
from graphfutures.futures import GraphFuture, cancel_all
from graphfutures.graphs import Key, Piece, Ref, pieces, settled_value
from graphfutures.outcomes import GraphKey, Inherited, called

Traits = Callable[[Key], dict[str, Any]]


def run(door: Door, graph: Mapping[Key, Any], keys: Any, traits: Traits | None = None) -> Any:
    """The values of some keys of a graph.

    :param keys: one key, or a list of them, nested at will; a list gives a tuple.
    :param traits: what the task of a key has that others have not, see ``Task.mark``.
    :raises KeyError: for a key that the graph has not got.
    :raises Exception: what a task has raised, with its key in the notes; what had not started is cancelled, and what
        runs is waited for, unless this is a KeyboardInterrupt.
    """
    wanted = _flat(keys)
    serials: set[int] = set()
    try:
        values = begin(door, graph, wanted, traits, serials)
        _see_to_failures([value for value in values.values() if type(value) is GraphFuture])
        return _gathered(keys, values)
    except BaseException as error:
        stop(door, serials, error)
        raise


def begin(
    door: Door,
    graph: Mapping[Key, Any],
    wanted: list[Key],
    traits: Traits | None = None,
    serials: set[int] | None = None,
) -> dict[Key, Any]:
    """Submit what it takes to compute some keys: their futures, and quoted what is no task.

    :param serials: the numbers of the tasks are added to it.
    """
    found = pieces(graph, wanted)
    uses = dict.fromkeys(wanted, 1)
    for piece in found.values():
        for need in piece.needs:
            uses[need] = uses.get(need, 0) + 1
    # By their keys, as long as somebody will ask: futures, and data as they are to be passed on.
    values: dict[Key, Any] = {}
    for key, piece in found.items():
        values[key] = value = _begun(door, key, piece, values, traits)
        if serials is not None and type(value) is GraphFuture:
            serials.add(value.serial)
        for need in piece.needs:
            uses[need] -= 1
            if not uses[need]:
                del values[need]
    return values


def _begun(door: Door, key: Key, piece: Piece, values: dict[Key, Any], traits: Traits | None) -> Any:
    if piece.fn is None:
        (value,) = piece.args
        if type(value) is Ref:
            return values[value.key]
        return value if type(value) in ATOMS or isinstance(value, (Future, Allowed)) else Quote(value)
    args = tuple([values[a.key] if type(a) is Ref else a for a in piece.args])
    return door.post(piece.fn, args, GraphKey(key), **(traits(key) if traits is not None else {}))


def _flat(keys: Any) -> list[Key]:
    if not isinstance(keys, list):
        return [keys]
    flat: list[Key] = []
    stack = [iter(keys)]
    while stack:
        for key in stack[-1]:
            if isinstance(key, list):
                stack.append(iter(key))
                break
            flat.append(key)
        else:
            stack.pop()
    return flat


def _see_to_failures(futures: list[GraphFuture[Any]]) -> None:
    """Wait until all are done or the first has failed, and raise what that has."""
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        if isinstance(future, GraphFuture) and future.state is not DONE:
            value_with_note(future)


def _gathered(keys: Any, values: dict[Key, Any]) -> Any:
    if isinstance(keys, list):
        return tuple([_gathered(key, values) for key in keys])
    value = values[keys]
    if isinstance(value, Quote):
        return value.value
    if isinstance(value, Allowed):
        return settled_value(value)
    return value_with_note(value) if isinstance(value, Future) else value


def value_with_note(value: Any) -> Any:
    """The value of a future; what that raises has the key of its task in the notes."""
    try:
        return value.result()
    except Exception as error:
        failure = getattr(value, "_outcome", None)
        key = failure.path[0] if isinstance(failure, Inherited) else called(value)
        if not any(key in note for note in getattr(error, "__notes__", ())):
            error.add_note(f"raised by the task {key}")
        raise


def stop(door: Door, serials: set[int], error: BaseException) -> None:
    """Cancel what is left of a graph, and wait for what of it runs.

    :param serials: the numbers of its tasks.
    :param error: why; after an interrupt nobody waits, and what these tasks have submitted is cancelled as well.
    """
    tasks = door.pending()
    if isinstance(error, Exception):
        left = [task for task in tasks if task.serial in serials]
        cancel_all(left)
        wait(left)
        return
    for task in sorted(tasks, key=attrgetter("serial")):  # whoever submits comes before what he submits
        if task.nested in serials:
            serials.add(task.serial)
    cancel_all([task for task in tasks if task.serial in serials])
