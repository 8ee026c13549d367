"""The ``__main__`` of a worker process, and what is read into it."""

from __future__ import annotations

import io
import pickle
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

from cloudpickle import cloudpickle as _cloudpickle

from graphfutures import errors
from graphfutures.backends.processes.functions import VERSIONS

#: what stands in every pickle in which there are functions by value
_HOOKED: Final = _cloudpickle.__name__.encode()
#: bytes of pickles in which that is looked for
SHORT: Final = 100_000


class Namespace:
    """The one ``__main__`` of a worker, which the initializer and all functions of the user's ``__main__`` share.

    A name is bound to what its value is there when it comes for the first time, and again when it was bound to
    something else there; what tasks have bound here meanwhile stays.

    :param replaces: whether it is the module of that name; not in workers that others use as well.
    """

    def __init__(self, *, replaces: bool = True) -> None:
        self._old = sys.modules["__main__"]  # whose code still runs
        self._main = ModuleType("__main__")
        if replaces:
            sys.modules["__main__"] = self._main
        self._names = vars(self._main)
        self._bound: dict[str, int] = {}

    def loads(self, pickled: Any, buffers: Any = None) -> Any:
        """What was pickled, its functions of ``__main__`` with the globals of this one.

        :param buffers: that are not in the pickle.
        :raises Exception: what unpickling raises, with a note.
        """
        try:
            if len(pickled) < SHORT and _HOOKED not in (pickled := bytes(pickled)):
                return pickle.loads(pickled, buffers=buffers)  # which need not ask us for every name
            unpickler = _Unpickler(io.BytesIO(pickled), buffers=buffers)
            unpickler.hooks = {"_make_function": self._made, "_function_setstate": self._set}
            return unpickler.load()
        except Exception as error:
            with suppress(Exception):
                error.add_note(errors.cannot_be_read())
            raise

    def _made(self, code: Any, names: dict[str, Any], *rest: Any) -> Any:
        if names.get("__name__") == "__main__":
            names = self._names
        return _cloudpickle._make_function(code, names, *rest)

    def _set(self, function: Any, state: Any) -> None:
        if function.__globals__ is self._names:
            attributes, slots = state
            versions = slots.pop(VERSIONS, {})  # none if a worker has pickled it
            names = slots["__globals__"].items()
            fresh = {name: value for name, value in names if self._is_new(name, versions.get(name, 0))}
            state = attributes, {**slots, "__globals__": fresh}
        _cloudpickle._function_setstate(function, state)

    def _is_new(self, name: str, version: int) -> bool:
        if self._bound.get(name, -1) >= version:
            return False
        self._bound[name] = version
        return True


class _Unpickler(pickle.Unpickler):
    hooks: dict[str, Any]

    def find_class(self, module: str, name: str) -> Any:
        if module == _cloudpickle.__name__ and name in self.hooks:
            return self.hooks[name]
        return super().find_class(module, name)
