"""``options``: views of an executor (CONTRACT 1, 9: name and priority)."""

import asyncio
from concurrent.futures import Executor
from threading import Thread, get_ident
from time import sleep

import pytest
from patience import LIMIT, in_time

from graphfutures import TaskTimeoutError, delayed

SHARED = pytest.mark.asks(shares_memory=True)


def test_a_view_is_an_executor(executor, case):
    view = executor.options(name="load")
    assert isinstance(view, Executor)
    assert view._max_workers == case.at_once
    assert not view._shutdown


def test_a_view_names_its_tasks(executor):
    future = executor.options(name="load").submit(abs, -1)
    assert future.name == "load"
    assert future.key.startswith("load-")
    assert executor.submit(abs, -1).name == "abs"


def test_options_are_taken_over_and_may_be_changed(executor):
    view = executor.options(name="one", priority=3)
    assert view.options(priority=4).submit(abs, -1).name == "one"
    assert view.options(name="two").submit(abs, -1).name == "two"
    assert view.submit(abs, -1).name == "one"


def test_the_graph_is_the_same(executor):
    one = executor.options(name="one").submit(abs, -3)
    two = executor.options(priority=-1).submit(pow, one, 2)
    assert executor.submit(sum, [one, two]).result(LIMIT) == 12


def test_a_view_maps(executor):
    view = executor.options(name="load")
    assert list(view.map(abs, [-1, -2], timeout=LIMIT)) == [1, 2]
    assert list(view.map(abs, range(-5, 0), buffersize=2)) == [5, 4, 3, 2, 1]
    assert {attempt.name for attempt in executor.attempts()} == {"load"}


def test_every_keyword_goes_to_the_function(executor):
    assert executor.options(name="load").submit(dict, name=1, priority=2).result(LIMIT) == {"name": 1, "priority": 2}


def test_shutting_a_view_waits_for_what_went_through_it_alone(executor, held):
    view = executor.options(name="load")
    mine = [view.submit(pow, 2, n) for n in range(20)]
    other = executor.submit(abs, held)
    in_time(view.shutdown)
    assert all(future.done() for future in mine)
    assert not other.done()


def test_shutting_a_view_closes_the_view_alone(executor):
    view, other = executor.options(name="one"), executor.options(name="two")
    with view:
        view.submit(abs, -1)
    assert view._shutdown
    for closed in (lambda: view.submit(abs, -1), lambda: view.map(abs, [1])):
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            closed()
    assert other.submit(abs, -1).result(LIMIT) == 1
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_a_view_does_not_wait_when_told_so(executor, held):
    view = executor.options(name="load")
    future = view.submit(abs, held)
    in_time(view.shutdown, wait=False)
    assert not future.done()
    held.set_result(-1)
    assert future.result(LIMIT) == 1


def test_a_view_cancels_its_own_futures_alone(executor, held):
    view = executor.options(name="load")
    mine, other = view.submit(abs, held), executor.submit(abs, held)
    dependent = executor.submit(abs, mine)
    in_time(view.shutdown, cancel_futures=True)
    assert mine.cancelled()
    assert dependent.cancelled()
    held.set_result(-1)
    assert other.result(LIMIT) == 1


def test_an_interrupt_that_leaves_a_view_cancels_what_went_through_it(executor, held):
    view = executor.options(name="load")

    def interrupted():
        with view:
            futures.append(view.submit(abs, held))
            raise KeyboardInterrupt

    futures = []
    with pytest.raises(KeyboardInterrupt):
        in_time(interrupted)
    assert futures[0].cancelled()
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_async_with_a_view(executor):
    async def main():
        async with executor.options(name="load") as view:
            future = view.submit(abs, -1)
        assert future.done()
        return await asyncio.get_running_loop().run_in_executor(executor.options(name="load"), abs, -2)

    assert asyncio.run(main()) == 2
    assert executor.submit(abs, -1).result(LIMIT) == 1


@pytest.mark.asks(shares_memory=True)
def test_a_task_may_shut_the_view_that_it_went_through(executor):
    view = executor.options(name="load")
    assert view.submit(view.shutdown).result(LIMIT) is None


def test_a_view_of_a_closed_view_is_closed(executor):
    view = executor.options(name="load")
    view.shutdown()
    for one in (view.options(name="late"), view.strict, view.strict.options(priority=1)):
        assert one._shutdown
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            one.submit(abs, -1)


def test_strict_is_the_same_executor(executor):
    strict = executor.strict
    assert isinstance(strict, Executor)
    assert strict._max_workers == executor._max_workers
    future = strict.submit(pow, executor.submit(abs, -3), 2)
    assert future.result(LIMIT) == 9
    assert list(strict.map(abs, [-1, future], timeout=LIMIT, buffersize=1)) == [1, 9]
    assert strict.put("x").result(LIMIT) == "x"
    assert strict.explain(future) == executor.explain(future)
    assert strict.stats() == executor.stats()
    assert strict.attempts() == executor.attempts()
    assert strict.strict is strict


def test_a_strict_view_is_a_view(executor):
    for view in (executor.options(name="load").strict, executor.strict.options(name="load")):
        assert view.submit(abs, -1).name == "load"
        assert view.options(priority=1).submit(abs, -1).name == "load"
        with view as same:
            future = same.submit(abs, -1)
        assert same is view
        assert future.done()
        assert view._shutdown
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_leaving_strict_shuts_the_executor(make):
    executor = make()
    with executor.strict as strict:
        future = strict.submit(abs, -1)
    assert future.done()
    assert executor._shutdown

    async def main(one):
        async with one.strict as strict:
            return strict.submit(abs, -1)

    other = make()
    assert asyncio.run(main(other)).done()
    assert other._shutdown


def test_an_interrupt_that_leaves_strict_cancels_what_has_not_started(make, held):
    executor, futures = make(), []

    def interrupted():
        with executor.strict as strict:
            futures.append(strict.submit(abs, held))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_time(interrupted)
    assert futures[0].cancelled()


class Flaky:
    """Fails twice, then returns its argument."""

    def __init__(self):
        self.calls = 0

    def __call__(self, value):
        self.calls += 1
        if self.calls < 3:
            raise OSError("not yet")
        return value


@SHARED
def test_a_graph_that_is_computed_through_a_view_has_its_options(executor):
    view = executor.options(retries=2, name="unused")
    assert view.get({"a": (Flaky(), 1), "b": (Flaky(), "a")}, "b") == 1
    assert delayed(Flaky())(delayed(Flaky())(2)).compute(scheduler=view) == 2
    assert view.submit(abs, delayed(Flaky())(-3)).result(LIMIT) == 3
    with pytest.raises(OSError, match="not yet") as caught:
        executor.options(retries=1).get({"the key": (Flaky(), 1)}, "the key")
    assert "the key" in caught.value.__notes__[-1]


@SHARED
def test_what_a_graph_says_itself_goes_before_the_options_of_a_view(executor):
    waits = []
    view = executor.options(retries=0, backoff=lambda failures: waits.append(failures) or 0)
    assert view.get({"a": (Flaky(), 1)}, "a", retries=2) == 1
    assert waits == [1, 2]


@SHARED
def test_the_tokens_and_the_backend_of_a_view_hold_for_its_graphs(make):
    executor = make(resources={"gpu": 1})
    running, most = [], []

    def compute(number):
        running.append(number)
        sleep(0.01)
        most.append(len(running))
        running.remove(number)

    executor.options(resources={"gpu": 1}).get({str(n): (compute, n) for n in range(6)}, [*"012345"])
    assert most == [1] * 6
    with pytest.raises(ValueError, match="gpu"):
        executor.options(resources={"gpu": 2}).get({"a": (abs, -1)}, "a")
    assert executor.options(backend="inline").get({"a": (get_ident,)}, "a") == get_ident()
    assert delayed(get_ident)().compute(scheduler=executor.options(backend="inline")) == get_ident()


@pytest.mark.asks(shares_memory=True, limits_time=True)
def test_the_time_of_a_view_limits_the_tasks_of_its_graphs(executor):
    with pytest.raises(TaskTimeoutError):
        executor.options(timeout=0.01).get({"a": (sleep, 0.1)}, "a")


@SHARED
def test_a_closed_view_computes_no_graph(executor):
    view = executor.options(priority=1)
    view.shutdown()
    for closed in (
        lambda: view.get({"a": (abs, -1)}, "a"),
        lambda: delayed(abs)(-1).compute(scheduler=view),
    ):
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            closed()
    assert executor.get({"a": (abs, -1)}, "a") == 1


@pytest.mark.asks(shares_memory=True, submits_run=False)
def test_shutting_a_view_waits_for_its_graphs(executor, gate):
    view = executor.options(priority=1)
    whole = Thread(target=view.get, args=({"a": (gate.passage, 1)}, "a"))
    whole.start()
    gate.arrived()
    ending = Thread(target=view.shutdown)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    gate.open()
    ending.join(LIMIT)
    whole.join(LIMIT)
    assert not ending.is_alive()
