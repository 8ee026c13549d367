"""``map`` on worker processes at the end of a script, and in a forked child."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.ci


def test_all_calls_are_run_before_the_interpreter_exits(script, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    ended = script(
        """
from graphfutures import GraphExecutor
import sys
def mark(n):
    with open(sys.argv[1], "a") as marks:
        marks.write(f"{n}\\n")
executor = GraphExecutor(2, backend="processes")
values = executor.map(mark, range(3000))
""".replace("sys.argv[1]", repr(str(file))),
    )
    assert ended.err == ""
    assert Counter(map(int, file.read_text().split())) == Counter(range(3000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_in_a_forked_child_the_iterator_raises(script) -> None:
    ended = script(
        """
import os, time, warnings
from graphfutures import GraphExecutor
from graphfutures.errors import BrokenGraphError
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork in a process with threads
executor = GraphExecutor(2, backend="processes")
def sleeps(n):
    time.sleep(1.0 if n == 500 else 0)
    return n
values = executor.map(sleeps, range(1000))
first = [next(values) for _ in range(500)]
process = os.fork()
if not process:
    signal.alarm(15)
    try:
        list(values)
    except BrokenGraphError as error:
        print("made before fork" in str(error))
    print(list(executor.map(abs, range(3))))
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(list(values) == list(range(500, 1000)))
"""
    )
    assert ended.lines == ["True", "[0, 1, 2]", "0", "True"]
