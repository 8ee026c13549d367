"""Graphs that are known whole, as dask writes them: a mapping of keys to tasks, data and other keys.

A task is a tuple of a function and its arguments, or one of dask's own nodes.  What a graph means is what
``dask.get`` makes of it, by the standard of dask's ``convert_legacy_task``; plain tuples need no dask.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from types import FunctionType, MethodType
from typing import Any, Final, NamedTuple, TypeAlias

from graphfutures import errors
from graphfutures.calls import ATOMS, Allowed, Lazy, Named, Plan, Quote, fill, find, futures_of
from graphfutures.ordering import ordered
from graphfutures.running import value_of

#: types that hold no futures, and those of them whose instances are the same wherever they are equal, by their
#: identities: a metaclass may forbid to hash its classes
_PLAIN: Final = frozenset(map(id, ATOMS))
_SAME: Final = frozenset(map(id, (type(None), bool, int, str, bytes)))
#: anything that can be hashed
Key: TypeAlias = Any


class Ref:
    """The value of a key, in an argument."""

    __slots__ = ("key",)

    def __init__(self, key: Key) -> None:
        self.key = key


class Value:
    """What stands for a value that is no graph, whatever it looks like: called, it gives that."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def settled_value(source: Any) -> Any:
    """The value of a future, or of an ``Allowed`` around one, when it is there."""
    if isinstance(source, Allowed):
        wait([source.future])
    return value_of(source)


def without_futures(graph: Mapping[Key, Any]) -> Mapping[Key, Any]:
    """A graph for schedulers that know nothing of futures, nor of computations that are not begun."""
    node = _node_classes()
    changed: dict[Key, Any] = {}
    for key, value in graph.items():
        if isinstance(value, node):
            continue
        piece = _of_legacy(value, graph, node)
        plan = find(piece.args, None) if piece.fn is not None or isinstance(piece.args[0], (Future, Allowed)) else None
        if plan is None:
            continue
        given = Given(piece, plan)
        changed[key] = (given, *given.needs)
        for lazy in given.lazies:
            if lazy.key not in changed:
                changed.update(without_futures(lazy.__dask_graph__()))
    return {**graph, **changed} if changed else graph


class Piece(NamedTuple):
    """What a graph has for one key.

    :param fn: what is called; None where the argument is the value, be it data or a ``Ref``.
    :param args: its arguments, with a ``Ref`` for each value of another key, also inside containers.
    :param needs: those keys, each once.
    """

    fn: Callable[..., Any] | None
    args: tuple[Any, ...]
    needs: tuple[Key, ...]


class Given:
    """A call with futures in its arguments: called with the values of its needs, it waits for them."""

    __slots__ = ("fn", "given", "lazies", "needs", "plan")

    def __init__(self, piece: Piece, plan: Plan) -> None:
        self.fn = piece.fn or _same
        self.given = piece.args
        self.plan = plan
        lazies: list[Any] = [source for source in futures_of(plan) if isinstance(source, Lazy)]
        self.lazies = lazies
        self.needs: dict[Key, None] = dict.fromkeys([*piece.needs, *[lazy.key for lazy in lazies]])

    def args(self, values: Mapping[Key, Any]) -> tuple[Any, ...]:
        """The arguments as ``submit`` takes them: with the futures, and what is needed is quoted."""

        def value_of(source: Any) -> Any:
            return Quote(values[source.key]) if isinstance(source, Lazy) else source  # type: ignore[attr-defined]

        args, _ = fill(self.given, {}, self.plan, value_of, None)
        return tuple([Quote(values[a.key]) if type(a) is Ref else a for a in args])

    def __call__(self, *values: Any) -> Any:
        args = self.args(dict(zip(self.needs, values, strict=True)))
        plan: Any = find(args, None)
        return self.fn(*fill(args, {}, plan, settled_value, None)[0])


class Nested:
    """Calls inside the arguments of a call, made when that is made.

    :param fn: of the outermost call.
    :param args: its arguments, with a ``Nested`` for each call, a ``Ref`` to an index for each value; and a
        ``Container`` around what is to be built.
    """

    __slots__ = ("args", "fn")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fn = fn
        self.args = args

    def __call__(self, *values: Any) -> Any:
        return self.fn(*[_filled(argument, values) for argument in self.args])


class _Container:
    """A container that holds calls or values."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: Callable[[Any], Any], items: list[Any]) -> None:
        self.kind = kind
        self.items = items


class _Node:
    """One of dask's nodes, called with values in the order of its dependencies."""

    __slots__ = ("keys", "node")

    def __init__(self, node: Any, keys: tuple[Key, ...]) -> None:
        self.node = node
        self.keys = keys

    def __call__(self, *values: Any) -> Any:
        return self.node(dict(zip(self.keys, values, strict=True)))


def _filled(argument: Any, values: tuple[Any, ...]) -> Any:
    kind = type(argument)
    if kind is Ref:
        return values[argument.key]
    if kind is Nested:
        return argument(*values)
    if kind is _Container:
        return argument.kind([_filled(one, values) for one in argument.items])
    return argument


def _same(value: Any) -> Any:
    return value


def _container(old: Any, items: list[Any]) -> Any:
    """What makes a container with these items; the old one, if they are the same; a dict's items are its values."""
    kind: Any = type(old)
    if isinstance(old, dict):
        keys = list(old)
        if any(new is not value for new, value in zip(items, old.values(), strict=True)):
            return _Container(lambda values: dict(zip(keys, values, strict=True)), items)
    elif any(new is not item for new, item in zip(items, old, strict=True)):
        return _Container(getattr(kind, "_make", kind), items)
    return old


def pieces(graph: Mapping[Key, Any], wanted: Iterable[Key]) -> dict[Key, Piece]:
    """What it takes to compute some keys, and nothing else, in an order in which to run it.

    :raises KeyError: for a wanted key that the graph has not got.
    :raises ValueError: for a dependency that it has not got, or keys that need each other.
    """
    node = _node_classes()
    found: dict[Key, Piece] = {}
    calls: dict[Any, Named] = {}
    stack = list(wanted)
    for key in stack:
        if key not in graph:
            raise errors.no_such_key(key, graph)
    while stack:
        key = stack.pop()
        if key in found:
            continue
        try:
            value = graph[key]
        except KeyError:
            user = next(user for user, piece in found.items() if key in piece.needs)
            raise ValueError(f"{user!r} needs {key!r}, which is not in the graph") from None
        found[key] = piece = _of_node(value, calls) if isinstance(value, node) else _of_legacy(value, graph, node)
        if piece.fn is None and piece.needs == (key,):
            raise KeyError(key)  # as dask has it: what stands for itself is not there
        for need in piece.needs:
            if need not in found:
                stack.append(need)
    return _in_order(found)


def _in_order(found: dict[Key, Piece]) -> dict[Key, Piece]:
    # Data come first: they are there all the time, and no order can let go of one sooner.
    data = [key for key, piece in found.items() if not piece.needs and piece.fn is None]
    tasks = [key for key, piece in found.items() if piece.needs or piece.fn is not None]
    number = {key: index for index, key in enumerate(tasks)}
    try:
        order = ordered([[number[need] for need in found[key].needs if need in number] for key in tasks])
    except ValueError as error:
        raise errors.graph_circle([tasks[index] for index in error.args[1]]) from None
    return {key: found[key] for key in (*data, *[tasks[index] for index in order])}


def _node_classes() -> tuple[Any, ...]:
    module: Any = sys.modules.get("dask._task_spec")
    return (module.GraphNode, module.TaskRef) if module is not None else ()


def _of_node(node: Any, calls: dict[Any, Named]) -> Piece:
    """What one of dask's nodes stands for.

    :param calls: of the nodes of the same graph before it, so that each is sent to a worker once.
    """
    module: Any = sys.modules["dask._task_spec"]
    if isinstance(node, module.DataNode):
        return Piece(None, (node.value,), ())
    if isinstance(node, (module.Alias, module.TaskRef)):
        target = node.target if isinstance(node, module.Alias) else node.key
        return Piece(None, (Ref(target),), (target,))
    needs = tuple(node.dependencies)
    # A function and plain arguments are sent to a worker for less than a node is.
    if type(node) is module.Task and all(_is_simple(arg, module.TaskRef) for arg in node.args):
        fn = _function_of(node, calls)
        if fn is not None:
            return Piece(fn, tuple([Ref(a.key) if type(a) is module.TaskRef else a for a in node.args]), needs)
    return Piece(_Node(node, needs), tuple(map(Ref, needs)), needs)


def _function_of(node: Any, calls: dict[Any, Named]) -> Any:
    """What a node calls with its arguments; None if it is to be sent as it is, since others may change it there."""
    fn, kwargs = node.func, node.kwargs
    of_class = type(fn) is MethodType and isinstance(fn.__self__, type)
    if not kwargs and not of_class:
        return fn
    if not (of_class or type(fn) is FunctionType or isinstance(fn, type)):
        return None
    if any(id(type(value)) not in _SAME for value in kwargs.values()):
        return None
    which = (id(fn.__func__), id(fn.__self__)) if of_class else id(fn)
    names = tuple([(name, type(value), value) for name, value in kwargs.items()])
    return calls.setdefault((which, names), Named(fn, kwargs))


def _is_simple(arg: Any, ref: Any) -> bool:
    """Whether an argument of a node is a reference, or stands for itself wherever it is."""
    kind = type(arg)
    if kind is list:
        return all(id(type(item)) in _PLAIN for item in arg)
    return kind is ref or id(kind) in _PLAIN


def _of_legacy(value: Any, keys: Mapping[Key, Any], node: Any) -> Piece:
    if type(value) is tuple and value and callable(value[0]):
        if type(value[0]) is Value:
            return Piece(None, (value[0].value,), ())
        args: list[Any] = []
        needs: dict[Key, None] = {}
        for argument in value[1:]:
            kind = type(argument)
            if kind is not str and ((kind is not int and kind is not float) or argument in keys):
                return _Parser(keys, node).piece(value)
            if kind is str and argument in keys:
                needs[argument] = None
                args.append(Ref(argument))
            else:
                args.append(argument)
        return Piece(value[0], tuple(args), tuple(needs))
    return _Parser(keys, node).piece(value)


class _Parser:
    """Goes through one task with what is nested in it.

    :param keys: of the graph.
    :param node: the classes of dask's nodes and of its references.
    """

    def __init__(self, keys: Mapping[Key, Any], node: Any) -> None:
        self._keys = keys
        self._node = node
        self._numbers: dict[Key, int] = {}
        #: arguments that hold futures, which are found only where they are arguments of the whole
        self._given: list[Any] = []

    def piece(self, value: Any) -> Piece:
        """The whole task."""
        parsed = self._parsed(value)
        needs = tuple(self._numbers)
        if type(parsed) is Ref:
            if needs or isinstance(value, (Future, Allowed)):
                return Piece(None, (Ref(needs[0]) if needs else value,), needs)
            return Piece(_same, (value,), ())
        refs = (*map(Ref, needs), *reversed(self._given))  # whose numbers count from the end
        if type(parsed) is Nested:
            if all(type(argument) is Ref or not isinstance(argument, (Nested, _Container)) for argument in parsed.args):
                args = [refs[a.key] if type(a) is Ref else a for a in parsed.args]
                return Piece(parsed.fn, tuple(args), needs)
            return Piece(parsed, refs, needs)
        if type(parsed) is _Container:
            return Piece(Nested(parsed.kind, (_Container(list, parsed.items),)), refs, needs)
        return Piece(None, (parsed,), ())

    def _parsed(self, value: Any, named: bool = False) -> Any:
        if isinstance(value, self._node):
            return self._of_node(value)
        if type(value) is tuple and value and callable(value[0]):
            return Nested(value[0], tuple([self._argument(argument) for argument in value[1:]]))
        if self._is_key(value):
            return Ref(self._numbers.setdefault(value, len(self._numbers)))
        if isinstance(value, (list, tuple, set, frozenset)):
            named = named or hasattr(type(value), "_make")
            return _container(value, [self._parsed(item, named) for item in value])
        return self._input(value) if named and self._node and isinstance(value, dict) else self._plain(value)

    def _input(self, value: Any) -> Any:
        """What is in a dict in a named tuple, where nodes are looked for, and keys are not."""
        if isinstance(value, self._node):
            return self._of_node(value)
        if isinstance(value, dict):
            return _container(value, [self._input(item) for item in value.values()])
        if isinstance(value, (list, tuple, set)):
            return _container(value, [self._input(item) for item in value])
        return self._plain(value)

    def _plain(self, value: Any) -> Any:
        """What holds no keys and no nodes."""
        if type(value) in ATOMS or find((value,), None) is None:
            return value
        self._given.append(value)
        return Ref(-len(self._given))

    def _argument(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return self._parsed(value)
        if not self._node or not any(isinstance(part, self._node) for pair in value.items() for part in pair):
            return self._plain(value)
        pairs = [part for pair in value.items() for part in pair]
        parsed = [self._of_node(part) if isinstance(part, self._node) else part for part in pairs]
        return _Container(lambda parts: dict(zip(parts[::2], parts[1::2], strict=True)), parsed)

    def _is_key(self, value: Any) -> bool:
        try:
            return isinstance(value, (int, float, str, tuple)) and value in self._keys
        except TypeError:  # it cannot be hashed
            return False

    def _of_node(self, node: Any) -> Any:
        if not hasattr(node, "dependencies"):  # a TaskRef
            return Ref(self._numbers.setdefault(node.key, len(self._numbers)))
        needs = tuple(node.dependencies)
        refs = [Ref(self._numbers.setdefault(need, len(self._numbers))) for need in needs]
        return Nested(_Node(node, needs), tuple(refs))
