"""What ``stats`` counts: tasks by state, slots, bytes, and what is remembered of each function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from graphfutures.backends.base import Record
from graphfutures.diagnostics.naming import function_of


class Slots(NamedTuple):
    """How many tasks can run at once, and do.

    :param number: of all slots.
    :param busy: of those in which a task runs, whether or not somebody still wants its value.
    :param lent: how many running tasks wait inside, and have lent their slots.
    """

    number: int
    busy: int
    lent: int


class Totals(NamedTuple):
    """What is remembered of the tasks of one function.

    :param attempts: how many have returned.
    :param failed: how many of those without a value.
    :param seconds: that all of them took together.
    :param longest: seconds of the one that took longest.
    :param bytes: of their values, as far as that is known.
    """

    attempts: int
    failed: int
    seconds: float
    longest: float
    bytes: int

    @property
    def mean(self) -> float:
        """Seconds of an attempt."""
        return self.seconds / self.attempts


class Stats(dict[str, int]):
    """How many tasks are in which state, a dict; what else was counted at that moment are its attributes.

    Pickled it is the plain dict: so tasks in other processes get it.
    """

    #: how many tasks can run at once, and do
    slots: Slots
    #: of values that worker processes have written into files, which are there until nobody needs them any more; small
    #: ones are not in files, and other backends do not know how large values are: 0
    bytes: int

    def __init__(
        self,
        counts: dict[str, int],
        slots: Slots,
        size: int,
        records: Sequence[Record],
        without: Sequence[tuple[Any, ...]],
        most: int | None,
    ) -> None:
        """Counted elsewhere.

        :param records: of the attempts that are remembered.
        :param without: of tasks that have ended without one.
        :param most: how many of each are remembered at most.
        """
        super().__init__(counts)
        self.slots = slots
        self.bytes = size
        self._records = records
        self._without = without
        self._most = most

    @cached_property
    def functions(self) -> dict[str, Totals]:
        """By function, what is remembered of the attempts of its tasks; those first that took longest together.

        Tasks are of one function whose names differ by numbers at their end only, or by tokens, as dask's keys do.
        """
        sums: dict[str, list[Any]] = {}
        for _, name, _, start, stop, size, good, *_ in self._records:
            function = function_of(name)
            found = sums.get(function)
            if found is None:
                found = sums[function] = [0, 0, 0.0, 0.0, 0]
            seconds = stop - start
            found[0] += 1
            found[1] += not good
            found[2] += seconds
            found[4] += size
            if seconds > found[3]:
                found[3] = seconds
        totals = [(name, Totals._make(found)) for name, found in sums.items()]
        return dict(sorted(totals, key=lambda pair: -pair[1].seconds))

    @cached_property
    def missing(self) -> int:
        """Of how many tasks that have ended nothing is remembered."""
        return missing(self["done"] + self["failed"] + self["cancelled"], self._records, self._without, self._most)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def missing(ended: int, records: Sequence[Any], without: Sequence[Any], most: int | None) -> int:
    """Of how many tasks that have ended nothing is remembered.

    :param ended: how many have.
    :param records: of attempts, each beginning with the number of its task.
    :param without: likewise, of tasks that have ended without one.
    :param most: how many of each are remembered at most, None for all.
    """
    if most is None or max(len(records), len(without)) < most:
        return 0
    return max(0, ended - len({row[0] for row in records} | {row[0] for row in without}))


def busy(running: Iterable[Any], number: int) -> int:
    """In how many of so many slots there are tasks that run.

    :param running: those, without what waits inside; a worker that was handed several runs one after the other.
    """
    workers: list[int] = [
        getattr(task, "_worker", -1) for task in running
    ]  # not known before it begins, and on clusters
    known = {worker for worker in workers if worker >= 0}
    return min(number, len(known) + sum(worker < 0 for worker in workers))
