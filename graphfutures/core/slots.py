"""Attempts and the slots they hold: from the hand-over to the return, less the time in which they wait.

An attempt that waits lends its slot, and its tokens.  When its wait is over it takes the next free slot, before any
new task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from graphfutures.core.graph import Place, Task, Wait
from graphfutures.core.policy import Policy
from graphfutures.core.states import READY, RUNNING, SETTLED, WAITING
from graphfutures.core.tokens import NO_TOKENS, Tokens

#: so many may wait before nothing else is begun, as long as somebody computes; more would only be more threads
CROWD = 64


class Slots:
    """Who computes, who waits inside a task, and what is ready for each lane.

    :param resources: how many tokens of each name there are.
    """

    def __init__(self, resources: Mapping[str, float] | None = None) -> None:
        self.tokens = Tokens(resources) if resources else NO_TOKENS
        self._holders = self.tokens.held
        self.policy = Policy("", self.tokens)
        self.policies = {"": self.policy}
        #: attempts that go on, since they have their slot back
        self.resumed: list[tuple[Task, int]] = []
        #: running tasks that have lent their tokens alone
        self.lent_tokens: set[Task] = set()
        #: attempts that still run although their task has settled
        self.overdue: set[tuple[Task, int]] = set()
        self._blocked: dict[tuple[Task, int], Place] = {}
        #: those of them that wait for something that is not in any graph
        self._unseen: set[tuple[Task, int]] = set()
        #: those who wait for a task of this graph, and how many tasks have still to settle before each goes on
        self._awaited: dict[Task, list[Wait]] = {}
        self._waits: dict[tuple[Task, int], Wait] = {}
        #: all tasks that have not settled
        self.unsettled: set[Task] = set()
        #: for an attempt that runs in the slot of one that waits for it: whose it is
        self._lenders: dict[tuple[Task, int], tuple[Task, int]] = {}

    def lane(self, name: str) -> Policy:
        """The ready tasks of a lane."""
        return self.policies.setdefault(name, Policy(name, self.tokens))

    def blocked(self, task: Task, number: int, place: Place, wait: Wait | None = None) -> bool:
        """An attempt waits and lends its slot; False if it is no attempt that computes.

        :param wait: what it waits for, None if we do not know that.
        """
        attempt = task, number
        current = task.state is RUNNING and task.attempt == number
        if place.slots <= 0 or attempt in self._blocked or not (current or attempt in self.overdue):
            return False
        self._blocked[attempt] = place
        place.lent += 1
        if wait is not None:
            self._note(attempt, wait)
        else:
            self._unseen.add(attempt)
        place.held -= 1
        self._freed(task, number, place)
        self._count_crowd(place)
        return True

    def unblocked(self, task: Task, number: int, place: Place, *, at_once: bool = False) -> bool:
        """An attempt wants its slot back, as the next free one or at once; False if it has lent none."""
        if (task, number) not in self._blocked:
            return False
        if at_once:
            self._let_go_of(task, number)
            self._resumes(task, number, place, forced=True)
        else:
            if (task, number) not in place.resuming:
                place.resuming.append((task, number))
            self._resume(place)
        return True

    def tokens_lent(self, task: Task, number: int) -> None:
        """An attempt waits where it has no slot to lend, and lends its tokens."""
        if task.attempt == number and task in self.tokens.held:
            self.tokens.give_back(task)
            self.lent_tokens.add(task)

    def tokens_back(self, task: Task, number: int) -> None:
        """Its wait is over: it has them back, whether or not they are free."""
        if task.attempt == number and task in self.lent_tokens:
            self.lent_tokens.discard(task)
            self.tokens.take(task, forced=True)

    def urged(self, needs: Iterable[Task]) -> None:
        """Somebody has lent his slot and waits for these: what is ready of what they need goes first."""
        stack = list(needs)
        seen: set[Task] = set()
        while stack:
            task = stack.pop()
            if task in seen or task not in self.unsettled:
                continue
            seen.add(task)
            if task.state is READY:
                self._queue_of(task).urgent.append(task)
            elif task.state is WAITING:
                stack.extend(dependency for dependency in task.dependencies if dependency.state not in SETTLED)

    def called_for(self, place: Place, needs: Iterable[Task], unfit: Callable[[Task], bool]) -> Task | None:
        """A task that runs at a place waits for these: what they need and is ready is handed over, to be run inside.

        :param unfit: whether a task is not to be run inside the wait of another one.
        """
        stack = list(needs)
        seen: set[Task] = set()
        while stack:
            task = stack.pop(0)
            if task in seen or task not in self.unsettled:
                continue
            seen.add(task)
            if task.state is READY and task.lane == place.lane and not task.resources and not unfit(task):
                self._begins(task, place)
                return task
            if task.state is WAITING:
                stack.extend(dependency for dependency in task.dependencies if dependency.state not in SETTLED)
        return None

    def handed_on(self, task: Task, number: int, place: Place, to: Task) -> bool:
        """An attempt waits for a ready task, which is run meanwhile in its thread and slot; False if that cannot be.

        Until that one has returned, this one neither returns nor lends.
        """
        if to.state is not READY or to.lane != place.lane or (to.special and to.resources) or self._holders:
            return False
        if place.slots <= 0 or (task, number) in self._blocked:
            return False
        to.state = RUNNING
        to.place = place
        to.attempt += 1
        self._lenders[to, to.attempt] = task, number
        return True

    def waits_inside(self, task: Task) -> bool:
        """Whether a running task waits, and others may have its slot."""
        attempt = task, task.attempt
        return attempt in self._blocked or attempt in tuple(self._lenders.values())

    def _note(self, attempt: tuple[Task, int], wait: Wait) -> None:
        """Have an attempt go on when what it waits for has settled, before its thread comes to know of it."""
        self._waits[attempt] = wait
        if wait.missing is not None:
            return  # noted before
        missing = {task for task in wait.needs if task.state not in SETTLED}
        wait.missing = len(missing) if wait.every else 1
        if wait.every and not missing <= self.unsettled:
            return  # some of it is elsewhere
        wait.attempt = attempt
        for task in missing & self.unsettled:
            self._awaited.setdefault(task, []).append(wait)

    def _let_go_of(self, task: Task, number: int) -> None:
        """An attempt waits no longer for the one task that it waited for, which may have many such."""
        wait = self._waits.get((task, number))
        if wait is not None and len(wait.needs) == 1:
            for need in wait.needs:
                others = [other for other in self._awaited.pop(need, ()) if other is not wait]
                if others:
                    self._awaited[need] = others

    def _tell_waiters(self, task: Task) -> None:
        """A task has settled that others wait for."""
        for wait in self._awaited.pop(task, ()):
            wait.missing = (wait.missing or 0) - 1
            waiter, number = wait.attempt
            place = self._blocked.get(wait.attempt)
            if wait.missing <= 0 and place is not None and self._waits.get(wait.attempt) is wait:
                # The slot of one whose time is over may be taken as long as this waiter waits.
                self.unblocked(waiter, number, place, at_once=(task, task.attempt) in self.overdue)

    def _begins(self, task: Task, place: Place) -> None:
        task.state = RUNNING
        task.place = place
        task.attempt += 1
        place.held += 1

    def _returned(self, task: Task, number: int, place: Place) -> None:
        if self._blocked and (task, number) in self._blocked:
            self._unblock((task, number), place)
        else:
            place.held -= 1
        if self._lenders and self._lenders.pop((task, number), None) is not None:
            place.held += 1  # which that one goes on in
        self._freed(task, number, place)
        self.overdue.discard((task, number))

    def _freed(self, task: Task, number: int, place: Place) -> None:
        """A slot is free, and with it what tokens went with it."""
        if (self.tokens.held or self.lent_tokens) and task.attempt == number:
            self.tokens.give_back(task)
            self.lent_tokens.discard(task)
            for where in dict.fromkeys((place, *self._blocked.values())):
                self._resume(where)
        elif place.resuming:
            self._resume(place)
        if place.lent or self._policy_at(place).full:
            self._count_crowd(place)

    def _resume(self, place: Place) -> None:
        """Give free slots to those who have waited, in the order in which their waits were over."""
        for waiter in tuple(place.resuming):
            if place.held >= place.slots:
                break
            if waiter not in self._blocked or self._resumes(*waiter, place):
                place.resuming.remove(waiter)

    def _resumes(self, task: Task, number: int, place: Place, *, forced: bool = False) -> bool:
        if not self.tokens.take(task, forced=forced):
            return False
        self._unblock((task, number), place)
        place.held += 1
        self.resumed.append((task, number))
        return True

    def _unblock(self, attempt: tuple[Task, int], place: Place) -> None:
        del self._blocked[attempt]
        place.lent -= 1
        self._unseen.discard(attempt)
        self._waits.pop(attempt, None)
        self._count_crowd(place)

    def _count_crowd(self, place: Place) -> None:
        policy = self._policy_at(place)
        policy.crowded = place.lent > 2 * place.slots
        # When nobody computes, those who wait need something else.
        policy.full = place.lent - len(self._unseen) >= CROWD and place.held > 0

    def _policy_at(self, place: Place) -> Policy:
        return self.lane(place.lane) if place.lane else self.policy

    def _queue_of(self, task: Task) -> Policy:
        return self.lane(task.lane) if task.special and task.lane else self.policy
