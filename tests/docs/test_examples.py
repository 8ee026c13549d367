"""Every example of the README and of the documentation runs, and gives what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import graphfutures

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("run_examples.py")
#: tests/integrations and tests/diagnostics run these, which need dask or Bokeh
ELSEWHERE = {"clusters.md", "diagnostics.md", "seed_notebook.md"}
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in ELSEWHERE)]
WITH_EXAMPLES = {
    *(
        "README.md",
        "architecture.md",
        "backends.md",
        "graphs.md",
        "index.md",
        "porting.md",
        "quickstart.md",
        "testing.md",
    ),
}
LIMIT = 60


def run_page(page: Path, where: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", str(RUNNER), str(page)]
    return subprocess.run(command, check=False, cwd=where, capture_output=True, text=True, timeout=LIMIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page(page: Path, tmp_path: Path) -> None:
    ran = run_page(page, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (int(ran.stdout.split()[0]) > 0) == (page.name in WITH_EXAMPLES)


@pytest.mark.parametrize("block", ["print(1)  # 2", ">>> 1 + 1\n3", "raise ValueError", ">>> number", "unknown"])
def test_an_example_that_is_wrong_is_found(block: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```python\nnumber = 1\n```\n\n```python\n{block}\n```\n", encoding="utf-8")
    ran = run_page(page, tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "page.md" in ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_marked_as_such(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    assert set(fences[::2]) <= {
        "python",
        "sh",
        "text",
        "mermaid",
        "{toctree}",
        "{eval-rst}",
        "{include} ../CHANGELOG.md",
    }
    assert set(fences[1::2]) <= {""}


def test_the_reference_names_every_public_name() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for name in graphfutures.__all__:
        assert re.search(rf"`{name}`|graphfutures\.{name}$", text, re.MULTILINE), name
