"""Ray as the backend: what the conformance suite does not ask (CONTRACT 10); run by the tox environment "ray"."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest
from patience import LIMIT, until

from graphfutures import GraphExecutor, WorkerCrashedError

pytestmark = pytest.mark.ci
ray = pytest.importorskip("ray", reason="only the tox environment 'ray' has Ray")
np = pytest.importorskip("numpy")
MEGABYTES = 1_000_000 // 8


@pytest.fixture(scope="module", autouse=True)
def running():
    """A Ray that others have started, with tokens of a kind of its own."""
    with pytest.MonkeyPatch.context() as patch:  # else its workers find what is beside the script only
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        ray.init("local", num_cpus=2, resources={"probe": 1}, include_dashboard=False, log_to_driver=False)
    with GraphExecutor(backend="ray") as warm:  # so that all of Ray's threads are there before tests
        list(warm.map(abs, range(8), timeout=3 * LIMIT))
    yield
    ray.shutdown()


@pytest.fixture
def executor():
    with GraphExecutor(backend="ray") as one:
        yield one


def inc(x):
    return x + 1


def one_more_everywhere(array):
    array += 1
    return array


def kill_once(path, x):
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x + 1


def test_a_ray_that_runs_is_left_running():
    with GraphExecutor(1, backend="ray") as one, GraphExecutor(backend="ray") as other:
        assert other.submit(inc, one.submit(inc, 1)).result(LIMIT) == 3
        assert (one._max_workers, other._max_workers) == (1, 2)
    assert ray.is_initialized()
    assert ray.get(ray.remote(inc).remote(1)) == 2


def test_a_worker_that_is_killed_changes_no_value(executor, tmp_path):
    before = [executor.submit(inc, n) for n in range(50)]
    killed = executor.submit(kill_once, tmp_path / "killed", before[0])
    after = [executor.submit(pow, one, killed) for one in before]
    assert [one.result(3 * LIMIT) for one in after] == [(n + 1) ** 2 for n in range(50)]


@pytest.mark.parametrize("retries", [{}, {"crash_retries": 0}, {"crash_retries": 1}])
def test_a_task_that_kills_its_workers_is_named(executor, retries):
    innocent = [executor.submit(inc, n) for n in range(20)]
    guilty = executor.options(name="guilty", **retries).submit(os._exit, 3)
    after = executor.submit(inc, guilty)
    failure = guilty.exception(3 * LIMIT)
    assert isinstance(failure, WorkerCrashedError)
    assert guilty.key in str(failure)
    assert guilty.attempt == 1 or retries != {"crash_retries": 0}
    assert type(after.exception(LIMIT)) is WorkerCrashedError
    assert [one.result(LIMIT) for one in innocent] == list(range(1, 21))
    assert executor.submit(inc, 1).result(LIMIT) == 2


def test_a_task_that_must_not_run_twice_does_not(executor, tmp_path):
    path = tmp_path / "begun"

    def begin():
        with path.open("a") as file:
            file.write("x")
        os._exit(1)

    assert isinstance(executor.options(crash_retries=0).submit(begin).exception(3 * LIMIT), WorkerCrashedError)
    assert path.read_text() == "x"


def test_arrays_stay_in_the_store(executor, monkeypatch):
    engine = executor._hub.backend._engine
    heard, fetched = [], []
    for name, seen in (("heard", heard), ("over", heard)):
        kept = getattr(engine._pump, name)
        monkeypatch.setattr(engine._pump, name, lambda *what, kept=kept, seen=seen: (seen.append(what), kept(*what)))
    fetch = engine.fetch
    monkeypatch.setattr(
        executor._hub.backend._sending.values, "fetch", lambda what: (fetched.append(what), fetch(what))[1]
    )
    array = executor.submit(np.zeros, 8 * MEGABYTES)
    for _ in range(10):
        array = executor.submit(one_more_everywhere, array)
    assert executor.submit(float, executor.submit(np.sum, array)).result(3 * LIMIT) == 10 * 8 * MEGABYTES
    assert sum(len(report[0]) for report in heard if type(report[0]) is bytes) < 1_000_000
    assert not fetched
    assert array.result(LIMIT)[0] == 10


def test_where_a_batch_has_ended_is_noted_until_the_executor_ends():
    from ray.experimental import internal_kv

    from graphfutures.backends.clusters.ray_work import NOTES

    def noted():
        return internal_kv._internal_kv_list(topic, namespace=NOTES)

    with GraphExecutor(backend="ray") as executor:
        topic = executor._hub.backend._engine._topic.encode()
        for _ in range(5):  # known to be quick, and that their values are large
            last = executor.submit(np.ones, MEGABYTES)
            for _ in range(5):
                last = executor.submit(inc, last)
            assert last.result(LIMIT)[0] == 6
        assert noted()
        assert all(int(internal_kv._internal_kv_get(key, namespace=NOTES)) > 0 for key in noted())
    assert not noted()


def test_who_asks_for_an_array_may_write_to_it(executor):
    array = executor.submit(np.zeros, MEGABYTES)
    changed = [executor.submit(one_more_everywhere, array) for _ in range(2)]
    found = array.result(LIMIT)
    found += 5
    assert [one.result(LIMIT)[0] for one in changed] == [1, 1]
    assert (found[0], array.result()[0]) == (5, 5)
    assert executor.submit(one_more_everywhere, executor.put(np.ones(MEGABYTES))).result(LIMIT)[0] == 2


def test_resources_are_passed_on(executor):
    def assigned():
        return ray.get_runtime_context().get_assigned_resources()

    def span():
        begin = time.monotonic()
        time.sleep(0.1)
        return begin, time.monotonic()

    found = executor.options(resources={"probe": 1, "CPU": 2}).submit(assigned).result(LIMIT)
    assert found == {"probe": 1, "CPU": 2}
    spans = sorted(one.result(LIMIT) for one in [executor.options(resources={"probe": 1}).submit(span) for _ in "abcd"])
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    with pytest.raises(ValueError, match="workers cannot be chosen on Ray"):
        executor.options(workers="here").submit(inc, 1).result(LIMIT)


def pause(seconds, _=None):
    time.sleep(seconds)
    return time.time()


def test_what_has_ended_is_told_while_its_batch_goes_on(executor):
    """Quick ones and one that suddenly takes long go together, since all are taken for quick."""
    held, told = Future(), []
    for _ in range(30):
        executor.submit(pause, 0).result(LIMIT)
    batches = [[executor.submit(pause, seconds, held) for seconds in (0, 2, 0)] for _ in range(2)]
    for first, *_ in batches:
        first.add_done_callback(lambda future: told.append(time.time() - future.result()))
    held.set_result(None)
    assert until(lambda: len(told) == 2)
    assert not any(one.done() for batch in batches for one in batch[1:])
    assert min(told) < 0.5
    assert all(one.result(LIMIT) for batch in batches for one in batch)


SCRIPT = """
    import os
    from graphfutures import GraphExecutor

    class Point:
        def __init__(self, x): self.x = x

    def move(point): return Point(point.x + 1)

    with GraphExecutor(1, backend="ray") as executor:
        moved = executor.submit(move, executor.submit(move, Point(0)))
        print(moved.result().x, type(moved.result()) is Point, executor._max_workers)
        import ray
        print(executor.submit(os.getppid).result(), ray.is_initialized())
    print(ray.is_initialized())
"""


def test_a_script_has_a_ray_of_its_own_on_loopback(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ran = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=6 * LIMIT,
        env=environment,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    first, second, third = ran.stdout.splitlines()
    assert first == "2 True 1"
    parent, alive = second.split()
    assert alive == "True"
    assert third == "False"
    assert until(lambda: not Path("/proc", parent).exists())


def test_a_ray_that_was_started_anew_is_another_one():
    script = dedent(
        """
        import ray
        from graphfutures import GraphExecutor
        for _ in range(2):
            ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
            with GraphExecutor(backend="ray") as executor:
                print(executor.submit(abs, executor.submit(abs, -1)).result(60))
            ray.shutdown()
        """
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=6 * LIMIT,
        check=False,
        start_new_session=True,
    )
    assert ran.stdout.split() == ["1", "1"], ran.stderr
