"""Values that are not here as objects: what stands for them as the outcome of a task, until somebody asks."""

from __future__ import annotations

from _thread import RLock
from typing import Any, ClassVar, Final

_UNREAD: Final = object()
_FIRST = RLock()


class Away:
    """The value of a task, as it was sent by the process that has made it, or where it is to be had.

    It is read once, so that whoever asks gets the same object.  Given to a task in another process it is pickled
    as what it stands for, which is not read here for that where there is another way.
    """

    __slots__ = ("__weakref__", "_value", "failure")

    #: all classes of these, to be asked for the type of a value, whose own code must not be run for that
    kinds: ClassVar[set[type]] = set()

    def __init_subclass__(cls) -> None:
        Away.kinds.add(cls)

    def __init__(self) -> None:
        self._value: Any = _UNREAD
        #: why it cannot be read
        self.failure: BaseException | None = None

    @property
    def is_read(self) -> bool:
        """Whether the value is here."""
        return self._value is not _UNREAD

    def get(self) -> Any:
        """The value.

        :raises BaseException: what reading it raises.
        """
        if self._value is _UNREAD:
            try:
                value = self.read()
            except KeyboardInterrupt:  # of whoever asks
                raise
            except BaseException as error:
                self.failure = error.with_traceback(None)
                raise
            with _FIRST:  # two threads may have read it
                if self._value is _UNREAD:
                    self._value = value
        return self._value

    def read(self) -> Any:
        """Make an object of it."""
        raise NotImplementedError

    def __reduce__(self) -> Any:
        return _itself, (self.get(),)


def _itself(value: Any) -> Any:
    return value


def value_here(outcome: Any) -> Any:
    """The value that an outcome is, or stands for.

    :raises BaseException: what reading it raises.
    """
    return outcome.get() if type(outcome) in Away.kinds else outcome


def failure_here(outcome: Any) -> Any:
    """The exception that the outcome of a failed task is, or why what stands for its value cannot be read."""
    return outcome.failure if type(outcome) in Away.kinds else outcome
