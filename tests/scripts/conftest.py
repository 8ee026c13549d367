"""Real scripts in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

import graphfutures

#: seconds after which a script shows where its threads are, and after which it is stopped
STUCK, LIMIT = 25, 30

# A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
PRELUDE = f"""\
import faulthandler, signal, os
faulthandler.dump_traceback_later({STUCK}, exit=True)
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
        process = subprocess.run(
            [sys.executable, "-W", "default", str(file), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots)), "PYTHONUNBUFFERED": "1"},
        )
        print(process.stdout, process.stderr, sep="\n--- stderr ---\n")  # shown when the test fails
        assert process.returncode == code, f"exit code {process.returncode}, not {code}"
        return Ended(process.stdout.splitlines(), process.stderr)

    return run
