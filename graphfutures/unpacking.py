"""Futures that are settled without an attempt: for the n items of one result, or for a value that held futures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from threading import Lock
from typing import Any

from graphfutures import errors
from graphfutures.calls import EACH, fill
from graphfutures.core.graph import Task
from graphfutures.futures import GraphFuture, Owner
from graphfutures.running import value_of


class Group:
    """The items of one value, taken from it once."""

    def __init__(self, parent: GraphFuture[Any], count: int) -> None:
        self.parent = parent
        self.count = count
        self._items: list[Any] | None = None
        self._error: BaseException | None = None
        self._lock = Lock()

    def item(self, index: int) -> Any:
        """One item, the value being there.

        :raises TypeError: if the value cannot be iterated over.
        :raises ValueError: if it does not have exactly ``count`` items.
        """
        with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)  # an iterator gives its items once
            if self._items is None:
                try:
                    self._items = _items_of(value_of(self.parent), self.count, self.parent.key)
                except BaseException as error:
                    self._error = error
                    raise
        return self._items[index]


class Item(GraphFuture[Any]):
    """One item of the value of another future.

    :param index: which one.
    """

    __slots__ = ("group", "index")

    derived = True

    def __init__(self, owner: Owner, serial: int, parent: Task, group: Group, index: int) -> None:
        super().__init__(owner, serial, dependencies=(parent,), name=f"{getattr(parent, 'name', 'item')}[{index}]")
        self.special = True
        self.group: Group | None = group
        self.index = index

    def _forget_call(self) -> None:
        super()._forget_call()
        self.group = None


def expand(derived: Iterable[Any], settle: Callable[[Any, bool, Any], object]) -> None:
    """Settle futures whose inputs are there, and which take no attempt for that.

    :param settle: called with each of them, whether it has a value, and that value or an exception.
    """
    for future in derived:
        if future.done():
            continue  # before an interruption
        try:
            outcome = (True, _derived(future))
        except BaseException as error:
            outcome = (False, error)
        settle(future, *outcome)


def _derived(future: GraphFuture[Any]) -> Any:
    if isinstance(future, Item):
        group = future.group
        assert group is not None, "an item has not settled"
        return group.item(future.index)
    value, plan = future._args[0], future._rest[1]  # type: ignore[index]
    if plan is EACH:
        return value_of(value)
    filled, _ = fill((value,), {}, plan, value_of, future)  # type: ignore[arg-type]
    return next(iter(filled))


def item_of(value: Any, position: int, count: int, key: str) -> Any:
    """One item of a value.

    :param key: of the task that has made it.
    :raises TypeError: if the value cannot be iterated over.
    :raises ValueError: if it does not have exactly ``count`` items.
    """
    return _items_of(value, count, key)[position]


def _items_of(value: Any, count: int, key: str) -> list[Any]:
    try:
        iterator = iter(value)
    except TypeError as error:
        raise errors.cannot_iterate(key, value, error) from None
    items = list(islice(iterator, count + 1))
    if len(items) != count:
        raise errors.cannot_unpack(key, value, f"more than {count}" if len(items) > count else str(len(items)), count)
    return items
