"""Options of tasks, on every backend, as far as its row goes."""

import threading
from concurrent.futures import Future, wait
from contextvars import ContextVar

import pytest
from patience import LIMIT, in_time

from graphfutures import DeadlockError, TaskTimeoutError, current_executor, current_task, delayed, quote

SHARED = pytest.mark.asks(shares_memory=True)


def settled(value):
    future: Future = Future()
    future.set_result(value)
    return future


class Flaky:
    """Fails as often as it is told to, then returns how often it was called."""

    def __init__(self, times, error=ValueError):
        self.times = times
        self.error = error
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error(self.calls)
        return self.calls


@SHARED
def test_retries_run_a_task_again_until_it_succeeds(executor):
    assert executor.options(retries=2).submit(Flaky(2)).result(LIMIT) == 3


@SHARED
def test_after_the_last_retry_the_last_exception_counts(executor):
    flaky = Flaky(9)
    failed = executor.options(retries=2).submit(flaky)
    assert isinstance(failed.exception(LIMIT), ValueError)
    assert failed.exception().args == (3,)
    assert flaky.calls == 3


@SHARED
@pytest.mark.parametrize(
    "retry_on",
    [KeyError, (KeyError, OSError), lambda error: isinstance(error, KeyError)],
    ids=["type", "tuple", "function"],
)
def test_only_what_retry_on_names_is_tried_again(executor, retry_on):
    view = executor.options(retries=3, retry_on=retry_on)
    other, named = Flaky(1), Flaky(1, KeyError)
    assert isinstance(view.submit(other).exception(LIMIT), ValueError)
    assert other.calls == 1
    assert view.submit(named).result(LIMIT) == 2


@SHARED
def test_by_default_only_exceptions_are_tried_again(executor):
    flaky = Flaky(1, GeneratorExit)
    assert isinstance(executor.options(retries=3).submit(flaky).exception(LIMIT), GeneratorExit)
    assert flaky.calls == 1


@SHARED
def test_a_retry_on_that_fails_itself_ends_the_retries(executor, caplog):
    flaky = Flaky(1)
    failed = executor.options(retries=3, retry_on=lambda error: 1 / 0).submit(flaky)
    assert isinstance(failed.exception(LIMIT), ValueError)
    assert "retry_on" in caplog.text


@SHARED
def test_backoff_is_doubled_or_asked_for(executor):
    asked = []

    def backoff(attempt):
        asked.append(attempt)
        return 0.001

    assert executor.options(retries=3, backoff=backoff).submit(Flaky(3)).result(LIMIT) == 4
    assert asked == [1, 2, 3]
    assert executor.options(retries=3, backoff=0.001).submit(Flaky(3)).result(LIMIT) == 4


@pytest.mark.asks(shares_memory=True, submits_run=False)
@pytest.mark.one_worker
def test_no_slot_is_held_between_attempts(executor):
    between = threading.Event()

    def first():
        if not between.is_set():
            raise ValueError
        return "again"

    again = executor.options(retries=1000, backoff=lambda attempt: 0.01).submit(first)
    executor.submit(between.set).result(LIMIT)
    assert again.result(LIMIT) == "again"


@pytest.mark.asks(shares_memory=True, submits_run=False)  # inline waits in submit
def test_what_waits_for_its_next_attempt_can_be_cancelled(executor):
    failed = threading.Event()

    def fail():
        failed.set()
        raise ValueError

    waiting = executor.options(retries=1, backoff=LIMIT * 10).submit(fail)
    dependent = executor.submit(str, waiting)
    assert failed.wait(LIMIT)
    while not waiting.cancel():  # True once its attempt has been reported
        pass
    wait([dependent], LIMIT)
    assert dependent.cancelled()


@SHARED
def test_each_attempt_counts_and_is_remembered(executor):
    numbers = []

    def fail():
        numbers.append(current_task().attempt)
        if len(numbers) < 3:
            raise ValueError

    future = executor.options(retries=2).submit(fail)
    future.result(LIMIT)
    assert numbers == [1, 2, 3]
    assert [attempt.good for attempt in executor.attempts() if attempt.key == future.key] == [False, False, True]


@pytest.mark.asks(shares_memory=True, limits_time=True)
def test_timeout_fails_the_future_while_the_slot_stays_taken(make):
    executor, on, seen = make(1), threading.Event(), []

    def slow():
        on.wait(LIMIT)
        seen.append(current_task().cancelled())

    late = executor.options(timeout=0.05, retries=3).submit(slow)
    error = late.exception(LIMIT)
    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error, TimeoutError)
    assert late.key in str(error)
    after = executor.submit(int)
    assert not after.done()
    on.set()
    assert after.result(LIMIT) == 0
    assert seen == [True]


@pytest.mark.asks(shares_memory=True, limits_time=True)
def test_dependents_of_what_timed_out_fail_at_once(make):
    executor, on = make(1), threading.Event()
    late = executor.options(timeout=0.05).submit(on.wait, LIMIT)
    assert isinstance(executor.submit(str, late).exception(LIMIT), TaskTimeoutError)
    on.set()


@pytest.mark.asks(shares_memory=True, limits_time=True)
def test_time_spent_waiting_inside_does_not_count(make):
    executor, on = make(2), threading.Event()
    slow = executor.submit(on.wait, LIMIT)
    waits = threading.Event()

    def wait_inside():
        waits.set()
        return slow.result()

    patient = executor.options(timeout=0.2).submit(wait_inside)
    assert waits.wait(LIMIT)
    with pytest.raises(TimeoutError):
        patient.result(0.5)
    assert not patient.done()
    on.set()
    assert patient.result(LIMIT) is True


@pytest.mark.asks(limits_time=False)
def test_a_backend_that_cannot_limit_time_says_so(executor):
    with pytest.raises(ValueError, match="timeout"):
        executor.options(timeout=1)


@pytest.mark.asks(shares_memory=True, hosts=True)
def test_join_waits_for_futures_in_the_value(executor):
    def outer():
        inner = current_executor()
        return {"a": inner.submit(pow, 2, 3), "b": [inner.submit(pow, 2, 4), 5]}

    assert executor.options(join=True).submit(outer).result(LIMIT) == {"a": 8, "b": [16, 5]}
    assert executor.options(join=True).submit(lambda: current_executor().submit(pow, 2, 5)).result(LIMIT) == 32
    assert executor.options(join=True).submit(pow, 2, 6).result(LIMIT) == 64


@SHARED
def test_join_waits_for_futures_of_others_without_a_slot(executor, held):
    joined = executor.options(join=True).submit(lambda: [held])
    assert executor.submit(int).result(LIMIT) == 0
    assert not joined.done()
    held.set_result("there")
    assert joined.result(LIMIT) == ["there"]


@SHARED
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda: delayed(abs)(-1), 1),
        (lambda: [delayed(abs)(-1), {"b": delayed(abs)(delayed(abs)(-2))}], [1, {"b": 2}]),
        (lambda: [delayed(abs)], [abs]),
        (lambda: delayed([1]), [1]),
        (lambda: [delayed(abs)(-1), settled(2), quote(delayed)], [1, 2, delayed]),
    ],
    ids=["bare", "inside", "function", "data", "mixed"],
)
def test_join_computes_delayed_objects_in_the_value(executor, value, expected):
    assert executor.options(join=True).submit(value).result(LIMIT) == expected


@SHARED
def test_join_computes_delayed_objects_while_the_executor_is_shut_down(executor, case, gate):
    def late():
        gate.passage()
        return delayed(abs)(-1)

    if case.capabilities.submits_run:
        gate.open()
    joined = executor.options(join=True).submit(late)
    executor.shutdown(wait=False)
    gate.open()
    assert joined.result(LIMIT) == 1


@SHARED
def test_what_join_computes_runs_in_the_context_of_its_task(executor):
    here = ContextVar("here", default="nowhere")
    token = here.set("here")
    joined = executor.options(join=True).submit(lambda: [delayed(here.get)()])
    here.reset(token)
    assert joined.result(LIMIT) == ["here"]


@SHARED
def test_the_failure_of_what_join_computes_is_the_failure_of_the_task(executor):
    assert isinstance(executor.options(join=True).submit(lambda: [delayed(int)("x")]).exception(LIMIT), ValueError)


@pytest.mark.asks(shares_memory=True, hosts=True)
def test_a_joined_failure_has_its_type_and_its_path(executor):
    def outer():
        return [current_executor().submit(int, "x")]

    joined = executor.options(join=True).submit(outer)
    error = joined.exception(LIMIT)
    assert isinstance(error, ValueError)
    assert joined.key in error.__notes__[-1]


@pytest.mark.asks(shares_memory=True, submits_run=False)
def test_a_join_that_closes_a_circle_is_told(executor):
    made: Future = Future()
    circle = executor.options(join=True).submit(made.result, LIMIT)
    made.set_result(executor.submit(str, circle))
    assert isinstance(circle.exception(LIMIT), DeadlockError)


@SHARED
def test_tokens_limit_how_many_compute(make):
    executor, lock, now, most = make(resources={"gpu": 1}), threading.Lock(), [], []

    def count():
        with lock:
            now.append(1)
            most.append(len(now))
        with lock:
            now.pop()

    futures = [executor.options(resources={"gpu": 1}).submit(count) for _ in range(50)]
    assert not wait(futures, LIMIT).not_done
    assert max(most) == 1


@SHARED
def test_tokens_hold_up_nobody_else(make):
    executor, gate = make(2, resources={"gpu": 1}), threading.Event()
    if executor._hub.backend.capabilities.submits_run:
        gate.set()
    view = executor.options(resources={"gpu": 1})
    first, second = view.submit(gate.wait, LIMIT), view.submit(int)
    if executor._max_workers > 1:
        assert executor.submit(int).result(LIMIT) == 0
        assert not second.done()
    gate.set()
    assert first.result(LIMIT)
    assert second.result(LIMIT) == 0


def test_more_tokens_than_there_are(make):
    executor = make(resources={"gpu": 1})
    for asked in ({"gpu": 2}, {"tpu": 1}):
        view = executor.options(resources=asked)
        with pytest.raises(ValueError, match="resource"):
            view.submit(int)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retries": "2"}, TypeError),
        ({"retries": -1}, ValueError),
        ({"retries": True}, TypeError),
        ({"retry_on": 5}, TypeError),
        ({"retry_on": (ValueError, int)}, TypeError),
        ({"backoff": -1}, ValueError),
        ({"backoff": "1"}, TypeError),
        ({"backoff": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"join": 1}, TypeError),
        ({"crash_retries": -1}, ValueError),
        ({"crash_retries": 1.5}, TypeError),
        ({"resources": ["gpu"]}, TypeError),
        ({"resources": {"gpu": "1"}}, TypeError),
        ({"resources": {"gpu": -1}}, ValueError),
        ({"backend": "nowhere"}, ValueError),
        ({"resource": {"gpu": 1}}, TypeError),
    ],
)
def test_wrong_options_are_refused(executor, options, error):
    with pytest.raises(error) as caught:
        executor.options(**options)
    assert next(iter(options)) in str(caught.value)


def test_crash_retries_are_accepted_everywhere(executor):
    assert executor.options(crash_retries=0).submit(abs, -1).result(LIMIT) == 1


@SHARED
def test_shutdown_waits_for_retries(make):
    executor = make()
    again = executor.options(retries=2, backoff=0.01).submit(Flaky(2))
    in_time(executor.shutdown)
    assert again.result(0) == 3
