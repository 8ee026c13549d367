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
from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphfutures.version import __version__ as __version__

if TYPE_CHECKING:
    from graphfutures import multiprocessing as multiprocessing  # isort: skip
    from graphfutures import synchronous as synchronous, threaded as threaded  # isort: skip
    from graphfutures.arguments import allow_failure, quote, value
    from graphfutures.crashes import WorkerCrashedError
    from graphfutures.current import blocked, current_executor, current_task
    from graphfutures.diagnostics.blocks import performance_report
    from graphfutures.diagnostics.progress import progress
    from graphfutures.errors import (
        BrokenGraphError,
        DeadlockError,
        GraphFuturesError,
        TaskFailedError,
        TaskTimeoutError,
    )
    from graphfutures.executor import GraphExecutor, unpack
    from graphfutures.futures import GraphFuture
    from graphfutures.lazy import Delayed, compute, delayed
    from graphfutures.schedulers import get, set_options

#: where each name is found when it is asked for; a worker process, which asks for none, starts in half the time
_HOMES = {
    **dict.fromkeys(("allow_failure", "quote", "value"), "arguments"),
    **dict.fromkeys(("blocked", "current_executor", "current_task"), "current"),
    **dict.fromkeys(("BrokenGraphError", "DeadlockError", "GraphFuturesError"), "errors"),
    **dict.fromkeys(("TaskFailedError", "TaskTimeoutError"), "errors"),
    **dict.fromkeys(("GraphExecutor", "unpack"), "executor"),
    **dict.fromkeys(("Delayed", "compute", "delayed"), "lazy"),
    **dict.fromkeys(("get", "set_options"), "schedulers"),
    "GraphFuture": "futures",
    "WorkerCrashedError": "crashes",
    "progress": "diagnostics.progress",
    "performance_report": "diagnostics.blocks",
}
#: found as attributes, and not by ``import *``, which would hide a module of the standard library
_MODULES = ("multiprocessing", "synchronous", "threaded")

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
    "performance_report",
    "progress",
    "quote",
    "set_options",
    "unpack",
    "value",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, *_MODULES]
