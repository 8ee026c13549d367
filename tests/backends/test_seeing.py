"""The memory of attempts, ``explain`` and ``stats`` (CONTRACT 12), and backends by name (CONTRACT 10)."""

import logging
import re
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest
from gates import occupied
from patience import LIMIT, until

from graphfutures import GraphExecutor, blocked, quote


def fail(error):
    raise error


def test_an_attempt_is_remembered(executor):
    before = time.perf_counter()
    load = executor.options(name="load").submit(abs, -1)
    total = executor.submit(sum, [load, load])
    assert total.result(LIMIT) == 2
    executor.shutdown()
    first, second = executor.attempts()
    assert (first.name, first.key, first.good, first.needs) == ("load", load.key, True, ())
    assert (second.name, second.key, second.good) == ("sum", total.key, True)
    assert set(second.needs) == {load.key}
    assert before <= first.start <= first.stop <= second.start <= second.stop <= time.perf_counter()


def test_a_failed_attempt_is_remembered_and_what_never_ran_is_not(executor, held):
    failed = executor.submit(fail, ValueError("x"))
    executor.submit(abs, failed).exception(LIMIT)
    executor.submit(abs, held).cancel()
    executor.shutdown()
    assert [(attempt.key, attempt.good) for attempt in executor.attempts()] == [(failed.key, False)]


def test_a_foreign_dependency_is_named(executor):
    foreign = Future()
    future = executor.submit(abs, foreign)
    foreign.set_result(-1)
    assert future.result(LIMIT) == 1
    executor.shutdown()
    assert executor.attempts()[0].needs == ("a Future",)


def test_the_worker_is_one_of_them(executor, case):
    list(executor.map(abs, range(50)))
    executor.shutdown()
    workers = 4 if case.capabilities.passes_on else case.workers  # a cluster chooses among all that it has
    assert {attempt.worker for attempt in executor.attempts()} <= set(range(workers))


@pytest.mark.parametrize(("record", "kept"), [(False, 10_000), (True, 10_050)])
def test_the_last_ten_thousand_are_remembered_or_all(make, record, kept):
    executor = make(record=record)
    futures = [executor.submit(abs, n) for n in range(10_050)]
    executor.shutdown()
    attempts = executor.attempts()
    assert len(attempts) == kept
    keys = {attempt.key for attempt in attempts}
    assert len(keys) == kept
    assert keys <= {future.key for future in futures}


def test_stats_count(executor, held):
    done, failed = executor.submit(abs, -1), executor.submit(fail, ValueError("x"))
    executor.submit(abs, failed).exception(LIMIT)
    assert done.result(LIMIT) == 1
    executor.submit(abs, held).cancel()
    waiting = executor.submit(abs, held)
    executor.submit(abs, waiting)
    assert executor.submit(abs, -1).result(LIMIT) == 1
    expected = {"waiting": 2, "ready": 0, "running": 0, "done": 2, "failed": 2, "cancelled": 1}
    assert executor.stats() == expected
    held.set_result(1)
    executor.shutdown()
    assert executor.stats() == expected | {"waiting": 0, "done": 4}


@pytest.mark.asks(submits_run=False)
def test_stats_of_what_runs(executor, case, gate):
    occupied(executor, gate, case.workers)
    assert executor.stats()["running"] == case.workers
    gate.open()


def test_explain_what_has_ended(executor, held):
    done, failed = executor.submit(abs, -1), executor.submit(fail, ValueError("bad"))
    inherited, cancelled = executor.submit(abs, failed), executor.submit(abs, held)
    cancelled.cancel()
    assert (done.result(LIMIT), type(inherited.exception(LIMIT))) == (1, ValueError)
    assert executor.explain(done) == f"{done.key} is done: it returned a value of type int"
    assert executor.explain(failed) == f"{failed.key} failed with ValueError('bad')"
    assert executor.explain(inherited).startswith(f"{inherited.key} failed without running, with ValueError('bad')")
    assert f"{failed.key} → {inherited.key}" in executor.explain(inherited)
    assert executor.explain(cancelled) == f"{cancelled.key} was cancelled"


def test_explain_what_waits_for_a_foreign_future(executor, held):
    future = executor.submit(abs, held)
    executor.submit(abs, -1).result(LIMIT)
    assert executor.explain(future) == f"{future.key} is waiting on a Future of another executor"


@pytest.mark.asks(submits_run=False)
def test_explain_what_waits_for_a_running_task(make, gate):
    executor = make(2)
    running = executor.submit(gate.passage)
    gate.arrived()
    dependent = executor.submit(max, running, executor.submit(abs, running))
    executor.submit(abs, -1).result(LIMIT)
    runs = r"runs on worker [01] since "  # on a cluster that one is the first which is heard of first
    assert until(lambda: re.match(f"{running.key} {runs}", executor.explain(running)))
    assert re.match(f"{dependent.key} is waiting on {running.key}, which {runs}", executor.explain(dependent))
    assert executor.explain(dependent).endswith("and on 1 more")
    gate.open()
    assert isinstance(dependent.exception(LIMIT), TypeError)


@pytest.mark.asks(submits_run=False)
def test_explain_what_waits_for_a_worker(executor, case, gate):
    occupied(executor, gate, case.workers)
    ready = executor.submit(abs, -1)
    executor.submit(abs, -2).cancel()  # by now the first one has been taken up as well
    assert executor.explain(ready).startswith(
        f"{ready.key} is ready and waits for a free worker: {case.workers} of {case.workers} are busy"
    )
    gate.open()
    assert ready.result(LIMIT) == 1


@pytest.mark.asks(submits_run=False, lends=True, shares_memory=True)
def test_explain_what_waits_inside(executor, held, gate):
    def outer(held: "Future[int]") -> int:
        gate.passage()
        with blocked():
            return held.result()

    waiting = executor.submit(outer, quote(held))
    gate.arrived()
    assert "waits inside" not in executor.explain(waiting)
    gate.open()
    assert until(lambda: "waits inside" in executor.explain(waiting))
    assert executor.explain(waiting).startswith(f"{waiting.key} runs on worker ")
    dependent = executor.submit(abs, waiting)
    executor.submit(abs, -1).result(LIMIT)
    assert executor.explain(dependent).endswith(" and waits inside, its slot lent, for something")
    held.set_result(-3)
    assert dependent.result(LIMIT) == 3


@pytest.mark.asks(submits_run=False, lends=True, shares_memory=True)
def test_explain_names_what_is_waited_for_inside(make, gate):
    executor = make(1)

    def outer() -> int:
        return executor.submit(min, executor.submit(gate.passage, 7), 8).result()

    waiting = executor.submit(outer)
    gate.arrived()
    first, below = executor.explain(waiting).splitlines()
    assert first.endswith(" and waits inside, its slot lent, for min-3, which is waiting")
    assert re.match(r"    min-3 is waiting on passage-2, which runs on worker \d since ", below)
    gate.open()
    assert waiting.result(LIMIT) == 7


@pytest.mark.asks(submits_run=False, shares_memory=True)
def test_explain_what_waits_for_tokens(make, gate):
    executor = make(2, resources={"gpu": 1})
    view = executor.options(resources={"gpu": 1})
    first = view.submit(gate.passage)
    gate.arrived()
    second = view.submit(abs, -1)
    assert until(lambda: "tokens" in executor.explain(second))
    assert executor.explain(second) == f"{second.key} is ready and waits for tokens: 1 of gpu (0 free)"
    gate.open()
    assert (first.exception(LIMIT), second.result(LIMIT)) == (None, 1)


@pytest.mark.asks(submits_run=False)
def test_explain_what_holds_up_whom(make, gate, held):
    executor = make(1)
    running = executor.submit(gate.passage)
    gate.arrived()
    sides = [executor.submit(repr, running), executor.submit(repr, held)]
    merge = executor.submit(len, sides)
    executor.submit(len, "").cancel()  # by now all have been taken up
    first, *below = executor.explain(merge).splitlines()
    assert first.startswith(f"{merge.key} is waiting on {sides[0].key}, which ")
    assert all(line.startswith("    ") for line in below)
    assert any(running.key in line for line in [first, *below])
    assert f"    {sides[1].key} is waiting on a Future of another executor" in below
    gate.open()
    held.set_result(1)
    assert merge.result(LIMIT) == 2


@pytest.mark.asks(submits_run=False)
def test_slots_and_totals_are_counted(executor, case, gate):
    running = occupied(executor, gate, case.workers)
    assert executor.stats().slots == (executor._max_workers, case.workers, 0)
    gate.open()
    assert [future.result(LIMIT) for future in running] == [*range(case.workers)]
    executor.shutdown()
    stats = executor.stats()
    assert (stats.slots.busy, stats.missing) == (0, 0)
    assert stats.functions["passage"].attempts == case.workers
    assert 0 <= stats.functions["passage"].mean <= stats.functions["passage"].longest


@pytest.mark.asks(submits_run=False)
def test_explain_what_is_to_be_tried_again(executor):
    again = executor.options(retries=1, backoff=3600).submit(fail, ValueError("bad"))
    assert until(lambda: "tried again" in executor.explain(again))
    assert executor.explain(again).splitlines() == [
        f"{again.key} is to be tried again soon: 1 of its attempts have failed",
        "    the last one failed with ValueError('bad')",
    ]
    assert again.cancel()


class Unshown(Exception):
    def __repr__(self):
        raise ValueError("not shown")


@pytest.mark.asks(shares_memory=True)
def test_explain_an_exception_that_cannot_be_shown(executor):
    failed = executor.submit(fail, Unshown())
    assert type(failed.exception(LIMIT)) is Unshown
    assert executor.explain(failed) == f"{failed.key} failed with Unshown, which cannot be shown"


def test_explain_a_value_that_was_put(executor):
    assert executor.explain(executor.put([1])).endswith("is done: it returned a value of type list")


# -- backends by name


@pytest.mark.parametrize("name", ["threads", "threading", "threaded"])
def test_names_of_threads(name):
    with GraphExecutor(3, backend=name) as executor:
        assert executor._max_workers == 3
        assert executor.submit(abs, -1).result(LIMIT) == 1


@pytest.mark.parametrize("name", ["inline", "sync", "synchronous", "single-threaded"])
def test_names_of_inline(name):
    with GraphExecutor(3, backend=name) as executor:
        assert executor.submit(abs, -1).done()


def test_threads_are_the_default(monkeypatch):
    monkeypatch.delenv("GRAPHFUTURES_BACKEND", raising=False)
    with GraphExecutor(1) as executor:
        executor.submit(abs, -1).result(LIMIT)
        assert len(executor._threads) == 1


SCRIPT = """
import logging
logging.basicConfig(level=logging.INFO)
from graphfutures import GraphExecutor
for _ in range(2):
    with GraphExecutor() as executor:
        print(executor.submit(abs, -1).done(), executor._max_workers)
with GraphExecutor(2, backend="threads") as executor:
    print(executor._max_workers)
"""


def test_the_environment_chooses_and_is_logged_once_and_arguments_beat_it():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"GRAPHFUTURES_BACKEND": "inline", "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=3 * LIMIT,
        check=True,
    )
    assert done.stdout == "True 1\nTrue 1\n2\n"
    assert done.stderr.count("GRAPHFUTURES_BACKEND") == 1


def test_the_number_of_workers_from_the_environment(monkeypatch):
    monkeypatch.setenv("GRAPHFUTURES_MAX_WORKERS", "7")
    with GraphExecutor(backend="threads") as executor:
        assert executor._max_workers == 7
    with GraphExecutor(2, backend="threads") as executor:
        assert executor._max_workers == 2


def test_our_logger_is_not_configured():
    assert logging.getLogger("graphfutures").level == logging.NOTSET
    assert logging.getLogger("graphfutures").handlers == []


# -- views tell the same, and objects of ours who they are


def test_a_view_tells_what_its_executor_tells(executor):
    view = executor.options(name="load")
    future = view.submit(abs, view.put(-1))
    assert future.result(LIMIT) == 1
    assert view.explain(future) == executor.explain(future)
    assert view.stats() == executor.stats()
    assert [attempt.key for attempt in view.attempts()] == [future.key]


def test_what_an_executor_looks_like(make):
    executor = make(2, "loads")
    assert repr(executor) == f"<GraphExecutor loads, max_workers={executor._max_workers}, 0 unfinished>"
    assert repr(executor.options(retries=1)) == f"<{executor!r} with {{'retries': 1}}>"


@pytest.mark.asks(limits_time=True, shares_memory=True)
def test_explain_what_waits_for_one_whose_time_is_over(make, gate):
    executor = make(1)
    late = executor.options(timeout=0.05).submit(gate.passage)
    assert isinstance(late.exception(LIMIT), TimeoutError)
    ready = executor.submit(abs, -1)
    assert "1 of 1 are busy, 1 of them with what ran out of time and has not returned" in executor.explain(ready)
    assert late.key in executor.explain(ready)
    gate.open()
    assert ready.result(LIMIT) == 1


# -- clocks


def read_clock(*_):
    return time.perf_counter()


def test_the_clocks_of_workers_agree_within_a_millisecond(executor):
    for _ in range(5):
        before = time.perf_counter()
        futures = [executor.submit(read_clock)]
        futures += [executor.submit(read_clock, futures[-1]) for _ in range(3)]
        clocks = {future.key: future.result(LIMIT) for future in futures}
        after = time.perf_counter()
        attempts = {attempt.key: attempt for attempt in executor.attempts()}
        for key, clock in clocks.items():
            attempt = attempts[key]
            assert before <= attempt.start <= attempt.stop <= after
            assert attempt.start - 0.001 <= clock <= attempt.stop + 0.001
