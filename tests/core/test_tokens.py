"""Counted tokens: never more are given than there are, and who waits is not forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphfutures.core.graph import Place, Task
from graphfutures.core.invariants import check
from graphfutures.core.rebuilding import rebuilt
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import CANCELLED, READY
from graphfutures.core.tokens import Tokens


def asking(lane: str = "", priority: float = 0, **resources: float) -> Task:
    task = Task(0)
    task.state = READY
    task.special = True
    task.resources = resources
    task.lane = lane
    task.priority = priority
    return task


def test_nothing_asked_nothing_held() -> None:
    tokens = Tokens({"gpu": 1})
    assert tokens.take(asking())
    assert (tokens.held, tokens.free()) == ({}, {"gpu": 1})


def test_taken_and_given_back() -> None:
    tokens = Tokens({"gpu": 2, "disk": 1.5})
    first, second = asking(gpu=2, disk=0.5), asking(gpu=1)
    assert tokens.take(first)
    assert tokens.free() == {"gpu": 0, "disk": 1.0}
    assert not tokens.take(second)
    assert second not in tokens.held
    tokens.give_back(first)
    assert tokens.free() == {"gpu": 2, "disk": 1.5}
    assert tokens.take(second)


def test_all_or_nothing() -> None:
    tokens = Tokens({"gpu": 1, "disk": 1})
    assert tokens.take(asking(disk=1))
    assert not tokens.take(asking(gpu=1, disk=1))
    assert tokens.free() == {"gpu": 1, "disk": 0}


def test_who_holds_them_does_not_take_them_again() -> None:
    tokens = Tokens({"gpu": 1})
    task = asking(gpu=1)
    assert tokens.take(task)
    assert tokens.take(task)
    assert tokens.free() == {"gpu": 0}
    tokens.give_back(task)
    tokens.give_back(task)
    assert tokens.free() == {"gpu": 1}


def test_force_may_take_what_is_not_there() -> None:
    tokens = Tokens({"gpu": 1})
    first, second = asking(gpu=1), asking(gpu=1)
    assert tokens.take(first)
    assert tokens.take(second, forced=True)
    assert tokens.free() == {"gpu": -1}
    tokens.give_back(first)
    assert not tokens.take(first)
    tokens.give_back(second)
    assert tokens.free() == {"gpu": 1}


def test_what_was_declared_is_copied() -> None:
    declared = {"gpu": 1.0}
    tokens = Tokens(declared)
    declared["gpu"] = 0
    tokens.free()["gpu"] = 0
    assert tokens.take(asking(gpu=1))


def test_who_waits_is_told_when_some_are_given_back() -> None:
    tokens = Tokens({"gpu": 1})
    holder, first, second = asking(gpu=1), asking(gpu=1), asking(gpu=1)
    tokens.take(holder)
    tokens.wait(first)
    tokens.wait(second)
    assert tokens.freed == set()
    assert {*tokens.waiting()} == {first, second}
    tokens.give_back(holder)
    assert tokens.freed == {""}
    assert tokens.pop("") is first
    assert first in tokens.held
    assert tokens.pop("") is None
    assert tokens.freed == set()
    tokens.give_back(first)
    assert tokens.pop("") is second
    tokens.give_back(second)
    assert (tokens.waiting(), tokens.free()) == ([], {"gpu": 1})


def test_larger_priorities_wait_less() -> None:
    tokens = Tokens({"gpu": 1})
    holder = asking(gpu=1)
    tokens.take(holder)
    waiting = [asking(gpu=1, priority=priority) for priority in (0, -1, 5, 5)]
    for task in waiting:
        tokens.wait(task)
    order: list[Task | None] = []
    last = holder
    for _ in waiting:
        tokens.give_back(last)
        last = tokens.pop("") or holder
        order.append(last)
    assert [waiting.index(task) for task in order if task is not None] == [2, 3, 0, 1]


def test_who_asks_for_much_does_not_stop_who_asks_for_something_else() -> None:
    tokens = Tokens({"gpu": 2, "disk": 1})
    holders = asking(gpu=1), asking(gpu=1), asking(disk=1)
    for task in holders:
        assert tokens.take(task)
    much, disk = asking(gpu=2), asking(disk=1)
    tokens.wait(much)
    tokens.wait(disk)
    tokens.give_back(holders[0])
    assert tokens.pop("") is None
    tokens.give_back(holders[2])
    assert tokens.pop("") is disk
    tokens.give_back(holders[1])
    assert tokens.pop("") is much


def test_each_lane_gets_its_own() -> None:
    tokens = Tokens({"gpu": 2})
    holder = asking(gpu=2)
    tokens.take(holder)
    main, side = asking(gpu=1), asking("side", gpu=1)
    tokens.wait(main)
    tokens.wait(side)
    tokens.give_back(holder)
    assert tokens.freed == {"", "side"}
    assert tokens.pop("side") is side
    assert tokens.pop("side") is None
    assert tokens.pop("") is main


def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    tokens = Tokens({"gpu": 1})
    holder, lost, kept = asking(gpu=1), asking(gpu=1), asking(gpu=1)
    tokens.take(holder)
    tokens.wait(lost)
    tokens.wait(kept)
    lost.state = CANCELLED
    tokens.give_back(holder)
    assert tokens.pop("") is kept
    assert lost not in tokens.held
    assert tokens.waiting() == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.integers(0, 2)), max_size=40))
def test_never_more_than_there_are_and_nobody_is_forgotten(steps: list[tuple[int, int, int]]) -> None:
    tokens = Tokens({"gpu": 3, "disk": 2})
    held: list[Task] = []
    waiting: set[Task] = set()
    for which, gpu, disk in steps:
        if which < 6 or not held:
            task = asking(gpu=gpu, disk=disk)
            if tokens.take(task):
                held.append(task)
            else:
                tokens.wait(task)
                waiting.add(task)
        else:
            tokens.give_back(held.pop(which % len(held)))
            while (task := tokens.pop("")) is not None:
                held.append(task)
                waiting.remove(task)
        for name, number in tokens.free().items():
            assert number >= 0
            assert number + sum(task.resources[name] for task in held) == tokens.declared[name]
        assert {*tokens.waiting()} == waiting
    while held:
        tokens.give_back(held.pop())
        while (task := tokens.pop("")) is not None:
            held.append(task)
            waiting.remove(task)
    assert not waiting


@pytest.mark.parametrize("number", [10_000])
def test_a_look_at_many_who_wait_is_one_look(number: int) -> None:
    tokens = Tokens({"gpu": 2})
    holder = asking(gpu=2)
    tokens.take(holder)
    looks = 0

    class Asking(Task):
        __slots__ = ()

        @property
        def resources(self) -> dict[str, float]:
            nonlocal looks
            looks += 1
            return {"gpu": 2}

    for _ in range(number):
        task = Asking(0)
        task.state = READY
        tokens.wait(task)
    tokens.give_back(holder)
    assert tokens.take(asking(gpu=1))
    looks = 0
    assert tokens.pop("") is None
    assert looks <= 4


def test_a_graph_begun_anew_knows_who_has_lent_his_tokens() -> None:
    scheduler = Scheduler(resources={"gpu": 1})
    there, here = Place("there", 1, lane="there"), Place("here", 1)
    task = Task(1)
    task.mark(resources={"gpu": 1}, lane="there")
    scheduler.submitted([task])
    assert scheduler.taken(there) == [task]
    scheduler.tokens_lent(task, task.attempt)
    scheduler = rebuilt(scheduler, [task], here, [])
    check(scheduler, [task], [(task, 1, there)])
    scheduler.tokens_back(task, task.attempt)
    assert scheduler.tokens.free() == {"gpu": 0}
    check(scheduler, [task], [(task, 1, there)])


def test_what_returns_while_it_has_lent_its_tokens_has_not_lent_them_when_it_runs_again() -> None:
    scheduler = Scheduler(resources={"gpu": 1})
    here = Place("here", 1)
    task = Task(1)
    task.mark(resources={"gpu": 1})
    scheduler.submitted([task])
    assert scheduler.taken(here) == [task]
    scheduler.tokens_lent(task, task.attempt)
    assert scheduler.turned(task, task.attempt, here, [], again=True) or scheduler.revoked(task, task.attempt, here)
    assert scheduler.taken(here) == [task]
    assert not scheduler.lent_tokens
    check(scheduler, [task], [(task, 2, here)])
