"""A cluster of dask's as the backend: what the conformance suite does not ask (CONTRACT 10)."""

import asyncio
import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import Future, as_completed, wait
from itertools import pairwise

import pytest
from patience import LIMIT, in_time, until

from graphfutures import (
    BrokenGraphError,
    GraphExecutor,
    WorkerCrashedError,
    current_executor,
    current_task,
    delayed,
    set_options,
)

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from clusters import CommandLine, Local, warmed_up  # noqa: E402

from graphfutures.backends.clusters.engine import Lost  # noqa: E402

pytestmark = pytest.mark.ci
BIG = 200_000  # floats


def inc(x):
    return x + 1


def double_quickly(x):
    return 2 * x


@pytest.fixture(scope="module", autouse=True)  # as long as it is there, so are threads that dask's clients share
def cluster():
    one = Local(2)
    yield one
    one.close()


@pytest.fixture
def fresh():
    one = Local(2)
    yield one
    one.close()


@pytest.fixture
def executor(cluster):
    with GraphExecutor(backend=cluster.client) as one:
        yield one


# -- which cluster ----------------------------------------------------------------------------


def run_script(*lines, **how):
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=3 * LIMIT, check=False, **how
    )


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_script_without_a_guard_has_a_cluster_of_its_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from graphfutures import GraphExecutor\n"
        "class Point:\n"
        "    def __init__(self, x): self.x = x\n"
        "def move(point): return Point(point.x + 1)\n"
        "with GraphExecutor(2, backend='dask') as executor:\n"
        "    moved = executor.submit(move, executor.submit(move, Point(0)))\n"
        "    pid = executor.submit(os.getpid)\n"
        "    link = executor.dashboard_link\n"
        "    print(moved.result().x, pid.result(), executor._max_workers, link)\n"
    )
    # dask's workers log a heartbeat that comes as all of it ends
    (tmp_path / "quiet.yaml").write_text("logging:\n  distributed.worker: critical\n  distributed.batched: critical\n")
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=3 * LIMIT,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "DASK_CONFIG": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    moved, pid, workers, link = ran.stdout.split()
    assert (moved, workers) == ("2", "2")
    assert link.startswith("http://127.0.0.1:")
    assert until(lambda: not alive(pid))


def test_no_process_is_left_of_a_script_that_is_killed(tmp_path):
    script = (
        "import os, sys\nfrom graphfutures import GraphExecutor\n"
        "executor = GraphExecutor(1, backend='dask')\n"
        "print(executor.submit(os.getpid).result(), flush=True)\nsys.stdin.read()\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with program:
        pid = in_time(program.stdout.readline).strip().decode()
        family = [int(pid), *descendants(program.pid)]
        program.kill()
    assert len(family) > 2
    assert until(lambda: not any(map(alive, family)), 3 * LIMIT)


def descendants(pid):
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def test_it_ends_by_itself_at_exit():
    ran = run_script(
        "from graphfutures import GraphExecutor",
        "executor = GraphExecutor(1, backend='distributed')",
        "executor.submit(print, 'printed there')",
        "executor.submit(abs, -7).add_done_callback(lambda future: print(future.result()))",
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "7"


def test_without_the_extra():
    ran = run_script(
        "import sys; sys.modules['distributed'] = None",
        "from graphfutures import GraphExecutor",
        "try: GraphExecutor(backend='dask')",
        "except ImportError as error: print(error)",
    )
    assert 'pip install "graphfutures[dask]"' in ran.stdout


def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match=f"no cluster answers at tcp://127.0.0.1:{port}"):
        GraphExecutor(backend=f"tcp://127.0.0.1:{port}")


def test_somebody_else_listens(monkeypatch):
    monkeypatch.setattr("graphfutures.backends.clusters.dask.CONNECT", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(OSError, match=f"no cluster answers at {address}: TimeoutError"):
            GraphExecutor(backend=address)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1", "tcp://:8786", "tcp://host:abc", "tcp://host:0", "tls://host:99999"]
)
def test_what_is_no_address(address):
    with pytest.raises(
        ValueError, match=f"'{address}' is no address of a scheduler: it must be like 'tcp://host:8786'"
    ):
        GraphExecutor(backend=address)


def test_a_client_that_is_closed(cluster):
    client = distributed.Client(cluster.cluster.scheduler_address, set_as_default=False)
    client.close()
    with pytest.raises(ValueError, match="this client of a cluster is closed"):
        GraphExecutor(backend=client)


def test_security_that_is_none(cluster):
    address = cluster.cluster.scheduler_address
    with pytest.raises(TypeError, match=f"{address} needs security=distributed.Security"):
        GraphExecutor(backend=address, security=3)
    with pytest.raises(TypeError, match=r"needs security=distributed\.Security"):
        GraphExecutor(backend=address.replace("tcp", "tls"))


def test_a_running_cluster_is_left_running(cluster):
    address = cluster.cluster.scheduler_address
    for source in (address, cluster.client, cluster.cluster):
        with GraphExecutor(backend=source) as executor:
            assert executor.submit(inc, executor.submit(inc, 1)).result(LIMIT) == 3
            assert executor._max_workers == 2
    assert cluster.client.submit(inc, 1).result(LIMIT) == 2


def test_another_version_is_told_in_a_sentence(executor, monkeypatch):
    from graphfutures.backends.clusters import sending

    monkeypatch.setattr(sending, "__version__", "0.0.1")
    error = executor.submit(abs, -1).exception(LIMIT)
    assert isinstance(error, RuntimeError)
    assert "this program has graphfutures 0.0.1, the worker of the cluster" in str(error)


def test_a_worker_without_graphfutures_says_so_and_lives():
    lacking = "import sys; sys.modules['graphfutures'] = None; from distributed.cli.dask_worker import main; main()"
    one = distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with one, distributed.Client(one, set_as_default=False) as client:
        command = [sys.executable, "-c", lacking, one.scheduler_address, "--nthreads", "1", "--no-nanny"]
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            client.wait_for_workers(1, timeout=LIMIT)
            with GraphExecutor(backend=client) as executor:
                error = executor.submit(abs, -1).exception(LIMIT)
            assert isinstance(error, ImportError)
            assert "graphfutures" in str(error)
            assert client.submit(abs, -1).result(LIMIT) == 1
        finally:
            worker.kill()
            worker.wait(LIMIT)


def test_without_workers_tasks_can_be_cancelled():
    one = distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with one, GraphExecutor(backend=one) as executor:
        future = executor.submit(abs, -1)
        assert until(future.running)
        assert until(future.cancel)
        assert future.cancelled()


def test_a_client_that_is_closed_meanwhile_ends_the_executor(caplog):
    one = Local(1)
    try:
        executor = GraphExecutor(backend=one.client)
        assert executor.submit(inc, 1).result(LIMIT) == 2
        pending = [executor.submit(time.sleep, 0.5) for _ in range(8)]
        one.client.close()
        with pytest.raises(BrokenGraphError):
            executor.submit(inc, 1).result(LIMIT)
        assert all(isinstance(future.exception(LIMIT), BrokenGraphError | None) for future in pending)
        assert "the cluster has lost it" not in caplog.text
        executor.shutdown()
    finally:
        one.close()


def test_an_asynchronous_client_is_refused(cluster):
    async def refused():
        address = cluster.client.scheduler.address
        async with distributed.Client(address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(ValueError, match="asynchronous"):
                GraphExecutor(backend=client)

    asyncio.run(refused())


def test_the_address_of_a_worker_is_no_clusters(cluster):
    worker = next(iter(cluster.client.scheduler_info()["workers"]))
    with pytest.raises(OSError, match="no cluster answers"):
        GraphExecutor(backend=worker)


# -- values -----------------------------------------------------------------------------------


def received():
    """How many bytes have come to this process over its open connections."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            one = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with one:
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM:
                try:
                    told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                except OSError:
                    continue
                total += struct.unpack_from("Q", told, 128)[0]
    return total


def test_a_chain_of_arrays_stays_there(executor):
    executor.submit(abs, -1).result(LIMIT)
    before = received()
    array = executor.submit(np.ones, 8_000_000)
    for _ in range(10):
        array = executor.submit(inc, array)
    assert executor.submit(np.sum, array).result(LIMIT) == 88_000_000
    assert 0 < received() - before < 1_000_000
    assert array.result(LIMIT)[-1] == 11
    assert received() - before > 64_000_000, "it comes when it is asked for"
    assert array.result() is array.result()


def test_a_value_is_there_when_the_cluster_is_gone():
    with GraphExecutor(1, backend="dask") as executor:
        array = executor.submit(np.ones, BIG)
        text = executor.submit(str.upper, "a" * BIG)
    assert array.result(LIMIT).sum() == BIG
    assert text.result(LIMIT) == "A" * BIG


def change(array):
    array += 1
    return float(array.sum())


def test_what_a_task_does_to_its_input_is_seen_by_no_other(executor):
    array = executor.submit(np.ones, BIG)
    changed = [executor.submit(change, array) for _ in range(4)]
    assert {one.result(LIMIT) for one in changed} == {2 * BIG}
    assert array.result(LIMIT).sum() == BIG
    array.result()[0] = 5
    assert executor.submit(np.sum, array).result(LIMIT) == BIG
    put = executor.put(np.ones(BIG))
    assert [executor.submit(change, put).result(LIMIT) for _ in range(2)] == [2 * BIG] * 2
    assert put.result()[0] == 1


@pytest.mark.parametrize("held", [False, True])
def test_arrays_are_handed_along_a_chain(executor, held, monkeypatch):
    sent = []
    submit = executor._hub.backend._engine.send
    monkeypatch.setattr(executor._hub.backend._engine, "send", lambda *what: (sent.append(what), submit(*what))[1])
    for _ in range(5):  # known to be quick, and that their values are large
        futures = [executor.submit(np.ones, BIG)]
        for _ in range(10):
            futures.append(executor.submit(inc, futures[-1]))
            if not held:
                del futures[-2]
        last = executor.submit(np.sum, futures[-1]).result(LIMIT)
        assert last == 11 * BIG
        assert [one.result(LIMIT)[-1] for one in futures] == ([*range(1, 12)] if held else [11])
    before = len(sent)
    last = executor.submit(np.ones, BIG)
    for _ in range(10):
        last = executor.submit(inc, last)
    assert last.result(LIMIT)[0] == 11
    if not held:
        assert len(sent) - before < 11, "some of them go together"


def ones_slowly_if(path, kills):
    if kills:
        os.kill(os.getpid(), signal.SIGKILL)
    if path.exists():
        time.sleep(0.8)
    return np.ones(BIG)


def test_what_was_told_is_made_again_however_long_that_takes(fresh, tmp_path):
    slow = tmp_path / "slow"
    with GraphExecutor(backend=fresh.client) as executor:
        for _ in range(6):  # quick, as far as is known
            last = executor.submit(inc, executor.submit(inc, executor.submit(ones_slowly_if, slow, False)))
            assert last.result(LIMIT)[0] == 3
        last = executor.submit(inc, executor.submit(inc, executor.submit(ones_slowly_if, slow, False)))
        assert until(last.done)
        total = executor.submit(np.sum, last)
        assert total.result(LIMIT) == 3 * BIG
        slow.touch()
        for pid in set(fresh.client.run(os.getpid).values()):
            os.kill(pid, signal.SIGKILL)
        assert executor.submit(np.max, last).result(3 * LIMIT) == 3
        assert last.result(LIMIT)[0] == 3


def inc_slowly_if(x, path):
    if path.exists():
        time.sleep(0.3)
    return x + 1


def test_a_chain_of_arrays_that_has_become_slow_ends_its_batch(executor, tmp_path, monkeypatch):
    slow = tmp_path / "slow"
    sent = []
    submit = executor._hub.backend._engine.send
    monkeypatch.setattr(executor._hub.backend._engine, "send", lambda *what: (sent.append(what), submit(*what))[1])

    def chain():
        last = executor.submit(np.ones, BIG)
        for _ in range(8):
            last = executor.submit(inc_slowly_if, last, slow)
        return last.result(LIMIT)[0]

    for _ in range(6):  # quick, as far as is known, and they go together
        assert chain() == 9
    slow.touch()
    before = len(sent)
    assert chain() == 9
    assert len(sent) - before >= 5, "what takes 0.6 s together is all that goes together"


def noted(topic, dask_scheduler=None):
    return dask_scheduler.task_metadata.get(topic)


def test_that_one_task_alone_needs_a_value_is_noted(executor, cluster):
    engine = executor._hub.backend._engine
    engine.sole(7, 9)
    assert until(lambda: cluster.client.run_on_scheduler(noted, engine._topic + "-sole") == {"9": {"7": True}})


def test_a_forked_child_leaves_the_cluster_alone():
    script = run_script(
        "import os, sys",
        "from graphfutures import GraphExecutor",
        "executor = GraphExecutor(1, backend='dask')",
        "value = executor.submit(bytes, 100_000)",
        "executor.submit(len, value).result(60)",
        "for end in (sys.exit, os._exit):",
        "    if (child := os.fork()) == 0:",
        "        try:",
        "            value.result()",
        "        except Exception as error:",
        "            print(type(error).__name__, 'forked' in str(error), flush=True)",
        "        executor.shutdown()",
        "        end(0)",
        "    print(os.waitpid(child, 0)[1], flush=True)",
        "print(executor.submit(len, value).result(60), len(value.result(60)))",
        "executor.shutdown()",
    )
    assert script.stdout.split("\n")[:-1] == [*["BrokenGraphError True", "0"] * 2, "100000 100000"], script.stderr


def fail_late(array):
    raise ValueError(array.sum())


def test_what_fails_along_a_chain_of_arrays(executor):
    for _ in range(5):
        first = executor.submit(inc, executor.submit(np.ones, BIG))
        failed = executor.submit(fail_late, first)
        del first
        after = executor.submit(inc, failed)
        with pytest.raises(ValueError, match=str(2 * BIG)):
            after.result(LIMIT)


def add(one, other):
    return one + other


def test_what_was_put_beside_a_value_that_is_there(cluster):
    with GraphExecutor(backend=cluster.client) as executor:  # whose first batch and whose first put these are
        array, put = executor.submit(np.ones, BIG), executor.put(np.ones(BIG))
        assert until(array.done)
        assert executor.submit(add, array, put).result(LIMIT).sum() == 2 * BIG


def reused(n, store=[]):  # noqa: B006
    if not store:
        store.append(np.zeros(BIG))
    store[0][:] = n
    return store[0]


def test_a_buffer_that_is_used_again(executor):
    arrays = [executor.submit(reused, n) for n in range(4)]
    assert [executor.submit(np.mean, array).result(LIMIT) for array in arrays] == [0, 1, 2, 3]


def test_data_is_never_taken_for_dask_s_own(executor):
    task_like, key = (inc, 1), "inc-1"
    assert executor.submit(repr, task_like).result(LIMIT).startswith("(<function inc")
    assert executor.submit(str, [{"x": key}, (sum, [1, 2])]).result(LIMIT).startswith("[{'x': 'inc-1'}, (<built-in")
    labels = executor.options(name="inc-1")
    assert labels.submit(str.upper, labels.submit(str.lower, "inc-1")).result(LIMIT) == "INC-1"
    assert executor.submit(len, executor.put([(inc, 1)] * BIG)).result(LIMIT) == BIG


def test_what_nobody_needs_is_let_go(cluster):
    def kept(dask_scheduler=None):
        return [key for key in dask_scheduler.tasks if not key.startswith("kept")]

    gc.collect()  # what the errors of other tests hold in circles
    with GraphExecutor(backend=cluster.client) as executor:
        arrays = [executor.submit(np.ones, BIG) for _ in range(4)]
        total = executor.submit(sum, arrays)
        assert total.result(LIMIT)[0] == 4
        del arrays, total
        assert until(lambda: not cluster.client.run_on_scheduler(kept)), cluster.client.run_on_scheduler(kept)


def test_a_value_of_one_executor_is_used_by_another(executor, cluster):
    array = executor.submit(np.ones, BIG)
    with GraphExecutor(backend=cluster.client) as other:
        assert other.submit(np.sum, array).result(LIMIT) == BIG
        with GraphExecutor(2) as threads:
            assert threads.submit(np.sum, other.submit(inc, array)).result(LIMIT) == 2 * BIG


# -- options ----------------------------------------------------------------------------------


def where():
    return distributed.get_worker().address


def test_workers_are_chosen(executor, cluster):
    for address in cluster.client.nthreads():
        chosen = executor.options(workers=address)
        assert {chosen.submit(where).result(LIMIT) for _ in range(4)} == {address}
    with pytest.raises(ValueError, match="on a cluster only"), GraphExecutor(1) as threads:
        threads.options(workers="tcp://127.0.0.1:1")


def test_resources_are_those_of_the_workers():
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0", resources={"gpu": 1}
    )
    with cluster, warmed_up(distributed.Client(cluster, set_as_default=False)) as client:
        with GraphExecutor(backend=client) as executor:
            view = executor.options(resources={"gpu": 1})
            spans = [view.submit(span).result for _ in range(4)]
            found = sorted(one(LIMIT) for one in spans)
        assert all(first[1] <= second[0] for first, second in pairwise(found))


def span():
    start = time.monotonic()
    time.sleep(0.05)
    return start, time.monotonic()


def test_the_task_knows_itself_and_has_nobody_to_submit_to(executor):
    def me():
        return current_task().key, current_task().attempt

    future = executor.options(name="me").submit(me)
    assert future.result(LIMIT) == (future.key, 1)
    error = executor.submit(current_executor).exception(LIMIT)
    assert "options(join=True)" in str(error)


def test_an_outcome_is_told_though_another_task_follows_in_its_batch(executor):
    for _ in range(3):
        wait([executor.submit(sleep, 0.0001) for _ in range(200)], LIMIT)
    futures = [executor.submit(sleep, 0.0001 if n % 50 else 1.0) for n in range(1, 101)]
    start = time.monotonic()
    quick = [future for n, future in enumerate(futures, 1) if n % 50]
    early = [future for future in as_completed(quick, LIMIT) if time.monotonic() - start < 0.9]
    assert len(early) >= 49
    assert all(future.result(LIMIT) for future in futures)


def sleep(seconds):
    time.sleep(seconds)
    return True


# -- cancelling -------------------------------------------------------------------------------


def forgotten(name, dask_scheduler=None):
    log = dask_scheduler.transition_log
    return any(step.key.startswith(f"{name}-") and step.finish == "forgotten" for step in log)


def test_what_was_sent_ahead_is_cancelled_there(executor, cluster, tmp_path):
    go, ran = tmp_path / "go", tmp_path / "ran"

    def first():
        while not go.exists():
            time.sleep(0.01)

    def second(_):
        ran.touch()

    one = executor.submit(first)
    try:
        ahead = executor.options(name=f"second of {tmp_path.name}").submit(second, one)
        assert until(lambda: ahead.running() and ahead.cancel())
        assert until(lambda: cluster.client.run_on_scheduler(forgotten, ahead.name))
        assert not one.cancel()
    finally:
        go.touch()
    assert one.result(LIMIT) is None
    assert executor.submit(inc, 1).result(LIMIT) == 2
    assert ahead.cancelled()
    assert not ran.exists()


def test_a_task_that_no_worker_fits_is_cancelled(executor):
    for options in ({"workers": "tcp://127.0.0.1:1"}, {"resources": {"no such thing": 1}}):
        never = executor.options(**options).submit(inc, 1)
        assert until(never.running)
        assert "for a worker that fits {" in executor.explain(never)
        assert never.cancel()
        assert never.cancelled()
    assert executor.submit(inc, 1).result(LIMIT) == 2
    never = executor.options(workers="tcp://127.0.0.1:1").submit(inc, 1)
    in_time(executor.shutdown, cancel_futures=True)
    assert never.cancelled()


# -- as a scheduler ---------------------------------------------------------------------------


def test_dask_s_own_client_stays_the_default(cluster):
    with distributed.Client(cluster.cluster) as client:
        assert delayed(where)().compute() in client.nthreads()


def test_a_client_is_a_scheduler(cluster):
    assert delayed(where)().compute(scheduler=cluster.client) in cluster.client.nthreads()
    with GraphExecutor(backend=cluster.client):
        assert delayed(where)().compute() in cluster.client.nthreads()
    with set_options(scheduler=cluster.cluster.scheduler_address):
        assert delayed(where)().compute() in cluster.client.nthreads()


def test_one_graph_on_threads_and_on_the_cluster(cluster):
    with GraphExecutor(2, backends={"dask": 1}) as executor:
        there = executor.options(backend="dask")
        loaded = executor.submit(np.ones, BIG)
        computed = there.submit(inc, there.submit(inc, loaded))
        assert there.submit(pid).result(LIMIT) != os.getpid()
        assert executor.submit(pid).result(LIMIT) == os.getpid()
        assert executor.submit(np.sum, computed).result(LIMIT) == 3 * BIG
        assert executor.dashboard_link.startswith("http://127.0.0.1")


# -- deaths -----------------------------------------------------------------------------------


def pid():
    return os.getpid()


def slow_inc(array):
    time.sleep(0.1)
    return array + 1


def test_a_worker_that_dies_costs_time_only(fresh):
    with GraphExecutor(backend=fresh.client) as executor:
        victim = executor.submit(pid).result(LIMIT)
        chains = []
        for n in range(6):
            array = executor.submit(np.full, BIG, n)
            for _ in range(5):
                array = executor.submit(slow_inc, array)
            chains.append(array)
        total = executor.submit(sum, chains)
        wait(chains, LIMIT, "FIRST_COMPLETED")
        os.kill(victim, signal.SIGKILL)
        assert total.result(3 * LIMIT)[0] == sum(range(6)) + 30
        assert [chain.result(LIMIT)[-1] for chain in chains] == [n + 5 for n in range(6)]


def die(path, code=7):
    with open(path, "a", encoding="utf-8") as file:
        file.write("x")
    os._exit(code)


@pytest.mark.parametrize(("retries", "runs"), [(None, {4, 5}), (0, {1}), (1, {2})])
def test_a_task_that_kills_its_workers_names_itself(fresh, tmp_path, retries, runs):
    with GraphExecutor(backend=fresh.client) as executor:
        view = executor if retries is None else executor.options(crash_retries=retries)
        killer = view.submit(die, tmp_path / "runs")
        heir = executor.submit(inc, killer)
        others = [executor.submit(slow_inc, n) for n in range(4)]
        error = killer.exception(3 * LIMIT)
        assert isinstance(error, WorkerCrashedError)
        assert killer.key in str(error)
        assert len((tmp_path / "runs").read_text()) in runs
        assert isinstance(heir.exception(LIMIT), WorkerCrashedError)
        assert [other.result(2 * LIMIT) for other in others] == [1, 2, 3, 4]
        assert executor.submit(inc, 1).result(2 * LIMIT) == 2


def test_a_killer_among_quick_tasks_is_found(fresh, tmp_path):
    with GraphExecutor(backend=fresh.client) as executor:
        for _ in range(2):
            wait([executor.submit(quick_unless, tmp_path, False) for _ in range(100)], LIMIT)
        futures = [executor.submit(quick_unless, tmp_path, n == 30) for n in range(60)]
        wait(futures, 5 * LIMIT)
        for n, future in enumerate(futures):
            if n == 30:
                assert isinstance(future.exception(0), WorkerCrashedError)
                assert future.key in str(future.exception())
            else:
                assert future.result(0) is False


@pytest.mark.long
def test_workers_of_its_own_are_replaced_however_often_they_die(tmp_path):
    with GraphExecutor(1, backend="dask") as executor:
        for n in range(3):
            error = executor.options(crash_retries=0).submit(die, tmp_path / str(n)).exception(3 * LIMIT)
            assert isinstance(error, WorkerCrashedError)
        assert executor.submit(abs, -1).result(3 * LIMIT) == 1


def test_a_cluster_without_workers_is_told(monkeypatch, caplog):
    monkeypatch.setattr("graphfutures.backends.clusters.dask.ALONE", 2.0)
    one = distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with one, GraphExecutor(backend=one) as executor:
        future = executor.submit(abs, -1)
        assert until(lambda: "no workers" in caplog.text)
        assert not future.done()
        one.scale(1)
        assert future.result(LIMIT) == 1


def test_a_value_outlives_workers_that_another_task_kills(tmp_path):
    cluster = Local(1)
    try:
        with GraphExecutor(backend=cluster.client) as executor:
            array, other = executor.submit(np.ones, BIG), executor.submit(np.ones, BIG)
            assert until(lambda: array.done() and other.done())
            killer = executor.submit(die, tmp_path / "runs")
            assert isinstance(killer.exception(3 * LIMIT), WorkerCrashedError)
            assert executor.submit(np.sum, array).result(2 * LIMIT) == BIG
            assert other.result(2 * LIMIT).sum() == BIG
    finally:
        cluster.close()


def test_a_value_that_is_lost_on_its_way_is_made_again(executor, monkeypatch, caplog):
    engine = executor._hub.backend._engine
    fetch_later, times = engine.fetch_later, []

    def lose_it(handle, done):
        times.append(handle)
        if len(times) == 1:
            until(lambda: handle.status == "finished")
            done(None, Lost())
        else:
            fetch_later(handle, done)

    monkeypatch.setattr(engine, "fetch_later", lose_it)
    told = Future()
    array = executor.submit(ones_slowly)
    array.add_done_callback(told.set_result)
    assert told.result(LIMIT) is array
    assert array.result(0).sum() == BIG
    assert len(times) == 2
    assert f"{array.key} runs again" in caplog.text


def ones_slowly():
    time.sleep(0.2)
    return np.ones(BIG)


def test_a_bug_leaves_nobody_waiting(cluster, monkeypatch):
    def fail():
        raise ZeroDivisionError("a bug")

    executor = GraphExecutor(backend=cluster.client)
    running = executor.submit(sleep, 0.5)
    pending = [executor.submit(inc, running) for _ in range(5)]
    assert until(running.running)
    monkeypatch.setattr(executor._hub.backend._engine, "threads", fail)
    for future in (running, *pending, executor.submit(inc, 1)):
        assert isinstance(future.exception(LIMIT), BrokenGraphError), future
    in_time(executor.shutdown)


def quick_unless(path, kills):
    if kills:
        die(path / "runs")
    return kills


def test_a_scheduler_that_dies_settles_everything():
    cluster = CommandLine(1)
    try:
        executor = GraphExecutor(backend=cluster.address)
        array = executor.submit(np.ones, BIG)
        assert wait([array], LIMIT).done
        running = executor.submit(time.sleep, 600)
        pending = [executor.submit(inc, running) for _ in range(20)]
        assert until(running.running)
        cluster.programs[0].send_signal(signal.SIGKILL)
        start = time.monotonic()
        for future in (running, *pending):
            error = future.exception(30)
            assert isinstance(error, BrokenGraphError), error
            assert "scheduler" in str(error)
        assert time.monotonic() - start < 30
        with pytest.raises(BrokenGraphError):
            executor.submit(inc, 1)
        in_time(executor.shutdown)
        assert isinstance(array.exception(LIMIT) or array.result(LIMIT), (BrokenGraphError, np.ndarray))
    finally:
        cluster.close()
    with GraphExecutor(1, backend="dask") as executor:
        assert executor.submit(inc, 1).result(LIMIT) == 2
