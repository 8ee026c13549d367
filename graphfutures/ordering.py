"""In which order to run a graph that is known whole, so that few values are alive at once.

Two walks, each good where the other is not, and the better one of both by count:

- one goes down to a result, inputs that need most room first, and then continues where the newest value is needed;
- one always goes for the task that lacks fewest inputs, and leaves a larger one aside for it halfway.

Both run at once whatever sets free as much as it makes.  That the input which needs most room goes first is how
Sethi and Ullman number the registers of an expression (Journal of the ACM 17, 1970); to continue where a value waits
is the idea of dask's ``order``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

#: larger than the number of ways in any graph that is counted exactly
MANY = 1 << 60


def ordered(dependencies: Sequence[Iterable[int]]) -> list[int]:
    """The numbers of the tasks in an order in which to run them one by one.

    :param dependencies: for each task the numbers of those whose values it needs, each once.
    :raises ValueError: if some need each other; ``args[1]`` are the numbers of those that can never run.
    """
    shape = _Shape(dependencies)
    walks = [_Deep(shape).walked()]
    if len(dependencies) > 2:
        walks.append(_Near(shape).walked())
    return min(walks, key=shape.room)


class _Shape:
    """What does not change of a graph while it is walked."""

    def __init__(self, dependencies: Sequence[Iterable[int]]) -> None:
        self.needs = [list(needs) for needs in dependencies]
        self.dependents: list[list[int]] = [[] for _ in self.needs]
        for task, needs in enumerate(self.needs):
            for need in needs:
                self.dependents[need].append(task)
        unmet = [len(needs) for needs in self.needs]
        begun = [task for task, number in enumerate(unmet) if not number]
        #: how many values have to be alive at least for this one, were the graph a tree
        self.labels = [1] * len(unmet)
        #: how many tasks it takes, those that are needed twice counted twice
        self.sizes = [1] * len(unmet)
        for task in begun:
            needs = self.needs[task]
            if len(needs) == 1:
                self.labels[task] = self.labels[needs[0]]
                self.sizes[task] = self.sizes[needs[0]] + 1
            elif needs:
                self._weigh(task, needs)
            for dependent in self.dependents[task]:
                unmet[dependent] -= 1
                if not unmet[dependent]:
                    begun.append(dependent)
        if len(begun) < len(unmet):
            raise ValueError("the graph has a circle", [task for task, number in enumerate(unmet) if number])

    def _weigh(self, task: int, needs: list[int]) -> None:
        labels, sizes = self.labels, self.sizes
        needs.sort(key=lambda need: (-labels[need], -sizes[need]))
        labels[task] = max([labels[need] + place for place, need in enumerate(needs)])
        sizes[task] = min(MANY, 1 + sum([sizes[need] for need in needs]))

    def room(self, order: list[int]) -> tuple[int, int]:
        """How many values are alive at once while tasks run in this order: the most, and the sum over all steps."""
        left = [len(dependents) for dependents in self.dependents]
        alive = most = total = 0
        for task in order:
            if alive > most:
                most = alive
            alive += left[task] > 0
            for need in self.needs[task]:
                left[need] -= 1
                alive -= not left[need]
            total += alive
        return most, total


class _Walk:
    """A way through a graph."""

    def __init__(self, shape: _Shape) -> None:
        self.shape = shape
        self.order: list[int] = []
        self.run = [False] * len(shape.needs)
        self.unmet = [len(needs) for needs in shape.needs]
        self.left = [len(dependents) for dependents in shape.dependents]
        self.looked = [0] * len(shape.needs)  # as far as this all inputs have been run

    def begin(self, result: int) -> None:
        """Run something of what a result needs, that itself perhaps."""
        raise NotImplementedError

    def noted(self, task: int) -> None:
        """A task has been run."""
        raise NotImplementedError

    def nearest(self) -> int | None:
        """The task to go for next, None if no value waits for one."""
        raise NotImplementedError

    def walked(self) -> list[int]:
        """All tasks, in the order in which to run them."""
        for result, dependents in enumerate(self.shape.dependents):
            if not dependents and not self.run[result]:
                self.begin(result)
                while (goal := self.nearest()) is not None:
                    self.reach(goal)
        return self.order

    def first_missing(self, task: int) -> int | None:
        """An input that has not been run, the one that needs most room."""
        needs, run, place = self.shape.needs[task], self.run, self.looked[task]
        while place < len(needs):
            if not run[needs[place]]:
                self.looked[task] = place
                return needs[place]
            place += 1
        return None

    def reach(self, goal: int) -> None:
        """Run all that a task needs, and that itself."""
        stack = [goal]
        while stack:
            task = stack[-1]
            if self.run[task]:
                stack.pop()
            elif self.unmet[task]:
                missing = self.first_missing(task)
                assert missing is not None
                stack.append(missing)
            else:
                stack.pop()
                self.emit(task)

    def emit(self, task: int) -> None:
        """Run a task, and what then sets free as much as it makes."""
        needs, dependents, run, unmet, left = self.shape.needs, self.shape.dependents, self.run, self.unmet, self.left
        todo = [task]
        while todo:
            task = todo.pop()
            if run[task]:
                continue
            run[task] = True
            self.order.append(task)
            for need in needs[task]:
                left[need] -= 1
            for dependent in dependents[task]:
                unmet[dependent] -= 1
            self.noted(task)
            for dependent in dependents[task]:
                if not unmet[dependent] and (not dependents[dependent] or self._frees(dependent)):
                    todo.append(dependent)
            for need in needs[task]:
                if left[need] == 1:
                    todo += [last for last in dependents[need] if not run[last] and not unmet[last]]

    def _frees(self, task: int) -> bool:
        left = self.left
        for need in self.shape.needs[task]:  # noqa: SIM110, half the time of any()
            if left[need] == 1:
                return True
        return False


class _Deep(_Walk):
    """Down to a result, then on from the newest value."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__(shape)
        self.alive: list[int] = []  # values, the newest last
        self.waiting: list[list[int]] = []  # for each value that was looked at who waits for it, the next one last

    def begin(self, result: int) -> None:
        self.reach(result)

    def noted(self, task: int) -> None:
        if self.left[task]:
            self.alive.append(task)

    def nearest(self) -> int | None:
        run, unmet, sizes = self.run, self.unmet, self.shape.sizes
        while self.alive or self.waiting:
            if self.alive:
                waiting = [dependent for dependent in self.shape.dependents[self.alive.pop()] if not run[dependent]]
                waiting.sort(key=lambda task: (unmet[task], sizes[task]), reverse=True)
                self.waiting.append(waiting)
            waiting = self.waiting[-1]
            while waiting:
                if not run[waiting[-1]]:
                    return waiting[-1]
                waiting.pop()
            self.waiting.pop()
        return None


class _Near(_Walk):
    """Always for what lacks least."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__(shape)
        self.begun: list[tuple[int, int, int, int]] = []  # a heap: how much is missing, its size, the newest first

    def begin(self, result: int) -> None:
        while (missing := self.first_missing(result)) is not None:
            result = missing
        self.emit(result)

    def noted(self, task: int) -> None:
        for dependent in self.shape.dependents[task]:
            entry = self.unmet[dependent], self.shape.sizes[dependent], -len(self.order), dependent
            heappush(self.begun, entry)

    def nearest(self) -> int | None:
        while self.begun:
            task = self.begun[0][3]
            if not self.run[task]:
                return task
            heappop(self.begun)
        return None

    def reach(self, goal: int) -> None:
        stack, sizes = [goal], self.shape.sizes
        while stack:
            task = stack[-1]
            if self.run[task]:
                stack.pop()
                continue
            nearer = self.nearest()
            if nearer is not None and sizes[nearer] < sizes[task]:
                stack.append(nearer)
                continue
            missing = self.first_missing(task)
            if missing is not None:
                stack.append(missing)
            else:
                stack.pop()
                self.emit(task)
