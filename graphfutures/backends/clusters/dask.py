"""dask.distributed as the engine of a cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from logging import getLogger
from typing import Any, Final
from uuid import uuid4

from graphfutures import config, errors
from graphfutures.backends.clusters.engine import Crash, Lost
from graphfutures.backends.clusters.local import Local
from graphfutures.backends.clusters.pump import Cluster
from graphfutures.backends.clusters.work import Kept
from graphfutures.exits import first_again

LOGGER = getLogger("graphfutures")
#: seconds to wait for a scheduler
CONNECT: Final = 30
#: seconds between looks at how many threads there are
LOOK: Final = 1.0
#: seconds without any worker after which that is told
ALONE: Final = 30.0
#: bytes of events that its scheduler may remember
EVENTS: Final = 64_000_000
#: how often a value is made again that others' deaths have taken with them
REVIVALS: Final = 3
#: bytes of a note of a value
NOTE: Final = 300
FORKED: Final = "this process was forked from the one that is connected to it"


class Dask:
    """A cluster of dask's.

    :param pump: is told.
    :param source: an address, a ``distributed.Client`` or cluster; None for one on this machine.
    :param workers: how many processes that has.
    :param name: of the executor.
    :param security: for an address, see ``distributed.Client``.
    :raises ImportError: if distributed is not installed.
    :raises ValueError: for a client that is closed, and for what is no address.
    :raises TypeError: for ``security`` that the client does not take.
    :raises OSError: if nobody answers at the address.
    """

    def __init__(self, pump: Cluster, source: Any, workers: int, name: str, security: Any) -> None:
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker

            from graphfutures.backends.clusters import dask_work
        except ImportError as error:
            raise errors.no_extra("dask", "dask", error) from error
        self._work = dask_work
        self._entry = dask_work.Entry()
        self._killed: Any = KilledWorker
        self._local: Local | None = None
        self._own = not isinstance(source, Client)
        if not self._own and source.status != "running":
            raise errors.client_closed(source.status)
        if not self._own and source.asynchronous:
            raise errors.client_asynchronous()
        if isinstance(source, str):
            _knock(source)
        if source is None:
            self._local = Local(workers, name, config.temp_dir())
            source = self._local.address
        if self._own:
            try:
                extra = {} if security is None else {"security": security}
                source = Client(source, set_as_default=False, timeout=CONNECT, **extra)
            except (OSError, TimeoutError) as error:
                raise errors.no_cluster(str(source), error) from error
            except TypeError as error:
                if security is None and not str(source).startswith("tls"):  # a worker's, for instance
                    raise errors.no_cluster(str(source), error) from error
                raise errors.not_secure(str(source), error) from error
        first_again()  # distributed ends itself at exit, and the graph has to be drained before
        self._client: Any = source
        self._pump = pump
        self._topic = f"graphfutures-{uuid4().hex}"
        self._said = 0  # bytes of events and notes since they were forgotten
        self._closing = False
        self._forked = False
        self._threads = workers if self._local is not None else sum(self._client.nthreads().values())
        self._client.subscribe_topic(self._topic, self._heard)
        if self._local is None:
            self._client.loop.add_callback(self._look)

    @property
    def dashboard_link(self) -> str:
        """Of the cluster."""
        link: str = self._client.dashboard_link if self._local is None else self._local.dashboard_link
        return link

    def threads(self) -> int:
        """See ``Engine``."""
        return self._threads

    def send(self, number: int, name: str, pickled: bytes, needs: list[Any], wishes: Mapping[str, Any]) -> Any:
        """See ``Engine``."""
        key = f"{name}-{self._topic[-32:]}-{number}"
        crashes = wishes.get("crash_retries")
        runs = None if crashes is None else crashes + 1
        wanted = {wish: wishes[wish] for wish in ("priority", "resources", "workers") if wish in wishes}
        sent = self._client.submit(self._entry, self._topic, key, runs, pickled, *needs, key=key, pure=False, **wanted)
        self._client.loop.add_callback(self._watch, number, sent)  # a callback of it would be called in one more thread
        return sent

    def withdraw(self, handle: Any) -> None:
        """See ``Engine``."""
        self._client.loop.add_callback(self._cancel, handle)

    async def _cancel(self, handle: Any) -> None:
        with suppress(Exception):
            await self._client.cancel([handle], asynchronous=True)

    def sole(self, ticket: int, taker: int) -> None:
        """See ``Engine``."""
        self._client.loop.add_callback(self._note_sole, ticket, taker)
        self._count(NOTE)

    async def _note_sole(self, ticket: int, taker: int) -> None:
        with suppress(Exception):
            await self._client.scheduler.set_metadata(
                keys=[self._topic + self._work.SOLE, str(taker), str(ticket)], value=True
            )

    def fetch(self, handle: Any) -> Kept:
        """See ``Engine``."""
        if self._forked:
            raise errors.cluster_gone(FORKED)
        for attempt in range(REVIVALS + 1):
            try:
                found: Kept = self._client.gather(handle)
                return found
            except CancelledError as error:
                raise errors.cluster_gone(str(error)) from error
            except self._killed:  # by another task, since it was made before
                if attempt == REVIVALS:
                    raise
                self._client.retry([handle])
        raise AssertionError("it has returned or raised")

    def fetch_later(self, handle: Any, done: Callable[[Kept | None, BaseException | None], object]) -> None:
        """See ``Engine``."""
        self._client.loop.add_callback(self._fetch, handle, done)

    async def _fetch(self, handle: Any, done: Callable[[Kept | None, BaseException | None], object]) -> None:
        try:
            kept = await self._client.gather(handle, asynchronous=True)
        except (CancelledError, self._killed):
            done(None, Lost())
        except BaseException as error:
            done(None, error)
        else:
            done(kept, None)

    def revive(self, handle: Any) -> None:
        """See ``Engine``."""
        if handle.status == "error":
            self._client.loop.add_callback(self._retry, handle)

    async def _retry(self, handle: Any) -> None:
        with suppress(Exception):
            await self._client.retry([handle], asynchronous=True)

    def put(self, kept: Kept) -> Any:
        """See ``Engine``."""
        return self._client.scatter([kept], hash=False)[0]

    def lost(self) -> Exception | None:
        """See ``Engine``."""
        if self._forked:
            return errors.cluster_gone(FORKED)
        if self._client.status == "running":
            return None
        return errors.cluster_gone(f"the connection to its scheduler is lost, the client is {self._client.status!r}")

    def forked(self) -> None:
        """See ``Engine``."""
        self._forked = True
        if self._local is not None:
            self._local.forked()

    def close(self) -> None:
        """See ``Engine``."""
        if self._forked:
            return
        self._closing = True
        with suppress(Exception):
            if self._client.status == "running":
                self._client.unsubscribe_topic(self._topic)
                if self._local is None:
                    self._client.run_on_scheduler(self._work.forget, self._topic)
        with suppress(Exception):
            if self._own:
                self._client.close(timeout=5)
        if self._local is not None:
            self._local.close()

    # -- in threads of the client -------------------------------------------------------------

    def _heard(self, event: tuple[float, bytes]) -> None:
        self._pump.heard(event[1])
        self._count(len(event[1]))

    def _count(self, size: int) -> None:
        self._said += size
        if self._said > EVENTS:
            self._said = 0
            self._client.loop.add_callback(self._forget_later)

    async def _watch(self, number: int, sent: Any) -> None:
        failure: Any = None
        try:
            while sent.status == "pending":
                await sent.exception()
            if sent.status == "error":
                failure = await sent.exception()
        except BaseException as error:
            failure = error
        if isinstance(failure, self._killed):
            failure = Crash(failure.allowed_failures + 1) if failure.task == sent.key else Lost()
        elif isinstance(failure, CancelledError) or (failure is None and sent.status != "finished"):
            failure = Lost()
        self._pump.over(number, failure)

    async def _look(self) -> None:
        from asyncio import sleep

        alone = 0.0
        while not self._closing and self._client.status == "running":
            with suppress(Exception):
                self._threads = sum((await self._client.scheduler.ncores()).values())
            alone = 0.0 if self._threads else alone + LOOK
            if alone == ALONE:
                LOGGER.warning("the cluster has no workers: tasks wait until one comes (%s)", self._client)
            await sleep(LOOK)

    async def _forget_later(self) -> None:
        with suppress(Exception):
            await self._client.run_on_scheduler(self._work.truncate, self._topic, asynchronous=True)


def _knock(address: str) -> None:
    """See whether a scheduler is at an address: a client that finds none leaves a thread behind, or waits for ever.

    :raises ValueError: if it is no address.
    :raises OSError: if nobody answers.
    """
    kind, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise errors.no_address(address)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT) as connection:
            if kind == "tcp" and not connection.recv(1):  # whoever is called speaks first
                raise ConnectionError("it hangs up")
    except OSError as error:
        raise errors.no_cluster(address, error) from error
