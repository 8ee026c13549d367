"""The user's process: a thread that tells the dashboard's process, over a pipe, what is new.

Nothing of it is there without ``dashboard=``.  The workers do what they do anyhow, that is to remember each attempt;
twice a second this thread takes what has come, and sends it as it is.
"""

from __future__ import annotations

import atexit
import marshal
import os
import sys
from collections import Counter
from contextlib import suppress
from time import perf_counter, thread_time
from typing import Any
from weakref import WeakSet

from graphfutures.bells import Bell, Thread
from graphfutures.config import LOGGER
from graphfutures.diagnostics.blocks import check
from graphfutures.history import look, remember

#: seconds between two looks
PERIOD = 0.5
#: how many times as long as a look took the next one is waited for
PATIENCE = 50
#: attempts that are sent at once: to put them into bytes holds the GIL, for a millisecond
CHUNK = 4_000
#: bytes that the pipe takes, where that can be chosen: after each write the GIL is waited for, so few are best
ROOM = 1 << 20
#: attempts that may wait to be sent; what goes beyond that, since the dashboard's process cannot keep up, never is
MOST = 100_000
#: functions whose tasks are counted
NAMES = 200
#: seconds that the dashboard's process may take to end
LAST = 3
#: marshal's format without references, which is twice as fast
FORMAT = 2
_feeds: WeakSet[Feed] = WeakSet()


def port_of(dashboard: Any) -> int | None:
    """The port that is asked for, 0 for any, None for no dashboard.

    :raises TypeError: for what is neither a bool nor an integer.
    :raises ValueError: for a number that is no port.
    :raises ImportError: without Bokeh.
    """
    if dashboard is None or dashboard is False:
        return None
    if not isinstance(dashboard, int):
        raise TypeError(f"dashboard must be True, False or the number of a port, not {dashboard!r:.80}")
    if dashboard is not True and not 0 < dashboard < 65536:
        raise ValueError(f"dashboard must be True, False or a port from 1 to 65535, not {dashboard}")
    check("a dashboard")
    return 0 if dashboard is True else dashboard


def start(hub: Any, port: int) -> Feed:
    """Show a hub, and say where.

    :param port: of this machine, 0 for any that is free.
    :raises OSError: if that cannot be.
    """
    feed = Feed(hub, port)
    if sys.stderr is not None:
        print(f"dashboard of {hub.name}: {feed.link}", file=sys.stderr, flush=True)
    return feed


class Feed:
    """Tells the dashboard's process of a hub."""

    def __init__(self, hub: Any, port: int) -> None:
        from secrets import token_urlsafe
        from subprocess import PIPE, Popen

        self._hub = hub
        self._stopping = Bell()
        self._begin = perf_counter()
        self._owner = os.getpid()
        self._last: Any = None  # of the tasks without an attempt that were told of
        token = token_urlsafe(24)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOKEH_")}
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, sys.path)))
        self._process = Popen(
            [sys.executable, "-P", "-m", "graphfutures.diagnostics.dashboard"],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the user's process
        )
        _widen(self._process.stdin)
        try:
            hosts = os.environ.get("GRAPHFUTURES_DASHBOARD_HOSTS", "")
            workers = sum(backend.max_workers for backend in hub.backends)
            self._send({"name": hub.name, "port": port, "token": token, "hosts": hosts, "workers": workers})
            self.link: str | None = link_of(self._answer(), token)
        except BaseException:
            self._process.kill()
            self._bury()
            raise
        remember(hub, hub.history.maxlen, fresh=True)
        _feeds.add(self)
        self._thread = Thread(self._run, name=f"{hub.name}_dashboard")
        self._thread.start()

    def _answer(self) -> int:
        """The port on which it is served."""
        from json import loads

        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        line = b""
        while not line.endswith(b"\n") and (more := stdout.read(1000)):
            line += more
        try:
            answer = loads(line)
        except ValueError:
            told = (stderr.read() or b"").decode(errors="replace").strip().splitlines()
            answer = {"error": told[-1] if told else "it has ended at once"}
        if "error" in answer:
            raise OSError(f"the dashboard cannot be started: {answer['error']}")
        stdout.close()
        stderr.close()
        return int(answer["port"])

    def _run(self) -> None:
        pause = 0.0
        try:
            while not self._stopping.wait(pause) and not self._hub.ended:
                began = thread_time()
                self._look()
                pause = max(PERIOD, PATIENCE * (thread_time() - began) if self._hub.backlog() > CHUNK else 0)
                # What is new has to be sent in any case, and costs what it costs.
                while pause > PERIOD and not self._stopping.wait(PERIOD) and not self._hub.ended:
                    self._send_rows()
                    pause -= PERIOD
            self._look()
        except OSError as error:  # the pipe
            LOGGER.warning("the dashboard of %s has ended: %s", self._hub.name, error)
        finally:
            self.link = None
            self._bury()
            remember(self._hub, self._hub.history.maxlen, fresh=False)

    def _bury(self) -> None:
        """Have the process end, and none be left."""
        from subprocess import TimeoutExpired

        process = self._process
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            process.wait(LAST)
        except TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """The executor has ended."""
        self._stopping.set()
        self._thread.join(LAST)
        if self._thread.is_alive() and self._process.returncode is None:
            self._process.kill()  # it does not read any more
            self._thread.join(LAST)

    def forked(self) -> None:
        """This is a forked child, of which nothing is shown."""
        process = self._process
        process.returncode = 0  # it is no child of this process
        if process.stdin is not None:
            process.stdin.close()
        self.link = None
        self._hub.dashboard = None
        remember(self._hub, self._hub.history.maxlen, fresh=False)

    # -- what is told ------------------------------------------------------------------------------

    def _send(self, what: Any) -> None:
        text = marshal.dumps(what, FORMAT)
        rest = memoryview(len(text).to_bytes(4, "little") + text)
        stdin = self._process.stdin
        assert stdin is not None
        while rest:
            rest = rest[stdin.write(rest) or 0 :]

    def _send_rows(self) -> None:
        hub = self._hub
        left = len(hub.history.fresh or ())
        while left > 0:
            missed = 0
            while len(hub.history.fresh or ()) > MOST:
                missed += len(look(hub, CHUNK))
            if missed:
                self._send({"missed": missed})
            chunk = look(hub, CHUNK)
            left -= missed + len(chunk)
            try:
                self._send(chunk)
            except ValueError:  # a name is an instance of a subclass of str
                self._send(tuple(tuple(map(_plain, row)) for row in chunk))

    def _look(self) -> None:
        hub = self._hub
        self._send_rows()
        counts: Counter[tuple[str, str]] = Counter()
        states: Counter[str] = Counter()
        for task in tuple(hub.scheduler.unsettled):
            name = getattr(task, "name", None)
            if name is not None:
                counts[_plain(name), task.state] += 1
                states[task.state] += 1
        without: Counter[tuple[str, str]] = Counter()
        rows = tuple(hub.without)
        for row in reversed(rows):
            if row is self._last:
                break
            without[_plain(row[1]), row[2]] += 1
        self._last = rows[-1] if rows else None
        backends = hub.backends
        processes = {"this process": os.getpid()}
        held = None
        for backend in backends:
            for attendant in tuple(getattr(backend, "attendants", ())):
                if attendant.process is not None and attendant.process.pid:
                    processes[f"worker {attendant.number}"] = attendant.process.pid
            if hasattr(backend, "store"):
                held = (held or 0) + backend.store.held
        self._send(
            {
                "time": perf_counter() - self._begin,
                "begin": self._begin,
                "counts": counts.most_common(NAMES),
                "without": [*without.items()],
                "states": dict(states),
                "added": hub.added,
                "failed": hub.failed,
                "cancelled": hub.cancelled,
                "late": hub.late,
                "posted": len(hub.inbox),
                "processes": processes,
                "held": held,
                "died": sum(getattr(backend, "deaths", 0) for backend in backends),
            }
        )


def link_of(port: int, token: str) -> str:
    """The link to a port: of this machine, or as ``GRAPHFUTURES_DASHBOARD_LINK`` says."""
    template = os.environ.get("GRAPHFUTURES_DASHBOARD_LINK") or "http://127.0.0.1:{port}/?token={token}"
    try:
        return template.format_map({**os.environ, "port": port, "token": token})
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"GRAPHFUTURES_DASHBOARD_LINK is no template, {error!r}: {template!r}") from None


def _widen(pipe: Any) -> None:
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, ROOM)


def _plain(found: Any) -> Any:
    return str.__str__(found) if isinstance(found, str) else found


def _stop_all() -> None:
    for feed in tuple(_feeds):
        if feed._owner == os.getpid():
            feed.stop()


def _in_forked_child() -> None:
    for feed in tuple(_feeds):
        feed.forked()
    _feeds.clear()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
