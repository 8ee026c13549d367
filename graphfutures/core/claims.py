"""Who still needs a value that stays at a place, and when it may be dropped.

In-process values need none of this: there Python's references are the claims.  Elsewhere a value
is claimed by the user's future and by every unsettled dependent.  A value that lives at one place
only can be lost with it; so the recipe (the task with its dependencies) is kept until the value is
secured, and a *secured* value is kept as long as the recipe of an heir names it.
"""

from __future__ import annotations

from graphfutures.core.graph import Place, Task, Tasks
from graphfutures.core.states import DONE, FORGOTTEN


class Claims:
    """The values kept at places.

    ``dropped`` collects the tasks whose value nobody needs any more, ``garbage`` what is to be let
    go outside the lock, since the last reference to a value may run a user's finalizer.
    """

    __slots__ = ("dropped", "garbage", "kept")

    def __init__(self) -> None:
        self.kept: set[Task] = set()
        self.dropped: Tasks = []
        self.garbage: list[tuple[Task, ...]] = []

    def keep(self, task: Task, place: Place) -> None:
        """The task's value stays at the place; its unsettled dependents claim it."""
        task.keeper = place
        self.kept.add(task)
        if not task.keeps_recipe:
            task.keeps_recipe = True
            for dependency in task.dependencies:
                dependency.heirs += 1

    def claim(self, task: Task) -> None:
        """The task is unsettled: it needs the values of its dependencies."""
        for dependency in task.dependencies:
            dependency.claims += 1

    def exchange(self, task: Task, dependencies: tuple[Task, ...]) -> None:
        """An unsettled task needs other values than before."""
        before = task.dependencies
        self._release_recipe(task)
        task.dependencies = dependencies
        self.claim(task)
        for dependency in before:
            dependency.claims -= 1
            self._forget_if_free(dependency)
        self.garbage.append(before)

    def release(self, task: Task) -> None:
        """The task has settled: it needs them no longer."""
        for dependency in task.dependencies:
            dependency.claims -= 1
            self._forget_if_free(dependency)
        if task.keeper is None:
            self._release_recipe(task)
        if not task.keeps_recipe:
            self.garbage.append(task.dependencies)
            task.dependencies = ()
        self._forget_if_free(task)

    def unwanted(self, task: Task) -> None:
        """The user's future is gone."""
        task.wanted = False
        self._forget_if_free(task)

    def secured(self, task: Task) -> None:
        """The value was published or fetched: it survives its place and needs no recipe."""
        task.secured = True
        self._release_recipe(task)

    def _forget_if_free(self, task: Task) -> None:
        if task.state is not DONE or task.keeper is None:
            return
        if task.wanted or task.claims or (task.secured and task.heirs):
            return
        task.state = FORGOTTEN
        task.keeper = None
        task.dependents = None
        task.secured = False
        self.kept.discard(task)
        self.dropped.append(task)
        if not task.heirs:
            self._release_recipe(task)

    def _release_recipe(self, task: Task) -> None:
        stack = [task]
        while stack:
            heir = stack.pop()
            if not heir.keeps_recipe:
                continue
            heir.keeps_recipe = False
            dependencies, heir.dependencies = heir.dependencies, ()
            self.garbage.append(dependencies)
            for dependency in dependencies:
                dependency.heirs -= 1
                if dependency.heirs:
                    continue
                if dependency.state is FORGOTTEN:
                    stack.append(dependency)
                else:
                    self._forget_if_free(dependency)
