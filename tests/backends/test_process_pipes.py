"""The pipe between a worker process and the thread that serves it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest
from patience import LIMIT, in_time

from graphfutures.backends.processes.waiting import Waiting


@pytest.fixture
def pipe() -> Iterator[tuple[Waiting, Any]]:
    """Its two ends, the second one of a process that does not die."""
    mine, its = Pipe()
    alive, end = Pipe()
    waiting = Waiting(mine, SimpleNamespace(pid=os.getpid(), sentinel=alive.fileno()))
    yield waiting, its
    waiting.close()
    for one in (mine, its, alive, end):
        one.close()


@pytest.mark.parametrize("size", [0, 10, 20_000, 5_000_000])
def test_both_ends_may_send_before_they_read(pipe, size):
    waiting, its = pipe
    heard = []

    def answer():
        its.send_bytes(b"a" * size)
        its.send_bytes(b"b")
        heard.extend([its.recv_bytes(), its.recv_bytes()])

    thread = threading.Thread(target=answer)
    thread.start()
    in_time(waiting.send, b"c" * size)
    in_time(waiting.send, b"d")
    thread.join(LIMIT)
    assert heard == [b"c" * size, b"d"]
    answers = []
    while len(answers) < 2 and waiting.wait(LIMIT):
        answers.append(waiting.read())
    assert answers == [b"a" * size, b"b"]


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_sending_to_one_that_is_gone(pipe, size):
    waiting, its = pipe
    its.close()
    with pytest.raises(BrokenPipeError):
        in_time(waiting.send, bytes(size))
