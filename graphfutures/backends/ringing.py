"""What backends have in common whose threads wait at one bell."""

from __future__ import annotations

import threading
import weakref
from _thread import allocate_lock, get_ident
from collections.abc import Sized

from graphfutures.backends.base import Exchange


class Ringing:
    """Serves one hub by threads that wait at one bell.

    The bell is a lock that is held as long as nothing is to be heard: ringing it is one release, which nothing can
    interrupt halfway, and a ring that comes before anybody waits is not lost.
    """

    #: not empty, or true, while a thread waits or is about to
    _idle: Sized | bool

    def start(self, hub: Exchange) -> None:
        """See ``Backend``."""
        self._reference = weakref.ref(hub)

    @property
    def _hub(self) -> Exchange:
        """Held weakly: an executor that is done with is to be gone at once, not when the collector comes."""
        hub = self._reference()
        assert hub is not None, "whoever calls a backend holds the hub"
        return hub

    def attend(self) -> None:
        """See ``Backend``: the threads may be busy, with tasks or in a ``submit`` that blocks."""
        if self._idle:
            self._ring()
        elif threading.main_thread().ident != get_ident() or not self._hub.ring_clerk():
            self._hub.apply()

    def _hang_bell(self) -> None:
        self._bell = allocate_lock()
        self._bell.acquire()

    def _ring(self) -> None:
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:
                pass  # somebody else has just rung it
