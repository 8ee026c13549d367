"""What the dashboard and the report cost, measured in fresh interpreters.

``python -m benchmarks.dashboard cpu on|off TASKS``, ``… memory on|off TASKS`` and ``… report seconds|bytes TASKS`` are
these interpreters.  A page is open in Debian's Chromium while the dashboard is measured, if that is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time, sleep

from benchmarks.measure import fresh
from benchmarks.memory import held
from benchmarks.steps import WORKERS, count, step
from graphfutures import GraphExecutor

#: tasks of which as many are pending at most
AHEAD = 2_000
#: numbers that are added up in about 100 µs
NUMBERS = 6_000


def work() -> int:
    """Some 100 µs of Python."""
    return sum([number * number for number in range(NUMBERS // 4)])


@contextmanager
def open_page(link: str | None) -> Iterator[None]:
    """Have a page open in a browser."""
    browser = shutil.which("chromium")
    if link is None or browser is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            link,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def run(executor: GraphExecutor, task: object, tasks: int) -> None:
    """Run so many tasks, never all of them pending."""
    left = tasks
    while left:
        now = min(left, AHEAD)
        for future in [executor.submit(task) for _ in range(now)]:  # type: ignore[arg-type]
            future.result()
        left -= now


def cpu_seconds(shown: bool, tasks: int) -> float:
    """CPU time of this process for tasks of 100 µs."""
    with GraphExecutor(WORKERS, dashboard=shown) as executor, open_page(executor.dashboard_link):
        run(executor, work, AHEAD)
        before = process_time()
        run(executor, work, tasks)
        return process_time() - before


def grown_bytes(shown: bool, tasks: int) -> int:
    """What this process holds more after so many tasks, and the dashboard's, once it has been told of all."""
    import psutil

    with GraphExecutor(WORKERS, dashboard=shown) as executor, open_page(executor.dashboard_link):
        run(executor, step, AHEAD)
        servers = [psutil.Process(child.pid) for child in psutil.Process().children() if _serves(child)]
        before = held() + sum(server.memory_info().rss for server in servers)
        run(executor, step, tasks)
        while executor._hub.history.fresh:
            sleep(0.05)
        return held() + sum(server.memory_info().rss for server in servers) - before


def _serves(process: "psutil.Process") -> bool:  # type: ignore[name-defined] # noqa: F821
    return "graphfutures.diagnostics.dashboard" in process.cmdline()


def reported(what: str, tasks: int) -> float:
    """How long it takes to write a report of so many tasks, or how large it is."""
    with GraphExecutor(WORKERS, record=True) as executor, tempfile.TemporaryDirectory() as folder:
        for _ in range(tasks // 1000):
            parts = [executor.submit(step) for _ in range(500)]
            [future.result() for future in [executor.submit(abs, part) for part in parts]]
        path = os.path.join(folder, "report.html")
        before = perf_counter()
        executor.report(path)
        return perf_counter() - before if what == "seconds" else os.path.getsize(path)


def in_fresh(what: str, which: str, tasks: int, scale: float) -> float:
    """One measurement in an interpreter of its own."""
    return float(fresh("-m", "benchmarks.dashboard", what, which, str(count(tasks, scale, least=2_000))))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cpu", which, tasks]:
            print(cpu_seconds(which == "on", int(tasks)))
        case ["memory", which, tasks]:
            print(grown_bytes(which == "on", int(tasks)))
        case ["report", which, tasks]:
            print(reported(which, int(tasks)))
