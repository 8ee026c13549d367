"""Which ready task next."""

from __future__ import annotations

import pytest

from graphfutures.core.graph import Task
from graphfutures.core.policy import STREAK, Policy
from graphfutures.core.states import CANCELLED, READY
from graphfutures.core.tokens import Tokens


class Named(Task):
    __slots__ = ("name",)
    name: str


def ready(name: str, *, priority: float = 0, nested: bool = False, **resources: float) -> Named:
    task = Named(0)
    task.name = name
    task.state = READY
    task.special = bool(priority or nested or resources)
    task.priority = priority
    task.nested = nested
    task.resources = resources
    return task


def popped(policy: Policy, most: int = 1000) -> list[str]:
    names: list[str] = []
    while len(names) < most and (task := policy.pop()) is not None:
        assert isinstance(task, Named)
        names.append(task.name)
    return names


def roots(policy: Policy, number: int) -> None:
    for n in range(number):
        policy.push_early(ready(f"root {n}"))


def test_nothing() -> None:
    policy = Policy()
    assert (policy.pop(), policy.has_any(), len(policy)) == (None, False, 0)


def test_each_kind_in_its_turn() -> None:
    policy = Policy()
    roots(policy, 2)
    policy.push_early(ready("last", priority=-1))
    policy.push_early(ready("nested 0", nested=True))
    policy.push_early(ready("nested 1", nested=True))
    policy.push_continuation(ready("continued 0"))
    policy.push_continuation(ready("continued 1"))
    policy.push_early(ready("first", priority=0.5))
    policy.push_continuation(ready("very first", priority=2))
    policy.urgent += [ready("urgent 0"), ready("urgent 1")]
    assert len(policy) == 9
    assert popped(policy) == [
        *("urgent 1", "urgent 0", "very first", "first", "continued 1", "continued 0"),
        *("nested 0", "nested 1", "root 0", "root 1", "last"),
    ]
    assert not policy.has_any()


def test_of_one_priority_roots_go_in_order_and_continuations_the_newest_first() -> None:
    policy = Policy()
    for n in range(2):
        policy.push_early(ready(f"early {n}", priority=1))
        policy.push_continuation(ready(f"continued {n}", priority=1))
    assert popped(policy) == ["continued 1", "continued 0", "early 0", "early 1"]


def test_a_priority_goes_before_nested() -> None:
    policy = Policy()
    policy.push_early(ready("nested", nested=True))
    policy.push_early(ready("nested first", nested=True, priority=1))
    policy.push_early(ready("nested last", nested=True, priority=-1))
    roots(policy, 1)
    assert popped(policy) == ["nested first", "nested", "root 0", "nested last"]


def test_what_is_not_ready_any_more_is_passed_over() -> None:
    policy = Policy()
    gone = [
        ready("root"),
        ready("nested", nested=True),
        ready("first", priority=1),
        ready("last", priority=-1),
        ready("urgent"),
    ]
    for task in gone[:-1]:
        policy.push_early(task)
    policy.urgent.append(gone[-1])
    roots(policy, 1)
    for task in gone:
        task.state = CANCELLED
    assert popped(policy) == ["root 0"]


def test_what_is_urgent_twice_runs_once() -> None:
    policy = Policy()
    task = ready("once")
    policy.push_early(task)
    policy.urgent += [task, task]
    assert policy.pop() is task
    task.state = CANCELLED  # or running, or done
    assert policy.pop() is None


@pytest.mark.parametrize("kind", ["continuations", "nested", "both"])
def test_after_a_streak_the_oldest_root_goes_first(kind: str) -> None:
    policy = Policy()
    roots(policy, 3)
    for n in range(3 * STREAK):
        if kind == "nested" or (kind == "both" and n % 2):
            policy.push_early(ready("other", nested=True))
        else:
            policy.push_continuation(ready("other"))
    names = popped(policy)
    assert [n for n, name in enumerate(names) if name != "other"] == [STREAK, 2 * STREAK + 1, 3 * STREAK + 2]
    assert [name for name in names if name != "other"] == ["root 0", "root 1", "root 2"]


def test_without_roots_a_streak_goes_on_and_the_first_root_is_at_once_due() -> None:
    policy = Policy()
    for _ in range(STREAK + 5):
        policy.push_early(ready("nested", nested=True))
    assert popped(policy, STREAK + 2) == ["nested"] * (STREAK + 2)
    roots(policy, 2)
    assert popped(policy) == ["root 0", "nested", "nested", "nested", "root 1"]


def test_what_is_urgent_or_has_a_priority_is_no_part_of_a_streak() -> None:
    policy = Policy()
    roots(policy, 1)
    policy.push_early(ready("nested", nested=True))
    for _ in range(2 * STREAK):
        policy.push_early(ready("first", priority=1))
        policy.urgent.append(ready("urgent"))
    assert popped(policy) == ["urgent"] * 2 * STREAK + ["first"] * 2 * STREAK + ["nested", "root 0"]


def test_when_it_is_full_only_what_is_waited_for_is_begun() -> None:
    policy = Policy()
    roots(policy, 2)
    policy.push_early(ready("nested", nested=True))
    policy.full = True
    assert not policy.has_any()
    assert policy.pop() is None
    policy.push_continuation(ready("continued"))
    policy.urgent.append(ready("urgent"))
    assert policy.has_any()
    assert popped(policy) == ["urgent", "continued"]
    policy.full = False
    assert popped(policy) == ["nested", "root 0", "root 1"]


def test_a_task_of_a_lane_gets_its_tokens_or_is_put_aside() -> None:
    tokens = Tokens({"gpu": 1})
    policy, side = Policy("", tokens), Policy("side", tokens)
    first, second = ready("first", gpu=1), ready("second", gpu=1)
    for task in (first, second, ready("free")):
        policy.push_early(task)
    assert popped(policy) == ["first", "free"]
    assert tokens.waiting() == [second]
    assert not policy.has_any()
    tokens.give_back(first)
    assert policy.has_any()
    assert not side.has_any()
    assert popped(side) == []
    assert popped(policy) == ["second"]
