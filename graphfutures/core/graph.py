"""What the machine knows of a task, of a place and of a wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from graphfutures.core.states import NEW, RUNNING

Tasks: TypeAlias = "list[Task]"


class Place:
    """Where values are shared: all threads of this process, one worker process, a cluster.

    :param name: for people.
    :param slots: how many attempts it may hold at once.
    :param sequential: whether it runs what it was handed in order, so that a task may be
        handed over together with its missing inputs.
    :param lane: it runs the tasks of this lane only.
    :param lends: whether an attempt that waits lends its slot.
    :param hosts: whether its tasks have an executor to submit to.
    """

    __slots__ = (
        "ahead",
        "alone",
        "held",
        "hosts",
        "lane",
        "lends",
        "lent",
        "name",
        "near",
        "resuming",
        "sequential",
        "slots",
    )

    def __init__(
        self,
        name: str,
        slots: int,
        *,
        sequential: bool = False,
        lane: str = "",
        lends: bool = True,
        hosts: bool = True,
    ) -> None:
        self.name = name
        self.lane = lane
        self.lends = lends
        self.hosts = hosts
        self.slots = slots
        self.sequential = sequential
        self.held = 0
        self.lent = 0  # of slots
        self.resuming: deque[tuple[Task, int]] = deque()
        self.near: Tasks = []
        #: whether it wants nothing but a task that goes on from what it runs
        self.ahead = False
        #: whether it wants nothing but tasks whose inputs are all done
        self.alone = False

    def __repr__(self) -> str:
        return f"<Place {self.name} {self.held}/{self.slots}>"


class Task:
    """A unit of work, as far as its order matters: no function, no value.

    What every task needs is in slots; what few need is a class attribute until it is set.
    """

    __slots__ = ("__dict__", "attempt", "dependencies", "dependents", "place", "serial", "special", "state", "unmet")

    #: whether any of the eight below is set, which is all that is looked at of most tasks
    special: bool
    #: larger first
    priority: float = 0
    #: the number of the running task that has submitted it, 0 if none: goes before what was submitted from outside
    nested: int = 0
    #: the places that may run it: those of this lane
    lane: str = ""
    #: tokens that it holds while it computes, by name
    resources: Mapping[str, float] = {}
    #: settled by a fact from elsewhere (a foreign future), never handed over
    outside: bool = False
    #: settled by whoever empties ``Scheduler.derived`` when its input is done, never handed over
    derived: bool = False
    #: waits, directly or not, for something outside
    foreign: bool = False
    #: not counted among those whose number is limited
    aside: bool = False

    #: dependencies whose failure is an ordinary value to it
    tolerated: tuple[Task, ...] = ()
    #: the dependency that it failed with
    blame: Task | None = None
    #: its current attempt was handed over together with inputs that were not done yet
    along: bool = False

    #: where its last attempt was handed to; not set before
    place: Place

    def __init__(self, serial: int, dependencies: tuple[Task, ...] = ()) -> None:
        self.serial = serial
        self.dependencies = dependencies
        self.state: str = NEW
        self.dependents: Tasks | None = None
        self.unmet = 0
        self.attempt = 0
        self.special = False

    def mark(self, **traits: object) -> None:
        """Set some of what few tasks have, before the task is submitted."""
        self.special = True
        for name, value in traits.items():
            setattr(self, name, value)


def by_serial(task: Task) -> int:
    """The order of submission, so that what is found in a set is done in the same order each time."""
    return task.serial


def inputs_at(task: Task, place: Place) -> bool:
    """Whether all that a task misses is handed to a place, and the task may go along."""
    if task.tolerated:
        return False  # whether it gets a value or an exception is not known before
    if task.special:
        if task.outside or task.derived or task.resources or task.lane != place.lane:
            return False
    elif place.lane:
        return False
    missing = task.unmet
    for dependency in task.dependencies:
        if dependency.state is RUNNING and dependency.place is place:
            missing -= 1
    return not missing


class Wait:
    """What an attempt waits for, perhaps several times one after the other.

    :param needs: tasks.
    :param every: whether all of them have to settle before it goes on, and not just one.
    """

    __slots__ = ("attempt", "every", "missing", "needs")

    def __init__(self, needs: Collection[Task], *, every: bool) -> None:
        self.needs = needs
        self.every = every
        #: how many have still to settle; None as long as that was not counted
        self.missing: int | None = None
        self.attempt: Any = None
