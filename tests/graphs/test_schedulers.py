"""Which scheduler runs a graph: by keyword, by ``set_options``, inside ``with``, or the shared one (CONTRACT 11)."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar, copy_context

import pytest
from patience import LIMIT, until

import graphfutures
from graphfutures import GraphExecutor, compute, config, delayed, schedulers, set_options


def where() -> str:
    return threading.current_thread().name


ASK = {"where": (where,)}
HERE = threading.main_thread().name


def test_the_three_of_the_notebook():
    assert graphfutures.synchronous.get(ASK, "where") == HERE
    assert graphfutures.threaded.get(ASK, "where").startswith("shared-threads")
    assert graphfutures.multiprocessing.get({"pid": (os.getpid,)}, "pid") != os.getpid()


@pytest.mark.parametrize("name", ["sync", "synchronous", "single-threaded", "inline"])
@pytest.mark.parametrize("keyword", ["scheduler", "get"])
def test_a_name(name, keyword):
    assert graphfutures.get(ASK, "where", **{keyword: name}) == HERE
    assert delayed(where)().compute(**{keyword: name}) == HERE


def test_an_unknown_name():
    with pytest.raises(ValueError, match="unknown backend 'trheads'"):
        graphfutures.get(ASK, "where", scheduler="trheads")
    with pytest.raises(TypeError, match="scheduler must be a name of a backend, an executor or a get function"):
        graphfutures.get(ASK, "where", scheduler=3)


def test_an_executor_of_ours_or_of_others():
    with GraphExecutor(1, "mine") as executor, ThreadPoolExecutor(1, "theirs") as pool:
        for scheduler in (executor, executor.get, executor.options(priority=1)):
            assert graphfutures.get(ASK, "where", scheduler=scheduler).startswith("mine")
        assert graphfutures.get(ASK, "where", scheduler=pool).startswith("theirs")
        assert graphfutures.threaded.get(ASK, "where", pool=pool).startswith("theirs")
        assert pool.submit(int).result(LIMIT) == 0


def test_set_options_as_a_statement_and_undone():
    set_options(get=graphfutures.synchronous.get)
    try:
        assert graphfutures.get(ASK, "where") == HERE
        seen = []
        thread = threading.Thread(target=lambda: seen.append(graphfutures.get(ASK, "where")), name="other")
        thread.start()
        thread.join(LIMIT)
        assert seen == ["other"], "it is process-wide"
        with set_options(scheduler="threads"):
            assert graphfutures.get(ASK, "where").startswith("shared-threads")
            thread = threading.Thread(target=lambda: seen.append(graphfutures.get(ASK, "where")), name="another")
            thread.start()
            thread.join(LIMIT)
            assert seen[-1] == "another", "it holds in this context alone"
        assert graphfutures.get(ASK, "where") == HERE
    finally:
        set_options(scheduler=None)
    assert graphfutures.get(ASK, "where").startswith("shared-threads")


def test_an_argument_beats_set_options_beats_the_environment(monkeypatch):
    monkeypatch.setenv("GRAPHFUTURES_BACKEND", "inline")
    monkeypatch.setenv("GRAPHFUTURES_MAX_WORKERS", "3")
    assert graphfutures.get(ASK, "where") == HERE
    with set_options(scheduler="threads", num_workers=2):
        assert graphfutures.get(ASK, "where").startswith("shared-threads")
        assert schedulers.shared("threads")._max_workers == 2
        assert graphfutures.get(ASK, "where", scheduler="sync") == HERE
        assert graphfutures.get(ASK, "where", num_workers=1).startswith("shared-threads")
    assert schedulers.shared("threads")._max_workers == 3


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"schedular": "sync"}, TypeError, r"unknown option 'schedular' \(did you mean 'scheduler'\?\)"),
        ({"num_workers": "2"}, TypeError, "num_workers must be an integer"),
        (
            {"backend": "sync"},
            TypeError,
            r"unknown option 'backend' \(did you mean 'scheduler'\?\); known are: [a-z, _]+$",
        ),
        ({"max_workers": 3}, TypeError, r"unknown option 'max_workers' \(did you mean 'num_workers'\?\)"),
    ],
)
def test_unknown_options(options, kind, message):
    with pytest.raises(kind, match=message):
        set_options(**options)


PLACES = {
    "set_options": set_options,
    "compute": lambda **options: compute(1, [2], **options),
    "compute a call": lambda **options: delayed(where)().compute(**options),
    "get": lambda **options: graphfutures.get(ASK, "where", **options),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"num_workers": "2"}, TypeError, "^num_workers must be an integer, not '2'$"),
        ({"num_workers": True}, TypeError, "^num_workers must be an integer, not True$"),
        ({"num_workers": 0}, ValueError, "^num_workers must be greater than 0$"),
        ({"num_workers": -1}, ValueError, "^num_workers must be greater than 0$"),
        ({"scheduler": "thread"}, ValueError, r"^scheduler: unknown backend 'thread' \(did you mean 'threads'\?\)"),
        ({"get": "thread"}, ValueError, "^get: unknown backend 'thread'"),
        ({"scheduler": 3}, TypeError, "^scheduler must be a name of a backend, an executor or a get function, not 3$"),
        ({"get": 3}, TypeError, "^get must be a name"),
        ({"scheduler": "sync", "get": "sync"}, TypeError, "scheduler and get are two names of one option: give one"),
        ({"scheduler": graphfutures.threaded}, TypeError, r"did you mean graphfutures\.threaded\.get\?"),
        ({"scheduler": GraphExecutor}, TypeError, r"^scheduler must .*: write GraphExecutor\(…\), with its arguments"),
    ],
)
def test_wrong_values_are_refused_at_once(place, options, kind, message):
    with pytest.raises(kind, match=message):
        PLACES[place](**options)
    assert graphfutures.get(ASK, "where").startswith("shared-threads")


@pytest.mark.parametrize("get", [graphfutures.get, graphfutures.threaded.get, graphfutures.synchronous.get])
def test_a_pool_that_is_none(get):
    with pytest.raises(TypeError, match=r"^pool must be a name of a backend, an executor or a get function, not 3$"):
        get(ASK, "where", pool=3)


@pytest.mark.parametrize(("number", "kind"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (True, TypeError)])
def test_wrong_numbers_of_workers_for_an_executor(number, kind):
    with GraphExecutor(4) as executor:
        for door in (executor, executor.options(priority=1)):
            with pytest.raises(kind, match=r"^num_workers must be "):
                door.get(ASK, "where", num_workers=number)


def test_inside_with_the_executor_is_the_default():
    with GraphExecutor(1, "outer") as outer:
        assert graphfutures.get(ASK, "where").startswith("outer")
        with GraphExecutor(1, "inner"):
            assert compute(delayed(where)())[0].startswith("inner")
        assert graphfutures.get(ASK, "where").startswith("outer")
        with set_options(scheduler="sync"):
            assert graphfutures.get(ASK, "where") == HERE
        seen = outer.submit(lambda: graphfutures.get(ASK, "where")).result(LIMIT)
        assert seen.startswith("outer"), "a task's own executor is its default"
    assert graphfutures.get(ASK, "where").startswith("shared-threads")


def test_shared_executors_are_made_once_and_again_after_their_end():
    first = schedulers.shared("threads", 2)
    assert schedulers.shared("threading", 2) is first
    assert schedulers.shared("threads", 3) is not first
    first.shutdown()
    assert graphfutures.threaded.get(ASK, "where", num_workers=2).startswith("shared-threads")


def test_num_workers_limits_a_call():
    running, most = [], []

    def run(number):
        running.append(number)
        most.append(len(running))
        until(lambda: len(running) > 1, 0.05)
        running.remove(number)

    graph = {number: (run, number + 100) for number in range(10)}
    with GraphExecutor(4) as executor:
        executor.get(graph, list(graph), num_workers=1)
        assert max(most) == 1
        assert executor.submit(int).result(LIMIT) == 0
    graphfutures.threaded.get(graph, list(graph), num_workers=1)
    assert max(most) == 1


def test_keywords_that_other_schedulers_take_are_accepted():
    others = {"optimize_graph": True, "traverse": True, "workers": ["tcp://10.0.0.1:8786"], "resources": None}
    assert graphfutures.synchronous.get({"x": 1}, "x", **others) == 1
    assert compute(delayed(abs)(-1), [2], **others) == (1, [2])


WAYS = {
    "compute": lambda **options: compute(delayed(abs)(-1), **options)[0],
    "compute nothing": lambda **options: compute(1, **options)[0],
    "compute of a call": lambda **options: delayed(abs)(-1).compute(**options),
    "persist": lambda **options: delayed(abs)(-1).persist(**options).compute(),
    "get": lambda **options: graphfutures.get({"x": 1}, "x", **options),
    "synchronous.get": lambda **options: graphfutures.synchronous.get({"x": 1}, "x", **options),
    "get of an executor": lambda **options: schedulers.shared("inline").get({"x": 1}, "x", **options),
    "an executor": lambda **options: schedulers.shared("inline")({"x": 1}, "x", **options),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        *[(name, "scheduler") for name in ("executor", "client", "schedular", "backend")],
        *[(name, "num_workers") for name in ("threads", "processes", "workers", "nworkers", "num_worker")],
        *[("timeout", None), ("something_else", None)],
    ],
)
def test_keywords_without_effect_are_warned_of_where_they_were_written(way, keyword, meant):
    guess = rf" \(did you mean '{meant}'\?\)" if meant else ""
    text = rf"^keyword '{keyword}' has no effect here{guess}: scheduler= says where .*, num_workers= .*"
    with pytest.warns(UserWarning, match=text) as noted:
        assert WAYS[way](**{keyword: 2}) == 1
    (warning,) = noted
    assert warning.filename == __file__


def test_tasks_see_the_context_of_who_asks():
    var: ContextVar[int] = ContextVar("var")
    var.set(7)
    assert graphfutures.threaded.get({"x": (var.get,)}, "x") == 7


def test_the_default_as_an_option_is_the_default():
    with set_options(scheduler=graphfutures.get):
        assert graphfutures.get(ASK, "where").startswith("shared-threads")


def test_options_of_several_threads_do_not_get_into_each_other():
    def use(number):
        for _ in range(300):
            with set_options(num_workers=number + 1):
                pass

    users = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(LIMIT)
    later = set_options(num_workers=3)
    set_options(scheduler="sync")
    with later:
        assert graphfutures.get(ASK, "where") == HERE
    set_options(scheduler=None, num_workers=None)
    assert graphfutures.get(ASK, "where").startswith("shared-threads")


def test_a_block_of_options_leaves_nothing_whatever_was_set_between():
    set_options(num_workers=4)
    for first, last in ((0, 1), (1, 0)):
        both = [set_options(num_workers=2), set_options(num_workers=3)]
        with both[first], both[last]:
            assert schedulers.shared("threads")._max_workers == last + 2
        assert schedulers.shared("threads")._max_workers == 4
    for number in range(1000):
        set_options(num_workers=number + 1)
    assert len(config._set) <= 2
    assert schedulers.shared("threads")._max_workers == 1000
    set_options(num_workers=None)


def test_executors_that_are_left_in_the_order_in_which_they_were_entered():
    first, second = GraphExecutor(1, "first"), GraphExecutor(1, "second")
    with first:
        second.__enter__()
    assert graphfutures.get(ASK, "where").startswith("second")
    second.__exit__(None, None, None)
    assert graphfutures.get(ASK, "where").startswith("shared-threads")


def test_each_asyncio_task_is_in_its_own_blocks():
    async def use(name, mine, other):
        async with GraphExecutor(1, name):
            mine.set()
            await asyncio.wait_for(other.wait(), LIMIT)
            child = asyncio.create_task(later())
            seen = graphfutures.get(ASK, "where"), await asyncio.to_thread(graphfutures.get, ASK, "where")
        left.set()
        return *seen, graphfutures.get(ASK, "where"), await child

    async def later():
        await asyncio.wait_for(left.wait(), LIMIT)
        return graphfutures.get(ASK, "where")

    async def both():
        first, second = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(use("first", first, second), use("second", second, first))

    left = asyncio.Event()
    for name, found in zip(["first", "second"], asyncio.run(both()), strict=True):
        begins = [place.split("_")[0].split("-")[0] for place in found[:2]]
        assert begins == [name, name]
        assert found[2].startswith("shared-threads")
    assert graphfutures.get(ASK, "where").startswith("shared-threads")


def test_an_executor_is_left_in_another_context_than_it_was_entered_in():
    executor = GraphExecutor(1, "mine")
    context = copy_context()
    context.run(executor.__enter__)
    assert context.run(graphfutures.get, ASK, "where").startswith("mine")
    assert graphfutures.get(ASK, "where").startswith("shared-threads")
    executor.__exit__(None, None, None)
    assert context.run(graphfutures.get, ASK, "where").startswith("shared-threads")


def test_tasks_are_in_no_block_of_who_submits_them():
    var: ContextVar[int] = ContextVar("var")
    with GraphExecutor(1, "outer") as outer, GraphExecutor(1, "inner"):
        for _ in range(2):
            found = outer.submit(graphfutures.get, ASK, "where").result(LIMIT)
            assert found.startswith("outer")
            assert graphfutures.get({"x": (graphfutures.get, ASK, "where")}, "x", scheduler=outer).startswith("outer")
            token = var.set(1)
        var.reset(token)


def test_nothing_is_left_in_the_context():
    def use():
        with GraphExecutor(1), GraphExecutor(1):
            pass
        return len(copy_context())

    assert Context().run(use) == 0
