"""n futures for the n items of one result, without a task of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from threading import Lock
from typing import Any

from graphfutures import errors
from graphfutures.core.graph import Task
from graphfutures.futures import GraphFuture, Owner
from graphfutures.running import value_of


class Group:
    """The items of one value, taken from it once."""

    def __init__(self, parent: GraphFuture[Any], count: int) -> None:
        self.parent = parent
        self.count = count
        self._items: list[Any] | None = None
        self._lock = Lock()

    def item(self, index: int) -> Any:
        """One item, the value being there.

        :raises TypeError: if the value cannot be iterated over.
        :raises ValueError: if it does not have exactly ``count`` items.
        """
        with self._lock:
            if self._items is None:
                self._items = _items_of(value_of(self.parent), self.count, self.parent.key)
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


def expand(items: Iterable[Any], settle: Callable[[Item, bool, Any], object]) -> None:
    """Settle items of values that are there: ``settle(item, good, value or exception)`` for each."""
    for item in items:
        group = item.group
        if group is None:
            continue  # before an interruption
        try:
            outcome = (True, group.item(item.index))
        except BaseException as error:
            outcome = (False, error)
        settle(item, *outcome)
        item.group = None


def _items_of(value: Any, count: int, key: str) -> list[Any]:
    try:
        iterator = iter(value)
    except TypeError as error:
        raise errors.cannot_iterate(key, value, error) from None
    items = list(islice(iterator, count + 1))
    if len(items) != count:
        raise errors.cannot_unpack(key, value, f"more than {count}" if len(items) > count else str(len(items)), count)
    return items
