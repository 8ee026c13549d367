"""Tokens of calls: the same for what is equal, by dask's means where dask is there."""

from __future__ import annotations

from hashlib import sha1
from importlib import import_module
from operator import is_not
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from graphfutures import errors

#: what functions may close over to have their tokens remembered
_CONSTANT = (type(None), bool, int, float, str, bytes)
_tokens: WeakKeyDictionary[Any, tuple[tuple[Any, ...], str]] = WeakKeyDictionary()


def part_of(fn: Any) -> Any:
    """What stands for a function in tokens: its own one, which is made again when something of it is another object."""
    if type(fn) is not FunctionType:
        return fn
    try:
        closed = [cell.cell_contents for cell in fn.__closure__ or ()]
    except ValueError:  # it is empty
        return fn
    if any(type(value) not in _CONSTANT for value in closed):
        return fn  # its contents may change, or need the function itself
    now = (fn.__code__, fn.__defaults__, fn.__kwdefaults__, *closed)
    before, token = _tokens.get(fn, ((), ""))
    if len(now) != len(before) or any(map(is_not, now, before)):
        token = token_of(fn)
        _tokens[fn] = now, token
    return token


def token_of(*parts: Any) -> str:
    """The same for equal calls."""
    try:
        tokenize: Any = import_module("dask.tokenize").tokenize
    except ImportError:
        tokenize = _pickled_token
    try:
        token: str = tokenize(*parts, ensure_deterministic=True)
    except Exception as error:
        raise errors.cannot_be_pure(error) from error
    return token


def _pickled_token(*parts: Any, ensure_deterministic: bool) -> str:
    from cloudpickle import dumps

    return sha1(dumps(parts), usedforsecurity=False).hexdigest()
