"""Functions that are pickled once, and sent once to each worker."""

from __future__ import annotations

import io
import sys
import weakref
from collections.abc import Callable
from itertools import count
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import cloudpickle

from graphfutures.calls import Named

#: where the state of a function of ``__main__`` has the versions of the globals that it names
VERSIONS = "_graphfutures_versions"
#: what cloudpickle writes in the place of a file's name
_NO_FILE = "<dynamic-code>"
_reduced = cloudpickle.Pickler.dispatch_table[CodeType]


class Function:
    """A function as workers know it.

    :param number: by which it is called.
    :param pickled: the function.
    """

    __slots__ = ("bindings", "number", "pickled")

    def __init__(self, number: int, pickled: bytes, bindings: list[Any]) -> None:
        self.number = number
        self.pickled = pickled
        #: all that its pickle depends on, to be compared by identity
        self.bindings = bindings


class Functions:
    """The functions of an executor, found by weak identity.

    A function is pickled again when its code, its defaults, its closure or a global that it names, or that a function
    of the user's which it names does, is bound to something else.  The names of ``__main__`` have versions, which
    count these bindings: workers share one ``__main__``, and what tasks bind there stays until it is bound anew here.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Function]] = {}
        self._numbers = count(1)
        self._main: dict[str, tuple[Any, int]] = {}
        #: told the numbers of functions that are gone
        self.listeners: weakref.WeakSet[Any] = weakref.WeakSet()

    def find(self, fn: Any) -> Function | None:
        """A function as workers know it; None for what is to be pickled with each of its tasks.

        :raises Exception: what pickling raises.
        """
        cls = type(fn)
        if cls is not FunctionType and cls is not type and cls is not BuiltinFunctionType and cls is not Named:
            return None
        key, called = id(fn), fn.fn if cls is Named else fn
        known = self._known.get(key)
        bindings: list[Any] = []
        if type(called) is FunctionType:
            if known is not None and not known[1].bindings:
                return known[1]
            if not _is_importable(called):
                bindings = _bindings(called)
        elif known is not None:
            return known[1]
        if known is not None and _same(known[1].bindings, bindings):
            return known[1]
        function = Function(next(self._numbers), self.dumps(fn), bindings)
        reference = weakref.ref(fn, self._gone(key, function.number))
        if known is not None:
            self._forget(known[1].number)
        self._known[key] = reference, function
        return function

    def dumps(self, value: Any, **how: Any) -> bytes:
        """Pickle something for workers: its functions of ``__main__`` tell the versions of the globals they name.

        :param how: see ``pickle.dumps``.
        :raises Exception: what pickling raises.
        """
        with io.BytesIO() as file:
            _Pickler(file, self, **how).dump(value)
            return file.getvalue()

    def version(self, name: str, value: Any) -> int:
        """Of a name of ``__main__`` that is bound to something."""
        before, version = self._main.get(name, (None, -1))
        if version < 0 or before is not value:
            version += 1
            self._main[name] = value, version
        return version

    def _gone(self, key: int, number: int) -> Callable[[Any], None]:
        me = weakref.ref(self)

        def forget(_: object) -> None:
            functions = me()
            if functions is not None:
                known = functions._known.get(key)
                if known is not None and known[1].number == number:
                    del functions._known[key]
                functions._forget(number)

        return forget

    def _forget(self, number: int) -> None:
        for listener in tuple(self.listeners):
            listener.forgotten.append(number)


def _code(code: CodeType) -> Any:
    """Code with the name of its file, which cloudpickle leaves out and tracebacks and warnings show."""
    make, parts = _reduced(code)
    return make, tuple(code.co_filename if type(part) is str and part == _NO_FILE else part for part in parts)


def _table() -> dict[type, Any]:
    """What reduces instances of some classes: cloudpickle's own as a plain dict, into which to look is no call."""
    maps: list[dict[type, Any]] = cloudpickle.Pickler.dispatch_table.maps
    seen, table = _known[0]
    if maps != seen:  # whoever likes registers more of them
        merged = {cls: reduces for some in reversed(maps) for cls, reduces in some.items()}
        table = {**merged, CodeType: _code}
        _known[0] = [{**some} for some in maps], table
    return table


#: the dicts that it was made of, and it
_known: list[tuple[list[dict[type, Any]], dict[type, Any]]] = [([], {})]


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's, quicker.

    :param file: see ``pickle.Pickler``.
    """

    def __init__(self, file: Any, **how: Any) -> None:
        self.dispatch_table = _table()
        super().__init__(file, **how)


class _Pickler(Pickler):
    def __init__(self, file: Any, functions: Functions, **how: Any) -> None:
        super().__init__(file, **how)
        self._functions = functions

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        reduced = super()._dynamic_function_reduce(func)
        if func.__globals__.get("__name__") == "__main__":  # also what cProfile or a notebook runs as such
            slots, version = reduced[2][1], self._functions.version
            slots[VERSIONS] = {name: version(name, value) for name, value in slots["__globals__"].items()}
        return reduced


def _is_importable(fn: Any) -> bool:
    """Whether workers find it by its name, as pickle would."""
    name = getattr(fn, "__module__", None)
    if name is None or name == "__main__" or name in cloudpickle.list_registry_pickle_by_value():
        return False
    found: Any = sys.modules.get(name)
    for part in fn.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is fn


def _bindings(fn: FunctionType) -> list[Any]:
    """All that the pickle of a function depends on."""
    found: list[Any] = []
    stack, seen = [fn], {fn}
    while stack:
        one = stack.pop()
        used = [one.__globals__[name] for name in _names(one.__code__) if name in one.__globals__]
        for cell in one.__closure__ or ():
            try:
                used.append(cell.cell_contents)
            except ValueError:
                used.append(None)  # it is empty
        found += [one.__code__, one.__defaults__, one.__kwdefaults__, *used]
        for value in used:
            if type(value) is FunctionType and value not in seen and not _is_importable(value):
                seen.add(value)
                stack.append(value)
    return found


def _names(code: CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names += _names(constant)
    return names


def _same(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
