"""os.fork: the child starts afresh, the parent goes on."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

HEAD = """
import os, sys, threading, warnings
from concurrent.futures import Future
from graphfutures import GraphExecutor
from graphfutures.errors import BrokenGraphError
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork in a process with threads

def forked(child):
    # Fork, run child() in the child, return the child's exit code.
    process = os.fork()
    if not process:
        code = 99
        try:
            signal.alarm(15)
            code = child() or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

gate = threading.Event()
"""


def test_pending_futures_fail_in_the_child_and_go_on_in_the_parent(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
def running_task():
    started.set()
    return gate.wait()
started = threading.Event()
done = executor.submit(int, 7)
done.result()
running = executor.submit(running_task)
ready = executor.submit(int, 8)
waiting = executor.submit(int, running)
foreign = executor.submit(int, Future())
started.wait()
def child():
    for future in (running, ready, waiting, foreign):
        error = future.exception(5)
        print(type(error).__name__, future.key in str(error), "made before fork" in str(error))
    print(done.result(0))
    print(executor.submit(int, 9).result(5), executor.submit(abs, executor.submit(int, -9)).result(5))
    inherited = executor.submit(str, running)
    print(type(inherited.exception(5)).__name__)
    executor.shutdown()
    print(threading.active_count())
print(forked(child))
gate.set()
print(running.result(5), ready.result(5), waiting.result(5), executor.submit(int, 10).result(5))
foreign.cancel()
executor.shutdown()
"""
    )
    failure = "BrokenGraphError True True"
    assert ended.lines == [*4 * [failure], "7", "9 9", "BrokenGraphError", "1", "0", "True 8 1 10"]


def test_the_child_falls_off_the_end_of_the_script(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
pending = executor.submit(gate.wait)
process = os.fork()
if process:
    print("child", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    gate.set()
    executor.submit(print, "in the parent", pending)
else:
    executor.submit(print, "in the child", executor.submit(int, 5))
"""
    )
    assert ended.lines == ["in the child 5", "child 0", "in the parent True"]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_an_executor_that_was_never_used(script, backend: str) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2, backend=sys.argv[1])
def child():
    with executor:
        print(executor.submit(int, 5).result(5))
print(forked(child), executor.submit(int, 6).result(5))
""",
        backend,
    )
    assert ended.lines == ["5", "0 6"]


def test_an_executor_that_was_shut_down_stays_so(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2)
executor.submit(int, 5).result()
executor.shutdown()
def child():
    executor.shutdown()
    try:
        executor.submit(int, 5)
    except RuntimeError as error:
        print(error)
print(forked(child))
"""
    )
    assert ended.lines == ["cannot schedule new futures after shutdown", "0"]


def test_callbacks_of_pending_futures_are_called_in_the_child_too(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
pending = executor.submit(gate.wait)
pending.add_done_callback(lambda f: print(os.getpid() == parent, f.exception() is None))
parent = os.getpid()
def child():
    executor.shutdown()
print(forked(child))
gate.set()
executor.shutdown()
"""
    )
    assert ended.lines == ["False False", "0", "True True"]


def test_fork_while_workers_and_submitters_are_busy(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(3)
futures, stop = [], threading.Event()
def submit():
    while not stop.is_set():
        future = executor.submit(int, 5)
        futures.append(future)
        futures.append(executor.submit(abs, future))
        futures.append(executor.submit(len, [future]))
        if len(futures) > 300:
            futures[-300].exception()
        futures[-20].cancel()
submitters = [threading.Thread(target=submit, daemon=True) for _ in range(2)]
for thread in submitters:
    thread.start()
def child():
    mine = [executor.submit(int, n) for n in range(50)]
    if [f.result(5) for f in mine] != list(range(50)):
        return 1
    for future in list(futures):
        if not future.cancelled():
            future.exception(5)
    executor.shutdown()
    return 0
print({forked(child) for _ in range(60)})
stop.set()
for thread in submitters:
    thread.join(10)
executor.shutdown()
print(all(f.done() for f in futures), threading.active_count())
"""
    )
    assert ended.lines == ["{0}", "True 1"]


def test_a_child_process_that_a_task_starts(script) -> None:
    ended = script(
        HEAD
        + """
import multiprocessing
executor = GraphExecutor(2)
def in_child(connection):
    connection.send(executor.submit(int, 5).result(5))
def task():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=in_child, args=(there,))
    process.start()
    answer = here.recv() if here.poll(10) else None
    process.join(10)
    return answer, process.exitcode
print(executor.submit(task).result(20))
executor.shutdown()
"""
    )
    assert ended.lines == ["(5, 0)"]


def test_several_generations(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2)
def generation(n):
    pending = executor.submit(gate.wait)
    if executor.submit(int, n).result(5) != n:
        return 1
    code = forked(lambda: generation(n - 1)) if n else 0
    gate.set()
    pending.result(5)
    executor.shutdown()
    return code
print(generation(3))
"""
    )
    assert ended.lines == ["0"]


def test_whatever_workers_are_doing_when_the_process_forks(script) -> None:
    ended = script(
        HEAD
        + """
def pending(futures):
    return [future for future in futures if not future.done()]

stop, futures = threading.Event(), []
executor = GraphExecutor(2)
def submit():
    while not stop.is_set():
        head = executor.submit(divmod, 1, len(futures) % 2)
        futures.extend([head, executor.submit(str, head), executor.submit(repr, [head])])
        futures[-1].cancel()
        if len(futures) > 3000:
            del futures[:2000]
submitter = threading.Thread(target=submit)
submitter.start()
codes = set()
for _ in range(40):
    def child(known=futures[-300:]):
        return min(99, len(pending(known)))
    codes.add(forked(child))
stop.set()
submitter.join()
executor.shutdown()
print(codes, len(pending(futures)))
"""
    )
    assert ended.lines == ["{0} 0"]


@pytest.mark.parametrize("where", ["schedulers._MAKING", "config._SETTING", "executor._MAKING", "an import of loky"])
def test_a_child_computes_whatever_other_threads_held(script, where: str) -> None:
    ended = script(
        HEAD
        + f"""
from importlib.abc import MetaPathFinder
from graphfutures import config, delayed, executor, schedulers, set_options
where = {where!r}
held = threading.Event()
class Slow(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "loky":
            held.set()
            gate.wait(0.5)
def hold():
    if where == "an import of loky":
        sys.meta_path.insert(0, Slow())
        return delayed(abs)(-1).compute()
    with eval(where):
        held.set()
        gate.wait(0.5)
thread = threading.Thread(target=hold)
thread.start()
held.wait()
def child():
    assert delayed(abs)(-1).compute() == 1
    set_options(num_workers=2)
    with GraphExecutor(1) as own:
        assert own.options(backend="inline").submit(abs, -1).result(5) == 1
print(forked(child))
thread.join()
print(delayed(abs)(-1).compute())
"""
    )
    assert ended.lines == ["0", "1"]
