"""concurrent.futures with dependencies: a GraphExecutor whose tasks take futures as arguments."""

from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    InvalidStateError,
    as_completed,
    wait,
)
from typing import TYPE_CHECKING, Any

from graphfutures.arguments import allow_failure, quote, value
from graphfutures.current import blocked, current_executor, current_task
from graphfutures.errors import BrokenGraphError, DeadlockError, GraphFuturesError, TaskFailedError, TaskTimeoutError
from graphfutures.executor import GraphExecutor, unpack
from graphfutures.futures import GraphFuture
from graphfutures.lazy import Delayed, compute, delayed
from graphfutures.schedulers import get, set_options

# Found as attributes, and not by ``import *``, which would hide a module of the standard library.
from graphfutures import multiprocessing as multiprocessing  # isort: skip
from graphfutures import synchronous as synchronous, threaded as threaded  # isort: skip

if TYPE_CHECKING:
    from graphfutures.crashes import WorkerCrashedError

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenGraphError",
    "CancelledError",
    "DeadlockError",
    "Delayed",
    "GraphExecutor",
    "GraphFuture",
    "GraphFuturesError",
    "InvalidStateError",
    "TaskFailedError",
    "TaskTimeoutError",
    "WorkerCrashedError",
    "allow_failure",
    "as_completed",
    "blocked",
    "compute",
    "current_executor",
    "current_task",
    "delayed",
    "get",
    "quote",
    "set_options",
    "unpack",
    "value",
    "wait",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "WorkerCrashedError":  # its base brings half of multiprocessing
        from graphfutures.crashes import WorkerCrashedError

        return WorkerCrashedError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
