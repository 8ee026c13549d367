"""Tasks that run exactly as long as a test wishes, in whatever thread, process or machine they run.

A task that goes through a gate connects to it, so the test hears of it, and waits until the gate is opened.
No memory is shared and nothing is polled.
"""

import socket
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from patience import LIMIT


class Passage:
    """The task: says that it runs, returns its argument once the gate is open."""

    __name__ = "passage"

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def __call__(self, value: Any = None) -> Any:
        with socket.create_connection(self._address, timeout=LIMIT) as connection:
            connection.recv(1)
        return value


class Gate:
    """Made closed; ``Gate.passage`` is the task that waits before it."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[socket.socket] = []
        self._arrivals: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._attend, name="gate", daemon=True)
        self._thread.start()
        self.passage = Passage(self._server.getsockname())

    def arrived(self, number: int = 1) -> None:
        """Wait until ``number`` more tasks stand before the gate."""
        for _ in range(number):
            self._arrivals.get(timeout=LIMIT)

    def nobody_new(self) -> bool:
        """Whether every arrival has been waited for."""
        return self._arrivals.empty()

    def let_through(self) -> None:
        """Let those pass that stand before it now."""
        with self._lock:
            for connection in self._waiting:
                connection.close()
            self._waiting.clear()

    def open(self) -> None:
        """Let all tasks pass, also those that come later."""
        with self._lock:
            self._open = True
            for connection in self._waiting:
                connection.close()
            self._waiting.clear()

    def close(self) -> None:
        """Open it for good and end its own thread."""
        self.open()
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT)
        self._server.close()

    def _attend(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                if self._open:
                    connection.close()
                else:
                    self._waiting.append(connection)
            self._arrivals.put(None)


def occupied(executor: Any, gate: Gate, workers: int) -> list["Future[Any]"]:
    """Have every worker of an executor stand before a gate, so that whatever is submitted now stays pending."""
    tasks = [executor.submit(gate.passage, number) for number in range(workers)]
    gate.arrived(workers)
    return tasks
