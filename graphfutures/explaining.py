"""Why a future is not done, in a sentence."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from graphfutures.away import failure_here
from graphfutures.core.states import CANCELLED, DONE, READY, RUNNING, SETTLED, WAITING
from graphfutures.externals import External
from graphfutures.futures import GraphFuture
from graphfutures.hub import Hub
from graphfutures.outcomes import Inherited


def explain(hub: Hub, future: GraphFuture[Any]) -> str:
    """What a future waits for, or how it ended."""
    if future.done():
        return f"{future.key} {_ended(future)}"
    if future.state is RUNNING:
        return f"{future.key} {_running(hub, future)}"
    if future.state is WAITING:
        missing = [d for d in future.dependencies if d.state not in SETTLED]
        if missing:
            return f"{future.key} is waiting on {_missing(hub, missing)}"
        if future.failures:
            return f"{future.key} is to be tried again soon: {future.failures} of its attempts have failed"
    if future.state is READY:
        return f"{future.key} is ready and waits for {_ready(hub, future)}"
    return f"{future.key} was submitted and is about to be taken up"


def _ended(future: GraphFuture[Any]) -> str:
    if future.state is DONE:
        return f"is done: it returned a value of type {future._kind()}"
    if future.state is CANCELLED:
        return "was cancelled"
    failure = failure_here(future._outcome)
    if isinstance(failure, Inherited):
        return f"failed without running, with {_shown(failure.root)} of {failure.note()}"
    return f"failed with {_shown(failure)}"


def _shown(error: BaseException) -> str:
    try:
        return f"{error!r:.200}"
    except Exception:  # of its own __repr__
        return f"{type(error).__name__}, which cannot be shown"


def _ready(hub: Hub, future: GraphFuture[Any]) -> str:
    scheduler = hub.scheduler
    if future.resources and future in scheduler.tokens.waiting():
        free = scheduler.tokens.free()
        wanted = ", ".join(f"{number:g} of {name} ({free[name]:g} free)" for name, number in future.resources.items())
        return f"tokens: {wanted}"
    lane, backend = future.lane, hub.lanes.get(future.lane, hub.backend)
    ahead = len(scheduler.lane(lane)) - 1
    busy = sum(
        task.state is RUNNING and task.lane == lane and not scheduler.waits_inside(task)
        for task in tuple(scheduler.unsettled)
    )
    late = [task.key for task, _ in tuple(scheduler.overdue) if task.lane == lane]  # type: ignore[attr-defined]
    where = f" of {lane}" if lane else ""
    waits = f"a free worker{where}: {busy + len(late)} of {backend.max_workers} are busy"
    if late:
        waits += f", {len(late)} of them with what ran out of time and has not returned ({late[0]})"
    return waits + (f", up to {ahead} ready tasks may go first" if ahead > 0 else "")


def _running(hub: Hub, task: GraphFuture[Any]) -> str:
    since = getattr(task, "_started", None)
    if since is None:
        return "is about to run"
    seconds = perf_counter() - since
    missing: list[Any] = [d for d in task.dependencies if d.state not in SETTLED]
    if task._worker < 0:  # of a cluster, which chooses one
        if missing:
            return f"is waiting on {_missing(hub, missing)}"
        wishes = {**(task.wishes or {}), **(task.resources or {})} if task.special else {}
        told = f", for a worker that fits {wishes}" if wishes else ""
        return f"was handed to the cluster {seconds:.1f} s ago{told}"
    if missing:
        return f"was sent to worker {task._worker} {seconds:.1f} s ago, to run there after {missing[0].key}"
    runs = f"runs on worker {task._worker} since {seconds:.1f} s"
    if not hub.scheduler.waits_inside(task):
        return runs
    needs = [need for need in hub.waits.get(task, ()) if need.state not in SETTLED]
    return f"{runs} and waits inside, its slot lent, for {_missing(hub, needs, deep=False) if needs else 'something'}"


def _missing(hub: Hub, needs: list[Any], *, deep: bool = True) -> str:
    need = needs[0]
    more = f", and on {len(needs) - 1} more" if len(needs) > 1 else ""
    if isinstance(need, External):
        return f"{need.key} of another executor{more}"
    if need.state is RUNNING and deep and need._owner is hub:
        return f"{need.key}, which {_running(hub, need)}{more}"
    return f"{need.key}, which is {need.state}{more}"
