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
from graphfutures.errors import BrokenGraphError, GraphFuturesError, TaskFailedError
from graphfutures.executor import GraphExecutor, unpack
from graphfutures.futures import GraphFuture

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenGraphError",
    "CancelledError",
    "GraphExecutor",
    "GraphFuture",
    "GraphFuturesError",
    "InvalidStateError",
    "TaskFailedError",
    "allow_failure",
    "as_completed",
    "quote",
    "unpack",
    "value",
    "wait",
]

__version__ = "0.1.0"
