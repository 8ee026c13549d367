"""Tasks run where most bytes of their inputs were made, unless that worker is busy and another one idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphfutures.backends.base import Exchange
from graphfutures.backends.processes.store import Published
from graphfutures.core.graph import Place
from graphfutures.core.states import DONE
from graphfutures.futures import GraphFuture

if TYPE_CHECKING:
    from graphfutures.backends.processes.attendant import Attendant


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


def less_those_of_others(attendant: Attendant, hub: Exchange, batch: list[GraphFuture[Any]]) -> list[GraphFuture[Any]]:
    """What a worker keeps of what it was given: the rest is given back, for idle workers that have made its inputs.

    :param attendant: of that worker.
    """
    idle: dict[Place | None, Attendant] = {other.place: other for other in attendant.pool.idle.copy()}
    homes = [idle.get(home_of(future)) for future in batch]
    for future, home in reversed([*zip(batch, homes, strict=True)]):
        if home is not None:
            hub.revoked(future, future.attempt, attendant.place)
    for home in dict.fromkeys(homes):
        if home is not None:
            attendant.pool.ring_idle(home)
    return [future for future, home in zip(batch, homes, strict=True) if home is None]
