"""Real scripts in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

import graphfutures

#: seconds after which a script shows where its threads are and is stopped
LIMIT = 30

# A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
PRELUDE = """\
import faulthandler, signal, os
faulthandler.enable()
faulthandler.register(signal.SIGUSR1, all_threads=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
def print(*values, write=os.write):  # in one piece, whatever other threads print
    write(1, " ".join(map(str, values)).encode() + b"\\n")
"""


class Ended(NamedTuple):
    """How a script ended."""

    lines: list[str]
    err: str


Script = Callable[..., Ended]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script to its end: ``script(source, *arguments, code=0)``, its exit code being checked."""

    def run(source: str, *arguments: object, code: int = 0) -> Ended:
        file = tmp_path / "script.py"
        file.write_text(PRELUDE + dedent(source))
        roots = [str(Path(graphfutures.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            [sys.executable, "-W", "default", str(file), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots)), "PYTHONUNBUFFERED": "1"},
        )
        hangs = threading.Timer(LIMIT, stop, (process,))
        hangs.start()
        try:
            out, err = process.communicate()
        finally:
            hangs.cancel()
            hangs.join()
        print(out, err, sep="\n--- stderr ---\n")  # shown when the test fails
        assert process.returncode == code, f"exit code {process.returncode}, not {code}"
        return Ended(out.splitlines(), err)

    return run


def stop(process: subprocess.Popen[str]) -> None:
    """Have a script that hangs, and all its children, show where they are; then stop them."""
    os.killpg(process.pid, signal.SIGUSR1)
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        pass
    os.killpg(process.pid, signal.SIGKILL)
