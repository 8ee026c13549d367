"""Why a future is not done, in a sentence."""

from __future__ import annotations

from time import perf_counter
from typing import Any

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
        return f"{future.key} {_running(future)}"
    if future.state is WAITING:
        missing = [d for d in future.dependencies if d.state not in SETTLED]
        if missing:
            more = f", and on {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"{future.key} is waiting on {_missing(missing[0])}{more}"
    if future.state is READY:
        ahead = len(hub.scheduler.policy) - 1
        busy = sum(task.state is RUNNING for task in tuple(hub.scheduler.unsettled))
        return f"{future.key} is ready and waits for a free worker: {busy} of {hub.backend.max_workers} are busy" + (
            f", up to {ahead} ready tasks may go first" if ahead > 0 else ""
        )
    return f"{future.key} was submitted and is about to be taken up"


def _ended(future: GraphFuture[Any]) -> str:
    if future.state is DONE:
        return f"is done: it returned a value of type {type(future._outcome).__name__}"
    if future.state is CANCELLED:
        return "was cancelled"
    failure = future._outcome
    if isinstance(failure, Inherited):
        return f"failed without running, with {failure.root!r:.200} of {failure.note()}"
    return f"failed with {failure!r:.200}"


def _running(future: GraphFuture[Any]) -> str:
    since = getattr(future, "_started", None)
    if since is None:
        return "is about to run"
    return f"runs on worker {future._worker} since {perf_counter() - since:.1f} s"


def _missing(dependency: Any) -> str:
    if isinstance(dependency, External):
        return f"{dependency.key} of another executor"
    if dependency.state is RUNNING:
        return f"{dependency.key}, which {_running(dependency)}"
    return f"{dependency.key}, which is {dependency.state}"
