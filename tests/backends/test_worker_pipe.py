"""A worker process and the pipe to it, with the test in the attendant's place."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from patience import LIMIT, until

from graphfutures.backends.processes import messages, worker

pytestmark = [pytest.mark.ci, pytest.mark.skipif(os.name != "posix", reason="asks for the size of a pipe")]
#: more bytes than a pipe holds
LARGE = 5_000_000


@pytest.fixture
def pipe() -> Iterator[Any]:
    from loky.backend import get_context

    context: Any = get_context("loky")
    mine, its = context.Pipe(duplex=True)
    process = context.Process(target=worker.main, args=(its, None, None, ()))
    process.start()
    its.close()
    assert pickle.loads(mine.recv_bytes())[0] == messages.READY
    yield mine
    mine.close()
    process.join(LIMIT)
    assert process.exitcode is not None


def waits_for(file: str) -> None:
    assert until(lambda: os.path.exists(file))


def send(pipe: Any, *tasks: Any) -> None:
    pipe.send_bytes(pickle.dumps((messages.RUN, 0, {}, [], {}, list(tasks))))


def task(ticket: int, fn: Any, *args: Any) -> tuple[int, bytes]:
    return ticket, cloudpickle.dumps((fn, args, {}))


def test_two_who_send_much_to_each_other_at_the_same_time(pipe: Any, tmp_path: Path) -> None:
    file = tmp_path / "go on"
    send(pipe, task(1, bytes, LARGE), task(2, waits_for, str(file)))
    assert pipe.poll(LIMIT)  # the watch sends the first outcome, and waits for us to read
    sending = threading.Thread(target=send, args=(pipe, task(3, len, bytes(LARGE))), daemon=True)
    sending.start()
    file.touch()
    sending.join(LIMIT)
    assert not sending.is_alive()
    told = []
    while len(told) < 3:
        told += pickle.loads(pipe.recv_bytes())[2]
    assert [outcome[0] for outcome in told] == [1, 2, 3]
