"""Tasks run where most bytes of their inputs were made, unless that worker is busy and another one idle."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from graphfutures.backends.base import Exchange
from graphfutures.backends.processes.store import Published
from graphfutures.core.graph import Place
from graphfutures.core.states import DONE
from graphfutures.futures import GraphFuture

if TYPE_CHECKING:
    from graphfutures.backends.processes.attendant import Attendant

#: seconds for which tasks are left to an idle worker
PATIENCE: Final = 0.05


def home_of(future: GraphFuture[Any]) -> Place | None:
    """Where most bytes of what a task needs were made, as far as these are in files; None if nothing is."""
    sizes: dict[Place, int] = {}
    needs: set[Any] = set(future.dependencies)
    for need in needs:
        if (
            need.state is DONE
            and type(need._outcome) is Published
            and (place := getattr(need, "place", None)) is not None
        ):
            sizes[place] = sizes.get(place, 0) + need._outcome.size
    return max(sizes, key=sizes.__getitem__, default=None)


class Leaving:
    """What one worker leaves to idle ones that have made most of its inputs."""

    def __init__(self) -> None:
        #: until when this goes on, once something was left; 0 if nothing of what it was given last was
        self.until = 0.0

    def kept(self, worker: Attendant, hub: Exchange, batch: list[GraphFuture[Any]]) -> list[GraphFuture[Any]]:
        """What it keeps of what it was given; the rest is given back.

        :param worker: the attendant of the worker.
        """
        pool = worker.pool
        if not (batch and pool.idle and pool.store.has_any and monotonic() < (self.until or inf)):
            self.until = 0.0
            return batch
        idle: dict[Place | None, Attendant] = {other.place: other for other in pool.idle.copy() if pool.has_slot(other)}
        left: dict[GraphFuture[Any], Attendant] = {}
        for future in batch:
            home = idle.get(home_of(future))
            if home is None:  # what came along with its inputs goes where these go
                home = next((left[need] for need in future.dependencies if need in left), None)
            if home is not None:
                left[future] = home
        for future in reversed(left):
            hub.revoked(future, future.attempt, worker.place)
        for home in dict.fromkeys(left.values()):
            pool.ring_idle(home)
        self.until = (self.until or monotonic() + PATIENCE) if left else 0.0
        return [future for future in batch if future not in left]
