"""Graphs as dask writes them, without dask: what they mean, on each backend (CONTRACT 11)."""

from __future__ import annotations

import threading
import weakref
from collections import namedtuple
from concurrent.futures import Future
from operator import add
from typing import Any

import pytest
from patience import LIMIT, until

import graphfutures
from graphfutures import GraphExecutor, allow_failure, current_executor, delayed, quote
from graphfutures.graphs import pieces

Pair = namedtuple("Pair", "first second")


def inc(number: int) -> int:
    return number + 1


def fail(*needs: Any) -> None:
    raise ValueError("bad")


@pytest.fixture(params=["threads", "inline"])
def executor(request):
    with GraphExecutor(2, backend=request.param) as executor:
        yield executor


GRAPH = {
    "x": 1,
    "y": (inc, "x"),
    "z": (add, "x", "y"),
    "alias": "z",
    "list": ["x", "y", [("z")], "no key"],
    "sum": (sum, ["x", "y", "z"]),
    "nested": (add, (inc, "x"), (inc, (inc, "y"))),
    "in a list": (sum, [(inc, "x"), "y"]),
    ("tuple", 0): (inc, "sum"),
    "by tuple": (inc, ("tuple", 0)),
    "data": {"x": "y"},
    "dict": (len, {"x": "y"}),
    "set": (len, {1, 2}),
    "no call": (str, "not a key"),
    7: (inc, 8),
    8: 100,
    "tuple of keys": (list, ("x", "y")),
    "named": (list, Pair("x", (inc, "x"))),
    "calls in a list": [(inc, "x"), {"y"}],
    "nothing": (dict,),
    "float": (inc, 7.0),
}
VALUES = {
    "x": 1,
    "y": 2,
    "z": 3,
    "alias": 3,
    "list": [1, 2, [3], "no key"],
    "sum": 6,
    "nested": 6,
    "in a list": 4,
    ("tuple", 0): 7,
    "by tuple": 8,
    "data": {"x": "y"},
    "dict": 1,
    "set": 2,
    "no call": "not a key",
    7: 101,
    8: 100,
    "tuple of keys": [1, 2],
    "named": [1, 2],
    "calls in a list": [2, {2}],
    "nothing": {},
    "float": 102,
}


@pytest.mark.parametrize("key", GRAPH)
def test_what_a_graph_means(executor, key):
    assert executor.get(GRAPH, key) == VALUES[key]
    assert executor(GRAPH, [key]) == (VALUES[key],)


def test_keys_in_any_nesting(executor):
    assert executor.get(GRAPH, [["x"], "y", [["z", "x"], []]]) == ((1,), 2, ((3, 1), ()))
    assert executor.get(GRAPH, []) == ()
    assert executor.get(GRAPH, list(GRAPH)) == tuple(VALUES.values())


@pytest.mark.parametrize("keys", ["missing", ["x", "missing"], [["missing"]]])
def test_a_key_that_is_not_there(executor, keys):
    for graph in (GRAPH, {**GRAPH, "missing": "missing"}):
        with pytest.raises(KeyError, match="missing"):
            executor.get(graph, keys)


def test_a_long_chain(executor):
    graph: dict[str, Any] = {f"x{n + 1}": (inc, f"x{n}") for n in range(10_000)}
    assert executor.get({**graph, "x0": 0}, "x10000") == 10_000


def test_only_what_is_asked_for_is_run(executor):
    assert executor.get({"a": (fail,), "b": (inc, 1)}, "b") == 2


def test_a_circle_is_told(executor):
    with pytest.raises(ValueError, match="'a', 'b' need each other"):
        executor.get({"a": (inc, "b"), "b": (inc, "a"), "c": 1}, ["a", "c"])


def test_a_key_that_needs_itself(executor):
    with pytest.raises(ValueError, match=r"the graph has a circle: 'a' needs itself$"):
        executor.get({"a": (inc, "a")}, "a")


def test_a_tuple_of_keys_is_one_key(executor):
    with pytest.raises(KeyError, match="'x', 'y'") as raised:
        executor.get({"x": 1, "y": 2}, ("x", "y"))
    assert raised.value.__notes__ == ["a tuple is one key; several are given as a list: ['x', 'y']"]
    with pytest.raises(KeyError) as raised:
        executor.get({"x": 1}, ("x", "z"))
    assert not hasattr(raised.value, "__notes__")


def test_something_else_than_a_graph(executor):
    with pytest.raises(TypeError, match="a graph is a mapping of keys to tasks"):
        executor.get([1, 2], "x")


def test_a_failure_has_its_type_and_its_key(executor):
    with pytest.raises(ValueError, match="bad") as raised:
        executor.get({"load": (fail,), "next": (inc, "load"), "last": (inc, "next")}, "last")
    assert any("load" in note and "next" in note for note in raised.value.__notes__)
    with pytest.raises(ValueError, match="bad") as raised:
        executor.get({"load": (fail,)}, "load")
    assert any("load" in note for note in raised.value.__notes__)


def test_after_a_failure_nothing_is_left_running():
    gate, ran = threading.Event(), []

    def stand():
        gate.wait(LIMIT)
        ran.append(True)

    with GraphExecutor(2) as executor:
        graph: dict[str, Any] = {"fails": (fail,), "stands": (stand,)}
        graph |= {f"later {n}": (ran.append, "stands") for n in range(20)}

        def ask():
            with pytest.raises(ValueError, match="bad"):
                executor.get(graph, ["fails", *graph])

        asking = threading.Thread(target=ask)
        asking.start()
        assert until(lambda: executor.stats()["cancelled"] == 20)
        assert asking.is_alive()
        gate.set()
        asking.join(LIMIT)
        assert ran == [True]
        assert executor.stats()["running"] == 0


def test_values_go_when_nobody_needs_them(executor):
    class Thing:
        pass

    alive: weakref.WeakSet[Thing] = weakref.WeakSet()
    most = [0]

    def make(*needs):
        made = Thing()
        alive.add(made)
        most[0] = max(most[0], len(alive))
        return made

    graph: dict[Any, Any] = {0: (make,)}
    for number in range(1, 200):
        graph[number] = (make, number - 1)
    executor.get({**graph, "end": (lambda last: None, 199)}, "end")
    assert most[0] <= 4
    assert until(lambda: not alive)


def test_data_do_not_change_what_is_run_first():
    """They are there all the time: to be done with one early is no reason to begin what needs it."""
    size = range(5)
    places = [(row, column) for row in size for column in size]
    sums: dict[Any, Any] = {("sum", *place): (sum, [("term", *place, n) for n in size]) for place in places}
    graph = {"total": (sum, list(sums)), **sums, **{("data", *place): 1 for place in places}}
    for row, column in places:
        for n in size:
            graph["term", row, column, n] = (add, ("data", row, n), ("data", column, n))
    terms, most = 0, 0
    for key in pieces(graph, ["total"]):
        terms += {"term": 1, "sum": -len(size)}.get(key[0], 0)
        most = max(most, terms)
    assert most == len(size)


def test_tasks_are_remembered_by_their_keys(executor):
    executor.get({("x", 0): (inc, 1), "y": (inc, ("x", 0))}, "y")
    names = [attempt.name for attempt in executor.attempts()]
    assert names == ["('x', 0)", "y"]


def test_futures_in_a_graph(executor):
    theirs: Future[int] = Future()
    theirs.set_result(5)
    assert executor.get({"a": executor.submit(abs, -1), "b": theirs, "c": (add, "a", "b")}, ["a", "b", "c"]) == (
        1,
        5,
        6,
    )


def test_graphs_inside_tasks():
    def inner(number):
        return graphfutures.get({"a": (inc, number), "b": (inc, "a")}, "b")

    with GraphExecutor(1) as executor:
        before = threading.active_count()
        graph = {f"graph {n}": (inner, n) for n in range(20)}
        assert executor.get(graph, list(graph)) == tuple(n + 2 for n in range(20))
        assert threading.active_count() <= before + 2


def test_an_interrupt_cancels_what_running_tasks_have_submitted():
    gate, inside, ran = threading.Event(), threading.Event(), []

    def stand():
        inside.set()
        gate.wait(LIMIT)

    def inner():
        current_executor().submit(ran.append, current_executor().submit(stand))
        graphfutures.get({"a": (stand,), **{f"x{n}": (ran.append, "a") for n in range(5)}}, ["a", "x0", "x4"])

    def outer():
        graphfutures.get({"a": (inner,), "b": (ran.append, "a")}, "b")

    def interrupt():
        inside.wait(LIMIT)
        raise KeyboardInterrupt

    with GraphExecutor(4) as executor:
        other = executor.submit(gate.wait, LIMIT)
        last = executor.submit(str, other)
        with pytest.raises(KeyboardInterrupt):
            executor.get({"outer": (outer,), "interrupt": (interrupt,)}, ["outer", "interrupt"])
        gate.set()
        assert last.result(LIMIT) == "True"
    assert not ran


def test_a_failure_is_told_before_what_takes_long():
    gate = threading.Event()
    with GraphExecutor(2) as executor:
        graph = {"long": (gate.wait, LIMIT), "later": (str, "long"), "fails": (fail,)}
        failed = []

        def ask():
            with pytest.raises(ValueError, match="bad"):
                executor.get(graph, ["later", "fails"])
            failed.append(True)

        asking = threading.Thread(target=ask)
        asking.start()
        assert until(lambda: executor.stats()["cancelled"])
        gate.set()
        asking.join(LIMIT)
        assert failed


def test_futures_beside_keys(executor):
    future, lazy, theirs = executor.submit(abs, -3), delayed(abs)(-4), Future()
    theirs.set_result(5)
    graph = {
        "x": 1,
        "list": (list, ["x", future, [lazy, "x"], theirs]),
        "nested": (add, (sum, ["x", future]), (add, lazy, theirs)),
        "data": ["x", future, lazy, future],
        "dict": (list, [(len, {"a": future}), "x", (dict, {"a": future, "b": [lazy]})]),
        "a dict": {"a": [future]},
        "lazy": lazy,
        "left alone": (list, ["x", quote({"a": 1})]),
    }
    found = executor.get(graph, [key for key in graph if key != "x"])
    assert found == ([1, 3, [4, 1], 5], 13, [1, 3, 4, 3], [1, 1, {"a": 3, "b": [4]}], {"a": [3]}, 4, [1, {"a": 1}])


def test_a_future_in_a_graph_that_may_fail(executor):
    with GraphExecutor(1) as other:
        for bad in (executor.submit(int, "x"), other.submit(int, "x")):
            assert executor.get({"a": (repr, allow_failure(bad))}, "a").startswith("ValueError")
            assert executor.get({"a": (repr, [allow_failure(bad)])}, "a").startswith("[ValueError")
            assert executor.get({"f": allow_failure(bad), "a": (repr, "f")}, "a").startswith("ValueError")
