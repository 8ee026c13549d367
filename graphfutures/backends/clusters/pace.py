"""How long tasks take on a cluster, by which they go there together."""

from __future__ import annotations

from typing import Final

from graphfutures.backends.clusters.forming import MOST, TARGET

#: seconds that tasks take at most of which each thread is handed one more than it runs
SHORT: Final = 2.0
#: the weight of what was measured last
WEIGHT: Final = 0.3
#: how many names are remembered
NAMES: Final = 10_000


class Pace:
    """Of the tasks of one executor: by their names, as dask does it, and of all of them."""

    def __init__(self) -> None:
        self._seconds: dict[str, float | None] = {}  # None if their values are large
        self._mean: float | None = None

    def of(self, name: str) -> float | None:
        """How many seconds a task of this name takes; None if that is not known, or it is to go alone."""
        return self._seconds.get(name)

    def learn(self, name: str, seconds: float | None) -> None:
        """A task has ended.

        :param seconds: that it took, None if its value is large.
        """
        if len(self._seconds) > NAMES:
            self._seconds.clear()
        before = self._seconds.get(name, seconds)
        if before is None or seconds is None:
            self._seconds[name] = None
        else:
            self._seconds[name] = before + WEIGHT * (seconds - before)

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
