"""How objects are reduced in what workers are sent, and send."""

from __future__ import annotations

import io
import pickle
from types import CodeType
from typing import Any, Final

import cloudpickle

#: what cloudpickle writes in the place of a file's name
_NO_FILE: Final = "<dynamic-code>"
_reduced = cloudpickle.Pickler.dispatch_table[CodeType]


def quickly(value: Any, **how: Any) -> bytes:
    """A pickle in which all functions and classes stand by their names, made by C alone in half of cloudpickle's time.

    :param how: see ``pickle.Pickler``.
    :return: nothing, if something in it is not to be found elsewhere by its name, or cannot be pickled.
    """
    if cloudpickle.list_registry_pickle_by_value():
        return b""
    try:
        with io.BytesIO() as file:
            _ByName(file, protocol=pickle.HIGHEST_PROTOCOL, **how).dump(value)
            pickled = file.getvalue()
    except Exception:  # whoever pickles it by value will say what it is
        return b""
    return b"" if b"__main__" in pickled else pickled


class _ByName(pickle.Pickler):
    def __init__(self, file: Any, **how: Any) -> None:
        self.dispatch_table = table()
        super().__init__(file, **how)


def table() -> dict[type, Any]:
    """What reduces instances of some classes: cloudpickle's own as a plain dict, into which to look is no call."""
    maps: list[dict[type, Any]] = cloudpickle.Pickler.dispatch_table.maps
    seen, found = _known[0]
    if maps != seen:  # whoever likes registers more of them
        merged = {cls: reduces for some in reversed(maps) for cls, reduces in some.items()}
        found = {**merged, CodeType: _code}
        _known[0] = [{**some} for some in maps], found
    return found


#: the dicts that it was made of, and it
_known: list[tuple[list[dict[type, Any]], dict[type, Any]]] = [([], {})]


def _code(code: CodeType) -> Any:
    """Code with the name of its file, which cloudpickle leaves out and tracebacks and warnings show."""
    make, parts = _reduced(code)
    return make, tuple(code.co_filename if type(part) is str and part == _NO_FILE else part for part in parts)
