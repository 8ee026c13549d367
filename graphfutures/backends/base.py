"""The seam between the hub and a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from graphfutures.core.graph import Place
from graphfutures.futures import GraphFuture

#: What is remembered of an attempt that has returned: the first seven fields of ``Attempt``; then number and name of
#: each task whose value it was given.  One flat tuple, since the collector goes through all of them.
Record: TypeAlias = tuple[Any, ...]
#: A fact, that an attempt has returned: the future; which of its attempts it was, ``future.attempt`` when it was handed
#: over; whether the next is the value, else it is the exception; that outcome; what is to be remembered.
Finished: TypeAlias = tuple[GraphFuture[Any], int, bool, Any, Record]


class Capabilities(NamedTuple):
    """What a backend can do, by which the conformance suite knows what to ask of it.

    :param shares_memory: arguments and values are passed by reference.
    :param submits_run: a task runs inside ``submit``, in the thread that submits; such a backend has ``wake_aside``
        as well, for threads that have others to see to.
    :param kills: a running task can be stopped; such a backend has ``stop`` as well, for an attempt that nobody wants
        any more, which never blocks.
    :param makes_workers: its workers are its own, so that it gives them names and initializes them.
    :param lends: tasks may wait inside, and their slots are lent meanwhile.
    :param hosts: tasks have ``current_executor()``, to submit to it.
    :param limits_time: the time of an attempt can be limited.
    :param batches: a place runs what it is handed in order, so that a batch may hold tasks together with their inputs.
    :param maps: a task may be many calls of a map, a ``Piece``.
    :param passes_on: the option ``workers``, and ``resources`` of which the executor has none, are for whoever runs the
        workers, and say nothing to the graph.
    :param connects: it has begun something before there is anything to do, and is to be told of the end even so.
    :param withdraws: what was handed over and is known not to run can be cancelled; such a backend has ``withdraw`` as
        well, which says whether that is so, and ``stop``.
    """

    shares_memory: bool = True
    submits_run: bool = False
    kills: bool = False
    makes_workers: bool = True
    lends: bool = True
    hosts: bool = True
    limits_time: bool = True
    batches: bool = False
    maps: bool = False
    passes_on: bool = False
    withdraws: bool = False
    connects: bool = False


class Exchange(Protocol):
    """What a backend may ask of the hub."""

    @property
    def ended(self) -> bool:
        """Whether the graph has ended."""

    @property
    def loans(self) -> Mapping[Any, Any]:
        """One entry for each attempt that waits and has lent its slot; the same object as long as no fork comes."""

    def exchange(self, place: Place | None, finished: Sequence[Finished], want: int) -> list[GraphFuture[Any]] | None:
        """Report attempts, take up to ``want`` tasks to run in this order; None once the graph has ended."""

    def turn(self, place: Place, fact: Finished | None) -> list[GraphFuture[Any]] | None:
        """Report an attempt, or none, and take one task: ``exchange``, quicker where nothing else is to be done."""

    def revoked(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        """A task that was handed over has not been started and is given back."""

    def called_off(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        """A task that was handed over has not been started and never will be: it ends as cancelled."""

    def lost(self, place: Place) -> None:
        """The place is gone, with all that ran there."""

    def has_ready(self) -> bool:
        """Whether somebody should ask for more."""

    def has_posts(self) -> bool:
        """Whether something was posted that nobody has applied yet."""

    def mend(self, place: Place, started: Sequence[GraphFuture[Any]]) -> None:
        """A thread of the user was interrupted inside an exchange: begin the graph anew.

        :param place: of that thread, and of no other.
        :param started: what it has begun to run.
        """

    def accepts(self) -> bool:
        """Whether submissions from outside are still taken."""

    def inside(self) -> bool:
        """Whether this very thread is in the middle of an exchange, as a finalizer may find."""

    def apply(self) -> None:
        """Apply what was posted; not to be called by a thread that signal handlers can interrupt."""

    def ring_clerk(self) -> bool:
        """Have a thread of the hub apply what was posted; False if none can be started."""

    def end(self) -> None:
        """Wait until the graph has ended."""

    def submitter(self, options: Mapping[str, Any] | None, *, whole: bool = False) -> Any:
        """What tasks in other processes submit through; the executor itself, if that is asked for."""

    def waits_there(self, task: GraphFuture[Any], needs: Sequence[Any], *, exact: bool) -> list[Any]:
        """A task that runs in another process begins to wait, unless that closes the circle that is returned."""

    def goes_on(self, task: GraphFuture[Any]) -> None:
        """Its wait is over."""

    def called_for(self, place: Place, needs: Sequence[GraphFuture[Any]]) -> list[GraphFuture[Any]]:
        """A task of a place waits: one that it needs is handed over, if there is one, to be run inside that wait."""

    def stranded(self) -> None:
        """There is work, and no thread can be started for it: whoever waits for the end is to ``help``."""

    def broke(self, error: Exception) -> None:
        """The backend cannot go on: everything pending is settled with this error."""

    def noted(self, what: str, worker: int, size: int = 0) -> None:
        """For those who watch: what has become of a worker, or of a value that is so large."""


class Backend(Protocol):
    """What the hub asks of a backend.  None of these may block."""

    capabilities: Capabilities
    max_workers: int

    def start(self, hub: Exchange) -> None:
        """Take up the work; workers may be started later, when there is something to do."""

    def wake(self) -> None:
        """Something was posted or has become ready: see to it that it is asked for."""

    def nudge(self) -> None:
        """Somebody waits: see to what was posted, where whoever posted it may have been interrupted before ``wake``."""

    def attend(self) -> None:
        """Something was posted that must not wait for a busy worker: see to it that it is applied soon."""

    def close(self) -> None:
        """Nothing more will be submitted from outside: see to it that workers hear of the end."""

    def join(self) -> None:
        """Wait until all workers have left, which they do once ``exchange`` gives None."""

    def help(self) -> bool:
        """The interpreter exits: do in this thread what no worker can be started for; whether there was anything."""

    def forked(self) -> None:
        """This is a forked child: nothing that was started is here."""


BackendFactory = Callable[..., Backend]
