"""Values that are on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from logging import getLogger
from queue import Empty, SimpleQueue
from typing import Any, Final
from weakref import WeakSet, ref

from graphfutures import errors
from graphfutures.away import Away
from graphfutures.backends.clusters.forming import Batch
from graphfutures.backends.clusters.work import APART, LARGE, Kept, Need, of_kept
from graphfutures.backends.processes.files import Pickled
from graphfutures.backends.processes.store import Sent

LOGGER = getLogger("graphfutures")
#: seconds to wait for the next value when the cluster is about to go
HOLD: Final = 60.0


class There(Away):
    """A value that stays on the cluster until somebody asks for it.

    :param batch: that has made it, and whose values are kept there as long as this lives.
    :param ticket: of its task.
    :param values: of the executor.
    :param size: bytes.
    :param home: which process of the cluster has it, None if that is not known.
    """

    __slots__ = ("batch", "came", "home", "size", "ticket", "values")

    def __init__(self, batch: Batch, ticket: int, values: Values, size: int, home: Any) -> None:
        super().__init__()
        #: how it was kept, once that has come with another value of the batch
        self.came: tuple[Any, Any] | None = None
        self.size = size
        self.home = home
        self.batch = batch
        self.ticket = ticket
        self.values = values

    def read(self) -> Any:
        """See ``Away``."""
        found = self.came
        if found is None:
            kept = self.values.fetch(self.batch.handle)
            if self.ticket not in kept.values:
                raise errors.value_lost_by_cluster()
            come(self.batch, kept)
            found = kept.values[self.ticket]
        self.came = None
        return of_kept(*found)


def come(batch: Batch, kept: Kept) -> None:
    """What a batch has kept is here now: whoever asks for another one of its values need not fetch that."""
    for ticket, there in [*batch.values.items()]:
        value = there()
        if value is not None and not value.is_read:
            value.came = kept.values.get(ticket)


class Put(Away):
    """A value of this process, which is sent to the cluster once, if it is large.

    :param value: itself, which is what it is here.
    """

    __slots__ = ("there",)

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value
        #: what stands for it on the cluster
        self.there: There | None = None


class Values:
    """Those of one executor.

    :param fetch: what a batch has kept.
    :param fetch_later: the same, and calls what it is given then, with that and a failure.
    :param put: has something kept, and gives the handle of that.
    :param dumps: pickles what is put.
    :param ticket: gives the next one.
    """

    def __init__(
        self,
        fetch: Callable[[Any], Kept],
        fetch_later: Callable[[Any, Callable[[Kept | None, BaseException | None], object]], object],
        put: Callable[[Kept], Any],
        dumps: Callable[..., bytes],
        ticket: Callable[[], int],
    ) -> None:
        self.fetch = fetch
        self._fetch_later = fetch_later
        self._put = put
        self._dumps = dumps
        self._ticket = ticket
        self._alive: WeakSet[There] = WeakSet()
        #: the batches whose values were asked for since this was emptied
        self.needed: dict[int, Batch] = {}

    def there(self, batch: Batch, ticket: int, size: int, home: Any = None) -> There:
        """What stands here for a value; see ``There``."""
        found = There(batch, ticket, self, size, home)
        batch.values[ticket] = ref(found)
        self._alive.add(found)
        return found

    def own(self, outcome: Any) -> Any:
        """What stands in a call for a value that is done.

        :raises BaseException: what reading it raises, if it is somewhere else.
        """
        kind = type(outcome)
        if kind is Put:
            return self._of_put(outcome)
        if kind is Sent:
            return outcome
        if kind is There and outcome.values is self:
            self.needed[outcome.batch.number] = outcome.batch
            return Need(outcome.ticket)
        return outcome.get() if kind in Away.kinds else outcome

    def _of_put(self, put: Put) -> Any:
        there = put.there
        if there is None or there.values is not self or there.batch.lost:
            value = put.get()
            pickled = Pickled(value, self._dumps)
            size = pickled.size
            if size < LARGE:
                return value
            batch = Batch(0)
            ticket = self._ticket()
            batch.number = ticket  # below 0, as no batch of tasks has
            batch.handle = self._put(Kept({ticket: (APART, (pickled.text, pickled.buffers))}, size))
            put.there = there = self.there(batch, ticket, size)
            there._value = value
        return self.own(there)

    def hold(self) -> None:
        """The cluster is about to go: fetch what somebody still has a future of, as long as anything comes."""
        wanted: dict[Batch, list[There]] = {}
        for value in tuple(self._alive):
            if not value.is_read:
                wanted.setdefault(value.batch, []).append(value)
        came: SimpleQueue[tuple[list[There], Kept | None]] = SimpleQueue()
        for batch, values in wanted.items():
            self._fetch_later(batch.handle, partial(_came, came, values))
        for _ in wanted:
            try:
                values, kept = came.get(timeout=HOLD)
            except Empty:
                LOGGER.warning("the cluster does not give back values that somebody may ask for: they are lost")
                return
            for value in values:
                if kept is not None and value.ticket in kept.values:
                    with suppress(Exception):  # whoever asks for it is told
                        value._value = kept.value(value.ticket)


def _came(
    came: SimpleQueue[tuple[list[There], Kept | None]],
    values: list[There],
    kept: Kept | None,
    _: BaseException | None,
) -> None:
    came.put((values, kept))
