"""A scheduler that is observed does the same, and notes each change of a task's state."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import invariant, rule
from test_machine import InProcessMachine, Machine

from graphfutures.core import states
from graphfutures.core.graph import Task
from graphfutures.core.observed import Observed, forget, ignore, observe
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import NEW, SETTLED, WAITING


def is_legal(before: str, after: str) -> bool:
    """Whether a task may go so; that it waits after it was submitted is not noted."""
    waited = before == NEW and (WAITING, after) in states.ALLOWED
    return waited or (before, after) in states.ALLOWED


class Watched:
    """Watches, from the beginning or from anywhere on, and leaves at times."""

    scheduler: Scheduler
    tasks: list[Task]

    def __init__(self) -> None:
        super().__init__()
        self.stories: dict[Task, list[str]] = {}
        observe(self.scheduler)

    def hear(self) -> None:
        if not isinstance(self.scheduler, Observed):
            return
        changes = observe(self.scheduler)
        forget(self.scheduler)
        for task, state, _ in changes:
            if state == NEW:
                assert task not in self.stories
                self.stories[task] = [NEW]
            elif task in self.stories:  # else it came when nobody watched
                story = self.stories[task]
                assert is_legal(story[-1], state), (*story, state)
                story.append(state)

    @rule()
    def leave(self) -> None:
        self.hear()
        ignore(self.scheduler)
        self.stories.clear()

    @rule()
    def join(self) -> None:
        self.hear()
        assert not observe(self.scheduler)

    @invariant()
    def all_is_told(self) -> None:
        self.hear()
        for task, story in self.stories.items():
            assert story[-1] == task.state or (story[-1] == NEW and task.state is WAITING), (task, story)


class WatchedMachine(Watched, Machine):
    """Threads, and places that run in order and can be lost."""

    def teardown(self) -> None:
        super().teardown()
        self.all_is_told()
        assert all(story[-1] in SETTLED for story in self.stories.values())


class WatchedThreads(Watched, InProcessMachine):
    """Threads, which may be interrupted: what is begun anew may be plain then, until somebody looks."""

    interrupted = None  # type: ignore[assignment]


TestWatched = WatchedMachine.TestCase
TestWatched.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestWatchedThreads = WatchedThreads.TestCase
TestWatchedThreads.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
