"""What an executor tells of its graph at one moment: what pictures, traces and reports are made from."""

from __future__ import annotations

from typing import NamedTuple

from graphfutures.history import Attempt


class Pending(NamedTuple):
    """A task that has not settled, or that has without an attempt that said so.

    :param serial: its number in its executor.
    :param name: of the task.
    :param state: waiting, ready or running; done, failed or cancelled.
    :param needs: keys of the tasks whose values it is given.
    """

    serial: int
    name: str
    state: str
    needs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name and number of the task: ``load-3``."""
        return f"{self.name}-{self.serial}"


class Snapshot(NamedTuple):
    """Of an executor.

    :param name: of it.
    :param workers: how many tasks it runs at once.
    :param attempts: what is remembered of those that have returned, in the order in which they were reported.
    :param missing: of how many tasks that have ended nothing is remembered.
    :param pending: tasks that have not settled.
    :param without: tasks that have, without an attempt that said so: an input had failed, they were cancelled or ran
        out of time, or they are items of the value of another one.
    """

    name: str
    workers: int
    attempts: list[Attempt]
    missing: int
    pending: list[Pending]
    without: list[Pending] = []  # noqa: RUF012  # which nobody changes
