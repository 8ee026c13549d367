"""Everything at once, at random: three threads submit, cancel and wait while a fourth shuts the executor down.

Whatever happens, every future that ``submit`` returned is settled by the time ``shutdown(wait=True)`` returns, and
rightly so.  A new backend joins by one line in ``BACKENDS``.  ``python tests/stress/test_stress.py threads 0 300``
runs a range of seeds.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import ExitStack, contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from patience import LIMIT, in_time

from graphfutures import GraphExecutor, GraphFuture, allow_failure, current_executor

BACKENDS = ["threads", "inline", "wrapped", "mixed", "wrapped processes", "processes"]
#: those whose workers need not be started for each seed
QUICK = BACKENDS[:-1]
_UNTIL = {**dict.fromkeys(QUICK, 300), "processes": 120}
SUBMITTERS = 3
STEPS = 40


class Boom(Exception):
    """What tasks fail with that are to fail, and futures of others; the argument says which."""


class Stumble(Exception):
    """What attempts fail with that are to be repeated."""


class Submitted:
    """What is known of a task, to judge by how it ended.

    :param number: which it is.
    :param inputs: the futures it depends on, and whether it takes their failures as values.
    :param fails: whether its function raises.
    """

    def __init__(self, number: int, inputs: list[tuple[Future[Any], bool]], fails: bool) -> None:
        self.number = number
        self.inputs = inputs
        self.fails = fails
        self.cancelled = False  # whether a cancel() has said so
        self.running = False  # whether its function was called
        self.stumbles = 0  # how many of its attempts are still to fail, before that which counts
        self.calls = 0  # how often its callback was called
        self.early = False  # whether that was before the end
        self.inner: list[Submitted] = []  # what it has submitted itself
        self.future: GraphFuture[Any]


@cache
def processes() -> ProcessPoolExecutor:
    """One pool for all seeds: it is ours, so no executor that is made of it shuts it."""
    pool = ProcessPoolExecutor(2, mp_context=get_context("forkserver"))
    pool.submit(int).result(LIMIT)  # its threads are here from now on
    return pool


@pytest.fixture(scope="module", autouse=True)
def pool_of_processes() -> Iterator[None]:
    """Before the threads are counted that a test begins with."""
    processes()
    yield
    processes().shutdown()
    processes.cache_clear()


def run_elsewhere(
    folder: Path, number: int, stumbles: int, fails: bool, given: Any, inner: int = 0, again: bool = False
) -> int:
    """What a task does in another process, of which files tell in how many attempts.

    :param inner: how many tasks it submits there, and waits for.
    :param again: whether it may be begun again, since its worker is stopped for the sake of another task.
    """
    for attempt in range(stumbles):
        trace = folder / f"{number}.{attempt}"
        if not trace.exists():
            trace.touch()
            raise Stumble(number)
    (folder / str(number)).touch(exist_ok=again)  # or it is run twice
    if inner:
        squares = [current_executor().submit(pow, n, 2) for n in range(inner)]
        try:
            assert [square.result() for square in squares] == [n * n for n in range(inner)]
        except (RuntimeError, CancelledError):
            pass  # none are submitted any more
    if fails:
        raise Boom(number)
    return number + weigh(given)


def weigh(value: Any) -> int:
    """What a value, or an exception in its place, adds to the value of a dependent."""
    if isinstance(value, CancelledError):
        return 1_000_003
    if isinstance(value, Boom):
        return 1_000_033 + int(value.args[0])
    if isinstance(value, dict):
        return sum(weigh(each) for each in value.values())
    if isinstance(value, (list, tuple)):
        return sum(weigh(each) for each in value)
    return int(value)


def outcome(future: Future[Any]) -> Any:
    """The value, or the exception, of a future that is done."""
    if future.cancelled():
        return CancelledError()
    return future.exception(0) or future.result(0)


class Stress:
    """One executor, and all that is done with it.

    :param seed: of all that is random here; how the threads take turns is not.
    """

    def __init__(self, seed: int, backend: str, workers: int) -> None:
        self.seed = seed
        rng = random.Random(seed)
        self.others = ThreadPoolExecutor(2)
        self.resources = ExitStack()
        self.folder: Path | None = None
        main: Any = "threads" if backend == "mixed" else backend
        #: by their names, those that some of the tasks run on
        beside: dict[str, Any] = {}
        if backend in ("wrapped", "mixed"):
            pool = self.resources.enter_context(ThreadPoolExecutor(workers))
            if backend == "mixed":
                beside = {"pool": pool, "inline": 1}
            else:
                main = pool
        elif "processes" in backend:
            self.folder = Path(self.resources.enter_context(TemporaryDirectory()))
            if backend != "processes":
                main = processes()
        self.beside = [*beside]
        #: whether a running task may be stopped, and others with it that run again
        self.stops = backend == "processes"
        #: a task of others keeps its thread while it waits, so that all of them could
        self.waits_inside = not {backend, *beside} & {"wrapped", "mixed"}
        self.executor = GraphExecutor(
            workers,
            backend=main,
            backends=beside or None,
            max_pending=rng.choice([None, None, 5, 30]),
            resources={"token": 1},
        )
        self.tasks: list[Submitted] = []
        self.foreign: list[Future[Any]] = []
        self.wait, self.cancelling = rng.random() < 0.5, rng.random() < 0.4
        self.moment = rng.randint(1, SUBMITTERS * STEPS * 2)  # at how many tasks it is shut; at the end, if never
        self.shutting = self.refusing = False
        self.reached = threading.Event()
        self.lock = threading.Lock()
        self.numbers = 0
        self.wrong: list[BaseException] = []

    # -- what is done -----------------------------------------------------------------------

    def new(self, inputs: list[tuple[Future[Any], bool]], rng: random.Random) -> Submitted:
        with self.lock:
            self.numbers += 1
            return Submitted(self.numbers, inputs, rng.random() < 0.06)

    def submit(self, rng: random.Random, mine: list[Submitted]) -> None:
        known = [task.future for task in mine[-15:]] + self.foreign[-5:] + [t.future for t in self.tasks[-10:]]
        chosen = rng.sample(known, min(len(known), rng.choice([0, 0, 1, 1, 2, 4])))
        task = self.new([(future, rng.random() < 0.3) for future in chosen], rng)
        given: list[Any] = [allow_failure(future) if tolerant else future for future, tolerant in task.inputs]
        if rng.random() < 0.3:
            given = [given[:1], {"rest": tuple(given[1:])}]
        options: dict[str, Any] = {}
        if rng.random() < 0.2:
            options["priority"] = rng.choice([-1, 1, 2.5])
        if rng.random() < 0.15:
            task.stumbles = rng.choice([1, 2])
            options.update(retries=task.stumbles, retry_on=Stumble, backoff=rng.choice([0, 0, 0.0005]))
        if rng.random() < 0.15:
            options["resources"] = {"token": 1}
        if self.beside and rng.random() < 0.6:
            options["backend"] = rng.choice(self.beside)
        door = self.executor.options(**options) if options else self.executor
        inner = rng.choice([0, 0, 0, 1, 3])
        if self.folder is not None:
            args = self.folder, task.number, task.stumbles, task.fails, given
            task.future = door.submit(run_elsewhere, *args, *((inner, True) if self.stops else ()))
        else:
            task.future = door.submit(self.run, task, inner, rng.random(), given)
        self.submitted(task, mine)

    def submitted(self, task: Submitted, mine: list[Submitted]) -> None:
        def called(future: Future[Any]) -> None:
            task.calls += 1
            task.early = not future.done()

        task.future.add_done_callback(called)
        mine.append(task)
        self.tasks.append(task)
        if len(self.tasks) >= self.moment:
            self.reached.set()

    def run(self, task: Submitted, inner: int, chance: float, given: Any) -> int:
        """What a task does."""
        if task.stumbles:
            task.stumbles -= 1
            raise Stumble(task.number)
        assert not task.running, "it is run twice"
        task.running = True
        rng = random.Random(chance)
        for _ in range(inner):
            child = self.new([], rng)
            try:
                child.future = self.executor.submit(self.run, child, 0, rng.random(), [])
            except RuntimeError:
                assert self.refusing, "a running task may submit until the graph is drained"
                break
            self.submitted(child, task.inner)
        if self.waits_inside and rng.random() < 0.5:
            wait([child.future for child in task.inner])
        if task.fails:
            raise Boom(task.number)
        return task.number + weigh(given)

    def add_foreign(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self.foreign.append(self.others.submit(abs, rng.randint(0, 9)))
            return
        future: Future[Any] = Future()
        self.foreign.append(future)

        def cancel() -> None:
            future.cancel()
            future.set_running_or_notify_cancel()  # or the standard ``wait`` would wait for it for ever

        self.others.submit(rng.choice([lambda: future.set_result(5), lambda: future.set_exception(Boom(7)), cancel]))

    def look(self, rng: random.Random, mine: list[Submitted]) -> None:
        """Wait for some futures, in one of the ways of the standard library."""
        futures: list[Future[Any]] = [task.future for task in rng.sample(mine, min(len(mine), 4))]
        futures += self.foreign[-1:]
        match rng.randint(0, 3):
            case 0:
                done, _ = wait(futures, return_when=FIRST_COMPLETED)
                assert done or not futures
            case 1:
                assert {*as_completed(futures)} == {*futures}
            case 2:
                wait(futures, timeout=0.0001)
            case _:
                for future in futures:
                    try:
                        future.result()
                    except (Boom, CancelledError):
                        pass
                    assert future.done()

    def step(self, rng: random.Random, mine: list[Submitted]) -> None:
        chance = rng.random()
        if chance < 0.7 or not mine:
            self.submit(rng, mine)
        elif chance < 0.8:
            self.add_foreign(rng)
        elif chance < 0.93:
            task = rng.choice(mine)
            if task.future.cancel(force=rng.random() < 0.3):
                task.cancelled = True
                assert task.future.cancelled()
        else:
            self.look(rng, mine)

    def use(self, seed: str) -> None:
        """What a thread does that uses the executor."""
        rng, mine = random.Random(seed), list[Submitted]()
        try:
            for _ in range(STEPS):
                try:
                    self.step(rng, mine)
                except RuntimeError:
                    assert self.shutting, "an executor that is open has refused a task"
        except BaseException as error:
            self.wrong.append(error)

    def go(self) -> None:
        threads = [threading.Thread(target=self.use, args=(f"{self.seed}.{n}",)) for n in range(SUBMITTERS)]
        for thread in threads:
            thread.start()
        ended = threading.Thread(target=lambda: [*map(threading.Thread.join, threads), self.reached.set()])
        ended.start()
        self.reached.wait()
        self.shutting, self.refusing = True, self.cancelling
        try:
            self.executor.shutdown(self.wait, cancel_futures=self.cancelling)
            if self.wait:
                self.all_settled()
        finally:
            ended.join()
            self.executor.shutdown()
            self.others.shutdown()
            if self.folder is not None:
                ran = {file.name for file in self.folder.iterdir()}
                for task in self.tasks:
                    task.running = str(task.number) in ran
            self.resources.close()
        self.all_settled()
        if self.wrong:
            raise self.wrong[0]

    # -- what must hold -----------------------------------------------------------------------

    def all_settled(self) -> None:
        left = [self.executor.explain(task.future) for task in [*self.tasks] if not task.future.done()]
        assert not left, f"left by shutdown(wait=True): {left}"

    def judge(self) -> None:
        for task in self.tasks:
            assert task.calls == 1, f"a callback was called {task.calls} times"
            assert not task.early, "a callback was called before the end"
            self.ended_well(task)
        stats = self.executor.stats()
        assert (stats["waiting"], stats["ready"], stats["running"]) == (0, 0, 0)
        ended = stats["done"] + stats["failed"] + stats["cancelled"]
        assert ended >= len(self.tasks) if self.stops else ended == len(self.tasks)

    def ended_well(self, task: Submitted) -> None:
        end, future = outcome(task.future), task.future
        assert future.cancelled() == isinstance(end, CancelledError), f"{future.key} has failed with CancelledError"
        inputs = [(outcome(one), tolerant) for one, tolerant in task.inputs]
        troubles = [one for one, tolerant in inputs if isinstance(one, BaseException) and not tolerant]
        # Stopped for the sake of another task, one that ran has not started any more, and may be cancelled.
        thrown_away = self.stops and (task.cancelled or bool(troubles) or isinstance(end, CancelledError))
        if task.running and not thrown_away:
            assert not troubles, f"{future.key} ran without an input"
            assert not task.cancelled, f"{future.key} ran though it was cancelled"
            if task.fails:
                assert (type(end), end.args) == (Boom, (task.number,)), f"{future.key} is to fail, but is {end!r}"
                assert self.folder is not None or end.__cause__ is None
            else:
                assert end == task.number + sum(weigh(one) for one, _ in inputs), f"{future.key} has a wrong value"
        elif isinstance(end, CancelledError):
            by_input = any(isinstance(one, CancelledError) for one in troubles)
            assert task.cancelled or by_input or self.cancelling, f"nobody has cancelled {future.key}"
        else:
            assert isinstance(end, Boom), f"{future.key} was never called, and is {end!r}"
            assert end.args in [one.args for one in troubles], f"{future.key} has the failure of another"
            assert end is not end.__cause__
            assert not any(end is one for one in troubles), "an exception is shared by two futures"
            assert type(end.__cause__) is Boom
            assert any(future.key in note for note in end.__notes__)


@contextmanager
def switching_every(seconds: float | None) -> Iterator[None]:
    before = sys.getswitchinterval()
    if seconds is not None:
        sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def stress(seed: int, backend: str, workers: int, switch_interval: float | None = None) -> None:
    """Run the program once, and judge it."""
    if backend == "wrapped processes":
        processes()
    before = {*threading.enumerate()}
    try:
        with switching_every(switch_interval):
            program = Stress(seed, backend, workers)
            in_time(program.go)
        program.judge()
        for thread in {*threading.enumerate()} - before:
            thread.join(LIMIT)
            assert not thread.is_alive(), f"{thread} is left"
    except BaseException as error:
        error.add_note(f"stress({seed}, {backend!r}, {workers}, {switch_interval})")
        raise


def workers_of(seed: int) -> int:
    return (1, 2, 4)[seed % 3]


@pytest.mark.parametrize("backend", QUICK)
@pytest.mark.parametrize("seed", range(20))
def test_stress(backend: str, seed: int) -> None:
    stress(seed, backend, workers_of(seed))


@pytest.mark.parametrize("backend", QUICK)
@pytest.mark.parametrize("seed", range(5))
def test_stress_while_threads_switch_all_the_time(backend: str, seed: int) -> None:
    stress(seed, backend, workers_of(seed), 1e-6)


@pytest.mark.ci
@pytest.mark.parametrize(("backend", "seed"), [(name, n) for name in BACKENDS for n in range(100, _UNTIL[name])])
def test_more_stress(backend: str, seed: int) -> None:
    stress(seed, backend, workers_of(seed), 1e-6 if seed % 4 == 0 else None)


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", range(1000, 21_000, 500))
def test_long_stress(backend: str, first: int) -> None:
    for seed in range(first, first + 500):
        stress(seed, backend, workers_of(seed), 1e-6 if seed % 4 == 0 else None)


if __name__ == "__main__":
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        stress(number, sys.argv[1], workers_of(number), 1e-6 if number % 4 == 0 else None)
    print("no failure")
