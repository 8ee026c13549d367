"""In which order a graph that is known whole is run: every task once, after its inputs, with few values alive."""

from __future__ import annotations

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphfutures.ordering import ordered

Graph = list[list[int]]


def room(graph: Graph, order: list[int]) -> int:
    """The most values that are alive before a step."""
    left = [0] * len(graph)
    for needs in graph:
        for need in needs:
            left[need] += 1
    alive = most = 0
    for task in order:
        most = max(most, alive)
        alive += left[task] > 0
        for need in graph[task]:
            left[need] -= 1
            alive -= not left[need]
    return most


def check(graph: Graph, order: list[int]) -> None:
    place = {task: number for number, task in enumerate(order)}
    assert len(place) == len(order) == len(graph)
    assert all(place[need] < place[task] for task, needs in enumerate(graph) for need in needs)


def tree(leaves: int) -> Graph:
    graph: Graph = [[] for _ in range(leaves)]
    layer = list(range(leaves))
    while len(layer) > 1:
        graph += [[a, b] for a, b in zip(layer[::2], layer[1::2], strict=True)]
        layer = list(range(len(graph) - len(layer) // 2, len(graph)))
    return graph


CHAIN: Graph = [[], *([number] for number in range(50))]
FAN: Graph = [[], *([0] for _ in range(50)), list(range(1, 51))]
#: pairs of sources, of which each pair gives three values to three sums
SUMS: Graph = [
    *([] for _ in range(40)),
    *(pair for n in range(20) for pair in ([2 * n], [2 * n + 1], [2 * n, 2 * n + 1])),
    *([40 + 3 * n + which for n in range(20)] for which in range(3)),
]


@pytest.mark.parametrize(("graph", "limit"), [(CHAIN, 1), (tree(64), 7), (FAN, 51), (SUMS, 62), ([], 0), ([[]], 0)])
def test_as_few_as_can_be(graph: Graph, limit: int) -> None:
    order = ordered(graph)
    check(graph, order)
    assert room(graph, order) <= limit


def test_independent_chains_are_run_one_after_the_other() -> None:
    graph: Graph = [[number - 1] if number % 10 else [] for number in range(200)]
    assert room(graph, ordered(graph)) == 1


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30))
def test_every_task_once_and_after_its_inputs(choices: list[list[int]]) -> None:
    graph = [sorted({choice % task for choice in chosen} if task else set()) for task, chosen in enumerate(choices)]
    order = ordered(graph)
    check(graph, order)
    assert room(graph, order) <= len(graph)


def test_keys_that_need_each_other() -> None:
    with pytest.raises(ValueError, match="circle") as raised:
        ordered([[], [0, 3], [1], [2]])
    assert raised.value.args[1] == [1, 2, 3]


@pytest.mark.parametrize("shape", ["chain", "fan", "sums", "wide"])
def test_the_time_grows_with_the_graph_alone(shape: str) -> None:
    def made(size: int) -> Graph:
        if shape == "chain":
            return [[], *([number] for number in range(size))]
        if shape == "fan":
            return [[], *([0] for _ in range(size)), list(range(1, size + 1))]
        if shape == "sums":
            return [*([] for _ in range(size)), *(list(range(size)) for _ in range(3))]
        return [[], *([0] for _ in range(size)), *([number, 0] for number in range(1, size + 1))]

    def seconds(size: int) -> float:
        graph, began = made(size), thread_time()
        ordered(graph)
        return thread_time() - began

    small = min(seconds(4_000) for _ in range(3))
    assert min(seconds(40_000) for _ in range(2)) < 40 * small
