"""A call: find the futures in its arguments, later put their values in their places.

One traversal when a call is submitted notes where each future is and copies the containers on the way
to it; filling in the values later walks those copies only.  Neither recurses.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

from graphfutures import errors

#: types whose instances never hold a future, looked up before anything else
ATOMS: Final[frozenset[type]] = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, memoryview, range, slice, type, type(len)}
    | {type(lambda: None), type(...), type(NotImplemented)}
)


class Named:
    """A function with arguments by name that nobody can change: it is pickled once, and sent once to each worker.

    :param fn: the function.
    :param kwargs: the arguments.
    """

    __slots__ = ("__weakref__", "fn", "kwargs")

    def __init__(self, fn: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        self.fn = fn
        self.kwargs = kwargs

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args, **self.kwargs)


class Quote:
    """An argument to be passed on without a look inside."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"quote({self.value!r:.80})"


class Lazy:
    """What stands in an argument for a computation that is not begun yet: see ``graphfutures.lazy``."""

    __slots__ = ()

    def begun_on(self, door: Any, others: list[Any]) -> list[Any]:
        """The futures of these on an executor, itself among them; what they have in common is begun once."""
        raise NotImplementedError


class Allowed:
    """A future whose exception, if it fails, is passed on as a value."""

    __slots__ = ("future",)

    def __init__(self, future: Future[Any]) -> None:
        self.future = future

    def __repr__(self) -> str:
        return f"allow_failure({getattr(self.future, 'key', self.future)})"


#: what stands in a place that is to be filled: a future, a marker, or the number of a rebuilt container
Source = Any
Holes = list[tuple[int, Source]]
#: the holes of what has a future in every place, and nothing else
EVERY: Final[Holes] = []


class Step(NamedTuple):
    """A container on the way to a future: what to make of which items, and the places to be filled.

    The values of its fields, if it is a dataclass, come last among the items.
    """

    build: Callable[[list[Any]], Any]
    items: list[Any]
    holes: Holes
    kind: str
    type_name: str
    names: tuple[str, ...]


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


#: How instances of a class are looked into, by its identity: a metaclass may forbid to hash it.
_kinds: Final[dict[int, str]] = dict.fromkeys(map(id, ATOMS), OPAQUE)
_classes: Final[dict[int, weakref.ref[type]]] = {}


def kind_of(cls: type) -> str:
    """How instances of a class are looked into."""
    return _kinds.get(id(cls)) or _learned(cls)


def _learned(cls: type) -> str:
    key = id(cls)
    try:
        kind = _kind(cls)
    except Exception:  # of a metaclass
        kind = OPAQUE
    if len(_classes) > 2 * len(_kinds):
        for gone in [number for number, known in tuple(_classes.items()) if known() is None]:
            _classes.pop(gone, None)
    # Its number may be used again once it is gone.  Called with the reference as the default, and all in C, so that
    # no signal handler can keep it from being forgotten.
    _classes[key] = weakref.ref(cls, partial(_kinds.pop, key))
    _kinds[key] = kind
    return kind


def _kind(cls: type) -> str:
    if issubclass(cls, Future):
        return FUTURE
    if issubclass(cls, (Quote, Allowed, Lazy)):
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
        kind = _kinds.get(id(cls)) or _learned(cls)
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
        if not frame.position and all(kind_of(cls) is FUTURE for cls, _ in groupby(items, type)):
            frame.holes = EVERY  # a plain list of futures, the usual case
            frame.position = len(items)
            return
        for position in range(frame.position, len(items)):
            value = items[position]
            cls: Any = type(value)
            kind = _kinds.get(id(cls)) or _learned(cls)
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
            names = _field_names(frame.container)
            step = Step(_builder(frame.container, kind, names), frame.items, frame.holes, kind, name, names)
            self.steps.append(step)
        parent.position += 1


def _items_of(container: Any, kind: str) -> list[Any] | None:
    """The items of a container, then the values of its fields, in one list; None if none can hold a future."""
    fields = [getattr(container, name) for name in _field_names(container)]
    if kind is FIELDS:
        return [*_args(container), *fields]
    if kind is PAIRS:
        if _harmless(container) and _harmless(container.values()) and _harmless(fields):
            return None
        return [*(part for pair in tuple(container.items()) for part in pair), *fields]  # others may add to it
    return None if _harmless(container) and _harmless(fields) else [*container, *fields]


def _field_names(container: Any) -> tuple[str, ...]:
    """The names of those fields of a dataclass instance that are set; none for any other object."""
    cls = type(container)
    if cls is list or cls is tuple or cls is dict:
        return ()
    try:
        if not hasattr(cls, "__dataclass_fields__"):
            return ()
    except Exception:  # of a metaclass
        return ()
    from dataclasses import fields  # whoever made a dataclass has paid for this import

    return tuple([field.name for field in fields(container) if hasattr(container, field.name)])


def _args(container: Any) -> tuple[Any, ...]:
    """What an exception that is a dataclass holds beside its fields."""
    return container.args if isinstance(container, BaseException) else ()


def _harmless(items: Iterable[Any]) -> bool:
    # groupby looks at runs of one type in C: a list of 10⁶ ints takes about 15 ms.
    return all((_kinds.get(id(cls)) or _learned(cls)) is OPAQUE for cls, _ in groupby(items, type))


def _dict_of(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def takes_anything(plan: Plan) -> bool:
    """Whether the containers of a call can be made before the values are there: what stands for these is only kept."""
    for step in plan[1]:
        if step.build is _dict_of:
            if step.holes is EVERY or any(position % 2 == 0 for position, _ in step.holes):
                return False  # a key is asked for its hash
        elif step.build is not list and step.build is not tuple:
            return False
    return True


def _builder(container: Any, kind: str, names: tuple[str, ...]) -> Callable[[list[Any]], Any]:
    """What makes a container of this type from its items and fields, as they are when the task runs."""
    cls = type(container)
    if cls is list or cls is tuple or cls is set or cls is frozenset:
        return cls
    if cls is dict:
        return _dict_of
    state = object.__getstate__(container)
    attributes, slots = state if type(state) is tuple else (state, None)
    others = {**(attributes or {}), **(slots or {})}  # as they are now
    factory = container.default_factory if isinstance(container, defaultdict) else None

    def build(items: list[Any]) -> Any:
        count = len(items) - len(names)
        new = _container(cls, kind, items[:count])
        if factory is not None:
            new.default_factory = factory
        for name, value in {**others, **dict(zip(names, items[count:], strict=True))}.items():
            object.__setattr__(new, name, value)
        return new

    return build


def _container(cls: Any, kind: str, items: list[Any]) -> Any:
    """One of a subclass, made without calling anything of the subclass."""
    base: Any = next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)
    if kind is FIELDS:
        new = base.__new__(cls)
        if items:
            new.args = items
    elif kind is PAIRS:
        new = base.__new__(cls)
        put = OrderedDict.__setitem__ if issubclass(cls, OrderedDict) else dict.__setitem__
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(new, key, value)
    elif issubclass(cls, (tuple, frozenset)):
        new = base.__new__(cls, items)
    else:
        new = base.__new__(cls)
        if issubclass(cls, set):
            set.update(new, items)
        else:
            list.extend(new, items)
    return new


#: Py_TPFLAGS_HEAPTYPE: the class was made by a class statement
_HEAP_TYPE: Final = 1 << 9


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
    args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan, value_of: Callable[[Source], Any], task: Any
) -> tuple[Iterable[Any], dict[str, Any]]:
    """The arguments with the values in their places.

    :param value_of: the value of a future or marker.
    :param task: whose arguments these are, for messages.
    :raises TypeError: for a container that cannot be made with the values.
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
            raise errors.cannot_rebuild(getattr(task, "key", "a task"), step.type_name, error) from None
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


def unfit(fn: Any, args: Sequence[Any], kwargs: dict[str, Any] | None, fits: Callable[[Any], object]) -> str:
    """Which part of a call raises when it is looked at, for people: ``argument 'frame'``, or its function."""
    for position, value in enumerate([*args, *(kwargs or {}).values()]):
        try:
            fits(value)
        except Exception:
            return f"argument {_parameter(fn, len(args), kwargs, position)}"
    return "its function"


def _pairs(holes: Holes, items: Iterable[Any]) -> Iterable[tuple[int, Source]]:
    return enumerate(items) if holes is EVERY else holes


def _is_step(number: int) -> Callable[[Source], bool]:
    return lambda source: type(source) is int and source == number


def _subscript(step: Step, position: int) -> str:
    field = position - len(step.items) + len(step.names)
    if field >= 0:
        return f".{step.names[field]}"
    if step.kind is FLAT:
        return f"[{position}]" if step.build is not set else "{…}"
    if step.kind is PAIRS:
        return f"[{step.items[position - 1]!r:.40}]" if position % 2 else "[a key]"
    return f".args[{position}]"


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
