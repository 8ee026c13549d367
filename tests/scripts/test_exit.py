"""The end of a script: what is pending is finished, what can never end is told, nothing hangs."""

from __future__ import annotations

import pytest

# ``exiting`` is set when the interpreter has begun to exit, just before our own turn comes.
HEAD = """
import atexit, gc, os, sys, threading
from concurrent.futures import Future, wait
from graphfutures import GraphExecutor

exiting = threading.Event()
threading._register_atexit(exiting.set)

def at_exit(*values):
    exiting.wait()
    print("at exit", *values)
    return len(values)
"""


def test_pending_work_is_finished(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
running = executor.submit(at_exit)
chained = executor.submit(print, "chained", running)
fan = [executor.submit(str, n) for n in range(1000)]
last = executor.submit(lambda *texts: print("last", len(texts)), *fan, chained)
last.add_done_callback(lambda f: print("callback", f.done()))
"""
    )
    assert ended.lines == ["at exit", "chained 0", "last 1001", "callback True"]
    assert ended.err == ""


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_a_foreign_future_that_settles_while_others_work(script, backend: str) -> None:
    ended = script(
        HEAD
        + """
backend = sys.argv[1]
foreign = Future()
executor, other = GraphExecutor(2, backend=backend), GraphExecutor(1)
waiting = executor.submit(print, "waited", foreign)
settler = other.submit(lambda: (exiting.wait(), foreign.set_result("well")) and None)
between = executor.submit(print, "between", settler)
""",
        backend,
    )
    assert sorted(ended.lines) == ["between None", "waited well"]
    assert ended.err == ""


def test_inline_is_done_at_the_end_of_each_line(script) -> None:
    ended = script(HEAD + 'GraphExecutor(backend="inline").submit(print, "one")\nprint("two")')
    assert ended.lines == ["one", "two"]


def test_an_executor_that_is_dropped_finishes_its_work(script) -> None:
    ended = script(
        HEAD
        + """
def start():
    executor = GraphExecutor(1)
    return executor.submit(print, "last", executor.submit(at_exit))
start()
"""
    )
    assert ended.lines == ["at exit", "last 0"]
    assert ended.err == ""


def test_the_threads_of_a_dropped_executor_leave(script) -> None:
    ended = script(
        HEAD
        + """
gate = threading.Event()
def work():
    executor = GraphExecutor(2)
    return [executor.submit(gate.wait, 20) for _ in range(5)]
futures = work()
gate.set()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(20)
print([f.result(0) for f in futures], threading.active_count())
"""
    )
    assert ended.lines == ["[True, True, True, True, True] 1"]


def test_an_executor_in_a_circle_finishes_and_its_threads_leave(script) -> None:
    ended = script(
        HEAD
        + """
class Holder: pass
def work():
    holder = Holder()
    holder.itself = holder
    holder.executor = GraphExecutor(1)
    holder.future = holder.executor.submit(print, "worked")
    holder.executor.future = holder.future
gc.disable()
work()
gc.collect()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(20)
print(threading.active_count())
"""
    )
    assert ended.lines == ["worked", "1"]


def test_a_circle_that_is_never_collected_finishes_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
gc.disable()
executor = GraphExecutor(1)
executor.itself = executor
executor.submit(print, executor.submit(at_exit))
del executor
"""
    )
    assert ended.lines == ["at exit", "0"]


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_submit_after_the_interpreter_has_shut_down(script, backend: str) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2, backend=sys.argv[1])
executor.submit(print, "before").result()

def late():
    for door in (executor, executor.options(name="late"), GraphExecutor(1, backend=sys.argv[1])):
        try:
            door.submit(print, "never")
        except RuntimeError as error:
            print(error)
    executor.shutdown()

atexit.register(late)
""",
        backend,
    )
    assert ended.lines == ["before", *3 * ["cannot schedule new futures after interpreter shutdown"]]
    assert ended.err == ""


def test_submit_from_a_finalizer_of_the_last_hour(script) -> None:
    ended = script(
        HEAD
        + """
class Late:
    executor = GraphExecutor(2)
    def __del__(self):
        try:
            self.executor.submit(print, "never")
        except RuntimeError as error:
            print(error)
Late.executor.submit(print, "before").result()
late = Late()
late.itself = late
"""
    )
    assert ended.lines == ["before", "cannot schedule new futures after interpreter shutdown"]
    assert ended.err == ""


def test_submit_from_a_task_once_the_interpreter_exits(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2)
def nested():
    exiting.wait()
    # Our own turn at the exit comes a moment later.
    while True:
        try:
            executor.submit(int)
        except RuntimeError as error:
            return error
executor.submit(lambda f: print(f), executor.submit(nested))
"""
    )
    assert ended.lines == ["cannot schedule new futures after interpreter shutdown"]


def test_shutdown_without_waiting_is_finished_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
executor.submit(print, executor.submit(at_exit))
executor.shutdown(wait=False)
print("end of script")
"""
    )
    assert ended.lines == ["end of script", "at exit", "0"]


@pytest.mark.parametrize("end", ["executor.shutdown(wait=False)", "del executor"])
def test_the_files_of_a_graph_that_ends_with_the_script_are_removed(script, end: str) -> None:
    ended = script(
        HEAD
        + f"""
executor = GraphExecutor(2, backend="processes")
print(len(executor.submit(bytes, 1_000_000).result()))
{end}
"""
    )
    assert ended.lines == ["1000000"]
    assert ended.err == ""  # where the tracker of multiprocessing would warn of them


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_tasks_that_wait_for_nobody_are_cancelled_with_a_warning(script, backend: str) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1, backend=sys.argv[1])
never = Future()
def load(x): print("never")
def merge(*xs): print("never")
waiting = executor.submit(load, never)
merged = executor.submit(merge, [waiting, executor.submit(abs, -1)])
atexit.register(lambda: print(waiting.cancelled(), merged.cancelled()))
""",
        backend,
    )
    assert ended.lines == ["True True"]
    assert "RuntimeWarning: cancelled at exit" in ended.err
    assert "load-1" in ended.err
    assert "Traceback" not in ended.err


def test_many_tasks_that_wait_for_nobody_are_not_all_named(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
never = Future()
futures = [executor.submit(abs, never) for _ in range(50)]
"""
    )
    assert "and 40 more" in ended.err


def test_work_that_follows_a_foreign_cancellation_is_finished(script) -> None:
    ended = script(
        HEAD
        + """
from graphfutures import allow_failure
executor = GraphExecutor(1)
lost = executor.submit(abs, Future())
executor.submit(lambda e: print(type(e).__name__), allow_failure(lost))
"""
    )
    assert ended.lines in ([], ["CancelledError"])  # no thread can be started by then on every Python
    assert "abs-1" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("kind", ["daemon", "not daemon"])
def test_threads_that_submit_while_the_script_ends(script, kind: str) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2)
futures, going = [], threading.Event()
def submit():
    try:
        while True:
            futures.append(executor.submit(int, 7))
            going.set()
            wait(futures[-20:-10])
    except RuntimeError as error:
        print(error)
for _ in range(3):
    threading.Thread(target=submit, daemon=sys.argv[1] == "daemon").start()
going.wait()
atexit.register(lambda: print(all(f.result(0) == 7 for f in list(futures))))
""",
        kind,
    )
    assert "True" in ended.lines
    assert "Traceback" not in ended.err
    if kind != "daemon":
        assert ended.lines.count("cannot schedule new futures after interpreter shutdown") == 3


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(3)", 3), ("raise ValueError('mine')", 1)])
def test_a_script_that_ends_by_another_exception_finishes_its_work(script, ending: str, code: int) -> None:
    ended = script(
        HEAD + "executor = GraphExecutor(1)\nexecutor.submit(print, executor.submit(at_exit))\n" + ending, code=code
    )
    assert ended.lines == ["at exit", "0"]


def test_a_blocked_submit_is_refused_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1, max_pending=1)
executor.submit(at_exit)
def block():
    try:
        executor.submit(print, "never")
    except RuntimeError as error:
        print(error)
threading.Thread(target=block).start()
"""
    )
    assert sorted(ended.lines) == ["at exit", "cannot schedule new futures after interpreter shutdown"]


def test_many_executors_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
executors = [GraphExecutor(2) for _ in range(20)]
future = executors[0].submit(at_exit)
for executor in executors:
    future = executor.submit(lambda n: n + 1, future)
executors[-1].submit(print, future)
"""
    )
    assert ended.lines == ["at exit", "20"]


def test_work_without_a_thread_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
where = threading.local()
def prepare(): where.prepared = True
def work(*values): return getattr(where, "prepared", False), *values
first = GraphExecutor(1)
second = GraphExecutor(2, initializer=prepare)  # no thread of it is there when the interpreter exits
waiting = [second.submit(work, first.submit(at_exit)) for _ in range(3)]
second.submit(print, second.submit(list, waiting)).add_done_callback(lambda f: print(f.exception()))
"""
    )
    values = [(True, 0)] * 3
    assert ended.lines == [*3 * ["at exit"], str(values), "None"]
    assert ended.err == ""


def test_import_alone_starts_nothing(script) -> None:
    ended = script("import graphfutures, threading; graphfutures.GraphExecutor(4); print(threading.active_count())")
    assert ended.lines == ["1"]
