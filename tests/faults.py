"""All that can go wrong in a worker process, and when it is to do so there."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil
from patience import in_time, until

from graphfutures import GraphExecutor, WorkerCrashedError


def raises() -> None:
    raise KeyError("on purpose")


def leaves() -> None:
    sys.exit("on purpose")


def exits() -> None:
    os._exit(3)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults() -> None:
    ctypes.string_at(0)


class Fault(NamedTuple):
    """Something that goes wrong.

    :param act: what makes it.
    :param kind: of the exception that a task ends with.
    :param told: by that exception.
    """

    act: Callable[[], None]
    kind: type[BaseException]
    told: str

    @property
    def kills(self) -> bool:
        """Whether it is the end of the worker."""
        return self.kind is WorkerCrashedError


FAULTS = {
    "exception": Fault(raises, KeyError, "on purpose"),
    "sys.exit": Fault(leaves, SystemExit, "on purpose"),
    "os._exit": Fault(exits, WorkerCrashedError, "exit code 3"),
    "SIGKILL": Fault(is_killed, WorkerCrashedError, "SIGKILL"),
    "SIGSEGV": Fault(segfaults, WorkerCrashedError, "SIGSEGV"),
}
DEATHS = {name: fault for name, fault in FAULTS.items() if fault.kills}


class When:
    """Does something when it is pickled, or when it is read back, in a process other than this one.

    :param act: what.
    :param reading: whether it is when it is read back.
    """

    def __init__(self, act: Callable[[], object], reading: bool, spared: int | None = None) -> None:
        self.act = act
        self.reading = reading
        self.spared = os.getpid() if spared is None else spared

    def __reduce__(self) -> Any:
        if not self.reading and os.getpid() != self.spared:
            self.act()
        return read_back, (self.act, self.reading, self.spared)


def read_back(act: Callable[[], object], reading: bool, spared: int) -> When:
    if reading and os.getpid() != spared:
        act()
    return When(act, reading, spared)


@contextmanager
def executor_of(number: int) -> Iterator[GraphExecutor]:
    """An executor of so many worker processes, of which nothing is left in the end."""
    one = GraphExecutor(number, backend="processes")
    yield one
    in_time(one.shutdown)
    assert until(lambda: not workers()), workers()


def workers() -> list[psutil.Process]:
    """The worker processes of this one's executors, and not of other pools."""
    return [
        child for child in psutil.Process().children() if "--process-name GraphExecutor" in " ".join(_command(child))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
