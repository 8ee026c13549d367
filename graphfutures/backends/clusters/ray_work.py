"""A batch as a task of Ray's, and what it tells while it runs."""

from __future__ import annotations

from asyncio import Queue
from contextlib import suppress
from threading import get_ident
from typing import Any, Final

import ray
from ray.experimental import internal_kv

from graphfutures.backends.clusters import work

#: where Ray's scheduler has our notes
NOTES: Final = b"graphfutures"


def run(mailbox: str, topic: str, pickled: bytes, *kept: work.Kept) -> tuple[list[bytes], work.Kept]:
    """Run a batch, and return its reports beside what it has kept.

    :param mailbox: the name of the actor that passes on what is told while it runs.
    :param topic: of the executor.
    :param pickled: see ``work.run``.
    :param kept: by the batches that it needs.
    """
    reports: list[bytes] = []
    thread = get_ident()

    def tell(report: bytes) -> None:
        reports.append(report)
        if get_ident() != thread:  # else it is told at once by this task's own end
            with suppress(Exception):  # which tells it again
                actor = _mailboxes.get(mailbox) or _mailboxes.setdefault(mailbox, ray.get_actor(mailbox))
                actor.tell.options(num_returns=0).remote(topic, report)

    notes = _notes(f"{topic}-{ray.get_runtime_context().get_task_id()}".encode())
    return reports, work.run(pickled, kept, tell, apart=True, notes=notes)


def _notes(key: bytes) -> work.Notes:
    """Those of a batch, which Ray has beside its own."""

    def write(ticket: int) -> None:
        internal_kv._internal_kv_put(key, str(ticket).encode(), namespace=NOTES)

    def read() -> int:
        return int(internal_kv._internal_kv_get(key, namespace=NOTES) or 0)

    return work.Notes(write, read)


def forget(topic: str) -> None:
    """Forget the notes of an executor."""
    internal_kv._internal_kv_del(topic.encode(), del_by_prefix=True, namespace=NOTES)


#: actors by name
_mailboxes: dict[str, Any] = {}


class Mailbox:
    """An actor: holds what batches tell while they run, until whoever sent them takes it."""

    def __init__(self) -> None:
        self._told: dict[str, Queue[bytes]] = {}

    async def tell(self, topic: str, report: bytes) -> None:
        """Something is told."""
        if topic in self._told:
            self._told[topic].put_nowait(report)

    async def take(self, topic: str) -> list[bytes]:
        """What was told, once there is anything."""
        told = self._told.setdefault(topic, Queue())
        reports = [await told.get()]
        while not told.empty():
            reports.append(told.get_nowait())
        return [report for report in reports if report]

    async def leave(self, topic: str) -> None:
        """Nobody takes anything any more."""
        told = self._told.pop(topic, None)
        if told is not None:
            told.put_nowait(b"")  # somebody may still wait for it
