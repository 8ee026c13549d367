"""The pieces of a map on their way to a worker, in it, and back."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from graphfutures import errors
from graphfutures.backends.processes.messages import BUDGET, PLAIN
from graphfutures.calls import unfit
from graphfutures.crashes import worker_crashed
from graphfutures.futures import GraphFuture
from graphfutures.pieces import Piece

LOGGER = logging.getLogger("graphfutures")
#: bytes of arguments that are sent at once, unless a single call has more
LARGE = 1 << 20


# -- for attendants -----------------------------------------------------------------------------


def packed(piece: Piece, most: int | None, dumps: Callable[[Any], bytes]) -> bytes | list[bytes] | None:
    """What a worker is sent of the calls of a piece; None if nothing is left to be called.

    :param most: how many calls it may have.
    :param dumps: pickles what does not go into messages.
    :return: the arguments in columns, pickled, if they are of types that go into messages; else those of each call.
    """
    mapped = piece.mapped
    while mapped.draw(piece, most):
        calls = mapped.calls[piece.start : piece.stop]
        columns = [calls] if mapped.single else list(zip(*calls, strict=True))
        if not _are_plain(columns):
            if found := _each(piece, calls, dumps):
                return found
            continue
        pickled = pickle.dumps(columns, protocol=pickle.HIGHEST_PROTOCOL)
        if len(pickled) <= LARGE or len(calls) == 1:
            return pickled
        number = max(1, len(calls) * LARGE // len(pickled) // 2)
        mapped.limit(number)
        mapped.give_back(piece, len(calls) - number)
    return None


def _are_plain(columns: Sequence[Sequence[Any]]) -> bool:
    try:
        return all(PLAIN.issuperset(map(type, column)) for column in columns)
    except TypeError:  # of a metaclass that forbids to hash its classes
        return False


def _each(piece: Piece, calls: list[Any], dumps: Callable[[Any], bytes]) -> list[bytes]:
    """The arguments of each call, pickled, as far as they go into one message."""
    found: list[bytes] = []
    size = 0
    for number, call in enumerate(calls, 1):
        args = (call,) if piece.mapped.single else call
        try:
            pickled = dumps(args)
        except BaseException as error:
            if found:
                piece.mapped.give_back(piece, len(calls) - number + 1)  # its turn will come
                break
            error = error.with_traceback(None)
            with suppress(Exception):
                what = unfit(piece.mapped.fn, args, None, dumps)
                error.add_note(errors.cannot_be_sent(piece.mapped.label(piece.start), what, error))
            piece.mapped.tell(piece, 1, [], error)
            continue
        found.append(pickled)
        size += len(pickled)
        if size > LARGE and number < len(calls):
            piece.mapped.give_back(piece, len(calls) - number)
            break
    return found


def take(read: Callable[[int, Any], tuple[bool, Any]], piece: Piece, outcomes: list[Any], back: int) -> None:
    """Take note of what a worker tells of a piece.

    :param read: whether there is a value, and that or the exception, of how it was told and what of it.
    :param outcomes: of the first of its calls, see ``Run``.
    :param back: how many of its last ones it will not run.
    """
    values, failure = outcomes, None
    if tuple in set(map(type, outcomes)):
        values = []
        for outcome in outcomes:
            value = outcome
            if type(outcome) is tuple:
                good, value = read(*outcome)
                if not good:
                    failure = value
                    errors.name_in_notes(failure, piece.mapped.label(piece.start + len(values)))
                    break
            values.append(value)
    piece.mapped.tell(piece, len(outcomes), values, failure)
    if back:
        piece.mapped.give_back(piece, back)


def take_progress(read: Callable[..., Any], piece: GraphFuture[Any], outcomes: list[Any], back: int) -> None:
    """Take note of what a worker tells of a piece that it still runs."""
    assert isinstance(piece, Piece), "of others nothing is told before they end"
    take(read, piece, outcomes, back)
    if back:
        piece.mapped.learn(piece, BUDGET, running=1)


def crashed(piece: Piece, retries: int, code: int | None) -> None:
    """The worker has died that ran a piece: what was not told of is run again, each call alone, so that one is guilty.

    :param retries: how often.
    :param code: what the process exited with.
    """
    mapped = piece.mapped
    crashes = mapped.crashed(piece)
    if crashes > retries:
        mapped.tell(piece, 1, [], worker_crashed(mapped.label(piece.start), code, crashes))
    else:
        LOGGER.warning("%s runs again: %s", piece.key, errors.how_it_died(code))
        mapped.isolate(piece)
