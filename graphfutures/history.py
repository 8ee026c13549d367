"""The memory of the last attempts: what ran when and where, cheap enough to be always on."""

from __future__ import annotations

from collections import deque

from graphfutures.backends.base import Attempt
from graphfutures.running import spelt_out

#: how many attempts are remembered unless all of them are
REMEMBERED = 10_000


class History:
    """The last attempts of an executor; neither a task nor a value is kept alive.

    :param everything: keep all of them, not only the last ``REMEMBERED``.
    """

    def __init__(self, *, everything: bool = False) -> None:
        self._attempts: deque[Attempt] = deque(maxlen=None if everything else REMEMBERED)
        self.add = self._attempts.append

    def attempts(self) -> list[Attempt]:
        """What is remembered, in the order in which it was reported."""
        return [Attempt(*row[:7], spelt_out(row[7])) for row in tuple(self._attempts)]
