"""Ctrl-C, where it finds the script."""

from __future__ import annotations

import pytest

HEAD = """
import os, signal, sys, threading
from concurrent.futures import as_completed, wait
from graphfutures import GraphExecutor

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

started, gate = threading.Event(), threading.Event()

def work():
    started.set()
    gate.wait()
    return "worked"
"""


def test_inside_with_what_has_not_started_is_cancelled(script) -> None:
    ended = script(
        HEAD
        + """
try:
    with GraphExecutor(1) as executor:
        running = executor.submit(work)
        pending = [executor.submit(print, "never"), executor.submit(print, "never", running)]
        pending[1].add_done_callback(lambda f: gate.set())  # what runs ends after that only
        started.wait()
        interrupt()
        pause()
except KeyboardInterrupt:
    print("interrupted")
print(running.result(0), [f.cancelled() for f in pending], threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "worked [True, True] 1"]
    assert ended.err == ""


def test_inside_with_a_second_one_leaves_what_runs(script) -> None:
    ended = script(
        HEAD
        + """
try:
    with GraphExecutor(1) as executor:
        running = executor.submit(work)
        pending = executor.submit(print, "never")
        pending.add_done_callback(lambda f: interrupt())
        started.wait()
        interrupt()
        pause()
except KeyboardInterrupt as error:
    print("interrupted", type(error.__context__).__name__)
print(running.running(), pending.cancelled())
"""
    )
    assert ended.lines == ["interrupted KeyboardInterrupt", "True True"]
    assert ended.err == ""


def test_while_with_drains_it_cancels_and_waits_for_what_runs(script) -> None:
    ended = script(
        HEAD
        + """
def interrupt_and_work():
    while executor._hub.refusal is None:  # until the block has ended
        gate.wait(0.01)
    interrupt()
    return work()
try:
    with GraphExecutor(1) as executor:
        running = executor.submit(interrupt_and_work)
        pending = [executor.submit(print, "never"), executor.submit(print, "never", running)]
        pending[1].add_done_callback(lambda f: gate.set())
except KeyboardInterrupt:
    print("interrupted")
print(running.result(0), [f.cancelled() for f in pending], threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "worked [True, True] 1"]
    assert ended.err == ""


def test_another_exception_inside_with_drains(script) -> None:
    ended = script(
        HEAD
        + """
try:
    with GraphExecutor(1) as executor:
        futures = [executor.submit(int, n) for n in range(100)]
        raise ValueError
except ValueError:
    print([f.result(0) for f in futures] == list(range(100)))
"""
    )
    assert ended.lines == ["True"]


WAITS = {
    "result": "future.result()",
    "exception": "future.exception()",
    "result with a time limit": "future.result(timeout=20)",
    "wait": "wait([future, other])",
    "as_completed": "list(as_completed([future, other]))",
    "map": "list(values)",
}


@pytest.mark.parametrize("waiting", WAITS.values(), ids=WAITS.keys())
def test_while_waiting_it_is_only_raised(script, waiting: str) -> None:
    ended = script(
        HEAD
        + f"""
executor = GraphExecutor(1)
submitted = threading.Event()
def interrupt_and_work():
    submitted.wait(20)
    interrupt()
    return work()
future, other = executor.submit(interrupt_and_work), executor.submit(int, 5)
values = executor.map(work, [])
if {waiting!r} == "list(values)":
    values = executor.map(lambda f: f, [future])
try:
    submitted.set()
    {waiting}
    pause()
except KeyboardInterrupt:
    print("interrupted")
gate.set()
print(future.result(), other.result(), executor.submit(int, 6).result())
"""
    )
    assert ended.lines == ["interrupted", "worked 5 6"]
    assert ended.err == ""


def test_a_script_that_ends_by_it_cancels_what_is_pending(script) -> None:
    ended = script(
        HEAD
        + """
import atexit
executor = GraphExecutor(1)
running = executor.submit(work)
pending = [executor.submit(print, "never"), executor.submit(print, "never", running)]
pending[1].add_done_callback(lambda f: gate.set())
started.wait()
atexit.register(lambda: print(running.result(0), [f.cancelled() for f in pending]))
interrupt()
pause()
""",
        code=-2,
    )
    assert ended.lines == ["worked [True, True]"]
    assert ended.err.count("Traceback") == 1
    assert ended.err.rstrip().endswith("KeyboardInterrupt")


def test_a_blocked_submit_can_be_interrupted(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(1, max_pending=1)
submitted = threading.Event()
def interrupt_and_work():
    submitted.wait(20)
    interrupt()
    return work()
future = executor.submit(interrupt_and_work)
try:
    submitted.set()
    executor.submit(print, "never")
except KeyboardInterrupt:
    print("interrupted")
gate.set()
print(future.result())
print([executor.submit(int, n).result() for n in range(5)], threading.active_count() > 1)
executor.shutdown()
print(threading.active_count())
"""
    )
    assert ended.lines == ["interrupted", "worked", "[0, 1, 2, 3, 4] True", "1"]
    assert ended.err == ""


def test_many_blocked_submits_are_interrupted(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(2, max_pending=1)
interrupted = 0
def interrupt_and_wait(gate):
    interrupt()
    gate.wait()
for n in range(200):
    gate = threading.Event()
    try:
        executor.submit(interrupt_and_wait, gate)
        executor.submit(int)
    except KeyboardInterrupt:
        interrupted += 1
    gate.set()
futures = [executor.submit(int, n) for n in range(100)]
print(interrupted, [f.result() for f in futures] == list(range(100)), executor._hub.room)
executor.shutdown()
"""
    )
    assert ended.lines == ["200 True deque([])"]


def test_inline_lets_it_pass_through(script) -> None:
    ended = script(
        HEAD
        + """
executor = GraphExecutor(backend="inline")
def stop():
    interrupt()
    pause()
try:
    executor.submit(stop)
except KeyboardInterrupt:
    print("interrupted")
print(executor.submit(int, 6).result(), executor.stats()["running"])
executor.shutdown()
"""
    )
    assert ended.lines == ["interrupted", "6 0"]


def test_a_task_that_raises_it_fails_and_the_worker_stays(script) -> None:
    ended = script(
        HEAD
        + """
def stop(kind):
    raise kind
with GraphExecutor(1) as executor:
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):
        print(type(executor.submit(stop, kind).exception()).__name__, executor.submit(int, 6).result())
"""
    )
    assert ended.lines == ["KeyboardInterrupt 6", "SystemExit 6", "GeneratorExit 6"]


def test_inside_async_with_a_second_one_leaves_what_runs(script) -> None:
    ended = script(
        HEAD
        + """
import asyncio

# The loop's own handler is wanted: the first Ctrl-C cancels the main task, the second one is raised.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with GraphExecutor(1) as executor:
        running = executor.submit(work)  # nobody opens its gate
        pending = executor.submit(print, "never")
        pending.add_done_callback(lambda f: os.kill(os.getpid(), signal.SIGINT))  # the second one
        while not started.is_set():
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        await running

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert ended.lines == ["interrupted"]
