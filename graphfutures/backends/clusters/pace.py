"""How long tasks take on a cluster, by which they go there together."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from graphfutures.backends.clusters.forming import MOST, TARGET

#: seconds that tasks take at most of which each thread is handed one more than it runs
SHORT: Final = 2.0
#: the weight of what was measured last
WEIGHT: Final = 0.3
#: how many names are remembered
NAMES: Final = 10_000
#: how much more often the large values of a name could not be handed on than they were when its tasks go alone, and
#: for how many seconds
KEPT: Final = 3
#: how many values of a name must be small, one after the other, until its tasks are taken for such again
SMALL: Final = 100
ALONE: Final = 10.0


class Pace:
    """Of the tasks of one executor: by their names, as dask does it, and of all of them."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._large: dict[str, float] = {}  # those whose values are large, and until when they go alone
        self._kept: dict[str, int] = {}  # how much more often these were not handed on than they were
        self._small: dict[str, int] = {}  # how many values of these have been small since one was large
        self._mean: float | None = None

    def of(self, name: str) -> float | None:
        """How many seconds a task of this name takes; None if that is not known, or it is to go alone."""
        return None if self._large.get(name, 0.0) > perf_counter() else self._seconds.get(name)

    def is_large(self, name: str) -> bool:
        """Whether the values of tasks of this name are large, as far as is known."""
        return name in self._large

    def learn(self, name: str, seconds: float, *, large: bool) -> None:
        """A task has ended.

        :param seconds: that it took.
        :param large: whether its value is.
        """
        if len(self._seconds) > NAMES:
            self._seconds.clear()
            self._large.clear()
            self._kept.clear()
            self._small.clear()
        before = self._seconds.get(name, seconds)
        self._seconds[name] = before + WEIGHT * (seconds - before)
        if large:
            self._large.setdefault(name, 0.0)
            self._small[name] = 0
        elif name in self._large:
            self._small[name] += 1
            if self._small[name] >= SMALL:
                del self._large[name]

    def learn_handed(self, name: str, *, handed: bool) -> None:
        """A task has come along for the large value of another one, of this name.

        :param handed: whether it was handed that; else somebody may still ask for it, and the task has come back.
        """
        kept = self._kept[name] = max(0, self._kept.get(name, 0) + (-1 if handed else 1))
        if kept >= KEPT and name in self._large:
            self._kept[name] = 0
            self._large[name] = perf_counter() + ALONE

    def learn_mean(self, seconds: float) -> None:
        """Tasks have ended that took so many seconds each."""
        self._mean = seconds if self._mean is None else self._mean + WEIGHT * (seconds - self._mean)

    @property
    def each(self) -> int:
        """How many tasks a batch may have."""
        return 1 if self._mean is None else int(min(MOST, max(1, TARGET / max(self._mean, 1e-9))))

    @property
    def is_short(self) -> bool:
        """Whether a thread is to be handed one more than it runs, so that it never waits."""
        return self._mean is not None and self._mean < SHORT
