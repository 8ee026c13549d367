"""What backends have in common that have no workers of their own: one thread, the pump, serves whoever has them."""

from __future__ import annotations

import threading
from _thread import RLock

from graphfutures import errors
from graphfutures.backends.base import Exchange
from graphfutures.backends.ringing import Ringing
from graphfutures.bells import Thread
from graphfutures.current import here


class Pumping(Ringing):
    """Makes all exchanges in one thread, which is started when there is something to do.

    :param name: of the pump, before what it is.
    """

    _name: str

    def _begin_pumping(self) -> None:
        self._pumps: list[threading.Thread] = []  # the first of them is it
        self._staffing = RLock()  # held while it is being started; a finalizer may come back to it
        self._idle = False
        self._hang_bell()
        self._stranded = False  # whether there is work, and no thread could be started for it

    def wake(self) -> None:
        """See ``Backend``."""
        if self._pumps:
            self._ring()
        else:
            self._spawn()

    nudge = wake

    def close(self) -> None:
        """See ``Backend``."""
        if self._pumps:
            self._ring()
        else:
            self.attend()

    def join(self) -> None:
        """See ``Backend``."""
        if not self._pumps:
            self._hub.end()  # all that there is waits for futures of others, and will start the pump
        self._ring()
        for thread in tuple(self._pumps):
            if thread is not threading.current_thread():
                thread.join()

    def help(self) -> bool:
        """See ``Backend``: where no pump can be started, nobody else starts anything either."""
        if self._pumps or not self._stranded:
            return False
        self._stranded = False
        self._hub.broke(self._without_pump("no thread could be started to serve it"))
        return True

    def _without_pump(self, reason: str) -> Exception:
        """Why nothing can be run."""
        raise NotImplementedError

    def _turn(self, hub: Exchange) -> bool | None:
        """Report what has ended, hand over what is next; whether there was any, None at the end."""
        raise NotImplementedError

    def _patience(self) -> float:
        """For how many seconds the pump sleeps at most when there is nothing to do, -1 for any number."""
        return -1.0

    def _end(self) -> None:
        """The graph has ended, and the pump leaves."""

    def _spawn(self) -> None:
        with self._staffing:
            if self._pumps:
                return
            thread = Thread(self._pump, name=f"{self._name}_pump")
            try:
                thread.start()
            except RuntimeError as error:
                self._stranded = True
                if self._hub.accepts():
                    raise errors.NoThreadError(str(error)) from None
                return  # the interpreter exits: whoever waits for the end helps
            self._pumps.append(thread)

    def _pump(self) -> None:
        me = threading.current_thread()
        self._pumps.append(me)  # whoever started it may have been interrupted, and another one come in its place
        if self._pumps[0] is not me:
            return
        here.ours = True
        hub = self._hub
        while (more := self._turn(hub)) is not None:
            if not more:
                self._idle = True
                self._bell.acquire(True, self._patience())
                self._idle = False
        self._end()
