"""What holds after every test of the package."""

import gc
import signal
import threading
from collections.abc import Iterator

import hypothesis
import pytest
from patience import LIMIT

from graphfutures import schedulers

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as what runs in the background inherits it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After a test, all threads that it started leave, of ours and of its own."""
    before = set(threading.enumerate())
    yield
    for executor in schedulers._shared.values():  # which nobody else shuts before the end of the interpreter
        executor.shutdown()
    schedulers._shared.clear()
    if set(threading.enumerate()) - before:
        gc.collect()  # an executor in a circle of references is only dropped now
    left = [thread for thread in threading.enumerate() if thread not in before and not _leaves(thread)]
    assert not left, f"threads are left: {left}"


def _leaves(thread: threading.Thread) -> bool:
    thread.join(LIMIT)
    return not thread.is_alive()
