"""What holds where the caller says nothing: what ``set_options`` says, the environment, then our defaults."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextvars import Context, ContextVar, Token
from operator import index
from threading import RLock
from types import MappingProxyType
from typing import Any, Self, TypeAlias
from weakref import ref

from graphfutures import errors


def lock_over_forks() -> Any:
    """A lock that a fork waits for, so that nobody in the child waits for a thread that is not there."""
    lock = RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


LOGGER = logging.getLogger("graphfutures")
DEFAULT_BACKEND = "threads"
_told: set[str] = set()
_NONE: Mapping[str, Any] = MappingProxyType({})
_Entry: TypeAlias = tuple[ref[Any], Mapping[str, Any]]
#: what was set for the whole process, each with a weak reference to the ``Setting``, the last one last
_set: list[_Entry] = []
_SETTING = lock_over_forks()
#: what was set for this context
_set_here: ContextVar[Mapping[str, Any]] = ContextVar("graphfutures options", default=_NONE)


#: weak references to the executors whose ``with`` blocks this context is in, the innermost last
entered: ContextVar[tuple[ref[Any], ...]] = ContextVar("graphfutures executors", default=())


def enter(executor: Any) -> None:
    """Make an executor the default in this context."""
    executor._entered = entered.set((*entered.get(), ref(executor)))


def leave(executor: Any) -> None:
    """Make it the default nowhere: also in contexts that were copied meanwhile, and if this is another one."""
    token, executor._entered = executor._entered, None
    left = tuple([one for one in entered.get() if _executor(one) is not None])
    if not left and token is not None:
        try:
            entered.reset(token)  # an empty context makes tasks cheaper than one in which something is empty
        except (RuntimeError, ValueError):
            pass  # it was entered in another context, or twice
    if entered.get() != left:
        entered.set(left)


def innermost() -> Any:
    """The executor whose ``with`` block this is in, None if it is in none."""
    for one in reversed(entered.get()):
        if (executor := _executor(one)) is not None:
            return executor
    return None


def _executor(reference: ref[Any]) -> Any:
    executor = reference()
    return executor if executor is not None and executor._entered is not None else None


def handed_down(context: Context) -> Context | None:
    """What a task inherits of a context in which executors are entered: all but these, for it has its own."""
    if len(context) > 1:
        context.run(entered.set, ())
        return context
    return None


class Setting:
    """Defaults, for the whole process, and as a ``with`` block for this context and undone; they are checked."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._token: Token[Mapping[str, Any]] | None = None
        with _SETTING:
            kept: list[_Entry] = []
            for last, given in (*_set, (ref(self), options)):
                if kept and last() is kept[-1][0]() is None:  # they stay for good, and side by side they are one
                    kept[-1] = last, {**kept[-1][1], **given}
                else:
                    kept.append((last, given))
            _set[:] = kept

    def __enter__(self) -> Self:
        with _SETTING:  # it was no statement
            _set[:] = [entry for entry in _set if entry[0]() is not self]
        self._token = _set_here.set({**_set_here.get(), **self._options})
        return self

    def __exit__(self, *exc: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            try:
                _set_here.reset(token)
            except ValueError:
                pass  # a generator that is closed in another context, where nothing was set


def check_num_workers(number: Any) -> None:
    """Refuse what is no number of workers.

    :raises TypeError: for anything but an integer or None.
    :raises ValueError: for a number below 1.
    """
    if number is None:
        return
    try:
        index(number)
    except TypeError:
        raise errors.not_a_number("num_workers", number) from None
    if isinstance(number, bool):
        raise errors.not_a_number("num_workers", number)
    if number < 1:
        raise ValueError("num_workers must be greater than 0")


def option(name: str) -> Any:
    """What ``set_options`` says, None if it says nothing."""
    for options in (_set_here.get(), *[options for _, options in _set[::-1]]):
        if name in options:
            return options[name]
    return None


def _variable(name: str) -> str | None:
    """A variable of the environment; where it is not set, ``os.environ.get`` takes two exceptions to say so."""
    environ: Any = os.environ
    found = getattr(environ, "_data", None)
    if found is not None and environ.encodekey(name) not in found:
        return None
    value: str | None = environ.get(name)
    return value


def default_backend() -> str:
    """The backend named by ``set_options``, else by ``GRAPHFUTURES_BACKEND``, else threads."""
    if _set or _set_here.get() is not _NONE:
        chosen = option("scheduler")
        if isinstance(chosen, str):
            return chosen
    name = _variable("GRAPHFUTURES_BACKEND")
    if not name:
        return DEFAULT_BACKEND
    if name not in _told:
        _told.add(name)
        LOGGER.info("backend %r is taken from GRAPHFUTURES_BACKEND", name)
    return name


def source_of(name: str) -> str:
    """Where an unusable backend name may have come from, for the message."""
    return " (from GRAPHFUTURES_BACKEND)" if name == os.environ.get("GRAPHFUTURES_BACKEND") else ""


def default_max_workers() -> int:
    """The number in ``set_options``, else in ``GRAPHFUTURES_MAX_WORKERS``, else that of ThreadPoolExecutor.

    :raises ValueError: for a variable that is no number above 0.
    """
    chosen = option("num_workers") or max_workers_of_environment()
    if chosen is not None:
        return int(chosen)
    count: Any = getattr(os, "process_cpu_count", os.cpu_count)
    return min(32, (count() or 1) + 4)


def max_workers_of_environment() -> int | None:
    """The number in ``GRAPHFUTURES_MAX_WORKERS``, None if there is none.

    :raises ValueError: for a variable that is no number above 0.
    """
    given = _variable("GRAPHFUTURES_MAX_WORKERS")
    if given:
        if not given.isdecimal() or not int(given):
            raise ValueError(f"GRAPHFUTURES_MAX_WORKERS must be an integer greater than 0, not {given!r}")
        return int(given)
    return None


def temp_dir() -> str | None:
    """The folder in ``GRAPHFUTURES_TEMP_DIR``, for files of values; None if there is none.

    :raises ValueError: for a variable that names no folder.
    """
    given = _variable("GRAPHFUTURES_TEMP_DIR")
    if given and not os.path.isdir(given):
        raise ValueError(f"GRAPHFUTURES_TEMP_DIR must be a folder, not {given!r}")
    return os.path.abspath(given) if given else None  # workers, and this process, may change their folder
