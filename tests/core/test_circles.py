"""Whether a wait closes a circle: the way back, and no other, is found."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st

from graphfutures.core.circles import AnyOf, circle
from graphfutures.core.graph import Task


def tasks(number: int) -> list[Task]:
    return [Task(0) for _ in range(number)]


def found(edges: Mapping[Task, Collection[Task]], task: Task, needs: Collection[Task]) -> list[Task]:
    return circle(task, needs, lambda task: edges.get(task, []))


def test_no_needs_no_circle() -> None:
    (one,) = tasks(1)
    assert found({}, one, []) == []


def test_a_task_that_needs_itself() -> None:
    (one,) = tasks(1)
    assert found({}, one, [one]) == [one]


def test_needs_of_its_own_are_not_looked_at() -> None:
    one, two = tasks(2)
    assert found({one: [one]}, one, [two]) == []


def test_the_way_goes_from_the_need_to_the_task() -> None:
    one, two, three, aside = tasks(4)
    edges = {two: [aside, three], three: [aside, one], aside: []}
    assert found(edges, one, [aside, two]) == [two, three, one]


def test_a_circle_that_the_task_is_not_in() -> None:
    one, two, three = tasks(3)
    assert found({two: [three], three: [two]}, one, [two]) == []


def test_a_diamond_is_no_circle() -> None:
    one, left, right, end = tasks(4)
    assert found({left: [end], right: [end]}, one, [left, right]) == []


def test_many_ways_are_gone_once() -> None:
    """Thirty diamonds in a row have 2³⁰ ways."""
    one = Task(0)
    edges: dict[Task, list[Task]] = {}
    asked: list[Task] = []
    last = first = Task(0)
    for _ in range(30):
        left, right, end = tasks(3)
        edges.update({last: [left, right], left: [end], right: [end]})
        last = end

    def needs(task: Task) -> list[Task]:
        asked.append(task)
        return edges.get(task, [])

    assert circle(one, [first], needs) == []
    assert len(asked) == len(set(asked)) == 91


def test_a_long_way_needs_no_recursion() -> None:
    way = tasks(100_000)
    edges = {before: [after] for before, after in itertools.pairwise(way)}
    assert found(edges, way[-1], [way[0]]) == way


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20), st.lists(st.integers(0, 7), max_size=3))
def test_it_finds_a_way_exactly_if_there_is_one(pairs: list[tuple[int, int]], needs: list[int]) -> None:
    known = tasks(8)
    edges: dict[Task, list[Task]] = {}
    for before, after in pairs:
        edges.setdefault(known[before], []).append(known[after])
    reached = {known[n] for n in needs}
    while more := {after for task in reached for after in edges.get(task, [])} - reached:
        reached |= more
    way = found(edges, known[0], [known[n] for n in needs])
    assert bool(way) == (known[0] in reached)
    if way:
        assert way[0] in {known[n] for n in needs}
        assert way[-1] is known[0]
        assert len(set(way)) == len(way)
        assert all(after in edges[before] for before, after in itertools.pairwise(way))


def test_one_of_several_is_enough() -> None:
    one, two, aside = tasks(3)
    edges = {two: [one]}
    assert found(edges, one, AnyOf([two, aside])) == []
    assert found(edges, one, AnyOf([two])) == [two, one]
    assert found(edges, one, AnyOf([two, one])) != []
    assert found({two: AnyOf([one, aside])}, one, [two]) == []
    assert found({two: AnyOf([one, aside]), aside: [two]}, one, [two]) == [two, one]


needs_of_eight = st.tuples(st.booleans(), st.lists(st.integers(0, 7), max_size=3))


@given(st.lists(needs_of_eight, min_size=8, max_size=8))
def test_a_task_is_stuck_exactly_if_no_order_lets_it_go_on(kinds: list[tuple[bool, list[int]]]) -> None:
    known = tasks(8)
    edges = {
        task: (AnyOf if choice else list)([known[n] for n in needs])
        for task, (choice, needs) in zip(known, kinds, strict=True)
    }
    free: set[Task] = set()
    for _ in known:
        free |= {
            task
            for task, needs in edges.items()
            if not needs or (any if type(needs) is AnyOf else all)(need in free for need in needs)
        }
    stuck, back = known[0] not in free, found(edges, known[0], edges[known[0]])
    if back:
        assert stuck
        assert back[-1] is known[0]
    elif stuck:  # on a circle that it is not in
        assert not circle(known[0], list(edges[known[0]]), lambda task: list(edges[task]))
