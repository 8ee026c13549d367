"""Traces of what has run on every backend (CONTRACT 12)."""

import pytest
from patience import LIMIT
from traces import checked, read

from graphfutures import GraphExecutor, current_executor


def fail():
    raise ValueError("x")


def fibonacci(n):
    if n < 2:
        return n
    inside = current_executor()
    first, second = inside.submit(fibonacci, n - 1), inside.submit(fibonacci, n - 2)
    return first.result() + second.result()


def test_each_attempt_is_in_the_trace(executor, tmp_path):
    layer = [executor.submit(abs, -number) for number in range(20)]
    while len(layer) > 1:
        layer = [executor.submit(max, *pair) for pair in zip(layer[::2], layer[1::2], strict=False)]
    assert layer[0].result(LIMIT) == 15
    failed = executor.options(retries=1).submit(fail)
    assert isinstance(failed.exception(LIMIT), ValueError)
    executor.shutdown()
    executor.trace(tmp_path / "trace.json.gz")
    trace = read(tmp_path / "trace.json.gz")
    slices, arrows = checked(trace)
    attempts = executor.attempts()
    assert sorted(one["args"]["key"] for one in slices) == sorted(attempt.key for attempt in attempts)
    assert [one["args"]["key"] for one in slices if one["name"] == "fail (failed)"] == [failed.key] * 2
    needs = {(need, attempt.key) for attempt in attempts for need in attempt.needs}
    assert set(arrows) == needs
    assert trace["otherData"]["missing"] == 0
    assert trace["otherData"]["name"] == executor.snapshot().name


@pytest.mark.asks(hosts=True)
def test_tasks_inside_tasks(executor, tmp_path):
    assert executor.submit(fibonacci, 5).result(LIMIT) == 5
    executor.shutdown()
    executor.trace(tmp_path / "trace.json")
    slices, _ = checked(read(tmp_path / "trace.json"))
    assert len(slices) == len(executor.attempts()) == 15


def test_what_is_forgotten_is_counted(tmp_path):
    with GraphExecutor(1) as executor:
        for _ in range(10_005):
            executor.submit(int)
    executor.trace(tmp_path / "trace.json")
    about = read(tmp_path / "trace.json")["otherData"]
    assert (about["missing"], about["attempts"], about["pending"]) == (5, 10_000, 0)
