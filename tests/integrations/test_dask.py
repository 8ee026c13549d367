"""dask's own suite for schedulers, its collections, its callbacks and annotations, and its orders, on ours."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import ThreadPool
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import dask.threaded
import numpy as np
import pandas as pd
import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.diagnostics import Profiler, ProgressBar
from dask.graph_manipulation import bind, clone, wait_on
from dask.utils_test import GetFunctionTestMixin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import LIMIT, in_time

import graphfutures
from graphfutures import GraphExecutor, allow_failure, compute, delayed, quote
from graphfutures.backends.processes.functions import Functions
from graphfutures.ordering import ordered

Pair = namedtuple("Pair", "first second")


class Flaky:
    """Fails twice.

    :param file: which copies in all processes write their tries to.
    """

    def __init__(self, file):
        self.file = file

    def __call__(self, number):
        with self.file.open("a") as tries:
            tries.write("x")
        if self.file.stat().st_size < 3:
            raise OSError("not yet")
        return number


class TestThreaded(GetFunctionTestMixin):
    get = staticmethod(graphfutures.threaded.get)


class TestSynchronous(GetFunctionTestMixin):
    get = staticmethod(graphfutures.synchronous.get)


@pytest.mark.usefixtures("processes_by_name")
class TestMultiprocessing(GetFunctionTestMixin):
    get = staticmethod(partial(graphfutures.multiprocessing.get, num_workers=2))


class TestDefault(GetFunctionTestMixin):
    get = staticmethod(graphfutures.get)


class TestExecutor(GetFunctionTestMixin):
    def get(self, graph, keys, **keywords):
        with GraphExecutor(2) as executor:
            return executor(graph, keys, **keywords)


@pytest.fixture(scope="module", autouse=True)
def dasks_own_pool() -> None:
    """Its threads stay, and are there before those of each test are counted."""
    dask.threaded.get({f"x{n}": (abs, n) for n in range(20)}, [f"x{n}" for n in range(20)])


def ways(executor: GraphExecutor) -> list[dict[str, Any]]:
    """How a scheduler may be given to dask."""
    return [
        {"scheduler": executor},
        {"scheduler": executor, "num_workers": 1},
        {"scheduler": executor.get},
        {"scheduler": graphfutures.get},
        {"scheduler": graphfutures.threaded.get, "num_workers": 2},
        {"scheduler": graphfutures.synchronous.get},
    ]


FRAME = pd.DataFrame(
    {"key": [n % 7 for n in range(200)], "value": range(200), "text": [f"t{n % 5}" for n in range(200)]}
)
ASKED = {
    "sum": lambda frame, array, bag: frame.value.sum(),
    "length": lambda frame, array, bag: frame.map_partitions(len).sum(),
    "filtered mean": lambda frame, array, bag: frame[frame.value > 20].groupby("key").value.mean(),
    "count": lambda frame, array, bag: frame.groupby("text").key.count(),
    "join": lambda frame, array, bag: frame.merge(frame.groupby("key").value.max().reset_index(), on="key"),
    "sorted": lambda frame, array, bag: frame.sort_values("text"),
    "shuffled": lambda frame, array, bag: frame.shuffle("key").groupby("key").value.sum(),
    "matmul": lambda frame, array, bag: (array @ array.T).mean(),
    "reduction": lambda frame, array, bag: array.std(axis=0),
    "svd": lambda frame, array, bag: da.linalg.svd(array.rechunk((50, -1)))[1],
    "grouped": lambda frame, array, bag: bag.groupby(lambda n: n % 3),
    "folded": lambda frame, array, bag: bag.map(lambda n: n + 1).fold(add),
}


def collections() -> tuple[Any, Any, Any]:
    array = da.from_array(np.arange(200.0 * 20).reshape(200, 20) % 13, chunks=(50, 20))
    return dd.from_pandas(FRAME, npartitions=4), array, db.range(40, npartitions=4)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, (pd.DataFrame, pd.Series)):
        order = lambda found: found.sort_values([*found.columns] if found.ndim == 2 else None, ignore_index=True)  # noqa: E731
        if isinstance(theirs, pd.DataFrame):
            return order(ours).equals(order(theirs))
        return ours.sort_index().equals(theirs.sort_index())
    if isinstance(theirs, list):
        return {key: sorted(group) for key, group in ours} == {key: sorted(group) for key, group in theirs}
    return bool(np.allclose(ours, theirs))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("asked", ASKED)
def test_collections_give_what_they_give_on_dask(executor, asked):
    lazy = ASKED[asked](*collections())
    theirs = lazy.compute(scheduler="sync")
    assert same(lazy.compute(scheduler=executor), theirs)
    with dask.config.set(scheduler=executor):
        assert same(lazy.compute(), theirs)
    assert same(lazy.persist(scheduler=executor).compute(scheduler="sync"), theirs)


@pytest.mark.filterwarnings("ignore")
def test_every_way_to_name_the_scheduler(executor):
    frame, array, bag = collections()
    for way in ways(executor):
        found = dask.compute(frame.value.sum(), array.sum(), bag.sum(), dask.delayed(add)(1, 2), **way)
        assert found == (19900, float(np.sum(np.arange(4000) % 13)), 780, 3)


@pytest.mark.filterwarnings("ignore")
def test_read_csv_in_partitions(executor, tmp_path):
    for number in range(3):
        FRAME.to_csv(tmp_path / f"part-{number}.csv", index=False)
    frame = dd.read_csv(str(tmp_path / "part-*.csv"))
    assert frame.groupby("key").value.sum().compute(scheduler=executor).sum() == 3 * FRAME.value.sum()
    assert len(frame) == 600


def test_callbacks_are_called_in_the_calling_thread(executor, capsys):
    threads: set[int] = set()

    class Noting(dask.callbacks.Callback):
        def _pretask(self, key, dsk, state):
            threads.add(threading.get_ident())

        def _posttask(self, key, result, dsk, state, worker_id):
            threads.add(threading.get_ident())

    array = da.ones((40, 40), chunks=(10, 10)).sum()
    with Profiler() as profile, ProgressBar(), Noting():
        assert array.compute(scheduler=executor) == 1600
    assert profile.results
    assert "100%" in capsys.readouterr().out
    assert threads == {threading.get_ident()}


@pytest.mark.asks(shares_memory=True)
def test_callbacks_inside_a_task(backend):
    profiler = Profiler()
    profiler.register()
    try:
        with GraphExecutor(1, backend=backend) as executor:
            assert in_time(executor.submit(lambda: delayed(abs)(-1).compute()).result) == 1
    finally:
        profiler.unregister()
    assert len(profiler.results) == 1


def test_retries_under_callbacks(executor, tmp_path):
    tries = tmp_path / "tries"
    with dask.annotate(retries=2):
        annotated = delayed(Flaky(tries))(1)
    with Profiler() as profile:
        assert annotated.compute(scheduler=executor) == 1
        tries.unlink()
        assert executor.get({"x": (Flaky(tries), 2)}, "x", retries=2) == 2
        tries.unlink()
        with pytest.raises(OSError, match="not yet"):
            executor.get({"x": (Flaky(tries), 2)}, "x")
    assert len(profile.results) == 2


def test_a_failure_under_callbacks():
    running, gate, ended = threading.Event(), threading.Event(), []

    def fail():
        running.wait(LIMIT)
        raise LookupError("bad")

    def stand():
        running.set()
        gate.wait(LIMIT)
        ended.append(True)

    with GraphExecutor(2) as executor, Profiler():
        graph = {"fails": (fail,), "stands": (stand,), "last": (list, ["fails", "stands"])}
        opener = threading.Timer(0.2, gate.set)
        opener.start()
        with pytest.raises(LookupError, match="bad") as raised:
            executor.get(graph, "last")
        assert ended
        assert executor.stats()["running"] == 0
        assert any("fails" in note for note in raised.value.__notes__)
        opener.join(LIMIT)


def test_annotations_are_kept(executor, tmp_path):
    tries = tmp_path / "tries"
    with dask.annotate(retries=2):
        lazy = dask.delayed(Flaky(tries))(7)
    assert dask.compute(lazy, scheduler=executor, optimize_graph=False) == (7,)
    assert tries.stat().st_size == 3


def test_a_pool_of_the_user():
    with ThreadPool(2) as pool:
        assert graphfutures.threaded.get({"x": (abs, -1)}, "x", pool=pool) == 1
        with dask.config.set(pool=pool):
            assert graphfutures.get({"x": (abs, -1)}, "x") == 1


@pytest.mark.asks(shares_memory=True)
def test_contexts_reach_the_tasks(executor):
    var: ContextVar[int] = ContextVar("var", default=0)
    var.set(3)
    assert dask.delayed(var.get)().compute(scheduler=executor) == 3


def test_computations_inside_tasks():
    def inner(number):
        return da.ones(number, chunks=2).sum().compute(scheduler=graphfutures.get)

    with GraphExecutor(1) as executor:
        before = threading.active_count()
        found = dask.compute(*[dask.delayed(inner)(number) for number in range(1, 9)], scheduler=executor)
        assert found == tuple(range(1, 9))
        assert threading.active_count() <= before + 3


def test_a_failure_in_the_middle_of_a_collection(executor):
    def fail(part):
        raise LookupError("bad")

    array = da.ones(10, chunks=2, name="ones").map_blocks(fail, dtype=float, name="failing").sum()
    with pytest.raises(LookupError, match="bad") as raised:
        array.compute(scheduler=executor, optimize_graph=False)
    assert any("failing" in note for note in raised.value.__notes__)
    assert executor.stats()["running"] == 0


def test_our_delayed_objects_are_collections_of_dask(executor):
    ours = delayed(add)(1, delayed(2))
    assert dask.compute(ours, [ours + 1], scheduler=executor) == (3, [4])
    assert compute(ours, scheduler=dask.get) == (3,)


@pytest.mark.filterwarnings("ignore")
def twice(lazy: Any) -> Any:
    return delayed(add)(lazy, lazy)


@pytest.mark.parametrize(
    "lazy", [delayed(abs)(-3), twice(delayed(abs)(-3)), delayed((abs, -2))], ids=["call", "calls", "data"]
)
@pytest.mark.parametrize("change", ["optimize", "persist", "clone", "wait_on", "bind"])
def test_what_dask_makes_of_our_delayed_objects(executor, lazy, change):
    changes = {
        "optimize": lambda: dask.optimize(lazy)[0],
        "persist": lambda: dask.persist(lazy)[0],
        "clone": lambda: clone(lazy),
        "wait_on": lambda: wait_on(lazy),
        "bind": lambda: bind(lazy, delayed(abs)(1)),
    }
    changed, value = changes[change](), lazy.compute()
    assert type(changed).compute(changed, scheduler=executor) == dask.compute(changed)[0] == value
    assert compute(changed, [twice(changed), lazy], scheduler=executor) == (value, [value + value, value])
    assert pickle.loads(pickle.dumps(twice(changed))).compute() == value + value
    assert executor.submit(str, changed).result() == str(value)


def test_a_value_that_dask_has_persisted_is_what_it_is():
    for value in ((), (abs, -2), delayed(abs), ("abs", 1)):
        persisted = dask.persist(delayed(lambda value=value: value)())[0]
        assert compute(persisted)[0] is value


def test_how_many_there_are_is_known_of_what_dask_has_changed():
    assert compute(*dask.optimize(delayed(divmod, nout=2)(17, 5))[0]) == (3, 2)


def test_collections_inside_delayed_objects(executor):
    array = da.from_array(np.arange(4), chunks=2)
    assert dask.delayed(array).compute(scheduler=executor).tolist() == [0, 1, 2, 3]
    parts = [delayed(pd.DataFrame)({"a": [number]}) for number in (1, 2)]
    frame = dd.from_delayed(parts, meta=pd.DataFrame({"a": [1]}))
    assert frame.a.sum().compute(scheduler=executor) == 3
    assert compute(array.sum(), delayed(abs)(-1), scheduler=executor) == (6, 1)
    (kept,) = dask.persist(delayed(abs)(-1), scheduler=executor)
    assert kept.compute() == 1


def test_collections_given_to_delayed_calls(executor):
    array, theirs, ours = da.ones(3, chunks=1), dask.delayed(abs)(-4), delayed(abs)(-5)
    frame = dd.from_pandas(pd.DataFrame({"a": [1, 2, 3]}), npartitions=2)
    kind = delayed(lambda value: type(value).__name__)
    given = [array, theirs, frame, frame.a.sum(), db.from_sequence([1])]
    for scheduler in (executor, "sync", dask.get):
        names = compute(*map(kind, given), scheduler=scheduler)
        assert names == ("ndarray", "int", "DataFrame", "int64", "list")
    same = delayed(lambda *args, **kwargs: [*args, kwargs])
    future = executor.submit(abs, -6)
    value = same([theirs, ours, future], {"a": (theirs, quote(theirs))}, Pair(ours, theirs), b=array.sum())
    first, named, *others = value.compute(scheduler=executor)
    assert (first, named["a"][0], others) == ([4, 5, 6], 4, [Pair(5, 4), {"b": 3}])
    assert named["a"][1].key == theirs.key  # quoted
    assert dask.compute(value[0][1] + theirs)[0] == 9
    assert (ours + theirs).compute(scheduler=executor) == 9
    assert delayed([theirs, 1]).compute(scheduler=executor) == [4, 1]
    assert delayed(theirs).compute(scheduler=executor) == 4
    assert (delayed(array) + 1).compute(scheduler=executor).tolist() == [2, 2, 2]
    assert executor.submit(type, array).result() is type(array)


def test_what_a_pure_call_is_given_by_dask_tells_it_from_others():
    total = delayed(np.sum, pure=True)
    ones, zeros = da.ones(3, chunks=1), da.zeros(3, chunks=1)
    assert total(ones).key == total(da.ones(3, chunks=1)).key != total(zeros).key
    assert compute(total(ones), total(zeros)) == (3, 0)


def test_futures_in_delayed_calls_under_callbacks(executor):
    with Profiler() as profile:
        assert delayed(abs)(executor.submit(abs, -4)).compute(scheduler=executor) == 4
    assert profile.results


@pytest.mark.parametrize("way", ["callback", "dask.get"])
def test_futures_in_arguments_where_dasks_loop_runs_a_graph(executor, way):
    future, failed, lazy = executor.submit(abs, -3), executor.submit(divmod, 1, 0), delayed(abs)(-4)
    graph = {
        "x": 1,
        "future": future,
        "failed": allow_failure(failed),
        "lazy": delayed(add)(lazy, future),
        "data": ["x", future, lazy, future],
        "no key": [future, {"a": lazy}],
        "call": (add, future, "x"),
        "nested": (add, (sum, ["x", future]), (add, lazy, (add, "lazy", future))),
        "dict": (dict, {"a": [future]}),
        "allowed": (type, allow_failure(failed)),
        "quoted": (list, ["x", quote({"a": 1}), quote(["x"])]),
        "a call of data": (len, "no key"),
    }
    if way == "callback":
        with Profiler():
            _, three, error, *others = executor.get(graph, [*graph])
    else:
        _, three, error, *others = graphfutures.get(graph, [*graph], get=dask.get)
    assert three == 3
    assert isinstance(error, ZeroDivisionError)
    assert others == [7, [1, 3, 4, 3], [3, {"a": 4}], 4, 18, {"a": [3]}, ZeroDivisionError, [1, {"a": 1}, ["x"]], 2]


def test_futures_and_callbacks_on_a_pool_of_processes():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, GraphExecutor(1) as executor, Profiler():
        future = executor.submit(abs, -3)
        assert graphfutures.get({"x": future, "y": (add, "x", future)}, "y", pool=pool) == 6


def test_collections_in_containers_given_to_our_compute(executor):
    array, ours, theirs = da.ones(4, chunks=2).sum(), delayed(abs)(-1), dask.delayed(abs)(-2)
    future = executor.submit(abs, -3)
    found = compute([array, ours], {"a": (theirs, future), "q": quote(7)}, Pair({"b": array}, 8), scheduler=executor)
    assert found == ([4, 1], {"a": (2, 3), "q": 7}, Pair({"b": 4}, 8))
    knot: list[Any] = [ours]
    assert compute(knot, scheduler=executor) == ([1],)
    knot[0] = knot
    assert compute(knot, scheduler=executor)[0] is knot


def test_annotations_around_our_own_calls(executor, tmp_path):
    tries = tmp_path / "tries"
    lazy = delayed(Flaky(tries))(1)
    with dask.annotate(retries=2, priority=lambda key: 1):
        annotated = delayed(abs)(1)
        assert annotated.dask.__dask_annotations__() == {"retries": {annotated.key: 2}, "priority": {annotated.key: 1}}
    with pytest.raises(OSError, match="not yet"):
        lazy.compute(scheduler=executor)
    for run in (
        lambda lazy: lazy.compute(scheduler=executor),
        lambda lazy: executor.submit(abs, lazy).result(),
        lambda lazy: pickle.loads(pickle.dumps(lazy + 0)).compute(scheduler=executor),
        lambda lazy: compute(lazy, executor.submit(abs, 1), scheduler=executor)[0],
    ):
        tries.unlink()
        with dask.annotate(retries=2):
            annotated = delayed(Flaky(tries))(1)
        assert run(annotated) == 1


def test_nodes_in_dicts_in_named_tuples(executor):
    graph = {
        "x": 1,
        "named": (list, Pair({"a": Task(None, add, TaskRef("x"), 1)}, "x")),
        "deep": (list, Pair({"a": [{"b": (Task(None, add, TaskRef("x"), 2), 0)}]}, [{"c": Alias("x")}])),
        "in a list": [Pair({"a": Alias("x"), "k": "x"}, 3)],
    }
    keys = [*graph]
    assert executor.get(graph, keys) == dask.get(dict(graph), keys)
    assert executor.get(graph, "named") == [{"a": 2}, 1]


class Unhashed(type):
    __hash__ = None

    def __eq__(cls, other):
        return cls is other


class Odd(metaclass=Unhashed):
    pass


def test_arguments_of_nodes_whose_class_has_no_hash():
    graph = {"one": Task("one", isinstance, Odd(), Odd), "by name": Task("by name", dict, one=Odd, two=Odd())}
    with GraphExecutor(1) as executor:
        assert executor.get(graph, "one") is True
        assert executor.get(graph, "by name")["one"] is Odd


class Counting:
    """A callable that changes as it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self, number, more):
        self.calls += 1
        return self.calls + number + more


def test_what_tasks_change_of_their_function_is_theirs():
    counting = Counting()
    graph = {n: Task(n, counting, n, more=0) for n in range(20)}
    with GraphExecutor(1, backend="processes") as executor:
        assert executor.get(graph, [*graph]) == tuple(range(1, 21))


class Counted:
    @classmethod
    def of(cls, number):
        return cls.__name__, number


class Other(Counted):
    pass


def test_arguments_of_nodes_that_look_like_keys(executor):
    graph = {
        "x": 1,
        "text": Task("text", repr, "x"),
        "both": Task("both", divmod, TaskRef("x"), 7),
        "list": Task("list", sorted, ["x", "a"]),
        "tuple": Task("tuple", list, ("x", 2)),
        "call": Task("call", len, (add, "x", 1)),
        "named": Task("named", sorted, ["x", "a"], reverse=True),
        "by name": Task("by name", int, "11", base=2),
        "by another": Task("by another", int, "11", base=3),
        "as a bool": Task("as a bool", dict, one=True),
        "as a number": Task("as a number", dict, one=1),
        "nothing": Task("nothing", dict, one=0.0),
        "below nothing": Task("below nothing", dict, one=-0.0),
        "of a class": Task("of a class", dict.fromkeys, ["x", "a"]),
        "of ours": Task("of ours", Counted.of, TaskRef("x")),
        "of another": Task("of another", Other.of, TaskRef("x")),
        "a ref by name": Task("a ref by name", dict, one=TaskRef("x")),
        "inside": Task("inside", add, Task(None, add, TaskRef("x"), 1), 1),
        "kinds": Task("kinds", isinstance, TaskRef("x"), int),
        "none": Task("none", dict),
    }
    keys = [*graph]
    assert executor.get(graph, keys) == dask.get(dict(graph), keys)
    assert executor.get(graph, "list") == ["a", "x"]
    assert [str(executor.get(graph, f"{key}nothing")["one"]) for key in ("", "below ")] == ["0.0", "-0.0"]
    assert [type(executor.get(graph, f"as a {kind}")["one"]) for kind in ("bool", "number")] == [bool, int]


def test_what_many_nodes_call_is_sent_once(monkeypatch):
    """As many of dask's tasks call the same function with the same arguments by name."""
    asked = []
    dumps = Functions.dumps
    monkeypatch.setattr(Functions, "dumps", lambda self, value, **how: asked.append(value) or dumps(self, value, **how))
    graph = {f"a{n}": Task(f"a{n}", int, str(n), base=8) for n in range(8)}
    graph |= {f"b{n}": Task(f"b{n}", Counted.of, TaskRef(f"a{n}")) for n in range(8)}
    with GraphExecutor(1, backend="processes") as executor:
        assert executor.get(graph, [f"b{n}" for n in range(8)]) == tuple(("Counted", n) for n in range(8))
    assert len(asked) == 2


# -- graphs at random -------------------------------------------------------------------------


def weigh(*needs: Any) -> int:
    total = 1
    for need in needs:
        total += weigh(*need) if isinstance(need, (list, tuple)) else len(need) if hasattr(need, "__len__") else need
    return total


@st.composite
def graphs(draw: st.DrawFn) -> dict[Any, Any]:
    graph: dict[Any, Any] = {}
    for number in range(draw(st.integers(1, 12))):
        keys = [*graph]
        key = draw(st.sampled_from([f"x{number}", ("t", number), number, f"{number}"]))
        if key in graph:
            continue
        leaf = st.one_of(st.integers(100, 110), st.just("no key"), st.just({101}), st.just({"x0": "x1"}))
        need = st.one_of(leaf, st.sampled_from(keys)) if keys else leaf
        argument = st.recursive(
            need, lambda inner: st.one_of(st.lists(inner, max_size=3), st.tuples(st.just(weigh), inner)), max_leaves=4
        )
        if keys:
            argument = st.one_of(argument, st.sampled_from(keys).map(TaskRef))
        kind = draw(st.sampled_from(["call", "call", "data", "list", "alias", "node"]))
        if kind == "call":
            graph[key] = (weigh, *draw(st.lists(argument, max_size=3)))
        elif kind == "list":
            graph[key] = draw(st.lists(argument, max_size=3))
        elif kind == "alias" and keys:
            target = draw(st.sampled_from(keys))
            graph[key] = draw(st.sampled_from([target, Alias(key, target)]))
        elif kind == "node" and keys:
            refs = [TaskRef(k) for k in draw(st.lists(st.sampled_from(keys), max_size=3))]
            graph[key] = draw(st.sampled_from([Task(key, weigh, *refs), Task(key, weigh, List(*refs), 5)]))
        else:
            graph[key] = draw(st.sampled_from([77, "data", DataNode(key, [1, 2])]))
    return graph


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.booleans())
def test_random_graphs_mean_what_they_mean_to_dask(processes: Any, graph: dict[Any, Any], nested: bool) -> None:
    keys: list[Any] = [[key] for key in graph] if nested else [*graph]
    theirs = dask.get(dict(graph), keys)
    assert graphfutures.synchronous.get(graph, keys) == theirs
    assert graphfutures.threaded.get(graph, keys) == theirs
    assert processes.get(graph, keys) == theirs


# -- orders -----------------------------------------------------------------------------------

#: runs dask's tests of its order, and keeps every graph with the order that dask gave it
CAPTURE = """
import pickle, sys, pytest
import dask.order as module
import dask.tests.test_order as tests
from dask.core import get_deps
kept, real = [], module.order

def noting(dsk, dependencies=None, *, return_stats=False):
    found = real(dsk, dependencies, return_stats=return_stats)
    needs = dependencies or get_deps(dsk)[0]
    number = {key: index for index, key in enumerate(dsk)}
    rank = {key: getattr(place, "priority", place) for key, place in found.items()}
    ranks = [rank[key] for key in dsk]
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    kept.append(([[number[need] for need in needs[key]] for key in dsk], order))
    return found

module.order = tests.order = noting
pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore", tests.__file__])
pickle.dump(kept, open(sys.argv[1], "wb"))
"""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[list[int]], list[int]]]:
    file: Path = tmp_path_factory.mktemp("orders") / "kept"
    subprocess.run([sys.executable, "-c", CAPTURE, str(file)], check=True, timeout=300, stdout=subprocess.DEVNULL)
    kept: list[tuple[list[list[int]], list[int]]] = pickle.loads(file.read_bytes())
    assert len(kept) > 80
    return kept


def alive(graph: list[list[int]], order: list[int]) -> list[int]:
    """How many values are alive after each step."""
    left = [0] * len(graph)
    for needs in graph:
        for need in needs:
            left[need] += 1
    over_time, now = [0], 0
    for task in order:
        now += left[task] > 0
        for need in graph[task]:
            left[need] -= 1
            now -= not left[need]
        over_time.append(now)
    return over_time


def test_no_more_values_are_alive_than_in_dasks_order(catalogue):
    ours = theirs = 0
    for graph, order in catalogue:
        mine, dasks = alive(graph, ordered(graph)), alive(graph, order)
        assert max(mine) <= 1.2 * max(dasks), graph[:20]
        ours, theirs = ours + max(mine), theirs + max(dasks)
    assert ours <= theirs


def test_ordering_costs_no_more_time_than_dasks(catalogue):
    from dask.order import order

    def nothing(*needs):
        pass

    graphs = [graph for graph, _ in catalogue if len(graph) > 100]
    specs = [{n: Task(n, nothing, *map(TaskRef, needs)) for n, needs in enumerate(graph)} for graph in graphs]

    def seconds(run):
        began = perf_counter()
        run()
        return perf_counter() - began

    ratios = sorted(
        seconds(lambda: [ordered(graph) for graph in graphs]) / seconds(lambda: [order(spec) for spec in specs])
        for _ in range(5)
    )
    assert ratios[2] <= 1.0


# -- what dask's configuration says -------------------------------------------------------------


def place() -> str:
    return threading.current_thread().name


def asked(ask: Any) -> list[str]:
    return [ask.compute(), compute([ask])[0][0], graphfutures.get({"x": (place,)}, "x")]


@pytest.fixture
def mine():
    executor = GraphExecutor(1, "mine")
    yield executor
    executor.shutdown()


def test_the_scheduler_of_dasks_configuration_holds_for_ours_too(mine):
    ask, main = delayed(place)(), threading.main_thread().name
    for chosen in (mine, mine.get):
        with dask.config.set(scheduler=chosen, pool=3):
            assert {way.split("_")[0] for way in asked(ask)} == {"mine"}
    for chosen in ("sync", "Single-Threaded", dask.get):
        with dask.config.set(scheduler=chosen):
            assert asked(ask) == [main] * 3
    with dask.config.set(scheduler="threads"), ThreadPool(1) as pool, dask.config.set(pool=pool):
        assert all(way.startswith("shared-threads") for way in asked(ask))
    with dask.config.set(scheduler=graphfutures.get):
        assert all(way.startswith("shared-threads") for way in asked(ask))
    with dask.config.set(scheduler="distributed"), pytest.raises(RuntimeError, match="no Client active"):
        ask.compute()
    with dask.config.set(scheduler="trheads"), pytest.raises(ValueError, match="Expected one of"):
        ask.compute()


def test_what_goes_before_dasks_configuration(mine):
    ask = delayed(place)()
    with dask.config.set(scheduler="sync"):
        assert ask.compute(scheduler=mine).startswith("mine")
        assert graphfutures.threaded.get({"x": (place,)}, "x").startswith("shared-threads")
        with graphfutures.set_options(scheduler=mine):
            assert all(way.startswith("mine") for way in asked(ask))
        assert all(way.startswith("mine") for way in mine.submit(asked, quote(ask)).result())
        with GraphExecutor(1, "block"):
            assert all(way.startswith("block") for way in asked(ask))
            assert dask.delayed(place)().compute() == threading.main_thread().name


def test_pure_calls_cost_no_more_than_dasks():
    def seconds(delayed: Any) -> float:
        began = perf_counter()
        for number in range(5000):
            delayed(add_up, pure=True)(number)
        return perf_counter() - began

    def add_up(first: int, second: int = 1) -> int:
        return first + second

    ratios = sorted(seconds(delayed) / seconds(dask.delayed) for _ in range(3))
    assert ratios[1] <= 1.0


def test_notes_hold_keys_as_they_are_under_callbacks(executor):
    lazy = delayed(divmod)(1, 0)
    with Profiler(), pytest.raises(ZeroDivisionError) as raised:
        lazy.compute(scheduler=executor)
    assert raised.value.__notes__ == [f"raised by the task {lazy.key}"]
