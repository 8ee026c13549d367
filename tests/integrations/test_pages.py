"""What needs dask of the documentation and the examples: each runs, and gives what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphfutures

ROOT = Path(__file__).parents[2]
LIMIT = 120


def run(*command: str, where: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(graphfutures.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.mark.parametrize("name", ["clusters.md", "seed_notebook.md"])
def test_the_examples_of_a_page(name: str, tmp_path: Path) -> None:
    runner, page = ROOT / "tests" / "docs" / "run_examples.py", ROOT / "docs" / name
    ran = run("-X", "utf8", str(runner), str(page), where=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(ran.stdout.split()[0]) > 0


def test_the_flights_as_a_frame(backend: str, tmp_path: Path) -> None:
    ran = run(str(ROOT / "examples" / "flights.py"), "--with", "dask", "--backend", backend, where=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All 7 answers agree with the known ones." in ran.stdout
    assert "Thursday" in ran.stdout
