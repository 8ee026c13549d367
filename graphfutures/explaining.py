"""Why a future is not done: a sentence, and below it, where there is more to say, a short tree."""

from __future__ import annotations

from itertools import chain
from time import perf_counter
from typing import Any

from graphfutures.away import failure_here
from graphfutures.core.states import CANCELLED, DONE, FAILED, READY, RUNNING, SETTLED, WAITING
from graphfutures.diagnostics.totals import busy
from graphfutures.externals import External
from graphfutures.futures import GraphFuture
from graphfutures.hub import Hub
from graphfutures.outcomes import Inherited, shown

#: the tree has so many lines and levels, and on all levels but the first so many lines below each task
LINES = 8
LEVELS = 3
WIDTH = 3
_INDENT = "    "


def explain(hub: Hub, future: GraphFuture[Any]) -> str:
    """What a future waits for, or how it ended.

    :return: a sentence; further lines, indented, say what became of earlier attempts, and what holds up whom.
    """
    tree = _Tree(hub)
    lines = [f"{future.key} {tree.sentence(hub, future)}", *(_INDENT + line for line in _earlier(future))]
    if not future.done():
        lines += tree.below(future)
        if hub.max_pending is not None and any(limit == hub.max_pending for limit, _ in tuple(hub.room)):
            lines.append(f"{_INDENT}submit waits for room, since max_pending={hub.max_pending} tasks are unfinished")
    return "\n".join(lines)


def _ended(future: GraphFuture[Any]) -> str:
    if future.state is DONE:
        return f"is done: it returned a value of type {future._kind()}"
    if future.state is CANCELLED:
        return "was cancelled"
    failure = failure_here(future._outcome)
    if isinstance(failure, Inherited):
        return f"failed without running, with {shown(failure.root)} of {failure.note()}"
    return f"failed with {shown(failure)}"


def _earlier(future: GraphFuture[Any]) -> list[str]:
    """What became of earlier attempts."""
    lines = []
    failures, terms = future.failures, future.terms
    last = f", the last one with {future.last_failure}" if future.last_failure else ""
    if failures and future.state is FAILED:
        lines.append(f"{failures} of its attempts had failed before{last}")
    elif failures and future.done():
        lines.append(f"{failures} of its attempts had failed before that{last}")
    elif failures and _is_put_off(future):
        lines.append(f"the last one failed with {future.last_failure}")
    elif failures:
        left = terms.retries - failures
        lines.append(f"{failures} of its attempts have failed{last}; {left} more may follow this one")
    if future.crashes:
        lines.append(f"{future.crashes} of its attempts ended with their worker process")
    return lines


def _is_put_off(task: Any) -> bool:
    return task.state is WAITING and bool(task.failures) and next(_unmet(task), None) is None


def _unmet(task: Any) -> Any:
    return (need for need in task.dependencies if need.state not in SETTLED)


class _Tree:
    """What one explanation has told already, and what it has looked up for that."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._told: set[Any] = set()
        self._computing: dict[tuple[Hub, str], list[Any]] = {}
        self._queues: set[tuple[Hub, str]] = set()  # of ready tasks, of which it is told what they wait for

    # -- one task -----------------------------------------------------------------------------

    def sentence(self, hub: Hub, task: Any) -> str:
        """What a task does, or waits for, or how it ended."""
        if task.done():
            return _ended(task)
        if task.state is RUNNING:
            return self._running(hub, task, deep=True)
        if task.state is WAITING:
            missing = list(_unmet(task))
            if missing:
                return f"is waiting on {self._missing(hub, missing, deep=True)}"
            if task.failures:
                return f"is to be tried again soon: {task.failures} of its attempts have failed"
        if task.state is READY:
            return f"is ready and waits for {self._ready(hub, task)}"
        return "was submitted and is about to be taken up"

    def _ready(self, hub: Hub, task: Any) -> str:
        scheduler = hub.scheduler
        if _waits_for_tokens(hub, task):
            free = scheduler.tokens.free()
            wanted = ", ".join(f"{number:g} of {name} ({free[name]:g} free)" for name, number in task.resources.items())
            return f"tokens: {wanted}"
        lane = task.lane
        workers = hub.lanes.get(lane, hub.backend).max_workers
        ahead = len(scheduler.lane(lane)) - 1
        if (hub, lane) in self._queues:
            return "a free worker, too"
        self._queues.add((hub, lane))
        late: list[Any] = [one for one, _ in tuple(scheduler.overdue) if one.lane == lane]
        number = busy([*self._computing_in(hub, lane), *late], workers)
        where = f" of {lane}" if lane else ""
        if number < workers and not late:
            return f"a worker{where}, of which {workers - number} of {workers} are free, or start"
        waits = f"a free worker{where}: {number} of {workers} are busy"
        if late:
            waits += f", {len(late)} of them with what ran out of time and has not returned ({late[0].key})"
        return waits + (f", up to {ahead} ready tasks may go first" if ahead > 0 else "")

    def _running(self, hub: Hub, task: Any, *, deep: bool) -> str:
        since = getattr(task, "_started", None)
        if since is None:
            return "is about to run"
        seconds = perf_counter() - since
        missing = list(_unmet(task))
        if task._worker < 0:  # of a cluster, which chooses one
            if missing:
                return f"is waiting on {self._missing(hub, missing, deep=deep)}"
            wishes = {**(task.wishes or {}), **(task.resources or {})} if task.special else {}
            told = f", for a worker that fits {wishes}" if wishes else ""
            return f"was handed to the cluster {seconds:.1f} s ago{told}"
        if missing:
            return f"was sent to worker {task._worker} {seconds:.1f} s ago, to run there after {missing[0].key}"
        runs = f"runs on worker {task._worker} since {seconds:.1f} s"
        if not hub.scheduler.waits_inside(task):
            return runs
        needs = _needs_inside(hub, task)
        what = self._missing(hub, needs, deep=False) if needs else "something"
        return f"{runs} and waits inside, its slot lent, for {what}"

    def _missing(self, hub: Hub, needs: list[Any], *, deep: bool) -> str:
        need = needs[0]
        more = f", and on {len(needs) - 1} more" if len(needs) > 1 else ""
        if isinstance(need, External):
            return f"{need.key} of another executor{more}"
        if need.state is RUNNING and deep and need._owner is hub:
            return f"{need.key}, which {self._running(hub, need, deep=False)}{more}"
        return f"{need.key}, which is {need.state}{more}"

    def _computing_in(self, hub: Hub, lane: str) -> list[Any]:
        """What holds a slot; looked up once, since all that is unsettled is looked through for it."""
        if (hub, lane) not in self._computing:
            waits_inside = hub.scheduler.waits_inside
            running = [task for task in tuple(hub.scheduler.unsettled) if task.state is RUNNING and task.lane == lane]
            self._computing[hub, lane] = [task for task in running if not waits_inside(task)]
        return self._computing[hub, lane]

    # -- the tree -----------------------------------------------------------------------------

    def below(self, future: GraphFuture[Any]) -> list[str]:
        """What holds a future up, and what holds that up in turn, each task once."""
        self._told.add(future)
        lines: list[str] = []
        needs = self._left_below(future)
        if future.state is READY and not _waits_for_tokens(future._owner, future):
            needs = self._in_the_way(future)
        stack = [iter(needs)]  # one for each level
        while stack and len(lines) < LINES:
            task, level = next(stack[-1], None), len(stack)
            if task is None:
                stack.pop()
                continue
            if self._is_told(task):
                continue
            passed, task = self._down(task, to_the_end=level == LEVELS)
            if task in self._told:
                continue
            self._told.add(task)
            told = self._line(task, f"… {passed:,} more in a row, down to " if passed else "")
            lines.append(_INDENT * level + told)
            left = self._left_below(task)
            if level < LEVELS:
                stack.append(iter(left[:WIDTH]))
        more = len({task for task in chain(*stack) if not self._is_told(task)})
        return [*lines, f"{_INDENT}… and {more:,} more"] if more else lines

    def _line(self, task: Any, way: str) -> str:
        where = ", which" if way else ""
        if isinstance(task, External):
            where = f" of another executor{where}"
            sources = _holding_up(task)
            self._told.update(sources)
            task = sources[0] if sources else task
        hub = getattr(task, "_owner", None)
        if isinstance(hub, Hub) and hub is not self._hub:
            hub.catch_up()
        told = self.sentence(hub, task) if isinstance(hub, Hub) else "has not settled"
        return f"{way}{task.key}{where} {told}"

    def _is_told(self, task: Any) -> bool:
        """Whether nothing new would be said of a task: what holds it up is told."""
        told = self._told
        if task in told:
            return True
        needs = _unmet(task)
        return next(needs, None) in told and all(need in told for need in needs)

    def _left_below(self, task: Any) -> list[Any]:
        """What holds a task up, without what the sentence about the task tells already."""
        if isinstance(task, External):
            task = next(iter(_holding_up(task)), task)
        needs = _holding_up(task)
        if needs and needs[0] not in self._told:
            first, inside = needs[0], task.state is RUNNING and next(_unmet(task), None) is None
            plain = isinstance(first, External) and not _holding_up(first)
            queued = first.state is READY and (first._owner, first.lane) in self._queues
            if plain or queued or (first.state is RUNNING and first._owner is task._owner and not inside):
                self._told.add(first)
                needs = [*_holding_up(first), *needs[1:]]
        return needs

    def _in_the_way(self, task: Any) -> list[Any]:
        """What has been running for longest, one task of each worker."""
        first: dict[int, Any] = {}
        for one in sorted(self._computing_in(task._owner, task.lane), key=_start):
            if _start(one) and len(first) < WIDTH:
                first.setdefault(one._worker if one._worker >= 0 else -one.serial, one)
        return list(first.values())

    def _down(self, task: Any, *, to_the_end: bool) -> tuple[int, Any]:
        """From a task of a long chain to what really holds it up, and how many are passed on the way.

        :param to_the_end: whether to go on where a task waits for several, by way of the first of them.
        """
        passed: list[Any] = []
        seen = {task}
        below = task
        while (needs := list(_unmet(below))) and (to_the_end or len(needs) == 1):
            passed.append(below)
            below = needs[0]
            if below in seen:
                break
            seen.add(below)
        if len(passed) < 3:
            return 0, task
        self._told.update(passed)
        return len(passed), below


def _start(task: Any) -> float:
    return getattr(task, "_started", 0.0)


def _waits_for_tokens(hub: Any, task: Any) -> bool:
    return bool(task.resources) and task in hub.scheduler.tokens.waiting()


def _needs_inside(hub: Hub, task: Any) -> list[Any]:
    """What a running task cannot go on without, where it waits inside."""
    return [need for need in hub.waits.get(task, ()) if need.state not in SETTLED]


def _holding_up(task: Any) -> list[Any]:
    """The tasks that have to settle before this one can go on."""
    if isinstance(task, External):
        source = task.source
        ours = isinstance(source, GraphFuture) and isinstance(source._owner, Hub) and not source.done()
        return [source] if ours else []
    found = list(_unmet(task))
    if not found and task.state is RUNNING and isinstance(task._owner, Hub):
        found = _needs_inside(task._owner, task)
    return found
