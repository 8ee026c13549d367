"""The page of the documentation about all this: its examples run, and give what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphfutures

ROOT = Path(__file__).parents[2]
LIMIT = 120


@pytest.mark.ci
def test_the_examples_of_the_page(tmp_path):
    pytest.importorskip("bokeh")
    runner, page = ROOT / "tests" / "docs" / "run_examples.py", ROOT / "docs" / "diagnostics.md"
    ran = subprocess.run(
        [sys.executable, "-X", "utf8", str(runner), str(page)],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(graphfutures.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(ran.stdout.split()[0]) > 0
    assert (tmp_path / "report.html").stat().st_size > 100_000
