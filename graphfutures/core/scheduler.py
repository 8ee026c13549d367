"""Facts in, decisions out.

Each method is a fact in the past tense and changes the graph at once.  What follows from it and
concerns others waits in plain lists until the caller empties them: ``news`` (tasks that failed or were
cancelled without an attempt that said so, and ``derived`` ones, still waiting, whose input is done and which
the caller is to settle) and ``resumed`` (attempts that have their slot back).

The shape, counts of unmet dependencies and a queue, is that of the standard library's
``graphlib``; facts as past-tense methods are HyperQueue's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from graphfutures.core.graph import Place, Task, Tasks, by_serial, inputs_at
from graphfutures.core.slots import Slots
from graphfutures.core.states import CANCELLED, DONE, FAILED, NEW, READY, RUNNING, SETTLED, WAITING

#: dependents looked at in one go; a longer cascade is spread in slices of this size
SLICE = 1000
#: a task with more inputs than this is not handed over before they are done
ALONG = 16
#: the slots of a lost place: however many of its attempts may still be heard of, none is free
GONE = -(1 << 60)


class Scheduler(Slots):
    """The graph of one executor: its unsettled tasks, who waits for whom, and who is next.

    :param batching: whether there may be places that run what they hold in order.
    :param resources: how many tokens of each name there are.
    """

    def __init__(self, batching: bool = False, resources: Mapping[str, float] | None = None) -> None:
        super().__init__(resources)
        self.batching = batching
        self.foreign = 0  # how many of the unsettled wait for something outside
        self.aside = 0  # how many of the others are not counted
        self.news: Tasks = []
        #: ready again, but not before they are ``due``
        self.postponed: set[Task] = set()
        self._spreading: deque[tuple[Task, Tasks]] = deque()

    # -- facts about tasks -------------------------------------------------------------------

    def submitted(self, tasks: Iterable[Task]) -> None:
        """Tasks have come, each after all its dependencies."""
        batching, add, roots = self.batching, self.unsettled.add, self.policy.roots
        for task in tasks:
            add(task)
            if task.special and task.aside:
                self.aside += 1
            unmet = 0
            for dependency in task.dependencies:
                state = dependency.state
                if state is DONE:
                    continue
                if state in SETTLED:
                    if dependency not in task.tolerated:
                        task.unmet = unmet
                        self._inherit(task, dependency)
                        break
                else:
                    unmet += 1
                    children = dependency.dependents
                    if children is None:
                        dependency.dependents = [task]
                    else:
                        children.append(task)
                    if dependency.special and (dependency.outside or dependency.foreign) and not task.foreign:
                        self._becomes_foreign(task)
            else:
                if unmet:
                    task.unmet = unmet
                    task.state = WAITING
                    if batching:
                        self._offer_along(task)
                elif task.special:
                    self._ready_at_once(task)
                else:
                    task.state = READY
                    roots.append(task)

    def entered(self, task: Task, place: Place, batch: Tasks) -> bool:
        """A task has come and is handed over at once: the usual beginning, where nothing else is to be done.

        It comes to the same as ``submitted`` and ``taken``.

        :param batch: the task is added to it.
        :return: False if this is not usual: nothing has changed then.
        """
        if self.unsettled or task.special or place.held >= place.slots or self.batching or place.lane:
            return False
        for dependency in task.dependencies:
            if dependency.state is not DONE:
                return False
        self.unsettled.add(task)
        task.state = READY
        task.state = RUNNING
        task.place = place
        task.attempt += 1
        place.held += 1
        batch.append(task)
        return True

    def resolved(self, task: Task) -> None:
        """A task that is never handed over (``outside`` or ``derived``) has its value."""
        if task.state is WAITING or task.state is NEW:
            task.state = DONE
            self._settle(task)

    def failed_elsewhere(self, task: Task, *, cancelled: bool = False) -> bool:
        """A task that is never handed over has failed; False if it had settled before."""
        if task.state is not WAITING and task.state is not NEW:
            return False
        task.state = CANCELLED if cancelled else FAILED
        self._settle(task)
        return True

    def cancelled(self, task: Task, *, force: bool = False) -> bool:
        """Somebody wants it cancelled: whether it is, which a running task only is by force."""
        state = task.state
        if state is WAITING or state is READY or (force and state is RUNNING):
            self.news.append(task)
            task.state = CANCELLED
            self._settle(task)
        return task.state is CANCELLED

    def broke(self, task: Task) -> bool:
        """Its executor cannot run it any more; False if it has started or settled."""
        if task.state is not WAITING and task.state is not READY:
            return False
        self.news.append(task)
        task.state = FAILED
        self._settle(task)
        return True

    # -- facts about attempts ----------------------------------------------------------------

    def taken(self, place: Place, want: int = 1) -> Tasks:
        """A place asks for up to ``want`` tasks: they are handed over, in the order to run them.

        A task is eligible when each unmet input was already handed to this place.
        """
        batch: Tasks = []
        while place.held < place.slots and len(batch) < want:
            task = self._next_along(place) if place.near and not place.alone else None
            if task is None and not place.ahead:
                task = self._policy_at(place).pop()
            if task is None:
                break
            self._begins(task, place)
            batch.append(task)
            if place.sequential and self.batching:
                task.along = task.unmet > 0
                self._not_foreign(task)
                for child in reversed(task.dependents or ()):
                    self._offer_along(child)
        return batch

    def finished(self, task: Task, number: int, place: Place) -> bool:
        """An attempt returned with a value; False if it was no longer the task's current one."""
        self._returned(task, number, place)
        if task.attempt != number or task.state is not RUNNING:
            return False
        task.state = DONE
        self._settle(task)
        return True

    def turned(self, task: Task, number: int, place: Place, batch: Tasks, again: bool = False) -> bool:
        """An attempt returned with a value, and its slot goes to the next task: the usual end, in one quick step.

        It comes to the same as ``finished`` (``revoked``), ``spread`` and ``taken``.

        :param batch: the next task is added to it, if there is one.
        :param again: whether it returned without a value, and is to be repeated.
        :return: False if this is not usual: nothing has changed then.
        """
        if self.batching or self._spreading or self._holders or self.lent_tokens or self.aside:
            return False
        if self._blocked and (place.resuming or (task, number) in self._blocked):
            return False
        if self._awaited and task in self._awaited:
            return False
        policy = self.policy if not place.lane else self.lane(place.lane)
        if task.attempt != number or task.state is not RUNNING or place.held > place.slots or policy.full:
            return False
        children = None if again else task.dependents
        if children:
            if len(children) > SLICE:
                return False
            task.dependents = None
            continuations = self.policy.continuations
            for child in reversed(children):
                child.unmet = unmet = child.unmet - 1
                if unmet or child.state is not WAITING:
                    continue
                if child.special:
                    self._inputs_done(child)
                else:
                    child.state = READY
                    continuations.append(child)
        if again:
            task.state = READY
            policy.push_continuation(task)
        else:
            task.state = DONE
            self.unsettled.discard(task)
        if self._lenders and self._lenders.pop((task, number), None) is not None:
            return True  # the slot is that one's again
        following = policy.pop()
        if following is None:
            place.held -= 1
        else:
            following.state = RUNNING
            following.place = place
            following.attempt += 1
            batch.append(following)
        return True

    def failed(self, task: Task, number: int, place: Place) -> bool:
        """An attempt returned without a value, for good; False if it was not the current one."""
        self._returned(task, number, place)
        if task.attempt != number or task.state is not RUNNING:
            return False
        task.state = FAILED
        self._settle(task)
        return True

    def revoked(self, task: Task, number: int, place: Place, *, later: bool = False) -> bool:
        """An attempt was given back or is to be repeated; with ``later``, once it is ``due``."""
        self._returned(task, number, place)
        if task.attempt != number or task.state is not RUNNING:
            return False
        if later:
            self.postponed.add(task)
            task.unmet += 1
        self._take_back(task)
        return True

    def expired(self, task: Task, number: int) -> bool:
        """An attempt has run for too long: its task has failed, while its slot is taken until it returns."""
        if task.attempt != number or task.state is not RUNNING:
            return False
        self.overdue.add((task, number))
        task.state = FAILED
        self.news.append(task)
        self._settle(task)
        return True

    def joined(
        self, task: Task, number: int, place: Place, dependencies: tuple[Task, ...], tolerated: tuple[Task, ...] = ()
    ) -> bool:
        """An attempt returned a value that holds futures: the task waits for these, and is settled as derived ones are.

        :param dependencies: settled or not, none of which needs this task.
        :param tolerated: those among them whose failure is a value.
        """
        self._returned(task, number, place)
        if task.attempt != number or task.state is not RUNNING:
            return False
        task.dependencies = dependencies
        task.mark(derived=True, tolerated=tolerated)
        task.state = WAITING
        for dependency in dependencies:
            if dependency.state in SETTLED:
                if dependency.state is DONE or dependency in tolerated:
                    continue
                self._inherit(task, dependency)
                return True
            task.unmet += 1
            if dependency.dependents is None:
                dependency.dependents = []
            dependency.dependents.append(task)
            if (dependency.outside or dependency.foreign) and not task.foreign:
                self._becomes_foreign(task)
        if not task.unmet:
            self._inputs_done(task)
        return True

    def due(self, task: Task) -> None:
        """A task that was put off may go on."""
        if task in self.postponed:
            self.postponed.discard(task)
            task.unmet -= 1
            if not task.unmet and task.state is WAITING:
                self._inputs_done(task)

    # -- facts about places ------------------------------------------------------------------

    def lost(self, place: Place) -> None:
        """A place is gone, with its attempts."""
        self.spread(None)
        place.slots = GONE
        place.resuming.clear()
        place.near.clear()
        for attempt in [attempt for attempt, where in self._blocked.items() if where is place]:
            self._unblock(attempt, place)
        self._lenders = {to: lender for to, lender in self._lenders.items() if to[0].place is not place}
        for task in [task for task in self.tokens.held if task.place is place]:
            self.tokens.give_back(task)
        self.lent_tokens = {task for task in self.lent_tokens if task.place is not place}
        there = [task for task in self.unsettled if task.state is RUNNING and task.place is place]
        for task in sorted(there, key=by_serial, reverse=True):  # the last one put back is the next one taken
            self._take_back(task)

    # -- consequences ------------------------------------------------------------------------

    def spread(self, budget: int | None = SLICE) -> bool:
        """Carry what has settled on to dependents, ``budget`` of them; True if more is left."""
        spreading = self._spreading
        while spreading:
            task, children = spreading[0]
            good = task.state is DONE
            while children:
                if budget is not None:
                    if not budget:
                        return True
                    budget -= 1
                child = children.pop()
                child.unmet -= 1
                if child.state in SETTLED:
                    continue
                if not (good or task in child.tolerated):
                    self._inherit(child, task)
                elif child.unmet:
                    if self.batching:
                        self._offer_along(child)
                elif child.state is WAITING:
                    self._inputs_done(child)
            spreading.popleft()
        return False

    def _settle(self, task: Task) -> None:
        """What any way of settling has in common; the dependents follow in ``spread``."""
        self.unsettled.discard(task)
        if self._awaited:
            self._tell_waiters(task)
        if self.postponed:
            self.postponed.discard(task)
        self._not_foreign(task)
        if self.aside and task.aside:
            task.aside = False
            self.aside -= 1
        children = task.dependents
        if children:
            task.dependents = None
            self._spreading.append((task, children))

    def _inherit(self, child: Task, dependency: Task) -> None:
        child.blame = dependency
        self.news.append(child)
        child.state = CANCELLED if dependency.state is CANCELLED else FAILED
        self._settle(child)

    def _ready_at_once(self, task: Task) -> None:
        if task.derived:
            task.state = WAITING
            self.news.append(task)
            return
        task.state = READY
        self._queue_of(task).push_early(task)

    def _becomes_foreign(self, task: Task) -> None:
        task.mark(foreign=True)
        self.foreign += 1
        self.aside -= task.aside

    def _not_foreign(self, task: Task) -> None:
        if task.special and task.foreign:
            task.foreign = False
            self.foreign -= 1
            self.aside += task.aside

    def _inputs_done(self, task: Task) -> None:
        self._not_foreign(task)
        if task.derived:
            self.news.append(task)
        else:
            task.state = READY
            self._queue_of(task).push_continuation(task)

    def _take_back(self, task: Task) -> None:
        """A running task waits again, and with it what was handed over along with it."""
        stack = [task]
        while stack:
            task = stack.pop()
            if task.state is not RUNNING:
                continue
            for child in task.dependents or ():
                if child.along and child.state is RUNNING and child.place is task.place:
                    stack.append(child)
            self._waits_again(task)

    def _waits_again(self, task: Task) -> None:
        if task.unmet:
            task.state = WAITING
        else:
            task.state = READY
            self._queue_of(task).push_continuation(task)

    # -- places ------------------------------------------------------------------------------

    def _offer_along(self, task: Task) -> None:
        """Note a task whose missing inputs are all handed to one and the same sequential place."""
        if task.state is WAITING and len(task.dependencies) <= ALONG:
            for dependency in task.dependencies:
                if dependency.state is RUNNING:
                    place = dependency.place
                    if place.sequential and inputs_at(task, place):
                        place.near.append(task)
                    return

    def _next_along(self, place: Place) -> Task | None:
        while place.near:
            task = place.near.pop()
            if task.state is WAITING and inputs_at(task, place):
                if not place.ahead or self._policy_at(place).goes_on():
                    return task
                place.near.append(task)
                return None
        return None
