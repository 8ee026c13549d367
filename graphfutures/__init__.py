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

from graphfutures.arguments import allow_failure, quote, value
from graphfutures.current import blocked, current_executor, current_task
from graphfutures.errors import BrokenGraphError, DeadlockError, GraphFuturesError, TaskFailedError, TaskTimeoutError
from graphfutures.executor import GraphExecutor, unpack
from graphfutures.futures import GraphFuture

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenGraphError",
    "CancelledError",
    "DeadlockError",
    "GraphExecutor",
    "GraphFuture",
    "GraphFuturesError",
    "InvalidStateError",
    "TaskFailedError",
    "TaskTimeoutError",
    "allow_failure",
    "as_completed",
    "blocked",
    "current_executor",
    "current_task",
    "quote",
    "unpack",
    "value",
    "wait",
]

__version__ = "0.1.0"
