"""A call: find the futures in its arguments, later put their values in their places.

One traversal when a call is submitted notes where each future is and copies the containers on the way
to it; filling in the values later walks those copies only.  Neither recurses.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import Context
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from graphfutures import errors

#: types whose instances never hold a future, looked up before anything else
ATOMS: Final[frozenset[type]] = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, memoryview, range, slice, type, type(len)}
    | {type(lambda: None), type(...), type(NotImplemented)}
)


class Quote:
    """An argument to be passed on without a look inside."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Allowed:
    """A future whose exception, if it fails, is passed on as a value."""

    __slots__ = ("future",)

    def __init__(self, future: Future[Any]) -> None:
        self.future = future


#: what stands in a place that is to be filled: a future, a marker, or the number of a rebuilt container
Source = Any
Holes = list[tuple[int, Source]]
#: the holes of what has a future in every place, and nothing else
EVERY: Final[Holes] = []


class Step(NamedTuple):
    """A container on the way to a future: what to make of which items, and the places to be filled."""

    build: Callable[[list[Any]], Any]
    items: list[Any]
    holes: Holes
    kind: str
    type_name: str


#: Where the futures of a call are: holes among the arguments, positional ones first, then the values of the
#: keyword arguments; and the containers to be rebuilt, inner ones before those that hold them.
Plan = tuple[Holes, list[Step]]


_NO_STEPS: Final[list[Step]] = []
_NOTHING: Final[list[Any]] = []
#: the plan of a call whose arguments are futures, each of them, and which has no others
EACH: Final[Plan] = (EVERY, _NO_STEPS)

#: What few calls have beside a function and positional arguments: EACH, or all three of keyword arguments, plan and
#: context, None being none.  One tuple more in every task would be one more for the collector to go through.
Rest = tuple[dict[str, Any] | None, Plan | None, Context | None] | Plan

OPAQUE: Final = "opaque"
FUTURE: Final = "future"
MARKER: Final = "marker"
ASYNCIO: Final = "asyncio"
FLAT: Final = "flat"
PAIRS: Final = "pairs"
FIELDS: Final = "fields"


@lru_cache(maxsize=1024)
def kind_of(cls: type) -> str:
    """How instances of a class are looked into."""
    if cls in ATOMS:
        return OPAQUE
    if issubclass(cls, Future):
        return FUTURE
    if issubclass(cls, (Quote, Allowed)):
        return MARKER
    if issubclass(cls, dict):
        return PAIRS
    if issubclass(cls, (list, tuple, set, frozenset)):
        return FLAT
    if hasattr(cls, "_asyncio_future_blocking"):
        return ASYNCIO
    if hasattr(cls, "__dataclass_fields__"):  # by which the standard library, too, knows a dataclass
        return FIELDS
    return OPAQUE


def find(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Plan | None:
    """Where the futures of a call are; None where there are none.

    :raises TypeError: for an asyncio future.
    :raises ValueError: for a container that holds itself and a future.
    """
    holes: Holes = []
    values = (*args, *kwargs.values()) if kwargs else args
    for position, value in enumerate(values):
        cls: Any = type(value)
        if cls in ATOMS:
            continue
        kind = kind_of(cls)
        if kind is FUTURE:
            holes.append((position, value))
        elif kind is not OPAQUE:
            break
    else:
        return (holes, _NO_STEPS) if holes else None
    return _Search(list(values)).plan()


class _Frame:
    """A container that is being looked through."""

    __slots__ = ("container", "cyclic", "holes", "items", "position")

    def __init__(self, container: Any, items: list[Any]) -> None:
        self.container = container
        self.items = items
        self.position = 0
        self.holes: Holes = []
        self.cyclic = False


class _Search:
    """The traversal of nested arguments: depth first, by a stack of its own."""

    def __init__(self, values: list[Any]) -> None:
        self.root = _Frame(None, values)
        self.stack = [self.root]
        self.steps: list[Step] = []
        self.known: dict[int, int | None] = {}
        self.open: dict[int, _Frame] = {}
        self.alive: list[list[Any]] = []  # so that no id is used twice

    def plan(self) -> Plan | None:
        while self.stack:
            frame = self.stack[-1]
            if frame.position < len(frame.items):
                self._look(frame)
            else:
                self.stack.pop()
                self._close(frame)
        return (self.root.holes, self.steps) if self.root.holes else None

    def _look(self, frame: _Frame) -> None:
        """Go through a container up to the next one that is worth going into."""
        items = frame.items
        if not frame.position and all(kind_of(cls) is FUTURE for cls in set(map(type, items))):
            frame.holes = EVERY  # a plain list of futures, the usual case
            frame.position = len(items)
            return
        for position in range(frame.position, len(items)):
            value = items[position]
            cls: Any = type(value)
            if cls in ATOMS:
                continue
            kind = kind_of(cls)
            if kind is OPAQUE:
                continue
            if kind is FUTURE or kind is MARKER:
                frame.holes.append((position, value))
                continue
            if kind is ASYNCIO:
                raise errors.asyncio_future("an argument")
            known = self.known.get(id(value), self)
            if known is None:
                continue
            if known is not self:
                frame.holes.append((position, known))
                continue
            if id(value) in self.open:
                self.open[id(value)].cyclic = True
                continue
            inner = _items_of(value, kind)
            if inner is None:
                self.known[id(value)] = None
                continue
            frame.position = position
            self.open[id(value)] = child = _Frame(value, inner)
            self.alive.append(inner)
            self.stack.append(child)
            return
        frame.position = len(items)

    def _close(self, frame: _Frame) -> None:
        if not self.stack:
            return
        parent = self.stack[-1]
        key = id(frame.container)
        del self.open[key]
        self.known[key] = None
        if frame.holes or frame.holes is EVERY:
            name = type(frame.container).__name__
            if frame.cyclic:
                raise errors.contains_itself(name)
            self.known[key] = len(self.steps)
            parent.holes.append((parent.position, len(self.steps)))
            cls: Any = type(frame.container)
            kind = kind_of(cls)
            step = Step(_builder(frame.container, kind), frame.items, frame.holes, kind, name)
            self.steps.append(step)
        parent.position += 1


def _items_of(container: Any, kind: str) -> list[Any] | None:
    """The items of a container in one list; None if no type among them can hold a future."""
    if kind is FIELDS:
        return [getattr(container, name) for name in _field_names(container)]
    if kind is PAIRS:
        if _harmless(container) and _harmless(container.values()):
            return None
        return [part for pair in container.items() for part in pair]
    return None if _harmless(container) else list(container)


def _field_names(container: Any) -> list[str]:
    from dataclasses import fields  # whoever made a dataclass has paid for this import

    return [field.name for field in fields(container) if hasattr(container, field.name)]


def _harmless(items: Iterable[Any]) -> bool:
    # groupby looks at runs of one type in C: a list of 10⁶ ints takes about 15 ms.
    return all(kind_of(cls) is OPAQUE for cls, _ in groupby(items, type))


def _builder(container: Any, kind: str) -> Callable[[list[Any]], Any]:
    """What makes a container of this type from its items, as they are when the task runs."""
    cls = type(container)
    if cls in (list, tuple, set, frozenset):
        return cls
    if cls is dict:
        return lambda items: dict(zip(items[::2], items[1::2], strict=True))
    if hasattr(cls, "_make"):
        return cls._make  # type: ignore[no-any-return]
    attributes = dict(getattr(container, "__dict__", {}))
    if kind is FIELDS:
        names = _field_names(container)
        return lambda items: _with_attributes(object.__new__(cls), attributes | dict(zip(names, items, strict=True)))
    if kind is PAIRS:
        factory = container.default_factory if isinstance(container, defaultdict) else None
        return lambda items: _with_attributes(_mapping(cls, factory, items), attributes)
    return lambda items: _with_attributes(_collection(cls, items), attributes)


def _mapping(cls: Any, factory: Any, items: list[Any]) -> Any:
    new = cls.__new__(cls)
    if issubclass(cls, defaultdict):
        new.default_factory = factory
    put = OrderedDict.__setitem__ if issubclass(cls, OrderedDict) else dict.__setitem__
    for key, value in zip(items[::2], items[1::2], strict=True):
        put(new, key, value)
    return new


def _collection(cls: Any, items: list[Any]) -> Any:
    if issubclass(cls, tuple):
        return tuple.__new__(cls, items)
    if issubclass(cls, frozenset):
        return frozenset.__new__(cls, items)
    new = cls.__new__(cls)
    if issubclass(cls, set):
        set.update(new, items)
    else:
        list.extend(new, items)
    return new


def _with_attributes(new: Any, attributes: dict[str, Any]) -> Any:
    for name, value in attributes.items():
        object.__setattr__(new, name, value)
    return new


def futures_of(plan: Plan) -> list[Source]:
    """The futures and ``Allowed`` markers of a plan, one entry per place."""
    found: list[Source] = []
    for holes, items in (*((step.holes, step.items) for step in plan[1]), (plan[0], _NOTHING)):
        if holes is EVERY:
            found += items
        else:
            found += [source for _, source in holes if type(source) is not int and type(source) is not Quote]
    return found


def fill(
    args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan, value_of: Callable[[Source], Any]
) -> tuple[Iterable[Any], dict[str, Any]]:
    """The arguments with the values in their places.

    :param value_of: the value of a future or marker.
    """
    holes, steps = plan
    built: list[Any] = []
    for step in steps:
        if step.holes is EVERY:
            items = list(map(value_of, step.items))
        else:
            items = list(step.items)
            for position, source in step.holes:
                items[position] = built[source] if type(source) is int else value_of(source)
        try:
            built.append(step.build(items))
        except TypeError as error:
            raise errors.cannot_rebuild(step.type_name, error) from None
    values = [*args, *kwargs.values()] if kwargs else list(args)
    for position, source in holes:
        values[position] = built[source] if type(source) is int else value_of(source)
    if not kwargs:
        return values, kwargs
    return values[: len(args)], dict(zip(kwargs, values[len(args) :], strict=True))


def locate(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None, plan: Plan, future: Future[Any]) -> str:
    """Where a future stands in a call, for people: ``argument 'frames'[2]``."""

    def matches(source: Source) -> bool:
        return source is future or (isinstance(source, Allowed) and source.future is future)

    path = ""
    wanted: Callable[[Source], bool] = matches
    for number, step in enumerate(plan[1]):
        for position, source in _pairs(step.holes, step.items):
            if wanted(source):
                path = _subscript(step, position) + path
                wanted = _is_step(number)
                break
    for position, source in _pairs(plan[0], args):
        if wanted(source):
            return f"argument {_parameter(fn, len(args), kwargs, position)}{path}"
    return "an argument"


def _pairs(holes: Holes, items: Iterable[Any]) -> Iterable[tuple[int, Source]]:
    return enumerate(items) if holes is EVERY else holes


def _is_step(number: int) -> Callable[[Source], bool]:
    return lambda source: type(source) is int and source == number


def _subscript(step: Step, position: int) -> str:
    if step.kind is FLAT:
        return f"[{position}]" if step.build is not set else "{…}"
    if step.kind is PAIRS:
        return f"[{step.items[position - 1]!r:.40}]" if position % 2 else "[a key]"
    return "[a field]"


def _parameter(fn: Any, positional: int, kwargs: dict[str, Any] | None, position: int) -> str:
    if position >= positional:
        return repr(list(kwargs or ())[position - positional])
    code = getattr(fn, "__code__", None)
    if code is None and hasattr(fn, "__func__"):
        code = getattr(fn.__func__, "__code__", None)
        position += 1
    if code is not None and position < code.co_argcount:
        return repr(code.co_varnames[position])
    return str(position)


def name_of(fn: Any) -> str:
    """What to call a task after its function."""
    try:
        for named in (fn, getattr(fn, "func", fn)):  # functools.partial
            name = getattr(named, "__name__", None)
            if type(name) is str:
                return name
    except BaseException:
        pass  # a proxy whose object is not there
    return type(fn).__name__
