"""Being called at the end of the interpreter before others are."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

_hooks: list[Callable[[], object]] = []
# Before the interpreter joins threads, as the standard library's own pools do; atexit comes after that.
_register = getattr(threading, "_register_atexit", atexit.register)


def at_exit(hook: Callable[[], object]) -> None:
    """Have a function called at the end of the interpreter; perhaps several times."""
    _hooks.append(hook)
    _register(hook)


def first_again() -> None:
    """Have them called before what was registered meanwhile: the last one that is registered is called first."""
    try:
        for hook in _hooks:
            _register(hook)
    except RuntimeError:
        pass  # the interpreter exits
