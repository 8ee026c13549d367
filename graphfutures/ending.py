"""The end of the interpreter, and the beginning of a forked child, for every executor that is alive."""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from _thread import get_ident
from functools import partial
from time import sleep
from typing import Any

from graphfutures import errors, exits
from graphfutures.core.circles import reached
from graphfutures.core.states import SETTLED
from graphfutures.externals import External
from graphfutures.hub import Hub
from graphfutures.lending import needs_of

_hubs: dict[int, weakref.ref[Hub]] = {}
_exiting: list[bool] = []  # not empty once the interpreter exits
_held: dict[int, list[Hub]] = {}  # by the thread that forks


def register(hub: Hub) -> None:
    """Have a hub drained before the interpreter exits, and begun afresh in a forked child."""
    key = id(hub)
    _hubs[key] = weakref.ref(hub, partial(_hubs.pop, key))
    if _exiting:
        hub.refuse(RuntimeError(errors.AFTER_EXIT), inside=False)


def _alive() -> list[Hub]:
    return [hub for reference in tuple(_hubs.values()) if (hub := reference()) is not None]


def at_exit() -> None:
    """End all executors of this process that are still open."""
    _exiting.append(True)
    hubs = [hub for hub in _alive() if not hub.ended and not hub.abandoned]
    for hub in hubs:
        hub.refuse(RuntimeError(errors.AFTER_EXIT), inside=False)
    if _interrupted():
        for hub in hubs:
            hub.drop_pending(running=True)
    while _drain(hubs):
        pass
    for hub in hubs:
        hub.release()
        hub.finish()
    for hub in _alive():
        if hub.ended and not hub.abandoned:
            hub.finish()  # of graphs that had ended before: their callbacks, and what their workers leave


def _interrupted() -> bool:
    """Whether the script ends by Ctrl-C."""
    last = getattr(sys, "last_type", None)
    return isinstance(last, type) and issubclass(last, KeyboardInterrupt)


def _drain(hubs: list[Hub]) -> bool:
    """Wait until nothing is left that can still run; False if nothing is left at all."""
    for hub in hubs:
        hub.exiting = True
        stuck = partial(_is_stuck, hub)
        while hub.backlog() and not stuck():
            # CPython 3.12 starts no thread any more: then this one does the work of a worker.
            if not hub.backend.help():
                hub.shrunk(1, refused=True, unless=stuck)
    for hub in hubs:
        hub.callbacks.finish()  # one of them may settle what others wait for
    if any(hub.backlog() and not _is_stuck(hub) for hub in hubs):
        return True
    foreign = [(hub, task) for hub in hubs for task in tuple(hub.scheduler.unsettled) if task.foreign]
    for _, task in foreign:
        for dependency in task.dependencies:
            if isinstance(dependency, External) and dependency.will_settle():
                sleep(0.001)  # until whoever settled it has told us
                hub.look_outside()  # if he was not interrupted in that
                return True
    for hub in dict.fromkeys(hub for hub, _ in foreign):
        _give_up_foreign(hub)
    return bool(foreign)


def _is_stuck(hub: Hub) -> bool:
    """Whether all that is unfinished waits, inside or outside of tasks, for what waits for futures of others."""
    if hub.has_posts():
        return False
    return all(task.foreign or _waits_in_vain(hub, task) for task in tuple(hub.scheduler.unsettled))


def _waits_in_vain(hub: Hub, task: Any) -> bool:
    loan = hub.loans.get((task, task.attempt))
    if loan is None or loan.wait is None or loan.exact:
        return _waits_for_foreign(task)
    return all(_waits_for_foreign(need) for need in loan.wait.needs)  # one of them would be enough


def _waits_for_foreign(task: Any) -> bool:
    waited_for: Any = (found for found in reached(task, needs_of) if found.state not in SETTLED)
    return any(found.foreign or found.outside for found in waited_for)


def _give_up_foreign(hub: Hub) -> None:
    keys: list[str] = []
    hub.ask(lambda: keys.extend(hub.cancel_foreign()))
    if keys:
        shown = ", ".join(keys[:10]) + (f" and {len(keys) - 10} more" if len(keys) > 10 else "")
        warnings.warn(
            f"cancelled at exit, because they wait for futures that nobody settles any more: {shown}",
            RuntimeWarning,
            stacklevel=2,
        )


def _before_fork() -> None:
    held = _held[get_ident()] = []
    for hub in sorted(_alive(), key=id):  # in one order, since two threads may fork at once
        held.append(hub)  # first, since a signal handler may come between
        hub.hold()


def _in_parent() -> None:
    for hub in _held.pop(get_ident(), ()):
        if hub.let_go():
            hub.backend.attend()


def _in_forked_child() -> None:
    _held.clear()
    for hub in _alive():
        hub.backend.forked()
        hub.forked()


exits.at_exit(at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_forked_child)
