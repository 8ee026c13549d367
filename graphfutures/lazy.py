"""Calls that are only noted, and made when somebody computes: ``delayed`` and ``compute``."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from importlib import import_module
from itertools import count
from os import urandom
from typing import TYPE_CHECKING, Any, NoReturn, overload

from graphfutures import errors
from graphfutures.calls import (
    Allowed,
    Lazy,
    Plan,
    Quote,
    Source,
    fill,
    find,
    futures_of,
    name_of,
)
from graphfutures.computing import begin
from graphfutures.door import Door
from graphfutures.graphs import Value, settled_value
from graphfutures.integrations.dask import annotations_for, check_keywords, some_are_collections, traits_of
from graphfutures.schedulers import checked, get
from graphfutures.tokenizing import part_of, token_of

if TYPE_CHECKING:
    from graphfutures.diagnostics.pictures import Picture

_numbers = count(1)
#: so that keys of this process are of no other, nor of a forked child
_process = [urandom(4).hex()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, urandom(4).hex()))
#: what is asked of an object without being meant as a step of the computation
_NEVER_LAZY = ("visualise",)
_OF_FUTURES = ("result", "exception", "done", "running", "cancel", "cancelled", "add_done_callback")
#: what a delayed function has of its function
_WRAPPED = ("__name__", "__qualname__", "__annotations__")
_NO_PLAN: Plan = ([], [])
_LEFT_OUT: Any = object()
_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@overload
def delayed(
    value: Any, name: str | None = None, *, pure: bool | None = None, nout: int | None = None, traverse: bool = True
) -> Delayed: ...
@overload
def delayed(
    *, name: str | None = None, pure: bool | None = None, nout: int | None = None, traverse: bool = True
) -> Callable[[Any], Delayed]: ...
def delayed(
    value: Any = _LEFT_OUT,
    name: str | None = None,
    *,
    pure: bool | None = None,
    nout: int | None = None,
    traverse: bool = True,
) -> Any:
    """A function whose calls are noted instead of made, or a value as the beginning of a computation.

    :param value: a function, or anything else; delayed objects and futures inside containers are found.  Left out, this
        is a decorator: ``@delayed(pure=True)``.
    :param name: the key of a value; for a function, what its calls are called.
    :param pure: whether equal calls are one: their keys are made of their arguments.
    :param nout: how many items a call returns, so that the result can be unpacked.
    :param traverse: whether containers are looked through; if not, the value is passed on as it is.
    :raises TypeError: for ``pure=True`` and something that cannot be hashed.
    :raises ValueError: for an ``nout`` below 0.
    """
    if nout is not None and (not isinstance(nout, int) or nout < 0):
        raise ValueError(f"nout must be None or an integer of at least 0, not {nout!r:.40}")
    if value is _LEFT_OUT:
        return partial(delayed, name=name, pure=pure, nout=nout, traverse=traverse)
    if traverse:
        (value,) = _noted((value,))
    if isinstance(value, Delayed):
        return value
    plan = find((value,), None) if traverse else None
    if plan is not None:
        key = _key(name or "list", pure, _identity, (value,), {}, plan)
        return Delayed(key, _identity, (value,), {}, plan, pure, nout)
    if callable(value):
        return _Function(name, value, pure, nout)
    key = name or _key(type(value).__name__, pure, _identity, (value,), {}, None)
    return Delayed(key, None, (value,), {}, None, pure, nout)


def compute(*things: Any, scheduler: Any = None, num_workers: int | None = None, **keywords: Any) -> tuple[Any, ...]:
    """The things with values in the places of delayed objects and futures, at any depth; common pieces run once.

    :param scheduler: see :func:`graphfutures.get`; ``get`` is the same.
    :param num_workers: how many workers.
    :raises TypeError: for something that is no scheduler, or no number of workers; for both ``scheduler`` and ``get``.
    :raises ValueError: for an unknown name of a scheduler, or a number of workers below 1.
    :raises Exception: what a call has raised, with its key in the notes.
    """
    scheduler = checked(scheduler, keywords.pop("get", None), num_workers)
    if some_are_collections(things):
        by_us = partial(get, scheduler=scheduler, num_workers=num_workers)
        given = _changed(things, {}, find(things, None), _settled)[0]
        found: Any = import_module("dask").compute(*given, scheduler=by_us, **keywords)
        return _changed(found, {}, find(found, None), _unquoted)[0]
    plan = find(things, None)
    if plan is None:
        check_keywords(keywords)
        return things
    call = _Call(_together, things, {}, plan)
    keys = [_key_of(source) for source in call.sources]
    values = get(graph_of(call.sources), keys, scheduler=scheduler, num_workers=num_workers, **keywords)
    computed: tuple[Any, ...] = call(*values)
    return computed


def _noted(things: tuple[Any, ...]) -> tuple[Any, ...]:
    """The things with delayed objects in the places of dask's collections, as its own ``delayed`` has it."""
    if "dask.base" not in sys.modules or not some_are_collections(things):
        return things
    base, theirs = import_module("dask.base"), import_module("dask.delayed")

    def noted(one: Any) -> Delayed:
        if isinstance(one, Delayed):
            return one
        whole = theirs.delayed(one)
        key = f"finalize-{base.tokenize(one)}"  # the same each time, which that of the whole is not
        return _Whole(key, {**whole.__dask_graph__(), key: whole.key})

    found, put_back = base.unpack_collections(*things)
    return put_back([noted(one) for one in found])  # type: ignore[no-any-return]


def _settled(source: Source) -> Any:
    return settled_value(source) if isinstance(source, (Future, Allowed)) else source


def _unquoted(source: Source) -> Any:
    return source.value if type(source) is Quote else source


class _Graph(dict[str, Any]):
    """A graph with what ``dask.annotate`` has said of its keys."""

    def __init__(self) -> None:
        self._annotations: dict[str, dict[str, Any]] = {}

    def annotate(self, key: str, annotations: dict[str, Any]) -> None:
        """Note what holds for a key."""
        for name, value in annotations.items():
            self._annotations.setdefault(name, {})[key] = value

    def __dask_annotations__(self) -> dict[str, dict[str, Any]]:
        return self._annotations


def graph_of(sources: Iterable[Source]) -> _Graph:
    """What it takes to compute some delayed objects and futures, as dask writes graphs."""
    graph = _Graph()
    stack = list(sources)
    while stack:
        source = stack.pop()
        key = _key_of(source)
        if key in graph:
            continue
        if isinstance(source, Delayed):
            stack += source._enter(graph)
        else:
            graph[key] = source
    return graph


class _Call:
    """A call whose delayed arguments come as values."""

    __slots__ = ("args", "fn", "kwargs", "plan", "sources")

    def __init__(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.plan = plan
        #: what the values are of, each once
        self.sources: list[Source] = list({id(source): source for source in futures_of(plan)}.values())

    def __call__(self, *values: Any) -> Any:
        found = dict(zip(map(id, self.sources), values, strict=True))

        def value_of(source: Source) -> Any:
            return source.value if type(source) is Quote else found[id(source)]

        args, kwargs = fill(self.args, self.kwargs, self.plan, value_of, None)
        return self.fn(*args, **kwargs)

    def __reduce__(self) -> Any:
        # Without the sources: their values come on their own, and these may be futures, or large computations.
        places = {id(source): _Place(number) for number, source in enumerate(self.sources)}
        return _arrived, (self.fn, *_changed(self.args, self.kwargs, self.plan, lambda one: places.get(id(one), one)))


def _arrived(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    call = _Call(fn, args, kwargs, find(args, kwargs) or _NO_PLAN)
    call.sources.sort(key=operator.attrgetter("number"))
    return call


class Delayed(Lazy):
    """A value that is still to be computed.

    Operators, items, attributes and calls of it are delayed objects again; ``compute``, ``persist``, ``key``,
    ``visualize`` and what dask asks of a collection are not, and what only futures have is refused.

    :param key: by which it is known in graphs.
    """

    __slots__ = ("_annotations", "_args", "_fn", "_kwargs", "_nout", "_plan", "_pure", "key")

    key: str
    _annotations: dict[str, Any] | None
    _args: tuple[Any, ...]
    _fn: Any
    _kwargs: dict[str, Any]
    _nout: int | None
    _plan: Plan | None
    _pure: bool | None

    def __init__(
        self,
        key: str,
        fn: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        plan: Plan | None,
        pure: bool | None = None,
        nout: int | None = None,
        annotations: dict[str, Any] | None = None,
    ) -> None:
        for name, value in zip(Delayed.__slots__, (annotations, args, fn, kwargs, nout, plan, pure, key), strict=True):
            object.__setattr__(self, name, value)

    # -- not lazy -----------------------------------------------------------------------------

    def compute(self, **keywords: Any) -> Any:
        """The value.

        :param keywords: see :func:`compute`.
        """
        return compute(self, **keywords)[0]

    def persist(self, **keywords: Any) -> Delayed:
        """A delayed object of the same key that has its value already.

        :param keywords: see :func:`compute`.
        """
        return Delayed(self.key, None, (self.compute(**keywords),), {}, None, self._pure, self._nout)

    def visualize(self, filename: str | os.PathLike[str] | None = None, **options: Any) -> Picture:
        """A picture of its graph.

        :param filename: of the file, ``.svg``, ``.dot`` or ``.mmd`` (Mermaid); none is written without it.
        :param options: see :func:`graphfutures.visualizing.visualize`, also for what is raised.
        :return: the picture, which notebooks show.
        """
        from graphfutures.visualizing import visualize

        return visualize(self, filename=filename, **options)

    def begun_on(self, door: Door, others: list[Any]) -> list[Any]:
        """The futures of these on an executor, where they are given to ``submit``."""
        keys = [other.key for other in others]
        graph = graph_of(others)
        begun = begin(door, graph, keys, traits_of(graph))
        return [begun[key] for key in keys]

    @property
    def dask(self) -> dict[str, Any]:
        """Its graph."""
        return graph_of([self])

    def __dask_graph__(self) -> dict[str, Any]:
        return self.dask

    def __dask_keys__(self) -> list[str]:
        return [self.key]

    def __dask_layers__(self) -> tuple[str]:
        return (self.key,)

    def __dask_tokenize__(self) -> str:
        return self.key

    __dask_scheduler__ = staticmethod(get)
    __dask_optimize__ = None

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return _first, ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Any], tuple[str, int | None]]:
        return _rebuilt, (self.key, self._nout)

    def __repr__(self) -> str:
        return f"Delayed({self.key!r})"

    __hash__ = object.__hash__  # since whether two are equal is a computation

    def __bool__(self) -> NoReturn:
        raise TypeError(f"whether {self.key} is true is not known before it is computed: call compute()")

    def __iter__(self) -> Iterator[Delayed]:
        if self._nout is None:
            raise TypeError(f"{self.key} cannot be iterated over: its length is not known; say delayed(…, nout=…)")
        return iter([self._step(operator.getitem, (self, number), name="getitem") for number in range(self._nout)])

    def __len__(self) -> int:
        if self._nout is None:
            raise TypeError(f"the length of {self.key} is not known before it is computed; say delayed(…, nout=…)")
        return self._nout

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise TypeError("a delayed object cannot be changed")

    def __setitem__(self, place: Any, value: Any) -> NoReturn:
        raise TypeError("a delayed object cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise TypeError("a delayed object cannot be changed")

    def __reduce__(self) -> Any:
        return _unpacked, (_packed(self),)

    def _enter(self, graph: _Graph) -> list[Source]:
        """Add to a graph what stands for it there, and return what that needs."""
        if self._annotations is not None:
            graph.annotate(self.key, self._annotations)
        if self._fn is None:
            graph[self.key] = (Value(self._args[0]),)
            return []
        call = _Call(self._fn, self._args, self._kwargs, self._plan or _NO_PLAN)
        graph[self.key] = (call, *map(_key_of, call.sources))
        return call.sources

    # -- lazy ---------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Delayed:
        if name in _OF_FUTURES:
            raise errors.no_future_yet(name)
        if name.startswith("_") or name in _NEVER_LAZY:
            raise AttributeError(f"a delayed object has no {name!r} before it is computed")
        return self._step(getattr, (self, name), name=f"getattr-{name}")

    def __getitem__(self, place: Any) -> Delayed:
        return self._step(operator.getitem, (self, self._place(place)), name="getitem")

    def _place(self, place: Any) -> Any:
        """Where an item is: a delayed object for a slice that has delayed bounds."""
        if type(place) is tuple:
            return tuple(map(self._place, place))
        if type(place) is not slice:
            return place
        bounds = _noted((place.start, place.stop, place.step))
        return self._step(slice, bounds, name="slice") if find(bounds, None) is not None else place

    def __call__(self, /, *args: Any, dask_key_name: str | None = None, **kwargs: Any) -> Delayed:
        return self._step(_called, (self, *args), kwargs, name="call", key=dask_key_name)

    def _step(
        self, fn: Any, args: tuple[Any, ...], kwargs: Any = None, *, name: str, key: str | None = None
    ) -> Delayed:
        """What is made of it: pure if it is, and if it can be."""
        try:
            return _call(fn, args, kwargs or {}, name=name, key=key, pure=self._pure)
        except TypeError:
            return _call(fn, args, kwargs or {}, name=name, key=key)


class _Function(Delayed):
    """A function whose calls are noted."""

    __slots__ = ("_name",)

    _name: str

    def __init__(self, name: str | None, fn: Any, pure: bool | None, nout: int | None) -> None:
        label = name or name_of(fn)
        super().__init__(_key(label, pure, fn, (), {}, None), None, (fn,), {}, None, pure, nout)
        object.__setattr__(self, "_name", label)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._args[0].__doc__  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name in _WRAPPED:
            return getattr(self._args[0], name)
        return self._args[0] if name == "__wrapped__" else super().__getattr__(name)

    def __call__(
        self, /, *args: Any, pure: bool | None = None, dask_key_name: str | None = None, **kwargs: Any
    ) -> Delayed:
        pure = self._pure if pure is None else pure
        return _call(self._args[0], args, kwargs, name=self._name, key=dask_key_name, pure=pure, nout=self._nout)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method of a class."""
        return self if instance is None else lambda *args, **kwargs: self(instance, *args, **kwargs)

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self.key} is a function: call it")

    def __reduce__(self) -> Any:
        return _Function, (self._name, self._args[0], self._pure, self._nout)


class _Whole(Delayed):
    """A key of a graph that is known whole, as dask writes it."""

    __slots__ = ()

    def __init__(self, key: str, graph: Mapping[Any, Any], nout: int | None = None) -> None:
        super().__init__(key, None, (graph,), {}, None, None, nout)

    def _enter(self, graph: _Graph) -> list[Source]:
        graph.update(self._args[0])
        return []

    def __reduce__(self) -> Any:
        return _Whole, (self.key, self._args[0], self._nout)


def _call(
    fn: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str,
    key: str | None = None,
    pure: bool | None = None,
    nout: int | None = None,
) -> Delayed:
    args = _noted(args)
    if kwargs:
        (kwargs,) = _noted((kwargs,))
    plan = find(args, kwargs)
    key = key or _key(name, pure, fn, args, kwargs, plan)
    return Delayed(key, fn, args, kwargs, plan, pure, nout, annotations_for(key))


def _key(name: str, pure: bool | None, fn: Any, args: Any, kwargs: dict[str, Any], plan: Plan | None) -> str:
    if not pure:
        return f"{name}-{_process[0]}-{next(_numbers)}"
    return f"{name}-{token_of(part_of(fn), *_changed(args, kwargs, plan, _by_key))}"


def _by_key(source: Source) -> Any:
    return (Delayed, _key_of(source)) if isinstance(source, Lazy) else source


def _key_of(source: Any) -> str:
    if isinstance(source, Lazy):
        return source.key  # type: ignore[attr-defined, no-any-return]
    if isinstance(source, Allowed):
        return f"allowed-{id(source.future)}"
    return f"future-{id(source)}"


def _identity(value: Any) -> Any:
    return value


class _Place(Lazy):
    """Stands for a delayed object or a future among arguments that travel: its number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _Place, (self.number,)


def _changed(args: Any, kwargs: Any, plan: Plan | None, change: Callable[[Any], Any]) -> _Arguments:
    """Arguments with something else in the places of delayed objects, futures and what is quoted."""
    if plan is None:
        return args, kwargs
    args, kwargs = fill(args, kwargs, plan, change, None)
    return tuple(args), kwargs


def _packed(last: Delayed) -> list[tuple[Any, ...]]:
    """Delayed objects that need each other, the given one last, without the objects: pickling them would recurse."""
    numbers: dict[int, int] = {}
    packed: list[tuple[Any, ...]] = []

    def change(lazy: Any) -> Any:
        return _Place(numbers[id(lazy)]) if type(lazy) is Delayed else lazy

    stack = [last]
    while stack:
        lazy = stack[-1]
        if id(lazy) not in numbers:
            needs = [one for one in futures_of(lazy._plan or _NO_PLAN) if type(one) is Delayed]
            missing = [one for one in needs if id(one) not in numbers]
            if missing:
                stack += missing
                continue
            args, kwargs = _changed(lazy._args, lazy._kwargs, lazy._plan, change)
            numbers[id(lazy)] = len(packed)
            packed.append((lazy.key, lazy._fn, args, kwargs, lazy._pure, lazy._nout, lazy._annotations))
        stack.pop()
    return packed


def _unpacked(packed: list[tuple[Any, ...]]) -> Delayed:
    found: list[Delayed] = []

    def change(place: Any) -> Any:
        return found[place.number] if type(place) is _Place else place

    for key, fn, places, named, *others in packed:
        args, kwargs = _changed(places, named, find(places, named), change)
        plan = find(args, kwargs) if fn is not None else None
        found.append(Delayed(key, fn, args, kwargs, plan, *others))
    return found[-1]


def _rebuilt(graph: Mapping[Any, Any], key: str, nout: int | None, rename: Mapping[str, str] | None = None) -> Delayed:
    """A delayed object of what dask has made of its graph: another one, or its value, after ``persist``."""
    key = (rename or {}).get(key, key)
    value = graph[key]
    is_call = type(value) is tuple and bool(value) and type(value[0]) in (_Call, Value)
    if is_call or len(graph) > 1 or isinstance(value, import_module("dask._task_spec").GraphNode):
        return _Whole(key, graph, nout)
    return Delayed(key, None, (value,), {}, None, None, nout)


def _called(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def _together(*things: Any) -> tuple[Any, ...]:
    return things


def _first(values: Any) -> Any:
    return values[0]


def _lazily(fn: Callable[..., Any]) -> Callable[..., Delayed]:
    name = fn.__name__.strip("_")
    return lambda *args: args[0]._step(fn, args, name=name)


def _reversed(fn: Callable[..., Any]) -> Callable[..., Delayed]:
    name = fn.__name__.strip("_")
    return lambda self, other: self._step(fn, (other, self), name=name)


_TWO = ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and_", "or_", "xor", "lshift", "rshift")
for _name in ("abs", "neg", "pos", "invert", "eq", "ne", "lt", "le", "gt", "ge", *_TWO):
    setattr(Delayed, f"__{_name.strip('_')}__", _lazily(getattr(operator, _name)))
for _name in _TWO:
    setattr(Delayed, f"__r{_name.strip('_')}__", _reversed(getattr(operator, _name)))
for _function in (divmod, round, pow):
    setattr(Delayed, f"__{_function.__name__}__", _lazily(_function))
for _function in (divmod, pow):
    setattr(Delayed, f"__r{_function.__name__}__", _reversed(_function))
