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


class _Named:
    """What is known of the tasks of one name."""

    __slots__ = ("alone", "kept", "seconds", "size", "small")

    def __init__(self, seconds: float) -> None:
        #: how long they take
        self.seconds = seconds
        #: bytes of the last value that was large, 0 if they are small; and how many of them were since then
        self.size = self.small = 0
        #: how much more often large values were not handed on than they were, and until when they go alone for that
        self.kept, self.alone = 0, 0.0


class Pace:
    """Of the tasks of one executor: by their names, as dask does it, and of all of them."""

    def __init__(self) -> None:
        self._names: dict[str, _Named] = {}
        self._mean: float | None = None

    def of(self, name: str) -> float | None:
        """How many seconds a task of this name takes; None if that is not known, or it is to go alone."""
        known = self._names.get(name)
        return None if known is None or known.alone > perf_counter() else known.seconds

    def size(self, name: str) -> int:
        """How many bytes the values of tasks of this name have, if they are large, as far as is known; else 0."""
        known = self._names.get(name)
        return 0 if known is None else known.size

    def learn(self, name: str, seconds: float, size: int) -> None:
        """A task has ended.

        :param seconds: that it took.
        :param size: of its value, if that is large; else 0.
        """
        if len(self._names) > NAMES:
            self._names.clear()
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = _Named(seconds)
        known.seconds += WEIGHT * (seconds - known.seconds)
        if size:
            known.size, known.small = size, 0
        elif known.size:
            known.small += 1
            if known.small >= SMALL:
                known.size = 0

    def learn_handed(self, name: str, *, handed: bool) -> None:
        """A task has come along for the large value of another one, of this name.

        :param handed: whether it was handed that; else somebody may still ask for it, and the task has come back.
        """
        known = self._names.get(name)
        if known is None:
            return
        known.kept = max(0, known.kept + (-1 if handed else 1))
        if known.kept >= KEPT and known.size:
            known.kept, known.alone = 0, perf_counter() + ALONE

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
