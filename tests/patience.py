"""How long a test waits for anything before it fails."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

#: seconds; far more than anything here takes, far less than a run of the suite
LIMIT = 20


def in_time(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """``fn(*args, **kwargs)`` in a thread of its own, so that a hang is a failure of one test."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append((True, fn(*args, **kwargs)))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert outcome, f"{fn!r} has not returned within {LIMIT} s"
    good, found = outcome[0]
    if not good:
        raise found
    return found


def until(holds: Callable[[], Any], limit: float = LIMIT) -> bool:
    """Whether something that nobody tells of comes to hold in time."""
    end, pause = monotonic() + limit, threading.Event()
    while not holds():
        if monotonic() > end:
            return False
        pause.wait(0.005)
    return True
