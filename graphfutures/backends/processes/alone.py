"""Which values nobody will ever ask for but the one task that needs them: they may be handed on as they are.

A future is the task itself, so whether a user has it is not written anywhere: it is so if more refer to it than the
graph does.  Each reference that is taken for one of the graph's is seen to be there; what is not seen, or comes
meanwhile, makes more of them, and the value is kept as any other.
"""

from __future__ import annotations

import sys
from typing import Any, Final
from weakref import getweakrefcount

from graphfutures.calls import EACH
from graphfutures.core.states import RUNNING
from graphfutures.futures import GraphFuture

#: of a task that runs: the set of unsettled ones, and the attendant's hand
_OF_EACH: Final = 2


def is_alone(hand: dict[int, tuple[GraphFuture[Any], int]], ticket: int, taker: int) -> bool:
    """Whether the value of a task is needed by one other task of the same worker, and by nobody else ever.

    :param hand: of the worker's attendant.
    :param ticket: of the task.
    :param taker: the ticket of the other one.
    """
    if not _COUNTS or ticket not in hand or taker not in hand:
        return False
    for one in hand[ticket], hand[taker]:
        if one[0].attempt != one[1] or one[0].state is not RUNNING or not _is_plain(one[0]):
            return False
    if hand[ticket][0].place is not hand[taker][0].place or hand[ticket][0]._watch is not None:
        return False
    del one
    if any(one is not hand[taker][0] for one in hand[ticket][0].dependents or ()):
        return False
    return _unknown(hand[ticket][0], hand[taker][0]) == _USUAL + _OF_EACH


def takers_of(tasks: list[Any], hand: dict[int, tuple[GraphFuture[Any], int]]) -> dict[int, int]:
    """Of tasks that are about to be sent: those whose values they alone need, and by which of them, by tickets.

    Nobody will have a future that now nobody has.
    """
    links = [(need, task[0]) for task in tasks if len(task) == 4 for _, need in task[3]]
    return {need: taker for need, taker in links if is_alone(hand, need, taker)}


def only_needed_by(future: GraphFuture[Any]) -> list[int]:
    """Which of its dependencies a task needs that is about to be sent, and nobody else ever will: their positions."""
    if not _COUNTS or not _is_plain(future):
        return []
    needs: Any = future.dependencies
    return [
        position
        for position in range(len(needs))
        if type(needs[position]) is GraphFuture
        and needs[position]._watch is None
        and _unknown(needs[position], future) == _USUAL + (_OF_EACH if needs[position].state is RUNNING else 0)
    ]


def _is_plain(task: Any) -> bool:
    """Whether a task may be begun again, but not because of how it ends, and nobody waits for room that it takes."""
    limited = getattr(task._owner, "max_pending", None) is not None
    return not limited and not task.special and task.terms is None and task.crash_retries != 0


def _unknown(need: GraphFuture[Any], future: GraphFuture[Any]) -> int:
    """How many references there are to a future, less those of the task that needs it and others that are seen."""
    rest: Any = future._rest
    before = sys.getrefcount(need)  # what is known may go meanwhile, and hide what is not
    known = _number(need, future.dependencies)
    if future._args is not future.dependencies:
        known += _number(need, future._args)
    if rest is not EACH and rest[1] is not EACH:
        known += sum(source is need for _, source in rest[1][0]) + _number(need, (rest[0] or {}).values())
    if need.state is RUNNING:
        known += _number(need, need.place.near)
    for other in {id(one): one for one in need.dependencies}.values():  # each once, however often it is an argument
        known += _number(need, other.dependents or ())
    return max(before, sys.getrefcount(need)) + getweakrefcount(need) - known


def _number(task: Any, tasks: Any) -> int:
    return sum(one is task for one in tasks)


def _usual() -> int:
    need: GraphFuture[Any] = GraphFuture()
    args = (need,)
    in_hand: tuple[Any, Any] = (need, GraphFuture(None, 0, None, args, EACH, args))
    del need
    return _unknown(in_hand[0], in_hand[1]) - 1


#: how many of these references there are to a future that nobody has but whoever counts them
_USUAL: Final = _usual()
#: whether references are counted at all; where threads have no lock in common their numbers say little
_COUNTS: Final[bool] = not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled()
