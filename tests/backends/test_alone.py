"""Which values may be handed on as they are: those of which nobody has a future."""

from __future__ import annotations

import pickle
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graphfutures.backends.processes import messages
from graphfutures.backends.processes.alone import is_alone
from graphfutures.backends.processes.attendant import Attendant
from graphfutures.backends.processes.owning import LARGE
from graphfutures.backends.processes.pace import Pace
from graphfutures.backends.processes.reports import Reports
from graphfutures.calls import EACH
from graphfutures.core.graph import Place
from graphfutures.core.states import DONE, RUNNING, WAITING
from graphfutures.futures import GraphFuture
from graphfutures.worker import loop, running


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


@pytest.mark.parametrize("asked", [False, True])
def test_a_taker_that_was_given_back_and_has_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """What was kept for its first attempt is told: the second one reads it, and tells of itself alone."""
    monkeypatch.setattr(messages, "reader", [pickle.loads])  # the worker's own
    monkeypatch.setattr(messages, "mapper", [*messages.mapper])
    monkeypatch.setattr(running, "here_runs", [])
    ours, theirs = Pipe()
    worker = loop.Worker(theirs, None, "token", 1, [str(tmp_path)])
    first, again = [(ticket, None, pickle.dumps((len, (messages.Held(1),), {})), [(0, 1)]) for ticket in (2, 3)]
    worker._queue.append(first)
    (worker._allowed if asked else worker._alone)[1] = 2  # the answer has come, or was told before

    def no_more_withheld(taker: int) -> list[Any]:
        if worker._queue and worker._queue[0] is first:
            worker._queue.clear()
            worker._tell_after_all([2])
            worker._queue.append(again)
        return withheld(taker)

    withheld = worker._no_more_withheld
    monkeypatch.setattr(worker, "_no_more_withheld", no_more_withheld)
    try:
        worker.attempt((1, None, pickle.dumps((bytes, (LARGE,), {}))))
        assert [(ticket, how) for ticket, how, *_ in worker._outcomes] == [(1, messages.PUBLISHED)]
        worker.attempt(worker._queue.popleft())
        assert [(ticket, how) for ticket, how, *_ in worker._outcomes][-1] == (3, messages.VALUE)
        assert worker._outcomes[-1][2] == LARGE
        worker.tell()
        word, *what = pickle.loads(ours.recv_bytes())
        if asked:
            assert word == messages.MINE
        else:
            assert word == messages.REPORT
            assert [ticket for ticket, _ in what[1]] == [1]
    finally:
        messages.kept.clear()
        ours.close()
        theirs.close()


def test_who_is_asked_knows_of_all_that_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "here_runs", [])
    ours, theirs = Pipe()
    worker = loop.Worker(theirs, None, "token", 1, [str(tmp_path)])
    worker._queue += [(ticket, None, b"", [(0, ticket - 1)]) for ticket in (2, 3)]
    worker._alone[1] = 2
    worker._allowed[2] = 3
    make = pickle.dumps((bytes, (LARGE,), {}))
    try:
        for ticket in (1, 2):
            worker.attempt((ticket, None, make))
        word, *what = pickle.loads(ours.recv_bytes())
        assert word == messages.REPORT
        assert [ticket for ticket, _ in what[1]] == [1]
        assert pickle.loads(ours.recv_bytes())[:3] == (messages.MINE, 2, 3)
    finally:
        messages.kept.clear()
        messages.at_hand.clear()
        ours.close()
        theirs.close()


def test_who_has_come_again_is_asked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told of another attempt says nothing of this one."""
    monkeypatch.setattr(running, "here_runs", [])
    ours, theirs = Pipe()
    worker = loop.Worker(theirs, None, "token", 1, [str(tmp_path)])
    worker._queue.append((3, None, b"", [(0, 1)]))
    worker._alone[1] = 2
    worker._allowed[1] = 0
    try:
        worker.attempt((1, None, pickle.dumps((bytes, (LARGE,), {}))))
        assert [(ticket, how) for ticket, how, *_ in worker._outcomes] == [(1, messages.PUBLISHED)]
        assert pickle.loads(ours.recv_bytes())[:3] == (messages.MINE, 1, 3)
    finally:
        messages.kept.clear()
        messages.at_hand.clear()
        ours.close()
        theirs.close()


def test_a_value_that_is_gone_is_not_told_before_what_was_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While that is written, which may take long, the watch tells what there is, and the worker may die."""
    monkeypatch.setattr(messages, "reader", [pickle.loads])
    monkeypatch.setattr(messages, "mapper", [*messages.mapper])
    monkeypatch.setattr(running, "here_runs", [])
    ours, theirs = Pipe()
    worker = loop.Worker(theirs, None, "token", 1, [str(tmp_path)])
    last, before = [(ticket, None, b"", [(0, ticket - 1)]) for ticket in (3, 2)]
    worker._queue.extend([before, last])
    worker._allowed |= {1: 2, 2: 3}
    worker.attempt((1, None, pickle.dumps((bytes, (LARGE,), {}))))
    worker._queue.clear()
    worker._queue.append(last)
    worker.attempt((2, None, pickle.dumps((bytes, (LARGE,), {})), [(0, 1)]))
    assert not worker._outcomes
    told = worker.running.told

    def tell(value: Any) -> Any:
        assert not worker._outcomes, "the first one was told, and is gone"
        return told(value)

    monkeypatch.setattr(worker.running, "told", tell)
    try:
        worker._tell_after_all([3])
        outcomes = [(ticket, how) for ticket, how, *_ in worker._outcomes]
        assert outcomes == [(1, messages.GONE), (2, messages.PUBLISHED)]
    finally:
        messages.kept.clear()
        ours.close()
        theirs.close()


@pytest.mark.parametrize("taken_back", [False, True])
def test_a_value_whose_taker_was_taken_back_is_made_again(taken_back: bool) -> None:
    """The taker has ended, but another attempt of it is to come, which needs the value."""
    attendant = Attendant.__new__(Attendant)
    attendant.number, attendant.reported = 0, 0
    attendant._left = attendant._page = None
    attendant._pieces, attendant._spent = 0, {2}
    attendant._reports, attendant._pace = Reports(), Pace()
    packing: Any = SimpleNamespace(tickets={})
    stopping: Any = SimpleNamespace(limits={})
    attendant._packing, attendant.stopping = packing, stopping
    worker = Worker()
    attendant.hand = worker.hand
    need, taker = worker.hand[2][0], worker.hand[3][0]
    if taken_back:
        taker.state = WAITING
    facts: list[Any] = []
    returned: list[Any] = []
    attendant._take_report([(2, messages.GONE, None, 0.0, 0.0), (3, messages.VALUE, 7, 0.0, 0.0)], facts, returned)
    assert [fact[0] for fact in facts] == ([taker] if taken_back else [need, taker])
    assert returned == ([(need, need.attempt)] if taken_back else [])
