"""What the pump asks of a cluster, and what it may be told of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from graphfutures.backends.clusters.work import Kept


class Engine(Protocol):
    """A cluster, as the pump knows it."""

    @property
    def dashboard_link(self) -> str | None:
        """Of the cluster's own dashboard."""

    def threads(self) -> int:
        """How many tasks it runs at once now."""

    def send(self, number: int, name: str, pickled: bytes, needs: list[Any], wishes: Mapping[str, Any]) -> Any:
        """Have a batch run; what stands for it is returned.

        :param number: by which it is told of.
        :param name: for people.
        :param pickled: for ``work.run``.
        :param needs: what stands for the batches whose values it needs.
        :param wishes: options that are the cluster's.
        """

    def withdraw(self, handle: Any) -> None:
        """Nobody wants a batch any more, and it has not begun."""

    def sole(self, ticket: int, taker: int) -> None:
        """A value is for one task alone, which was not so when that was sent.

        :param ticket: of the task that has made it.
        :param taker: the ticket of the one that needs it.
        """

    def fetch(self, handle: Any) -> Kept:
        """What a batch has kept."""

    def fetch_later(self, handle: Any, done: Callable[[Kept | None, BaseException | None], object]) -> None:
        """The same, without waiting."""

    def revive(self, handle: Any) -> None:
        """A batch has ended, and what it has kept is needed: have that made again, should it be lost."""

    def put(self, kept: Kept) -> Any:
        """Have something kept; what stands for it is returned."""

    def lost(self) -> Exception | None:
        """Why nothing will come of the cluster any more, None if it is well."""

    def forked(self) -> None:
        """This is a forked child: nobody here is connected to the cluster, which is not this process's to close."""

    def close(self) -> None:
        """It is not needed any more."""


class Crash(Exception):
    """The workers have died too often to which a batch was sent.

    :param attempts: how often.
    :param begun: whether it is known that they were running it.
    """

    def __init__(self, attempts: int, *, begun: bool = False) -> None:
        super().__init__(attempts)
        self.attempts = attempts
        self.begun = begun


class Lost(Exception):
    """The cluster has lost a batch, or something that it needs."""
