"""Pictures of delayed objects, of graphs as dask writes them, and of futures."""

import gc
import os
from concurrent.futures import Future
from xml.etree import ElementTree

import pytest
from patience import LIMIT

from graphfutures import GraphExecutor, allow_failure, delayed
from graphfutures.visualizing import visualize


def told(picture):
    """The first lines of the tooltips of all boxes, and what else they say."""
    titles = [title.text for title in ElementTree.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}title")]
    return dict(title.split("\n", 1) for title in titles[1:])


def plus(x):
    return x + 1


def test_a_delayed_object(tmp_path):
    calls = [delayed(plus)(number) for number in range(2)]
    total = delayed(sum)(calls)
    picture = total.visualize()
    assert told(picture) == {total.key: "call: sum", **{call.key: "call: plus" for call in calls}}
    assert repr(picture) == "<Picture sum: 3 calls; 3 boxes>"
    assert picture.dot.count("->") == 2
    total.visualize(tmp_path / "graph.svg", direction="down")
    assert os.listdir(tmp_path) == ["graph.svg"]


def test_a_delayed_object_with_futures():
    with GraphExecutor(1) as executor:
        done, failed = executor.submit(abs, -1), executor.submit(abs, "x")
        waiting = executor.submit(abs, held := Future())
        assert isinstance(failed.exception(LIMIT), TypeError)
        assert done.result(LIMIT) == 1
        found = visualize(delayed(max)(done, [allow_failure(failed), waiting, held]))
        held.set_result(1)
    assert sorted(told(found).values()) == ["call: max", "done", "failed", "waiting", "waiting"]
    for text in (done.key, failed.key, waiting.key, "a Future"):
        assert f">{text}</text>" in found.svg


def test_a_graph_of_dasks_kind():
    graph = {"x": 1, "y": (abs, "x"), ("z", 0): (sum, ["y", "x", (abs, "y")]), "also": "y", "<b>": (len, [1])}
    picture = visualize(graph)
    assert told(picture) == {
        "x": "value: int",
        "y": "call: abs",
        "('z', 0)": "call: sum",
        "also": "value: another key",
        "<b>": "call: len",
    }
    assert picture.dot.count("->") == 4
    assert repr(picture) == "<Picture graph: 3 calls; 5 boxes>"


def test_a_graph_with_a_delayed_object_and_a_future_in_it():
    lazy, future = delayed(plus)(1), Future()
    future.set_result(2)
    picture = visualize({"x": (max, lazy, future), "y": future})
    assert picture.dot.count("->") == 2
    assert sorted(told(picture).values()) == ["call: max", "call: plus", "done", "done"]


def test_several_things_in_containers():
    first, second = delayed(plus)(1), delayed(plus)(2)
    assert told(visualize([first], {"x": 1})).keys() == {first.key, "x"}
    assert told(visualize([first, (second,)])).keys() == {first.key, second.key}


def test_futures_with_what_led_to_them():
    executor = GraphExecutor(1)
    first = executor.submit(abs, -1)
    second, other = executor.submit(plus, first), executor.submit(plus, first)
    last = executor.submit(max, second, executor.put(7))
    executor.shutdown()
    picture = visualize([last], color="time")
    assert told(picture).keys() == {first.key, second.key, last.key, "put-4"}
    assert other.key not in picture.svg
    assert told(visualize(last)).keys() == told(picture).keys()
    del executor
    gc.collect()
    assert told(visualize(second)).keys() == {first.key, second.key}


def test_futures_of_two_executors():
    with GraphExecutor(1) as one, GraphExecutor(1) as other:
        futures = one.submit(abs, -1), other.submit(plus, 1)
        assert [future.result(LIMIT) for future in futures] == [1, 2]
        assert list(told(visualize(*futures)).values()) == ["done", "done"]


def test_collections_of_dask():
    array = pytest.importorskip("dask.array")
    total = array.ones((4, 4), chunks=2).sum()
    picture = visualize(total)
    assert len(told(picture)) > 4
    with GraphExecutor(1) as executor:
        assert total.compute(scheduler=executor) == 16
    grouped = executor.visualize(group=True)
    assert any(key == "sum" for key in told(grouped))


@pytest.mark.parametrize(
    ("things", "options", "error", "words"),
    [
        ((1,), {}, TypeError, "visualize takes delayed objects.*not 1"),
        (([],), {}, TypeError, r"not \[\]"),
        (({"x": (abs, "x")},), {}, ValueError, "x"),
        (({"x": 1},), {"color": "time"}, ValueError, "what has run"),
        (({"x": 1},), {"filename": "x.png"}, ValueError, r"\.svg"),
        (({"x": 1},), {"rankdir": "LR"}, TypeError, "rankdir.*known are"),
    ],
)
def test_what_has_no_picture(things, options, error, words):
    with pytest.raises(error, match=words):
        visualize(*things, **options)


def test_nothing():
    assert repr(visualize()) == "<Picture graph: 0 calls; 0 boxes>"
