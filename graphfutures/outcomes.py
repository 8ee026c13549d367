"""How a call ended when it gave no value: failures that are handed on, and tracebacks that do not grow."""

from __future__ import annotations

from types import TracebackType
from typing import Any

#: so many keys are shown at either end of a long path
ENDS = 3


class GraphKey(str):
    """The name of a task that is its key in a graph, by which its user knows it."""

    __slots__ = ()


def called(task: Any) -> str:
    """What notes call a task: its key, or the one that it has in its graph."""
    name = getattr(task, "_name", None)
    key: str = name if type(name) is GraphKey else getattr(task, "key", "a future")
    return key


class Inherited:
    """The failure of a task that never ran because a dependency failed.

    Its exception, a copy of the root cause, is made when somebody asks for it: a head that fails with
    10⁵ dependents would otherwise cost as many exceptions.

    :param root: the exception of the task that failed by itself.
    :param path: keys from that task to this one, at most twice ``ENDS`` of them.
    :param hidden: how many keys were left out in the middle.
    :param where: the argument that held the failed dependency.
    :param trace: where the root cause happened, for those who raise the root itself.
    """

    __slots__ = ("hidden", "path", "root", "trace", "where")

    def __init__(
        self, root: BaseException, path: tuple[str, ...], hidden: int, where: str, trace: TracebackType | None = None
    ) -> None:
        if len(path) > 2 * ENDS:
            hidden += len(path) - 2 * ENDS
            path = path[:ENDS] + path[-ENDS:]
        self.root = root
        self.path = path
        self.hidden = hidden
        self.where = where
        self.trace = trace

    def note(self) -> str:
        """The way of the failure, for the exception's notes."""
        keys = list(self.path)
        if self.hidden:
            keys.insert(ENDS, f"… {self.hidden} more …")
        return f"{' → '.join(keys)} ({self.where})"

    def exception(self) -> BaseException:
        """An instance of the root cause's type, the original as its cause, the path in its notes."""
        error = copied(self.root)
        if error is not self.root:
            _CAUSE.__set__(error, self.root)
            error.__dict__["__notes__"].append(self.note())
        return error


def shown(error: BaseException) -> str:
    """An exception as text, whatever its own code does."""
    try:
        return f"{error!r:.200}"
    except Exception:  # of its own __repr__
        return f"{type(error).__name__}, which cannot be shown"


# Asked past the class, whose own attributes and ``__setattr__`` may do anything.
_ARGS: Any = BaseException.__dict__["args"]
_CAUSE: Any = BaseException.__dict__["__cause__"]


def copied(error: BaseException) -> BaseException:
    """A copy of an exception made without its ``__init__``; itself where no faithful copy is possible.

    An exception with state in slots or in C, or with a ``__reduce__`` of its own, is passed on as it is, and so is
    one whose class does not let itself be copied.  The copy has a list of notes, perhaps an empty one.
    """
    cls = type(error)
    try:
        if not _plain(cls):
            return error
        builtin: Any = next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)
        copy: BaseException = builtin.__new__(cls)
        _ARGS.__set__(copy, _ARGS.__get__(error))
        copy.__dict__.update(error.__dict__)
        notes = copy.__dict__.get("__notes__")
        copy.__dict__["__notes__"] = list(notes) if isinstance(notes, (list, tuple)) else []
    except Exception:
        return error
    return copy


def _plain(cls: type[BaseException]) -> bool:
    for base in cls.__mro__:
        names: Any = vars(base)
        if base is BaseException:
            return True
        if "__reduce__" in names or "__reduce_ex__" in names:
            return False
        if base.__flags__ & _HEAP_TYPE:
            if names.get("__slots__"):
                return False
        elif base.__basicsize__ != BaseException.__basicsize__:
            return False
    return False


#: Py_TPFLAGS_HEAPTYPE: the class was made by a class statement
_HEAP_TYPE = 1 << 9


def without_our_frames(error: BaseException) -> TracebackType | None:
    """The traceback from the user's function on; our frame would keep the future alive in a circle."""
    trace = error.__traceback__
    return trace.tb_next if trace is not None else None
