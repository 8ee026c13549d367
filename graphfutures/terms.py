"""What a task is run on: how often, for how long, and what becomes of the futures in its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from logging import getLogger
from math import isfinite
from typing import Any, Final, NamedTuple

from graphfutures.arguments import LAZY, begun, look
from graphfutures.backends.base import Finished
from graphfutures.calls import EACH, Plan
from graphfutures.core.states import RUNNING
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.outcomes import shown

LOGGER = getLogger("graphfutures")
RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class Terms(NamedTuple):
    """The options of a task that concern its attempts.

    :param retries: how many further attempts after one that has failed.
    :param retry_on: after which exceptions.
    :param backoff: seconds before the first further attempt, doubled each time; or what tells them by the number of
        the attempt that has failed.
    :param timeout: seconds that one attempt may take, None for any.
    :param join: whether futures in the value are waited for, and replaced by their values.
    """

    retries: int = 0
    retry_on: RetryOn = Exception
    backoff: float | Callable[[int], float] = 0.0
    timeout: float | None = None
    join: bool = False


class Again(NamedTuple):
    """The outcome of an attempt that is to be repeated.

    :param delay: after so many seconds.
    """

    delay: float


AT_ONCE: Final = Again(0.0)


class Joined(NamedTuple):
    """The outcome of an attempt whose value holds futures.

    :param needs: what they are to the graph.
    :param tolerated: those among them whose failure is a value.
    """

    needs: tuple[Any, ...]
    tolerated: tuple[Any, ...]


def judged(fact: Finished, terms: Terms, call: tuple[Any, ...]) -> Finished:
    """What becomes of an attempt that has ended, by the terms of its task.

    :param call: the function, the arguments, what few calls have, and the dependencies whose failure is a value, to
        be put back if it is to be called again.
    """
    future, number, good, outcome, record = fact
    try:
        if future.state is not RUNNING or future.attempt != number:
            return fact  # its time was over
        if good:
            if not terms.join:
                return fact
            plan, tasks, tolerated = look((outcome,), {}, future._owner)  # type: ignore[arg-type]
            if tasks is LAZY:
                outcome = _begun(future, outcome, plan, call[2])
                plan, tasks, tolerated = look((outcome,), {}, future._owner)  # type: ignore[arg-type]
            if plan is None:
                return future, number, True, outcome, record
            future._args, future._rest = (outcome,), (None, plan, None)
            return future, number, False, Joined(tasks, tolerated), record
        failures = future.failures + 1
        if failures > terms.retries or not _matches(terms.retry_on, outcome, future):
            return fact
        future.failures, future.last_failure = failures, shown(outcome)
        delay = _delay(terms.backoff, failures, future) if terms.backoff else 0.0
        future._fn, future._args, future._rest, tolerated = call
        if tolerated:
            future.tolerated = tolerated
        future._traceback = None
        return future, number, False, Again(delay) if delay else AT_ONCE, record
    except BaseException as error:  # of what is in the value, an asyncio future perhaps
        return future, number, False, error, record
    finally:
        del fact, future, outcome, call


def _begun(future: GraphFuture[Any], value: Any, plan: Plan | None, rest: Any) -> Any:
    """A value with futures in the places of delayed objects, begun as if the task itself had done so."""
    owner: Any = future._owner
    context = rest[2] if rest is not None and rest is not EACH else None
    outer, here.task = here.task, future
    try:
        ((value,), _) = (context or Context()).run(begun, owner.side_door(owner), (value,), {}, plan)
        return value
    finally:
        here.task = outer


def _matches(retry_on: Any, error: BaseException, future: GraphFuture[Any]) -> bool:
    if isinstance(retry_on, (type, tuple)):
        return isinstance(error, retry_on)
    try:
        return bool(retry_on(error))
    except Exception:
        LOGGER.exception("retry_on of %s has failed itself, so the task is not tried again", future.key)
        return False


def _delay(backoff: Any, failures: int, future: GraphFuture[Any]) -> float:
    try:
        seconds = backoff(failures) if callable(backoff) else backoff * 2.0 ** min(failures - 1, 64)
        return max(0.0, float(seconds))
    except Exception:
        LOGGER.exception("backoff of %s has failed itself, so the task is tried again at once", future.key)
        return 0.0


def checked_terms(options: Mapping[str, Any], *, limits: bool) -> Terms | None:
    """The terms in some options, None if all are the usual ones.

    :param limits: whether the backend can limit the time of an attempt.
    :raises TypeError: for an option of the wrong type.
    :raises ValueError: for an option that cannot be, or that the backend cannot keep.
    """
    given = {name: options[name] for name in Terms._fields if name in options}
    terms = Terms(**given)
    _count("retries", terms.retries)
    on = terms.retry_on
    types = on if isinstance(on, tuple) else (on,)
    if not (callable(on) and not isinstance(on, type)) and not all(
        isinstance(one, type) and issubclass(one, BaseException) for one in types
    ):
        raise TypeError(f"retry_on must be an exception type, a tuple of them, or f(exception) -> bool, not {on!r:.80}")
    if not callable(terms.backoff):
        _seconds("backoff", terms.backoff, "a number of seconds or f(attempt) -> seconds", least=0.0)
    if terms.timeout is not None:
        _seconds("timeout", terms.timeout, least=None)
        if not limits:
            raise ValueError("timeout cannot be kept by this backend; it can on threads and processes")
    if not isinstance(terms.join, bool):
        raise TypeError(f"join must be True or False, not {terms.join!r:.80}")
    return terms if terms != Terms() else None


def _count(name: str, number: Any) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be an integer, not {number!r:.80}")
    if number < 0:
        raise ValueError(f"{name} must not be negative, but is {number}")


def _seconds(name: str, number: Any, kind: str = "a number of seconds", *, least: float | None) -> None:
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        raise TypeError(f"{name} must be {kind}, not {number!r:.80}")
    if not isfinite(number) or (number <= 0 if least is None else number < least):
        bound = "finite and greater than 0" if least is None else "finite and 0 or greater"
        raise ValueError(f"{name} must be {bound}, but is {number}")
