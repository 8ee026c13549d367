"""The dashboard's process: who may see it, what is left of it, and what becomes of the executor without it."""

from __future__ import annotations

import gc
import http.client
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from patience import LIMIT, until

import graphfutures
from graphfutures import GraphExecutor
from graphfutures.diagnostics.dashboard import feed

TOP = Path(graphfutures.__file__).parents[1]
pytestmark = pytest.mark.ci


@pytest.fixture(autouse=True)
def _bokeh(monkeypatch):
    pytest.importorskip("bokeh", reason="bokeh is not installed")
    for name in ("GRAPHFUTURES_DASHBOARD_LINK", "GRAPHFUTURES_DASHBOARD_HOSTS"):
        monkeypatch.delenv(name, raising=False)


def servers(of=None):
    """The dashboards' processes that a process has started."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            if "graphfutures.diagnostics.dashboard" in process.cmdline():
                found.append(process)
        except psutil.Error:
            pass
    return found


@pytest.fixture
def nothing_is_left():
    before = servers()
    yield
    assert until(lambda: servers() == before)


@pytest.fixture
def executor(nothing_is_left):
    with GraphExecutor(2, "shown", dashboard=True) as executor:
        yield executor


def ask(link, *, path=None, method="GET", host=None, **headers):
    """Status and text of an answer."""
    parts = urlsplit(link)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=LIMIT)
    try:
        connection.putrequest(method, f"/?{parts.query}" if path is None else path, skip_host=True)
        for name, value in {"Host": host or parts.netloc, **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, "" if answer.status == 101 else answer.read().decode()
    finally:
        connection.close()


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    "Sec_WebSocket_Version": "13",
}


def test_the_link_is_printed_and_opens(nothing_is_left, capsys):
    with GraphExecutor(2, "shown", dashboard=True) as executor:
        link = executor.dashboard_link
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{20,}", link)
        assert capsys.readouterr().err == f"dashboard of shown: {link}\n"
        assert executor.options(priority=1).submit(abs, -1).result(LIMIT) == 1
        status, page = ask(link)
        assert status == 200
        assert "shown" in page
        assert not re.search(
            r"(src|href)\s*=\s*[\"']?(https?:)?//", re.sub(r"<script\b.*?</script>", "", page, flags=16)
        )
        assert ask(link, host=f"localhost:{urlsplit(link).port}")[0] == 200


def test_nobody_listens_but_on_loopback(executor):
    (server,) = servers()
    listening = [one.laddr.ip for one in server.net_connections() if one.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


def test_without_the_token_there_is_nothing(executor):
    link = executor.dashboard_link
    token = urlsplit(link).query
    paths = ["/", "/?token=", f"/?{token}x", f"/?{token[:-1]}", "/?token=%ff", f"/?{token}&token=x"]
    paths += ["/ws", "/metadata", "/autoload.js", "/static/js/bokeh.min.js", "/favicon.ico", "/x", "//", "/../"]
    for path in paths:
        status, text = ask(link, path=path)
        assert (path, status) == (path, 403)
        assert "shown" not in text
    for path in ("/metadata", "/autoload.js", "/static/js/bokeh.min.js"):  # nor with it: one page is all there is
        assert ask(link, path=f"{path}?{token}")[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", "[::", "-"])
def test_a_wrong_host_is_refused_everywhere(executor, host):
    link = executor.dashboard_link
    for path in (None, "/ws", "/static/js/bokeh.min.js"):
        assert ask(link, path=path, host=host)[0] == 403


def test_it_changes_nothing(executor):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        assert ask(executor.dashboard_link, method=method)[0] == 403


def test_the_connection_of_a_page_needs_the_token_that_is_in_it(executor):
    link = executor.dashboard_link
    token = re.search(r'"token":"([^"]+)"', ask(link)[1])[1]
    good = {**UPGRADE, "Sec_WebSocket_Protocol": f"bokeh, {token}"}
    assert ask(link, path="/ws", **UPGRADE)[0] == 403
    for wrong in ("x", f"{token[:-2]}xx", "eyJzZXNzaW9uX2lkIjogIngifQ", urlsplit(link).query[6:]):
        assert ask(link, path="/ws", **{**good, "Sec_WebSocket_Protocol": f"bokeh, {wrong}"})[0] == 403
    assert ask(link, path="/ws", host="evil.example", **good)[0] == 403
    assert ask(link, path="/ws", Origin="http://evil.example", **good)[0] == 403
    assert ask(link, path="/ws", Origin=f"http://127.0.0.1:{urlsplit(link).port + 1}", **good)[0] == 403
    assert ask(link, path="/ws", Origin=f"http://{urlsplit(link).netloc}", **good)[0] == 101


def test_through_a_proxy(nothing_is_left, monkeypatch):
    monkeypatch.setenv("GRAPHFUTURES_DASHBOARD_HOSTS", "hub.example, other.example")
    monkeypatch.setenv("GRAPHFUTURES_DASHBOARD_LINK", "/user/{NAME_OF_USER}/proxy/{port}/?token={token}")
    monkeypatch.setenv("NAME_OF_USER", "ann")
    with GraphExecutor(2, dashboard=True) as executor:
        link = executor.dashboard_link
        found = re.fullmatch(r"/user/ann/proxy/(\d+)(/\?token=[\w-]+)", link)
        local = f"http://127.0.0.1:{found[1]}{found[2]}"
        assert ask(local, host="hub.example")[0] == 200
        assert ask(local, host="evil.example")[0] == 403
    monkeypatch.setenv("GRAPHFUTURES_DASHBOARD_LINK", "{nonsense}")
    with pytest.raises(ValueError, match="GRAPHFUTURES_DASHBOARD_LINK"):
        GraphExecutor(2, dashboard=True)


def test_a_port_of_ones_own(nothing_is_left):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"the dashboard cannot be started: port {port}: Address already in use"):
            GraphExecutor(2, dashboard=port)
    with GraphExecutor(2, dashboard=port) as executor:
        assert urlsplit(executor.dashboard_link).port == port


@pytest.mark.parametrize(
    ("wrong", "error"), [("yes", TypeError), (1.5, TypeError), (0, ValueError), (-1, ValueError), (65536, ValueError)]
)
def test_wrong_arguments(wrong, error):
    with pytest.raises(error, match="dashboard must be True, False or "):
        GraphExecutor(2, dashboard=wrong)


def test_without_bokeh_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"a dashboard needs .* pip install \"graphfutures\[dashboard\]\""):
        GraphExecutor(2, dashboard=True)


def test_without_it_there_is_none():
    with GraphExecutor(2) as executor:
        assert executor.dashboard_link is None
    assert servers() == []


class Name(str):
    pass


def test_all_that_runs_is_told(executor, monkeypatch):
    told = []
    send = executor._hub.dashboard._send
    monkeypatch.setattr(executor._hub.dashboard, "_send", lambda what: (send(what), told.append(what)))
    view = executor.options(name=Name("\udc80 named"))
    futures = [view.submit(abs, executor.submit(abs, number)) for number in range(6_000)]
    for future in futures:
        future.result(LIMIT)
    executor.shutdown()
    rows = [row for what in told if type(what) is tuple for row in what]
    assert {(row[0], row[1]) for row in rows} >= {(future.serial, "\udc80 named") for future in futures[-1000:]}
    assert len(rows) >= 11_000  # but for those that came before this looked
    assert len(executor.attempts()) == 10_000


def test_what_cannot_be_sent_in_time_is_counted_and_remembered(executor, monkeypatch):
    monkeypatch.setattr(feed, "MOST", 500)
    monkeypatch.setattr(feed, "CHUNK", 100)
    told = []
    send = executor._hub.dashboard._send
    monkeypatch.setattr(executor._hub.dashboard, "_send", lambda what: (send(what), told.append(what)))
    for future in [executor.submit(abs, number) for number in range(30_000)]:
        future.result(LIMIT)
    executor.shutdown()
    missed = sum(what["missed"] for what in told if type(what) is dict and "missed" in what)
    assert missed > 0
    assert missed + sum(len(what) for what in told if type(what) is tuple) <= 30_000
    assert len(executor.attempts()) == 10_000


def test_the_last_ten_thousand_are_remembered_at_any_time(executor):
    for future in [executor.submit(abs, number) for number in range(12_000)]:
        future.result(LIMIT)
    assert len({row.serial for row in executor.attempts()} & {*range(2_001, 12_001)}) >= 9_990
    executor.shutdown()
    assert len(executor.attempts()) == len({row.serial for row in executor.attempts()}) == 10_000


def test_it_ends_with_the_executor(nothing_is_left):
    with GraphExecutor(2, dashboard=True) as executor:
        executor.submit(abs, -1)
        (server,) = servers()
    assert not server.is_running()
    executor = GraphExecutor(2, dashboard=True)
    executor.shutdown(wait=False)


def test_it_ends_when_the_executor_is_dropped(nothing_is_left):
    executor = GraphExecutor(2, dashboard=True)
    executor.submit(abs, -1).result(LIMIT)
    del executor
    gc.collect()


def test_when_its_process_dies_the_executor_goes_on(executor, caplog):
    (server,) = servers()
    with caplog.at_level(logging.WARNING, "graphfutures"):
        server.kill()
        assert until(lambda: executor.dashboard_link is None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the dashboard of shown has ended" in caplog.text
    assert executor.submit(abs, -1).result(LIMIT) == 1
    assert [attempt.name for attempt in executor.attempts()] == ["abs"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be stopped here")
def test_when_its_process_hangs_the_executor_ends_nevertheless(nothing_is_left, monkeypatch):
    monkeypatch.setattr(feed, "LAST", 0.2)
    with GraphExecutor(2, dashboard=True) as executor:
        (server,) = servers()
        server.send_signal(signal.SIGSTOP)
        for future in [executor.submit(abs, number) for number in range(60_000)]:
            future.result(LIMIT)


def script(text, *, ends=None):
    """Run a program with a dashboard; its output, and the dashboard's processes that it had."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TOP), *filter(None, sys.path)])}
    program = f"import os, sys, time, signal\nfrom graphfutures import GraphExecutor\n{text}"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        **{"env": environment, "text": True, "stdin": subprocess.PIPE},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        shown = servers(process.pid)
        assert len(shown) == 1
        if ends is not None:
            process.send_signal(ends)
        out, err = process.communicate("\n", timeout=LIMIT)
    finally:
        process.kill()
    return out, err.splitlines(), process.returncode, shown


READY = 'print("ready", flush=True); sys.stdin.readline()'


def test_at_the_end_of_the_interpreter_it_is_silent_and_gone():
    out, err, code, shown = script(f"executor = GraphExecutor(2, dashboard=True); executor.submit(abs, -1)\n{READY}")
    assert (out, len(err), code) == ("", 1, 0), err
    psutil.wait_procs(shown, LIMIT)
    assert not any(server.is_running() for server in shown)


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_users_process_is_killed_it_ends(ends):
    out, err, code, shown = script(f"executor = GraphExecutor(2, dashboard=True)\n{READY}", ends=ends)
    assert (out, len(err), code) == ("", 1, -ends)
    psutil.wait_procs(shown, LIMIT)
    assert not any(server.is_running() for server in shown)


def test_ctrl_c_ends_it_as_the_executor():
    program = f"with GraphExecutor(2, dashboard=True) as executor:\n    executor.submit(abs, -1)\n    {READY}"
    _, err, code, shown = script(program, ends=signal.SIGINT)
    assert (err[-1], code) == ("KeyboardInterrupt", -signal.SIGINT)
    psutil.wait_procs(shown, LIMIT)
    assert not any(server.is_running() for server in shown)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_not_shown_and_holds_nothing():
    program = f"""
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
executor = GraphExecutor(2, dashboard=True); executor.submit(abs, -1).result()
child = os.fork()
if not child:
    assert executor.dashboard_link is None
    assert executor.submit(abs, -2).result() == 2
    assert [row.name for row in executor.attempts()] == ["abs", "abs"]
    executor.shutdown()
    time.sleep(0.0)
    sys.stdin.readline()
    os._exit(0)
{READY}
executor.shutdown()
print("shut", flush=True)
os.kill(child, signal.SIGKILL)
print(os.waitpid(child, 0)[1] in (0, signal.SIGKILL))
"""
    out, err, code, shown = script(program)
    assert (out, len(err), code) == ("shut\nTrue\n", 1, 0), err
    psutil.wait_procs(shown, LIMIT)
    assert not any(server.is_running() for server in shown)


def test_the_pids_of_worker_processes_are_told(nothing_is_left, monkeypatch):
    with GraphExecutor(2, backend="processes", dashboard=True) as executor:
        told = []
        send = executor._hub.dashboard._send
        monkeypatch.setattr(executor._hub.dashboard, "_send", lambda what: (send(what), told.append(what)))
        pid = executor.submit(os.getpid).result(LIMIT)
        assert until(lambda: any(type(what) is dict and pid in what.get("processes", {}).values() for what in told))
        states = [what for what in told if type(what) is dict and pid in what.get("processes", {}).values()]
        assert states[-1]["held"] == 0
