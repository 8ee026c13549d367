"""Who else has a value, or memory of it: what nobody else has may go on to another task as it is.

That is read from counts of references; what adds to one that is not known of costs a copy, and nothing else.
"""

from __future__ import annotations

import mmap
import sys
from typing import Any, Final
from weakref import WeakSet, getweakrefcount

#: bytes from which on a buffer is not copied into the pickle, and a pickle does not go into a message
LARGE: Final = 131_072
#: files that are mapped, each for one task at a time, which sees alone what it changes
mapped_files: Final[WeakSet[mmap.mmap]] = WeakSet()


def references(value: Any) -> int:
    """How many there are to a value that its caller has in a variable."""
    return sys.getrefcount(value)


def _of_its_own() -> int:
    value = object()
    return references(value)


#: how many there are to a value that nobody else has
ALONE: Final = _of_its_own()


def is_own(value: Any) -> bool:
    """Whether a value that nobody refers to but its caller may go on to another task as it is.

    What is inside of most values may be somebody else's, as the memory of a view is.
    """
    if type(value) in (str, bytes):
        return True  # it never changes
    if not _is_array(value) or getweakrefcount(value) or not _owns_memory(value):
        return False
    return value.nbytes >= LARGE and not value.dtype.hasobject


def is_own_frame(value: Any) -> bool:
    """The same of a large frame or series of pandas, which since its version 3 knows who shares the memory of one.

    A shallow copy has to go on: others may know the index, whose name may be changed.
    """
    cls = type(value)
    if cls.__module__ != "pandas" or cls.__name__ not in ("DataFrame", "Series"):
        return False
    try:
        blocks = value._mgr.blocks
        size = sum(block.values.nbytes for block in blocks)
        return size >= LARGE and _is_own_index(value.index) and all(map(_is_own_block, blocks))
    except Exception:  # that is not said in its documentation, and may change
        return False


def _is_own_index(index: Any) -> bool:
    if type(index).__name__ == "RangeIndex":
        return True  # it has no memory
    return index.dtype != object and not _shares(index._data)


def _is_own_block(block: Any) -> bool:
    if block.refs.has_reference():
        return False
    if not _is_array(block.values):
        return hasattr(block.values, "_pa_array")  # Arrow's memory never changes
    return not block.values.dtype.hasobject and not _shares(block.values)


def shares_memory(buffer: Any) -> bool:
    """Whether somebody else has the memory of a large buffer, as far as is known."""
    return type(buffer) not in (bytearray, mmap.mmap) and _shares(buffer.obj)


def _shares(owner: Any) -> bool:
    """Whether somebody else has the memory of an array, or of a view of one: each is known to the next one alone."""
    while references(owner) == ALONE + 1:
        if not _is_array(owner):
            return not (type(owner) is memoryview and type(owner.obj) is mmap.mmap and owner.obj in mapped_files)
        if getweakrefcount(owner):
            return True
        if _owns_memory(owner):
            return False
        owner = owner.base
    return True


def _is_array(value: Any) -> bool:
    """Whether it is one of numpy's, and of no subclass, without numpy being imported for that."""
    cls = type(value)
    return cls.__name__ == "ndarray" and cls.__module__ == "numpy"


def _owns_memory(array: Any) -> bool:
    """Whether an array has its memory from nobody else, be that another array or a library."""
    return array.base is None and bool(array.flags.owndata)
