"""What a future that never ran has from the dependency that it failed with."""

from __future__ import annotations

from typing import Any

from graphfutures.away import failure_here
from graphfutures.calls import EACH, locate
from graphfutures.futures import GraphFuture
from graphfutures.outcomes import Inherited, called


def inherit(future: GraphFuture[Any]) -> None:
    """Set the failure that a future has from a dependency, that one's first if need be."""
    chain = [future]
    while True:
        cause: Any = chain[-1].blame
        if cause is None or getattr(cause, "_outcome", None) is not None:
            break
        chain.append(cause)
    for heir in reversed(chain):
        cause = heir.blame
        if cause is None or getattr(heir, "_outcome", None) is not None:
            continue
        rest: Any = heir._rest if isinstance(heir, GraphFuture) else None
        where = "an item of it"
        if heir.derived and rest is not None:
            where = "in its value"
        elif rest is not None:
            kwargs, plan, _ = rest if rest is not EACH else (None, EACH, None)
            try:
                where = locate(heir._fn, heir._args, kwargs, plan, getattr(cause, "source", cause))
            except BaseException:  # of a user's __repr__ or __getattr__
                where = "an argument"
        failure = failure_here(cause._outcome)
        if isinstance(failure, Inherited):
            inherited = Inherited(failure.root, (*failure.path, called(heir)), failure.hidden, where, failure.trace)
        else:
            # Now, since whoever raises it adds his own frames.
            trace = getattr(getattr(cause, "source", cause), "_traceback", None) or failure.__traceback__
            inherited = Inherited(failure, (called(cause), called(heir)), 0, where, trace)
        heir._outcome = inherited
