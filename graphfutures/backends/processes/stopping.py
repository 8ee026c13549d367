"""Which tasks a worker is to be stopped for: those whose time is over, and those that nobody wants any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from math import inf
from time import perf_counter
from typing import Any

from graphfutures.backends.processes.messages import Page
from graphfutures.futures import GraphFuture

#: seconds after which is looked again whether something that nobody wants has begun
LOOK = 0.005


class Stopping:
    """Of one worker.

    :param page: that it shares, None where that cannot be.
    """

    def __init__(self, page: Page | None) -> None:
        #: seconds that an attempt may take, by tickets
        self.limits: dict[int, float] = {}
        #: attempts that nobody wants
        self.unwanted: deque[tuple[GraphFuture[Any], int]] = deque()
        #: tickets of those that the worker was told to give back, or is stopped for
        self.dropped: set[int] = set()
        self._page = page

    def __bool__(self) -> bool:
        return bool(self.limits or self.unwanted or self.dropped)

    def seconds(self, running: int) -> float:
        """After how many seconds to look again.

        :param running: the ticket of the task that runs; its time begins when the worker begins it.
        """
        if self.unwanted or self.dropped:
            return LOOK
        if not self.limits:
            return inf
        began = self._began()
        if running in self.limits and began < inf:
            return max(0.0, began + self.limits[running] - perf_counter())
        return min(self.limits.values())

    def given_back(
        self, hand: Mapping[int, tuple[GraphFuture[Any], int]], tickets: Mapping[int, int], running: int
    ) -> list[int]:
        """The tickets of what nobody wants any more and the worker has not begun, each once.

        :param hand: what the worker has, and which attempts these are, by tickets.
        :param tickets: by the serial numbers of tasks.
        :param running: the ticket of the one that runs.
        """
        back = []
        while self.unwanted:
            future, number = self.unwanted.popleft()
            ticket = tickets.get(future.serial, 0)
            if ticket in hand and hand[ticket][1] == number:
                self.dropped.add(ticket)
                if ticket != running:
                    back.append(ticket)
        self.dropped.intersection_update(hand)
        return back

    def due(self, running: int, waiting: Collection[int]) -> int:
        """The ticket of a task that the worker is to be stopped for now, 0 if there is none.

        :param waiting: the tickets of the tasks beneath that one, which wait.
        """
        if running in self.limits and perf_counter() >= self._began() + self.limits[running]:
            return running
        return next((ticket for ticket in self.dropped if ticket == running or ticket in waiting), 0)

    def _began(self) -> float:
        return inf if self._page is None else self._page.began()
