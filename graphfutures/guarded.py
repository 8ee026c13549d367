"""What one lock guards: the machine, what was posted to it, and what it has settled that nobody has been told.

Only threads that no signal handler can interrupt take the lock (inline, where there are no others, has an interrupted
graph begun anew).  User threads and finalizers append what they have to say to ``inbox``, and whoever exchanges next
applies it.
"""

from __future__ import annotations

from _thread import RLock
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from graphfutures.core.graph import Place
from graphfutures.core.rebuilding import rebuilt
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import NEW
from graphfutures.futures import GraphFuture

#: posts applied in one go, about a millisecond under the lock
SLICE = 4096
Post = tuple[Callable[..., object], tuple[Any, ...]]


class Guarded:
    """A graph, and the lock that guards it."""

    #: how many tasks were ever part of it
    added = 0
    #: whether it ends once it is drained, and whether it has ended
    closing = False
    ended = False
    #: whether somebody has posted something, and gone since another had the lock
    knocked = False

    def _reset(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.inbox: deque[GraphFuture[Any] | Post] = deque()
        self._posts: list[Any] = []  # taken from it, and being applied
        self._answers: list[Any] = []  # who waits for a post to be applied
        self._untold: dict[int, list[Any]] = {}  # settled by the graph, but not yet announced
        self._lock: Any = RLock()  # its owner is known, which a finalizer has to ask

    def inside(self) -> bool:
        """Whether this very thread is in the middle of an exchange, as a finalizer may find."""
        return self._lock._is_owned()  # type: ignore[no-any-return]

    def has_ready(self) -> bool:
        """Whether somebody should ask for more."""
        return self.scheduler.policy.has_any()

    def has_posts(self) -> bool:
        """Whether there is something to hear: what was posted, and nobody has applied, or the end."""
        return bool(self.inbox or self._posts or self.ended)

    def backlog(self) -> int:
        """How many tasks are unfinished, not counting those that wait for futures of others."""
        # In the order in which they go, so that one that goes on meanwhile may be counted twice, but is not missed.
        return len(self.inbox) + len(self._posts) + len(self.scheduler.unsettled) - self.scheduler.foreign

    def load(self) -> int:
        """How many of those count where their number is limited."""
        return self.backlog() - self.scheduler.aside

    def hold(self) -> None:
        """Have the graph stay as it is, and whole, until ``let_go``: the process forks."""
        self._lock.acquire()

    def let_go(self) -> bool:
        """Go on after ``hold``, if it came to that; whether something was posted meanwhile."""
        if self.inside():
            self._lock.release()
        return bool(self.inbox)

    def _entered(self, place: Place, batch: list[Any]) -> bool:
        """Whether all that was posted is one task, and could be handed over at once."""
        posts = self._posts
        if len(self.inbox) > 1 or posts:
            return False
        self._take_posts(1)
        usual = len(posts) == 1 and type(posts[0]) is not tuple and self.scheduler.entered(posts[0], place, batch)
        if usual:
            self.added += 1
            posts.clear()
        return usual

    def _take_posts(self, most: int) -> None:
        """Take posts out of the inbox, in one step that nothing can interrupt."""
        try:
            self._posts.extend(map(deque.popleft, repeat(self.inbox, most)))
        except IndexError:
            pass  # somebody has taken his submission back

    def _apply_posts(self) -> None:
        """Apply what user threads have posted."""
        posts = self._posts
        self._take_posts(min(len(self.inbox), SLICE))
        if tuple in map(type, posts):
            for post in posts:
                if type(post) is tuple:
                    post[0](*post[1])
                else:
                    self.scheduler.submitted((post,))
            self.added += sum(type(post) is not tuple for post in posts)
        else:
            self.scheduler.submitted(posts)
            self.added += len(posts)
        posts.clear()

    def tell_watchers(self) -> None:
        """See ``Observing``."""

    def _look_again(self) -> None:
        """Have whoever exchanges now not end with that, but see what else there is."""
        self.inbox.append((bool, ()))

    def _end_unless_posted(self) -> None:
        # A submission after the first line finds ``ended`` and takes itself back; one before it is found by the second.
        self.ended = True
        self.ended = not self.inbox

    def _answer(self, answer: Any, fact: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._answers.append(answer)
        fact(*arguments)

    def _rebuild(self, place: Place, started: Sequence[GraphFuture[Any]]) -> list[Any]:
        """Begin the graph anew after an interruption; return who waited for an answer."""
        while self._lock._is_owned():
            self._lock.release()
        with self._lock:
            old, posts = self.scheduler, self._posts
            # Of the posts that were being applied tasks may not come twice; the other facts may.
            rest = [post for post in posts if type(post) is tuple or (post.state is NEW and post not in old.unsettled)]
            self.added, posts[:] = self.added + len(posts) - len(rest), rest
            self.tell_watchers()
            known: set[Any] = {*old.unsettled, *old.news, *started}.union(*self._untold.values())
            self.scheduler = rebuilt(old, [future for future in known if not future._settled], place, started)
            self.tell_watchers()  # so that the new one notes what it decides at once
            self._untold.clear()
            answers, self._answers = self._answers, []
        return answers
