"""The end of a script while tasks wait inside, others wait for futures of nobody, and threads wait for results."""

from __future__ import annotations

import os
import sys

import pytest

# ``exiting`` is set when the interpreter has begun to exit, just before our own turn comes.
HEAD = """
import atexit, gc, os, sys, threading
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from graphfutures import GraphExecutor
from graphfutures.current import blocked
from graphfutures.errors import DeadlockError

exiting = threading.Event()
threading._register_atexit(exiting.set)

def at_exit(value=0):
    exiting.wait()
    return value

WAYS = {
    "result": lambda f: f.result(),
    "exception": lambda f: f.exception() or f.result(),
    "result with a time limit": lambda f: f.result(timeout=20),
    "wait": lambda f: wait([f]) and f.result(),
    "wait for the first": lambda f: wait([f], return_when=FIRST_COMPLETED) and f.result(),
    "as_completed": lambda f: next(as_completed([f])).result(),
}
"""
WAYS = [
    "result",
    "exception",
    "result with a time limit",
    "wait",
    "wait for the first",
    "as_completed",
]
REFUSED = "cannot schedule new futures after interpreter shutdown"
#: where no thread can be started once the interpreter exits, a wait may be told so instead of ending well
OR_TOLD = ["told"] if sys.version_info[:2] == (3, 12) else []
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
@pytest.mark.parametrize("workers", [1, 3])
def test_tasks_that_wait_inside_are_finished(script, way: str, workers: int) -> None:
    ended = script(
        HEAD
        + """
ask, workers = WAYS[sys.argv[1]], int(sys.argv[2])
executor = GraphExecutor(workers)
begun = threading.Semaphore(0)
def aside(n):
    with blocked():
        return at_exit(n)
def outer(n):
    mine = [executor.submit(aside, n), executor.submit(int, 100)]
    mine.append(executor.submit(lambda *values: sum(values), *mine))
    begun.release()
    return sum(ask(f) for f in reversed(mine))
outers = [executor.submit(outer, n) for n in range(5)]
executor.submit(print, outers)
for _ in outers:
    begun.acquire()
""",
        way,
        workers,
    )
    assert ended.lines == ["[200, 202, 204, 206, 208]"]
    assert ended.err == ""


@each_way
@pytest.mark.parametrize("workers", [1, 3])
def test_what_was_submitted_before_the_end_is_waited_for(script, way: str, workers: int) -> None:
    ended = script(
        HEAD
        + """
ask, workers = WAYS[sys.argv[1]], int(sys.argv[2])
executor = GraphExecutor(workers)
head = executor.submit(at_exit, 5)
roots = [executor.submit(int, n) for n in range(100)]
sums = [executor.submit(lambda: sum(ask(f) for f in roots)) for _ in range(20)]
waiting = executor.submit(lambda: [ask(f) for f in (head, *sums)])
chained = executor.submit(lambda values: print(values == [5, *20 * [4950]]), waiting)
chained.add_done_callback(lambda f: print("callback", f.exception()))
""",
        way,
        workers,
    )
    assert ended.lines == ["True", "callback None"]
    assert ended.err == ""


@each_way
def test_nested_submits_are_refused_at_exit_and_the_waiter_goes_on(script, way: str) -> None:
    ended = script(
        HEAD
        + """
ask = WAYS[sys.argv[1]]
executor = GraphExecutor(1)
def outer():
    before = executor.submit(int, 7)
    begun.set()
    exiting.wait()
    while True:  # our own turn at the exit comes a moment later
        try:
            executor.submit(int)
        except RuntimeError as error:
            assert "after interpreter shutdown" in str(error)
            break
    try:
        print(ask(before))
    except (DeadlockError, TimeoutError):
        print("told")
begun = threading.Event()
executor.submit(outer)
begun.wait()
""",
        way,
    )
    assert ended.lines in (["7"], OR_TOLD)
    assert ended.err == ""


def test_deep_waits_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
deep = threading.Event()
def down(n):
    if n:
        return 1 + executor.submit(down, n - 1).result()
    deep.set()
    return at_exit()
executor.submit(print, executor.submit(down, 100))
deep.wait()
"""
    )
    assert ended.lines == ["100"]
    assert ended.err == ""


def test_a_circle_that_is_closed_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2)
futures = []
def outer(n):
    exiting.wait()
    return futures[n].result()
futures += [executor.submit(outer, 1), executor.submit(outer, 0)]
atexit.register(lambda: print([type(f.exception(0)).__name__ for f in futures]))
"""
    )
    assert ended.lines == ["['DeadlockError', 'DeadlockError']"]
    assert ended.err == ""


def test_a_foreign_future_that_a_task_settles_after_its_wait(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
foreign = Future()
def outer():
    first.result()
    foreign.set_result(5)
first = executor.submit(at_exit)
executor.submit(outer)
executor.submit(print, executor.submit(int, foreign))
"""
    )
    assert ended.lines == ["5"]
    assert ended.err == ""


def test_two_executors_that_wait_for_each_other(script) -> None:
    ended = script(
        HEAD
        + """
one, other = GraphExecutor(1), GraphExecutor(1)
begun = threading.Event()
def down(n, mine, others):
    if n:
        return 1 + others.submit(down, n - 1, others, mine).result()
    begun.set()
    return at_exit()
one.submit(print, one.submit(down, 10, one, other))
begun.wait()
"""
    )
    assert ended.lines == ["10"]
    assert ended.err == ""


def test_blocked_at_exit(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
def outer():
    with blocked():
        exiting.wait()
        other.result()
    return "went on"
waiting = executor.submit(outer)
other = executor.submit(at_exit)
executor.submit(print, waiting)
"""
    )
    assert ended.lines == ["went on"]
    assert ended.err == ""


@pytest.mark.parametrize("way", WAYS)
def test_work_without_a_thread_waits_inside(script, way: str) -> None:
    """CPython 3.12.1 can start no thread any more: a wait runs what it waits for itself, else it raises."""
    ended = script(
        HEAD
        + """
ask = WAYS[sys.argv[1]]
first, second = GraphExecutor(1), GraphExecutor(1)
ready = second.submit(int, first.submit(at_exit, 7))  # no thread of the second one is there at the exit
needed = second.submit(lambda n: n + 1, ready)
def outer(_):
    try:
        return ask(needed)
    except (DeadlockError, TimeoutError):
        return "told"
waiting = second.submit(outer, ready)
waiting.add_done_callback(lambda f: print(f.result()))
""",
        way,
    )
    assert ended.lines in (["8"], OR_TOLD)
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("kind", ["daemon", "not daemon"])
def test_threads_that_wait_for_results(script, kind: str) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1)
head, never = executor.submit(at_exit, 5), Future()
nested = executor.submit(lambda: executor_result())
def executor_result():
    return head.result() + 1
lost = executor.submit(abs, never)
found, told = [], threading.Semaphore(0)
def ask(future):
    try:
        found.append(future.result())
    except BaseException as error:
        found.append(type(error).__name__)
    told.release()
for future in (head, nested, lost):
    threading.Thread(target=ask, args=(future,), daemon=sys.argv[1] == "daemon").start()
def all_told():
    print([told.acquire(timeout=10) for _ in range(3)], sorted(found, key=str))
atexit.register(all_told)
""",
        kind,
    )
    assert ended.lines == ["[True, True, True] [5, 6, 'CancelledError']"]
    assert "abs-3" in ended.err
    assert "Traceback" not in ended.err


def test_a_daemon_thread_that_stands_before_a_full_executor(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1, max_pending=2)
begun, told = threading.Event(), threading.Event()
def outer():
    begun.set()
    return executor.submit(at_exit, 5).result()
future = executor.submit(outer)
begun.wait()
def submit():
    try:
        while True:
            executor.submit(at_exit)
    except RuntimeError as error:
        print(error)
    told.set()
threading.Thread(target=submit, daemon=True).start()
atexit.register(lambda: print(told.wait(10), future.result(0)))
"""
    )
    assert ended.lines == [REFUSED, "True 5"]
    assert "Traceback" not in ended.err


def test_an_executor_in_a_circle_of_references_whose_tasks_wait(script) -> None:
    ended = script(
        HEAD
        + """
gc.disable()
begun = threading.Event()
class Holder:
    def __init__(self):
        self.executor = GraphExecutor(1)
        self.executor.holder = self
        self.future = self.executor.submit(self.outer)
        self.future.holder = self
    def outer(self):
        inner = self.executor.submit(at_exit, 5)
        begun.set()
        print("outer", inner.result())
Holder()
begun.wait()
gc.collect()
"""
    )
    assert ended.lines == ["outer 5"]
    assert ended.err == ""


def test_handlers_of_the_exit_that_look_at_an_executor(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2)
futures = [executor.submit(at_exit, n) for n in range(3)]
waiting = executor.submit(lambda: sum(f.result() for f in futures))
def late():
    print([f.result(0) for f in futures], waiting.result(0), executor.stats()["done"])
    print(len(wait([*futures, waiting]).done), [f.result() for f in as_completed([waiting])])
    waiting.add_done_callback(lambda f: print("called", f.result()))
    for use in (executor.submit, executor.map, GraphExecutor(1).submit):
        try:
            use(int, [1])
        except RuntimeError as error:
            print(error)
    with executor:
        pass
    executor.shutdown()
    print("shut")
atexit.register(late)
"""
    )
    assert ended.lines == ["[0, 1, 2] 3 4", "4 [3]", "called 3", *3 * [REFUSED], "shut"]
    assert ended.err == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_an_executor_that_was_loaded_before_the_workers_of_a_server_fork(script, backend: str) -> None:
    """As gunicorn's preload: made and used by the parent, used by each child, which ends by itself."""
    ended = script(
        HEAD
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork in a process with threads
executor = GraphExecutor(2, backend=sys.argv[1])
def outer(n):
    return sum(f.result() for f in [executor.submit(int, n) for n in range(n)])
def down(n):
    return 1 + executor.submit(down, n - 1).result() if n else 0
print("parent", executor.submit(outer, 5).result(), executor.submit(down, 20).result())
children = []
for number in range(3):
    process = os.fork()
    if not process:
        signal.alarm(20)
        found = [f.result() for f in [executor.submit(outer, n) for n in range(number + 5)]]
        print("child", sum(found), executor.submit(down, 20).result())
        executor.submit(print, executor.submit(int, 3))
        sys.exit(0)
    children.append(process)
print({os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children})
print("parent", executor.submit(outer, 5).result())
""",
        backend,
    )
    mine = [line for line in ended.lines if line not in ("child 10 20", "child 20 20", "child 35 20", "3")]
    assert mine == ["parent 10 20", "{0}", "parent 10"]
    assert len(ended.lines) == len(mine) + 6
    assert ended.err == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_fork_while_tasks_wait_inside(script) -> None:
    ended = script(
        HEAD
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork in a process with threads
executor = GraphExecutor(1)
gate, begun = threading.Event(), threading.Event()
def inner():
    begun.set()
    return gate.wait(20)
def outer():
    return executor.submit(inner).result()
waiting = executor.submit(outer)
blocker = executor.submit(int, 5)
begun.wait()
process = os.fork()
if not process:
    signal.alarm(20)
    print(type(waiting.exception(5)).__name__, type(blocker.exception(5)).__name__)
    begun.clear()
    gate.set()
    print("child", executor.submit(outer).result(5))
    executor.shutdown()
    sys.exit(0)
print("exit code", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
gate.set()
print("parent", waiting.result(), blocker.result())
"""
    )
    assert ended.lines == ["BrokenGraphError BrokenGraphError", "child True", "exit code 0", "parent True 5"]
    assert ended.err == ""


# -- Ctrl-C while a task waits inside -------------------------------------------------------------

INTERRUPT = """
# Python does not notice a signal that comes just before a system call blocks: then it is sent again.
seen = threading.Event()

def on_interrupt(*_):
    if not seen.is_set():
        seen.set()
        raise KeyboardInterrupt

def interrupt():
    seen.clear()
    while not seen.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        seen.wait(0.02)

signal.signal(signal.SIGINT, on_interrupt)

def pause():
    threading.Event().wait(20)  # until it is interrupted
    raise SystemExit("was not interrupted")

begun, gate = threading.Event(), threading.Event()

def inner():
    begun.set()
    gate.wait(20)
    return "inner"

def outer():
    return "outer " + executor.submit(inner).result()
"""


def test_interrupted_inside_with_what_is_waited_for_is_finished(script) -> None:
    ended = script(
        HEAD
        + INTERRUPT
        + """
try:
    with GraphExecutor(1) as executor:
        waiting = executor.submit(outer)
        pending = [executor.submit(print, "never"), executor.submit(print, "never", waiting)]
        pending[1].add_done_callback(lambda f: gate.set())  # what runs ends after that only
        begun.wait()
        interrupt()
        pause()
except KeyboardInterrupt:
    print("interrupted")
print(waiting.result(0), [f.cancelled() for f in pending], threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "outer inner [True, True] 1"]
    assert ended.err == ""


def test_interrupted_inside_with_what_is_waited_for_and_not_begun_is_cancelled(script) -> None:
    ended = script(
        HEAD
        + INTERRUPT
        + """
never = Future()
def asks_in_vain():
    needed = executor.submit(abs, never)
    begun.set()
    return needed.result()
try:
    with GraphExecutor(1) as executor:
        waiting = executor.submit(asks_in_vain)
        begun.wait()
        interrupt()
        pause()
except KeyboardInterrupt:
    print("interrupted")
try:
    waiting.result(0)
except BaseException as error:
    print(type(error).__name__, threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "CancelledError 1"]
    assert ended.err == ""


WAITS = {
    "result": "waiting.result()",
    "exception": "waiting.exception()",
    "result with a time limit": "waiting.result(timeout=20)",
    "wait": "wait([waiting, other])",
    "as_completed": "list(as_completed([waiting, other]))",
    "map": "list(executor.map(str, [waiting]))",
}


@pytest.mark.parametrize("waits", WAITS.values(), ids=WAITS.keys())
def test_interrupted_outside_of_with_it_is_only_raised(script, waits: str) -> None:
    ended = script(
        HEAD
        + INTERRUPT
        + f"""
executor = GraphExecutor(1)
submitted = threading.Event()
def interrupting():
    submitted.wait(20)
    interrupt()
    return inner()
def outer():
    return "outer " + executor.submit(interrupting).result()
waiting, other = executor.submit(outer), executor.submit(int, 5)
try:
    submitted.set()
    {waits}
    pause()
except KeyboardInterrupt:
    print("interrupted")
gate.set()
print(waiting.result(), other.result(), executor.submit(int, 6).result())
executor.shutdown()
print(threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "outer inner 5 6", "1"]
    assert ended.err == ""


def test_interrupted_before_a_full_executor(script) -> None:
    ended = script(
        HEAD
        + INTERRUPT
        + """
executor = GraphExecutor(1, max_pending=1)
submitted = threading.Event()
def interrupting():
    submitted.wait(20)
    interrupt()
    return inner()
def outer():
    return "outer " + executor.submit(interrupting).result()
waiting = executor.submit(outer)
try:
    submitted.set()
    executor.submit(print, "never")
except KeyboardInterrupt:
    print("interrupted")
gate.set()
print(waiting.result())
print([executor.submit(int, n).result() for n in range(5)])
executor.shutdown()
print(threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "outer inner", "[0, 1, 2, 3, 4]", "1"]
    assert ended.err == ""


def test_a_script_that_ends_by_it_while_a_task_waits_inside(script) -> None:
    ended = script(
        HEAD
        + INTERRUPT
        + """
executor = GraphExecutor(1)
waiting = executor.submit(outer)
pending = [executor.submit(print, "never"), executor.submit(print, "never", waiting)]
pending[1].add_done_callback(lambda f: gate.set())
begun.wait()
atexit.register(lambda: print(waiting.result(0), [f.cancelled() for f in pending]))
interrupt()
pause()
""",
        code=-2,
    )
    assert ended.lines == ["outer inner [True, True]"]
    assert ended.err.count("Traceback") == 1
    assert ended.err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("way", [way for way in WAYS if "limit" not in way])
def test_a_task_that_waits_for_what_waits_for_nobody(script, way: str) -> None:
    ended = script(
        HEAD
        + """
ask = WAYS[sys.argv[1]]
executor = GraphExecutor(2)
begun, never = threading.Event(), Future()
lost = executor.submit(abs, never)
def outer():
    begun.set()
    try:
        return ask(lost)
    except BaseException as error:
        print(type(error).__name__)
waiting = executor.submit(outer)
begun.wait()
atexit.register(lambda: print(lost.cancelled(), waiting.done()))
""",
        way,
    )
    assert ended.lines == ["CancelledError", "True True"]
    assert "cancelled at exit" in ended.err
    assert "abs-1" in ended.err
    assert "Traceback" not in ended.err


def test_a_task_that_waits_for_a_thread_pool(script) -> None:
    ended = script(
        HEAD
        + """
pool = ThreadPoolExecutor(1)
executor = GraphExecutor(1)
theirs = pool.submit(at_exit, 5)
ours = executor.submit(int, theirs)
def outer():
    try:
        with blocked():
            print(theirs.result() + sum(f.result() for f in as_completed([theirs, ours])))
    except DeadlockError:
        print("told")
executor.submit(outer)
"""
    )
    assert ended.lines in (["15"], OR_TOLD)
    assert ended.err == ""
