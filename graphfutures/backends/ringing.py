"""What backends have in common whose threads wait at one bell."""

from __future__ import annotations

import threading
import weakref
from _thread import get_ident
from collections.abc import Sized

from graphfutures.backends.base import Exchange
from graphfutures.bells import Doorbell


class Ringing(Doorbell):
    """Serves one hub by threads that wait at one bell."""

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
