"""What subscribers are told (CONTRACT 12): every task's story, in order and whole, on every backend."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import defaultdict
from concurrent.futures import CancelledError
from time import perf_counter

import pytest
from gates import occupied
from patience import LIMIT, in_time, until

from graphfutures import GraphExecutor
from graphfutures.core.states import ALLOWED, CANCELLED, DONE, FAILED, NEW, READY, RUNNING, WAITING
from graphfutures.diagnostics import events as event_stream

#: the state of a task from each event on
STATES = {
    "submitted": NEW,
    "ready": READY,
    "started": RUNNING,
    "finished": DONE,
    "failed": FAILED,
    "cancelled": CANCELLED,
}


def stories(events):
    """What was told of each task."""
    found = defaultdict(list)
    for event in events:
        if event.serial:
            found[event.key].append(event)
    return found


def is_legal(story):
    """Whether a story goes by the table of transitions, where it waits untold."""
    before = NEW
    for event in story[1:]:
        if event.what == "retried":
            before = WAITING
            continue
        after = STATES[event.what]
        if (before, after) not in ALLOWED and not ((before, WAITING) in ALLOWED and (WAITING, after) in ALLOWED):
            return False
        before = after
    return story[0].what == "submitted" and before in (DONE, FAILED, CANCELLED)


def whats(story):
    return [event.what for event in story]


def fail(error, *_):
    raise error


def plus(*numbers):
    return sum(numbers)


def test_every_task_has_a_legal_story_that_is_told_whole(executor, held):
    events = []
    before = perf_counter()
    with executor.subscribe(events.append):
        futures = [executor.submit(plus, 1)]
        for number in range(60):
            futures.append(executor.submit(plus, number, *futures[-1 - number % 3 :: 2]))
        failed = executor.submit(fail, ValueError("bad"), futures[-1])
        inherited = executor.submit(plus, failed)
        cancelled = executor.submit(plus, held)
        cancelled.cancel()
        below = executor.submit(plus, cancelled)
        for future in (*futures, failed, inherited):
            future.exception(LIMIT)
        with pytest.raises(CancelledError):
            below.result(LIMIT)
        after = perf_counter()
    told = stories(events)
    assert set(told) == {one.key for one in (*futures, failed, inherited, cancelled, below)}
    for key, story in told.items():
        assert is_legal(story), (key, whats(story))
        assert [event.time for event in story] == sorted(event.time for event in story)
        for event in story:
            assert event.start <= event.time
            assert not event.start or before <= event.start
            assert event.stop <= after
    for future in futures:
        *_, start, stop = told[future.key]
        assert (start.what, stop.what) == ("started", "finished")
        assert (start.attempt, stop.attempt) == (1, 1)
        assert stop.worker >= 0
        assert 0 < stop.start <= stop.stop
    assert "ValueError('bad')" in told[failed.key][-1].error
    assert whats(told[inherited.key]) == ["submitted", "failed"]
    assert whats(told[cancelled.key]) == ["submitted", "cancelled"]
    assert told[below.key][-1].what == "cancelled"


def test_what_is_tried_again_is_told_of(executor):
    events = []
    with executor.subscribe(events.append):
        failed = executor.options(retries=2, backoff=0).submit(fail, ValueError("bad"))
        failed.exception(LIMIT)
    story = stories(events)[failed.key]
    assert is_legal(story)
    assert [what for what in whats(story) if what in ("started", "retried", "failed")] == [
        *("started", "retried", "started", "retried", "started", "failed"),
    ]
    assert [event.attempt for event in story if event.what == "started"] == [1, 2, 3]
    assert all("ValueError('bad')" in event.error for event in story if event.what in ("retried", "failed"))


def test_the_end_of_an_executor_tells_all(make):
    executor, events = make(), []
    executor.subscribe(events.append)
    futures = [executor.submit(plus, number) for number in range(200)]
    in_time(executor.shutdown)
    told = stories(events)
    assert all(told[future.key][-1].what == "finished" for future in futures)


def test_whoever_raises_is_told_nothing_more_and_others_are(executor, caplog):
    first, second = [], []

    def raises(event):
        first.append(event)
        raise ValueError("no more")

    executor.subscribe(raises)
    with executor.subscribe(second.append):
        assert executor.submit(plus, 1, 2).result(LIMIT) == 3
    assert len(first) == 1
    assert whats(second)[0] == "submitted"
    assert whats(second)[-1] == "finished"
    assert "a subscriber has raised" in caplog.text


def test_who_has_left_is_told_nothing_and_costs_nothing(executor):
    events = []
    subscription = executor.subscribe(events.append)
    assert executor.submit(plus, 1).result(LIMIT) == 1
    subscription.close()
    number = len(events)
    assert executor.submit(plus, 2).result(LIMIT) == 2
    assert until(lambda: executor._hub.sink is None)
    assert executor.submit(plus, 3).result(LIMIT) == 3
    assert len(events) == number
    with executor.subscribe(events.append):
        assert executor.submit(plus, 4).result(LIMIT) == 4
    assert len(events) > number


def test_a_subscriber_may_use_the_executor(executor):
    told, seen = threading.Event(), []

    def again(event):
        if event.what == "finished" and not seen:
            seen.append(executor.submit(plus, 5))
            told.set()

    executor.subscribe(again)
    assert executor.submit(plus, 1).result(LIMIT) == 1
    assert told.wait(LIMIT)
    assert seen[0].result(LIMIT) == 5


@pytest.mark.asks(submits_run=False)
def test_what_runs_for_long_is_told_of_before_it_ends(executor, gate):
    events = []
    with executor.subscribe(events.append):
        running = executor.submit(gate.passage)
        gate.arrived()
        assert until(lambda: any(event.what == "started" and event.key == running.key for event in events))
        assert not running.done()
        gate.open()
        running.exception(LIMIT)
    assert is_legal(stories(events)[running.key])


@pytest.mark.asks(submits_run=False)
def test_who_comes_late_is_told_the_rest(executor, case, gate):
    occupied(executor, gate, case.workers)
    waits = executor.submit(plus, 1)
    assert executor.stats()["done"] == 0
    events = []
    with executor.subscribe(events.append):
        gate.open()
        assert waits.result(LIMIT) == 1
    assert whats(stories(events)[waits.key])[-2:] == ["started", "finished"]


def kill_this():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.ci
def test_workers_that_die_and_large_values_are_told_of():
    events = []
    with GraphExecutor(1, backend="processes") as executor:
        executor.subscribe(events.append)
        assert executor.submit(plus, 1).result(LIMIT) == 1
        large = executor.submit(bytes, 2_000_000)
        assert len(large.result(LIMIT)) == 2_000_000
        size = next(attempt.size for attempt in executor.attempts() if attempt.name == "bytes")
        assert size >= 2_000_000
        del large
        assert until(lambda: any(event.what == "dropped" for event in events))
        executor.options(crash_retries=0).submit(kill_this).exception(LIMIT)
        assert executor.submit(plus, 2).result(LIMIT) == 2
    what = [event.what for event in events if not event.serial]
    assert what == ["worker started", "published", "dropped", "worker died", "worker started"]
    assert all(event.size >= 2_000_000 for event in events if event.what in ("published", "dropped"))
    assert all(is_legal(story) for story in stories(events).values())


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="it is about fork")
def test_a_forked_child_is_told_nothing_and_may_watch_itself():
    events = []
    executor = GraphExecutor(1)
    executor.subscribe(events.append)
    assert executor.submit(plus, 1).result(LIMIT) == 1
    assert until(lambda: any(event.what == "finished" for event in events))
    number = len(events)
    process = os.fork()
    if not process:
        try:
            fine = executor.submit(plus, 2).result(LIMIT) == 2 and len(events) == number
            mine = []
            with executor.subscribe(mine.append):
                fine = fine and executor.submit(plus, 3).result(LIMIT) == 3
            os._exit(0 if fine and whats(mine)[-1] == "finished" else 1)
        finally:
            traceback.print_exc()
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    executor.shutdown()


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_what_a_subscriber_raises_ends_nothing_else(executor, raised):
    events = []

    def leaves(event):
        raise raised("it has had enough")

    executor.subscribe(leaves)
    with executor.subscribe(events.append):
        futures = [executor.submit(plus, number) for number in range(20)]
        assert [future.result(LIMIT) for future in futures] == [*range(20)]
    assert sum(event.what == "finished" for event in events) == 20


@pytest.mark.one_worker
def test_a_subscriber_that_does_not_return_is_not_waited_for(make, monkeypatch, caplog):
    monkeypatch.setattr(event_stream, "PATIENCE", 0.1)
    executor, go, come = make(), threading.Event(), threading.Event()

    def waits(event):
        come.set()
        go.wait(LIMIT)

    executor.subscribe(waits)
    assert executor.submit(plus, 1).result(LIMIT) == 1
    assert come.wait(LIMIT)
    in_time(executor.shutdown)
    go.set()
    assert "a subscriber has not returned" in caplog.text


@pytest.mark.asks(submits_run=False)
def test_who_comes_late_is_told_which_attempt_it_is(make):
    executor, events = make(), []
    future = executor.options(retries=3, backoff=0.05).submit(fail, ValueError("bad"))
    executor.subscribe(events.append)
    future.exception(LIMIT)
    in_time(executor.shutdown)
    assert stories(events)[future.key][-1].attempt == 4


def fail_beyond(passage):
    passage()
    raise ValueError("bad")


@pytest.mark.asks(submits_run=False)
def test_an_attempt_that_ran_before_anybody_came_is_counted(make, gate):
    executor, events = make(), []
    future = executor.options(retries=1, backoff=0).submit(fail_beyond, gate.passage)
    gate.arrived()
    executor.subscribe(events.append)
    assert until(lambda: future.serial in executor._hub.stream._stories._unsettled)
    gate.open()
    future.exception(LIMIT)
    in_time(executor.shutdown)
    told = [(event.what, event.attempt) for event in events if event.serial == future.serial and event.what != "ready"]
    assert told == [("started", 1), ("retried", 1), ("started", 2), ("failed", 2)]


def test_the_failures_of_many_dependents_are_told_with_their_error(executor, held):
    events = []
    with executor.subscribe(events.append):
        failed = executor.submit(fail, ValueError("bad"), held)
        dependents = [executor.submit(plus, failed) for _ in range(3000)]
        held.set_result(1)
        for future in dependents:
            assert isinstance(future.exception(LIMIT), ValueError)
    failures = [event for event in events if event.what == "failed"]
    assert len(failures) == 3001
    assert all("ValueError('bad')" in event.error for event in failures)


def test_what_cannot_be_called_is_no_subscriber(executor):
    with pytest.raises(TypeError, match="subscribe takes a function"):
        executor.subscribe(None)


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="it is about fork")
def test_a_forked_child_leaves_the_block_that_watches():
    executor = GraphExecutor(1)
    with executor.subscribe(lambda event: None):
        for number in range(20):
            assert executor.submit(plus, number).result(LIMIT) == number
            process = os.fork()
            if not process:
                break
            assert until(lambda process=process: os.waitpid(process, os.WNOHANG) == (process, 0))
    if not process:
        os._exit(0)
    executor.shutdown()


SCRIPT = """
import sys
from graphfutures import GraphExecutor
executor = GraphExecutor(1, backend=sys.argv[1])
executor.subscribe(lambda event: print(event.what, event.serial))
for number in range(50):
    executor.submit(abs, number)
"""


@pytest.mark.ci
@pytest.mark.parametrize("backend", ["threads", "inline", "processes"])
def test_the_end_of_the_interpreter_tells_all(backend):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, backend],
        check=False,
        env=os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=3 * LIMIT,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("finished") == 50
