"""The backend whose order is drawn from a seed: reproducible, and an executor like any other."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, as_completed, wait
from typing import Any

import pytest
from patience import LIMIT, in_time

from graphfutures import GraphExecutor, GraphFuture, allow_failure, unpack
from graphfutures.testing import InjectedFailure, SeededBackend

Program = Callable[[GraphExecutor], Any]


def add(*numbers: Any) -> int:
    return sum(sum(n) if isinstance(n, list) else n for n in numbers)


# -- programs that submit from one thread -----------------------------------------------------


def results_in_turn(executor: GraphExecutor) -> Any:
    leaves = [executor.submit(add, n) for n in range(12)]
    pairs = [executor.submit(add, a, b) for a, b in zip(leaves[::2], leaves[1::2], strict=True)]
    total = executor.submit(add, pairs)
    return [future.result() for future in [*leaves, total]]


def submits_while_others_run(executor: GraphExecutor) -> Any:
    pending = {executor.submit(add, n) for n in range(8)}
    seen: list[int] = []
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.serial):
            seen.append(future.result())
            if len(seen) < 20:
                pending.add(executor.submit(add, future, 100))
    return seen


def as_they_complete(executor: GraphExecutor) -> Any:
    seen = []
    for future in as_completed([executor.submit(add, n) for n in range(10)]):
        seen.append(future.result())
        executor.submit(add, future)
    return seen


def looks_and_cancels(executor: GraphExecutor) -> Any:
    futures = [executor.submit(add, n) for n in range(10)]
    futures[3].result()
    seen = [(f.done(), f.running(), f.cancel()) for f in futures]
    return seen, executor.stats()


def tasks_that_submit(executor: GraphExecutor) -> Any:
    inner: list[GraphFuture[int]] = []

    def outer(n: int) -> int:
        inner.extend(executor.submit(add, n, m) for m in range(3))
        return n

    outers = [executor.submit(outer, n) for n in range(6)]
    values = [f.result() for f in outers]
    return values, [f.result() for f in inner]


def maps_and_unpacks(executor: GraphExecutor) -> Any:
    a, b = unpack(executor.submit(divmod, 17, 5), 2)
    return list(executor.map(add, range(9), [a, b] * 5, buffersize=3))


def is_limited(executor: GraphExecutor) -> Any:
    limited = GraphExecutor(backend=SeededBackend(executor._hub.backend.seed), max_pending=3)  # type: ignore[attr-defined]
    with limited:
        futures = [limited.submit(add, n) for n in range(12)]
        seen = [f.done() for f in futures]
    return seen, limited._hub.backend.order  # type: ignore[attr-defined]


PROGRAMS = [
    results_in_turn,
    submits_while_others_run,
    as_they_complete,
    looks_and_cancels,
    tasks_that_submit,
    maps_and_unpacks,
    is_limited,
]


def trace(program: Program, seed: int, **options: Any) -> Any:
    """All that may be seen of a run."""
    backend = SeededBackend(seed, **options)
    with GraphExecutor(backend=backend) as executor:
        try:
            seen = in_time(program, executor)
        except InjectedFailure as error:
            seen = str(error)
    return seen, backend.order, backend.injected, [(a.key, a.good) for a in executor.attempts()]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("failures", [0.0, 0.1])
def test_the_same_seed_gives_the_same_run(program: Program, failures: float) -> None:
    for seed in range(10):
        first = trace(program, seed, failures=failures)
        for _ in range(3):
            assert trace(program, seed, failures=failures) == first, seed


def test_the_machine_may_be_busy() -> None:
    runs = in_time(trace, submits_while_others_run, 5)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    spinners = [threading.Thread(target=spin) for _ in range(3)]
    for each in spinners:
        each.start()
    try:
        again = in_time(trace, submits_while_others_run, 5, patience=LIMIT)
    finally:
        stop.set()
        for each in spinners:
            each.join(LIMIT)
    assert again == runs


@pytest.mark.parametrize("program", [results_in_turn, submits_while_others_run, as_they_complete])
def test_other_seeds_give_other_orders(program: Program) -> None:
    orders = {tuple(trace(program, seed)[1]) for seed in range(50)}
    assert len(orders) > 25
    assert len({tuple(sorted(order)) for order in orders}) == 1 or program is not results_in_turn


def test_one_worker_ends_tasks_in_the_order_in_which_they_are_taken() -> None:
    for seed in range(5):
        backend = SeededBackend(seed, max_workers=1)
        with GraphExecutor(backend=backend) as executor:
            futures = [executor.submit(add, n) for n in range(10)]
        assert backend.order == [f.key for f in futures]


def test_no_more_than_max_workers_are_running() -> None:
    backend = SeededBackend(3, max_workers=3)
    most = []
    with GraphExecutor(backend=backend) as executor:
        futures = [executor.submit(lambda: most.append(sum(f.running() for f in futures))) for _ in range(10)]
    assert max(most) == 3
    assert all(f.done() for f in futures)


# -- an executor like any other ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_dependencies_are_respected(seed: int) -> None:
    backend = SeededBackend(seed, max_workers=8)
    with GraphExecutor(backend=backend) as executor:
        layers = [[executor.submit(add, n) for n in range(6)]]
        for _ in range(4):
            layers.append([executor.submit(add, a, b) for a, b in itertools.pairwise(layers[-1])])
    place = {key: n for n, key in enumerate(backend.order)}
    for before, after in itertools.pairwise(layers):
        for n, future in enumerate(after):
            assert place[future.key] > max(place[before[n].key], place[before[n + 1].key])
            assert future.result(0) == before[n].result(0) + before[n + 1].result(0)


def test_an_injected_failure_is_a_failure_like_any_other() -> None:
    backend = SeededBackend(1, failures=1.0)
    with GraphExecutor(backend=backend) as executor:
        root = executor.submit(add, 1)
        heir = executor.submit(add, root)
        tolerant = executor.submit(repr, allow_failure(root))
        assert isinstance(root.exception(), InjectedFailure)
        assert str(root.exception()) == "injected into add-1 by SeededBackend(1)"
        error = heir.exception()
        assert type(error) is InjectedFailure
        assert error is not root.exception()
        assert error.__cause__ is root.exception()
        assert error.__notes__ == ["add-1 → add-2 (argument 0)"]
        assert isinstance(tolerant.exception(), InjectedFailure)
    assert backend.injected == backend.order == ["add-1", "repr-3"]
    assert [a.good for a in executor.attempts()] == [False, False]
    assert executor.stats()["failed"] == 3


def test_the_injected_exception_may_be_chosen() -> None:
    with GraphExecutor(backend=SeededBackend("x", failures=1, error=ConnectionError)) as executor:
        error = executor.submit(add, 1).exception()
    assert type(error) is ConnectionError
    assert str(error) == "injected into add-1 by SeededBackend('x')"


def test_an_error_that_cannot_be_made_is_the_failure() -> None:
    def broken(message: str) -> Exception:
        raise KeyError(message)

    with GraphExecutor(backend=SeededBackend(0, failures=1, error=broken)) as executor:
        assert isinstance(executor.submit(add, 1).exception(), KeyError)


def test_some_of_many_fail_and_the_others_are_called() -> None:
    backend = SeededBackend(2, failures=0.3)
    with GraphExecutor(backend=backend) as executor:
        futures = [executor.submit(add, n) for n in range(100)]
    failed = [f.key for f in futures if f.exception(0) is not None]
    assert sorted(backend.injected) == sorted(failed)
    assert 10 < len(failed) < 60
    assert len(backend.order) == 100
    assert all(f.exception(0) or f.result(0) == n for n, f in enumerate(futures))


def test_cancel() -> None:
    with GraphExecutor(backend=SeededBackend(0, max_workers=1)) as executor:
        head, other = executor.submit(add, 1), executor.submit(add, 2)
        tail = executor.submit(add, other)
        assert other.cancel()
        assert tail.cancelled()
        assert head.result() == 1
        assert not head.cancel()
        with pytest.raises(CancelledError):
            tail.result()


@pytest.mark.parametrize("cancelling", [True, False])
def test_shutdown(cancelling: bool) -> None:
    executor = GraphExecutor(backend=SeededBackend(4, max_workers=2))
    futures = [executor.submit(add, n) for n in range(10)]
    futures[0].result()
    executor.shutdown(wait=False, cancel_futures=cancelling)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1)
    in_time(executor.shutdown)
    assert all(f.done() for f in futures)
    assert any(f.cancelled() for f in futures) == cancelling


def test_an_executor_that_is_dropped_finishes_its_work() -> None:
    futures = [GraphExecutor(backend=SeededBackend(0)).submit(add, n) for n in range(5)]
    assert [in_time(f.result) for f in futures] == [0, 1, 2, 3, 4]


def test_an_executor_that_was_never_used() -> None:
    with GraphExecutor(backend=SeededBackend(0)):
        pass
    GraphExecutor(backend=SeededBackend(0))


def test_it_waits_for_futures_of_others() -> None:
    foreign: Future[int] = Future()
    executor = GraphExecutor(backend=SeededBackend(0))
    future = executor.submit(add, foreign, executor.submit(add, 1))
    timer = threading.Timer(0.01, foreign.set_result, (5,))
    timer.start()
    assert in_time(future.result) == 6
    timer.join(LIMIT)
    executor.shutdown()


def test_others_wait_for_it() -> None:
    with GraphExecutor(backend=SeededBackend(0, patience=10 * LIMIT)) as one, GraphExecutor(2) as two:
        assert in_time(two.submit(add, one.submit(add, 1), 2).result) == 3


def test_await() -> None:
    async def main() -> int:
        async with GraphExecutor(backend=SeededBackend(0, patience=10 * LIMIT)) as executor:
            return await executor.submit(add, executor.submit(add, 1), 2)

    assert in_time(asyncio.run, main()) == 3


def test_a_wait_that_cannot_be_seen() -> None:
    with GraphExecutor(backend=SeededBackend(0, patience=0.01)) as executor:
        called = threading.Event()
        executor.submit(add, 1).add_done_callback(lambda _: called.set())
        assert called.wait(LIMIT)


def test_nothing_happens_before_somebody_waits() -> None:
    backend = SeededBackend(0, patience=10 * LIMIT)
    with GraphExecutor(backend=backend) as executor:
        futures = [executor.submit(add, n) for n in range(5)]
        executor.stats()
        assert not any(f.running() or f.done() for f in futures)
        assert futures[0].result() == 0
    assert len(backend.order) == 5


def test_a_wait_with_a_timeout_returns() -> None:
    held: Future[Any] = Future()
    executor = GraphExecutor(backend=SeededBackend(0))
    future = executor.submit(add, held)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    held.cancel()
    in_time(executor.shutdown)
    assert future.cancelled()


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        SeededBackend(0, max_workers=0)
    for failures in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            SeededBackend(0, failures=failures)
    with pytest.raises(TypeError, match="error must make"):
        SeededBackend(0, error=ValueError("x"))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def its_thread_leaves() -> Iterator[None]:
    """What is waited for at the end of every test is no other thread than this."""
    yield
    assert not [t for t in threading.enumerate() if "seeded" in t.name and not _ends(t)]


def _ends(thread: threading.Thread) -> bool:
    thread.join(LIMIT)
    return not thread.is_alive()


def test_a_failure_that_was_injected_is_retried() -> None:
    for seed in range(20):
        backend = SeededBackend(seed, failures=0.3, error=ConnectionError)
        with GraphExecutor(backend=backend) as executor:
            assert executor.options(retries=20, retry_on=ConnectionError).submit(abs, -1).result(LIMIT) == 1
        assert len(backend.order) == len(backend.injected) + 1


def test_a_failure_is_injected_as_often_as_it_is_tried() -> None:
    backend = SeededBackend(1, failures=1)
    with GraphExecutor(backend=backend) as executor:
        assert isinstance(executor.options(retries=2).submit(abs, -1).exception(LIMIT), InjectedFailure)
    assert len(backend.injected) == 3


@pytest.mark.parametrize("error", [lambda message: message, lambda message: OSError])
def test_what_is_injected_has_to_be_an_exception(error: Any) -> None:
    with GraphExecutor(backend=SeededBackend(1, failures=1, error=error)) as executor:
        failed = executor.submit(abs, -1)
        with pytest.raises(TypeError, match="error must return an exception"):
            executor.submit(abs, failed).result(LIMIT)


def test_a_backend_serves_one_executor() -> None:
    backend = SeededBackend(1)
    with GraphExecutor(backend=backend) as executor:
        with pytest.raises(ValueError, match="serves another executor already: make one for each"):
            GraphExecutor(backend=backend)
        assert executor.submit(abs, -1).result(LIMIT) == 1
