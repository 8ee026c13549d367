"""Which values may be handed on as they are: those of which nobody has a future."""

from __future__ import annotations

from typing import Any

import pytest

from graphfutures.backends.processes.alone import is_alone
from graphfutures.calls import EACH
from graphfutures.core.graph import Place
from graphfutures.core.states import DONE, RUNNING
from graphfutures.futures import GraphFuture


class Worker:
    """What a hub and an attendant know of two tasks that a worker was handed, the second of which needs the first."""

    def __init__(self, times: int = 1, *, how: str = "each") -> None:
        self.place = Place("worker", 9, sequential=True)
        before: GraphFuture[Any] = GraphFuture(None, 1)
        self.need: GraphFuture[Any] = GraphFuture(None, 2, None, (before,), EACH, (before,))
        before.dependents = [self.need]
        given = (self.need,) * times
        future: GraphFuture[Any]
        if how == "each":
            future = GraphFuture(None, 3, None, given, EACH, given)
        elif how == "by name":
            names: Any = dict.fromkeys("ab"[:times], self.need)
            future = GraphFuture(None, 3, None, (), (names, ([*enumerate(given)], []), None), given)
        else:
            holes: Any = [(place, self.need) for place in range(times)]
            future = GraphFuture(None, 3, None, (*given, 1), (None, (holes, []), None), tuple(given[:1]))
        self.need.dependents = [future]
        self.unsettled = {before, self.need, future}
        self.hand: dict[int, tuple[GraphFuture[Any], int]] = {}
        for ticket, one in enumerate((before, self.need, future), 1):
            one.state, one.place = RUNNING, self.place
            self.hand[ticket] = one, one.attempt

    def drops(self) -> GraphFuture[Any]:
        """Nobody but these two has the first one any more; the second one."""
        del self.need
        return self.hand[3][0]


@pytest.mark.parametrize("how", ["each", "by name", "beside another"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_only_another_task_refers_to(times: int, how: str) -> None:
    worker = Worker(times, how=how)
    assert not is_alone(worker.hand, 2, 3), "somebody has it"
    worker.drops()
    assert is_alone(worker.hand, 2, 3)
    held = worker.hand[2][0]
    assert not is_alone(worker.hand, 2, 3)
    del held
    assert is_alone(worker.hand, 2, 3)


def test_what_another_task_needs_as_well() -> None:
    worker = Worker()
    other: GraphFuture[Any] = GraphFuture(None, 4, None, (worker.need,), EACH, (worker.need,))
    worker.drops()
    assert not is_alone(worker.hand, 2, 3)
    del other
    assert is_alone(worker.hand, 2, 3)


def test_what_is_offered_along_is_known() -> None:
    worker = Worker()
    worker.place.near += [worker.need, worker.need]
    worker.drops()
    assert is_alone(worker.hand, 2, 3)


@pytest.mark.parametrize(
    "trait", [{"special": True}, {"crash_retries": 0}, {"state": DONE}, {"attempt": 1}, {"terms": "some"}]
)
@pytest.mark.parametrize("ticket", [2, 3])
def test_what_may_be_tried_again_or_is_over(trait: dict[str, Any], ticket: int) -> None:
    worker = Worker()
    worker.drops()
    for name, value in trait.items():
        setattr(worker.hand[ticket][0], name, value)
    assert not is_alone(worker.hand, 2, 3)


def test_what_somebody_waits_for() -> None:
    worker = Worker()
    worker.need.add_done_callback(print)
    worker.drops()
    assert not is_alone(worker.hand, 2, 3)


def test_what_has_gone_elsewhere() -> None:
    worker = Worker()
    worker.drops().place = Place("other", 9)
    assert not is_alone(worker.hand, 2, 3)
    assert not is_alone(worker.hand, 2, 7)
    assert not is_alone(worker.hand, 7, 3)
