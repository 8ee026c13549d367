"""Task states and the table of every transition between them.

The table is read by the tests (which refuse any other change of state) and by
the documentation (whose diagram is drawn from it).  The form, one table that is
also the documentation, is h11's (``h11/_state.py``).

An attempt has a lifecycle of its own, started and then returned; a slot is held
exactly between the two, whatever becomes of the task meanwhile.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NEW: Final = "new"
WAITING: Final = "waiting"
READY: Final = "ready"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

SETTLED: Final = frozenset({DONE, FAILED, CANCELLED})


class Transition(NamedTuple):
    """One row of the table: a fact that takes a task from one state to another."""

    before: str
    fact: str
    after: str


TRANSITIONS: Final = (
    Transition(NEW, "submitted, an input is missing", WAITING),
    Transition(NEW, "submitted, no input is missing", READY),
    Transition(NEW, "submitted, an input had failed", FAILED),
    Transition(NEW, "submitted, an input was cancelled", CANCELLED),
    Transition(WAITING, "the last input is done", READY),
    Transition(WAITING, "settled elsewhere", DONE),
    Transition(WAITING, "handed over with its inputs", RUNNING),
    Transition(WAITING, "an input failed, or the executor broke", FAILED),
    Transition(WAITING, "cancelled, or an input was", CANCELLED),
    Transition(READY, "handed over", RUNNING),
    Transition(READY, "the executor broke", FAILED),
    Transition(READY, "cancelled", CANCELLED),
    Transition(RUNNING, "finished", DONE),
    Transition(RUNNING, "failed, or an input handed over with it did", FAILED),
    Transition(RUNNING, "cancelled by force, or an input was", CANCELLED),
    Transition(RUNNING, "revoked, lost or tried again", READY),
    Transition(RUNNING, "revoked, lost or tried again later, or its value holds futures", WAITING),
    Transition(WAITING, "the graph is begun anew", NEW),
    Transition(READY, "the graph is begun anew", NEW),
    Transition(READY, "the graph is begun anew, and it was put off", WAITING),
    Transition(RUNNING, "the graph is begun anew, not started", NEW),
    Transition(DONE, "the graph is begun anew, not told", RUNNING),
    Transition(FAILED, "the graph is begun anew, not told", RUNNING),
)

ALLOWED: Final = frozenset((row.before, row.after) for row in TRANSITIONS)


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    rows = [f"    {row.before} --> {row.after}: {row.fact}" for row in TRANSITIONS]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {NEW}", *rows])
