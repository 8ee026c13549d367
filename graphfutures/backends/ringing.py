"""What backends have in common that serve a hub by threads, and those whose threads wait at one bell."""

from __future__ import annotations

import threading
import weakref
from _thread import get_ident
from collections.abc import Sized

from graphfutures.backends.base import Exchange
from graphfutures.bells import Doorbell


class Serving:
    """Serves one hub."""

    def start(self, hub: Exchange) -> None:
        """See ``Backend``."""
        self._reference = weakref.ref(hub)

    @property
    def _hub(self) -> Exchange:
        """Held weakly: an executor that is done with is to be gone at once, not when the collector comes."""
        hub = self._reference()
        assert hub is not None, "whoever calls a backend holds the hub"
        return hub

    def _have_applied(self) -> None:
        """No thread of this backend is about to look: see to what was posted."""
        if threading.main_thread().ident != get_ident() or not self._hub.ring_clerk():
            self._hub.apply()


class Ringing(Doorbell, Serving):
    """Serves one hub by threads that wait at one bell."""

    #: not empty, or true, while a thread waits or is about to
    _idle: Sized | bool

    def attend(self) -> None:
        """See ``Backend``: the threads may be busy, with tasks or in a ``submit`` that blocks."""
        if self._idle:
            self._ring()
        else:
            self._have_applied()
