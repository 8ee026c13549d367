"""The dashboard's process: it serves one page, on loopback, to whoever has its link."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import signal
import sys
from functools import partial
from threading import Thread
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from bokeh.resources import Resources
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.util.token import check_token_signature
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.web import RequestHandler

from graphfutures.diagnostics.dashboard.board import Board
from graphfutures.diagnostics.dashboard.page import page_of

#: of this machine: what else resolves to loopback may be a trick of a page's
HOSTS = ("127.0.0.1", "localhost", "::1")
#: milliseconds between two looks at what processes use
PERIOD = 1000
#: seconds in which pages hear of the end
LAST = 1.0
#: seconds for which a page that is open may come back
WEEK = 7 * 24 * 3600


class Refused(RequestHandler):  # type: ignore[misc]
    """The answer to whoever may not see anything."""

    def initialize(self, reason: str) -> None:
        """Keep the reason."""
        self._why = reason

    def prepare(self) -> None:
        """Answer any method."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self._why)


class Site(BokehTornado):  # type: ignore[misc]
    """Bokeh's application, behind one check of each request, whatever its address.

    :param board: what is shown.
    :param token: of the link.
    :param hosts: that a request may be for, beside this machine.
    """

    def __init__(self, board: Board, token: str, hosts: tuple[str, ...] = ()) -> None:
        self._token = token.encode()
        self._hosts = {host.lower() for host in (*HOSTS, *hosts)}
        super().__init__(
            page_of(board),
            extra_websocket_origins=["*"],  # ``refusal`` knows better
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,  # so the page's own token is what its connection needs
            session_token_expiration=WEEK,
            include_headers=[],
            include_cookies=[],
            ico_path="none",
            use_index=False,
            redirect_root=False,
        )

    def find_handler(self, request: Any, **more: Any) -> Any:
        """Whom a request is given to."""
        reason = self.refusal(request)
        if reason:
            return self.get_handler_delegate(request, Refused, {"reason": reason})
        return super().find_handler(request, **more)

    def refusal(self, request: Any) -> str:
        """Why a request is refused, empty if it is not."""
        host = request.headers.get("Host", "")
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            name = None
        if name not in self._hosts:
            return "this host is not served here (GRAPHFUTURES_DASHBOARD_HOSTS)"
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "this is for its own page alone"
        if request.method != "GET":
            return "there is nothing to change here"
        if request.path == "/":
            given = request.query_arguments.get("token", [b""])[-1]
            return "" if hmac.compare_digest(given, self._token) else "the link has a token, and this has not"
        if request.path == "/ws":
            given = request.headers.get("Sec-WebSocket-Protocol", "").split(",")[-1].strip()
            return "" if self._signed(given) else "the page has a token, and this has not"
        return "there is nothing here"

    def _signed(self, token: str) -> bool:
        try:
            return bool(check_token_signature(token, secret_key=self.secret_key, signed=True))
        except Exception:  # whatever it is, it is none of ours
            return False

    def resources(self, absolute_url: Any = None) -> Any:
        """Bokeh's own scripts, inside the page: no other address is served."""
        return Resources(mode="inline", components=["bokeh", "bokeh-widgets"])


def main() -> None:
    """Serve what is told on stdin, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source = sys.stdin.buffer
    first = heard(source)
    board = Board(first["name"], first["workers"])
    hosts = tuple(filter(None, map(str.strip, first["hosts"].split(","))))
    loop = IOLoop.current()
    site = Site(board, first["token"], hosts)
    http = HTTPServer(site)
    try:
        sockets = bind_sockets(first["port"], "127.0.0.1")
    except OSError as error:
        answer({"error": f"port {first['port']}: {error.strerror}"})
        return
    http.add_sockets(sockets)
    BaseServer(loop, site, http).start()
    answer({"port": sockets[0].getsockname()[1]})
    Thread(target=listen, args=(source, board, loop), daemon=True).start()
    PeriodicCallback(partial(measure, board, {}), PERIOD).start()
    loop.start()


def answer(told: dict[str, Any]) -> None:
    """Tell the user's process, and be silent from then on."""
    print(json.dumps(told), flush=True)
    silence = os.open(os.devnull, os.O_WRONLY)
    for place in (1, 2):
        os.dup2(silence, place)


def heard(source: BinaryIO) -> Any:
    """The next of what is told, None at its end."""
    import marshal

    length = source.read(4)
    if len(length) < 4:
        return None
    text = source.read(int.from_bytes(length, "little"))
    try:
        return marshal.loads(text)
    except (EOFError, ValueError, TypeError):  # the process was killed in the middle
        return None


def listen(source: BinaryIO, board: Board, loop: IOLoop) -> None:
    """Take in all that is told; then show the end to those who look, and leave."""
    while (what := heard(source)) is not None:
        board.tell(what)
    board.ended = True
    loop.add_callback(loop.call_later, LAST if board.opened else 0, os._exit, 0)


def measure(board: Board, known: dict[int, Any]) -> None:
    """Note what the processes use."""
    import psutil

    for label, pid in tuple(board.processes.items()):
        try:
            process = known.get(pid)
            if process is None:
                process = known[pid] = psutil.Process(pid)
                process.cpu_percent()  # the first answer is 0
            board.use(label, process.memory_info().rss, process.cpu_percent())
        except psutil.Error:
            known.pop(pid, None)
