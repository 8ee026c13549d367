"""Ctrl-C while worker processes run what has no end."""

from __future__ import annotations

import psutil
import pytest
from patience import until

pytestmark = pytest.mark.ci

HEAD = """
import sys, threading
from graphfutures import GraphExecutor

way, caught = sys.argv[1], threading.Event()
os.mkfifo(way)

def work(way):
    with open(way, "w") as file:
        file.write(str(os.getpid()))
    threading.Event().wait()

def on_interrupt(*_):
    if not caught.is_set():
        caught.set()
        raise KeyboardInterrupt

def interrupt():  # again and again: Python does not notice a signal that comes just before a system call blocks
    caught.clear()
    while not caught.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        caught.wait(0.02)

def interrupt_as_soon_as_it_works():
    with open(way) as file:
        print(file.read())
    interrupt()

signal.signal(signal.SIGINT, on_interrupt)
executor = GraphExecutor(1, backend="processes")
"""

INSIDE_WITH = """
with executor:
    futures = [executor.submit(work, way), executor.submit(abs, -1)]
    for future in futures:
        future.add_done_callback(lambda f: print(f.cancelled()))
    interrupt_as_soon_as_it_works()
"""

IN_A_MAP = """
with executor:
    values = executor.map(work, [way] * 3)
    interrupt_as_soon_as_it_works()
"""

WITHOUT = """
executor.submit(work, way)
interrupt_as_soon_as_it_works()
"""

TWICE = """
with executor.options(name="view") as view:  # which waits for what runs
    view.submit(work, way)
    view.submit(abs, -1).add_done_callback(lambda f: interrupt())
    interrupt_as_soon_as_it_works()
"""

AT_THE_END = """
executor.submit(work, way)
exiting = threading.Event()
threading._register_atexit(exiting.set)
threading.Thread(target=lambda: exiting.wait() and interrupt_as_soon_as_it_works(), daemon=True).start()
"""


@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        pytest.param(INSIDE_WITH, -2, ["True", "True"], id="inside with"),
        pytest.param(IN_A_MAP, -2, [], id="in a map"),
        pytest.param(WITHOUT, -2, [], id="without with"),
        pytest.param(TWICE, -2, [], id="twice"),
        pytest.param(AT_THE_END, 0, [], id="at the end"),
    ],
)
def test_the_script_ends_and_so_does_its_worker(script, tmp_path, source: str, code: int, told: list[str]) -> None:
    ended = script(HEAD + source, tmp_path / "way", code=code)
    pid, *lines = ended.lines
    assert lines == told
    assert "KeyboardInterrupt" in ended.err
    assert "runs again" not in ended.err
    assert until(lambda: not psutil.pid_exists(int(pid)))
