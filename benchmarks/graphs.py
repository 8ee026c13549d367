"""Graphs of steps: one description of each, run as chained futures here and as a dict of tuples by dask.

Costs are seconds per task, from before the first submit until the values of all outputs are here. dask gets its dict
ready made, in the form that people write by hand, which it converts to its own within the measured time; our side pays
for submitting.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from time import perf_counter
from typing import Any

from benchmarks.steps import WORKERS, Step, count, start_workers, step, step_here
from graphfutures import GraphExecutor

TASKS = 20_000
WIDTH = 100  # tasks in one layer of the layered graph

Inputs = tuple[int, ...] | list[int]  # by the tasks' numbers; a list is one argument, a list of futures


@dataclass(frozen=True, slots=True)
class Graph:
    """Tasks by number, each after its inputs, and the numbers of those that nothing depends on."""

    inputs: Sequence[Inputs]
    outputs: Sequence[int]

    def expected(self) -> list[int]:
        """What the outputs' steps return when they got all their arguments."""
        return [1 if isinstance(self.inputs[number], list) else len(self.inputs[number]) for number in self.outputs]

    def submit(self, executor: Executor, function: Step) -> list[Future[int]]:
        """Submit every task and keep the futures of the outputs alone, as a user would."""
        futures: list[Future[int]] = []
        for inputs in self.inputs:
            arguments = [futures[number] for number in inputs]
            if isinstance(inputs, list):
                futures.append(executor.submit(function, arguments))
            else:
                futures.append(executor.submit(function, *arguments))
        return [futures[number] for number in self.outputs]

    def as_dict(self, function: Step) -> dict[str, tuple[Any, ...]]:
        """The same tasks as dask's graphs are written."""
        return {
            f"step-{number}": (
                (function, [f"step-{one}" for one in inputs])
                if isinstance(inputs, list)
                else (function, *(f"step-{one}" for one in inputs))
            )
            for number, inputs in enumerate(self.inputs)
        }


MakeGraph = Callable[[int], Graph]
OfShape = Callable[[MakeGraph, float], float]


@lru_cache
def chain(tasks: int) -> Graph:
    """Each task on the one before."""
    return Graph([(), *((number,) for number in range(tasks - 1))], [tasks - 1])


@lru_cache
def tree(tasks: int) -> Graph:
    """A binary tree: leaves, then pairs of what is there until one is left."""
    leaves = (tasks + 1) // 2
    pairs = [(2 * pair, 2 * pair + 1) for pair in range(leaves - 1)]
    return Graph([*[()] * leaves, *pairs], [2 * leaves - 2])


@lru_cache
def fan(tasks: int) -> Graph:
    """One task, many on it, and one that gets all of these in a list."""
    middle = range(1, max(2, tasks - 1))
    return Graph([(), *[(0,)] * len(middle), list(middle)], [len(middle) + 1])


@lru_cache
def layered(tasks: int) -> Graph:
    """Layers of tasks, each on one to three tasks of the layer before, drawn with a fixed seed."""
    draw = Random(0)
    width = min(WIDTH, (tasks + 1) // 2)
    inputs: list[Inputs] = [()] * width
    for number in range(width, tasks):
        layer = number // width * width
        inputs.append(tuple(draw.sample(range(layer - width, layer), min(width, draw.randint(1, 3)))))
    used = {number for numbers in inputs for number in numbers}
    return Graph(inputs, [number for number in range(tasks) if number not in used])


def check(graph: Graph, results: Sequence[int]) -> None:
    """A graph that gave wrong values is not a fast one."""
    if list(results) != graph.expected():
        raise AssertionError("the graph's outputs are not what its steps should have returned")


def on_executor(executor: Executor, graph: Graph, function: Step) -> float:
    """Run the graph as futures that are given as arguments."""
    started = perf_counter()
    results = [future.result() for future in graph.submit(executor, function)]
    cost = perf_counter() - started
    check(graph, results)
    return cost / len(graph.inputs)


def on_threads(make: MakeGraph, scale: float) -> float:
    """The graph on our threads."""
    with GraphExecutor(WORKERS) as executor:
        start_workers(executor, WORKERS)
        return on_executor(executor, make(count(TASKS, scale)), step)


def inline(make: MakeGraph, scale: float) -> float:
    """The graph in the submitting thread."""
    with GraphExecutor(backend="inline") as executor:
        return on_executor(executor, make(count(TASKS, scale)), step_here)


def by_dask(get: Callable[..., Any], graph: Graph, function: Step, **options: object) -> float:
    """Run the graph by one of dask's `get` functions."""
    dsk = graph.as_dict(function)
    keys = [f"step-{number}" for number in graph.outputs]
    started = perf_counter()
    results = get(dsk, keys, **options)
    cost = perf_counter() - started
    check(graph, results)
    return cost / len(graph.inputs)


def whole_threads(make: MakeGraph, scale: float) -> float:
    """The graph as dask's, on our threads."""
    with GraphExecutor(WORKERS) as executor:
        start_workers(executor, WORKERS)
        return by_dask(executor.get, make(count(TASKS, scale)), step)


def whole_inline(make: MakeGraph, scale: float) -> float:
    """The graph as dask's, in this thread."""
    with GraphExecutor(backend="inline") as executor:
        return by_dask(executor.get, make(count(TASKS, scale)), step_here)


def dask_threads(make: MakeGraph, scale: float) -> float:
    """The graph by ``dask.threaded.get``, on a pool whose threads run already."""
    import dask.threaded

    with ThreadPoolExecutor(WORKERS) as pool:
        start_workers(pool, WORKERS)
        return by_dask(dask.threaded.get, make(count(TASKS, scale)), step, pool=pool)


def dask_inline(make: MakeGraph, scale: float) -> float:
    """The graph by ``dask.get``, which runs it in the calling thread."""
    import dask

    return by_dask(dask.get, make(count(TASKS, scale)), step_here)
