"""Several backends of one executor: each runs the tasks of its lane, and knows nothing of the others."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from graphfutures.backends.base import Backend, Finished
from graphfutures.core.graph import Place
from graphfutures.futures import GraphFuture
from graphfutures.hub import Hub


class Lane:
    """What the backend of a lane takes for the hub.

    :param hub: held weakly, as backends do.
    :param name: of the lane.
    """

    def __init__(self, hub: Hub, name: str) -> None:
        self._reference = weakref.ref(hub)
        self._name = name

    @property
    def _hub(self) -> Hub:
        hub = self._reference()
        assert hub is not None, "whoever calls a backend holds the hub"
        return hub

    @property
    def ended(self) -> bool:
        """See ``Exchange``."""
        return self._hub.ended

    @property
    def loans(self) -> Mapping[Any, Any]:
        """See ``Exchange``."""
        return self._hub.loans

    def exchange(self, place: Place | None, finished: Sequence[Finished], want: int) -> list[GraphFuture[Any]] | None:
        """See ``Exchange``."""
        hub = self._reference()
        if hub is None:
            return None
        if place is not None:
            place.lane = self._name
        return hub.exchange(place, finished, want)

    def turn(self, place: Place, fact: Finished | None) -> list[GraphFuture[Any]] | None:
        """See ``Exchange``."""
        hub = self._reference()
        if hub is None:
            return None
        place.lane = self._name
        return hub.turn(place, fact)

    def has_ready(self) -> bool:
        """See ``Exchange``."""
        return self._hub.scheduler.lane(self._name).has_any()

    def has_posts(self) -> bool:
        """See ``Exchange``."""
        return self._hub.has_posts()

    def revoked(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        """See ``Exchange``."""
        self._hub.revoked(future, number, place)

    def called_off(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        """See ``Exchange``."""
        self._hub.called_off(future, number, place)

    def lost(self, place: Place) -> None:
        """See ``Exchange``."""
        self._hub.lost(place)

    def mend(self, place: Place, started: Sequence[GraphFuture[Any]]) -> None:
        """See ``Exchange``."""
        self._hub.mend(place, started)

    def accepts(self) -> bool:
        """See ``Exchange``."""
        return self._hub.accepts()

    def inside(self) -> bool:
        """See ``Exchange``."""
        return self._hub.inside()

    def apply(self) -> None:
        """See ``Exchange``."""
        self._hub.apply()

    def ring_clerk(self) -> bool:
        """See ``Exchange``."""
        return self._hub.ring_clerk()

    def end(self) -> None:
        """See ``Exchange``."""
        self._hub.end()

    def submitter(self, options: Mapping[str, Any] | None, *, whole: bool = False) -> Any:
        """See ``Exchange``."""
        return self._hub.submitter(options, whole=whole)

    def waits_there(self, task: GraphFuture[Any], needs: Sequence[Any], *, exact: bool) -> list[Any]:
        """See ``Exchange``."""
        return self._hub.waits_there(task, needs, exact=exact)

    def goes_on(self, task: GraphFuture[Any]) -> None:
        """See ``Exchange``."""
        self._hub.goes_on(task)

    def called_for(self, place: Place, needs: Sequence[GraphFuture[Any]]) -> list[GraphFuture[Any]]:
        """See ``Exchange``."""
        return self._hub.called_for(place, needs)

    def stranded(self) -> None:
        """See ``Exchange``."""
        self._hub.stranded()

    def broke(self, error: Exception) -> None:
        """See ``Exchange``: the other lanes go on."""
        self._hub.lane_broke(self._name, error)

    def noted(self, what: str, worker: int, size: int = 0) -> None:
        """See ``Exchange``."""
        self._hub.noted(what, worker, size)


class Several:
    """The backends of one executor, as its hub knows them: what is asked of one is asked of all.

    :param main: runs the tasks that name no backend.
    """

    def __init__(self, main: Backend) -> None:
        self.main = main
        self.lanes: dict[str, Backend] = {}
        self.capabilities = main.capabilities
        self.max_workers = main.max_workers
        self._doors: list[Lane] = []  # which nobody else keeps

    @property
    def threads(self) -> Any:
        """The threads of the main one."""
        return getattr(self.main, "threads", ())

    def add(self, name: str, backend: Backend, hub: Hub) -> None:
        """One more backend."""
        door = Lane(hub, name)
        self._doors.append(door)
        backend.start(door)
        self.lanes[name] = backend
        connects = self.capabilities.connects or backend.capabilities.connects
        self.capabilities = self.capabilities._replace(connects=connects)

    def start(self, hub: object) -> None:
        """See ``Backend``: each was started by itself."""

    def wake(self) -> None:
        """See ``Backend``."""
        for one in self._all():
            one.wake()

    def nudge(self) -> None:
        """See ``Backend``."""
        for one in self._all():
            one.nudge()

    def attend(self) -> None:
        """See ``Backend``."""
        self.main.attend()

    def close(self) -> None:
        """See ``Backend``."""
        for one in self._all():
            one.close()

    def join(self) -> None:
        """See ``Backend``."""
        for one in self._all():
            one.join()

    def help(self) -> bool:
        """See ``Backend``."""
        return max(one.help() for one in self._all())

    def forked(self) -> None:
        """See ``Backend``."""
        for one in self._all():
            one.forked()

    def _all(self) -> list[Backend]:
        return [self.main, *self.lanes.values()]
