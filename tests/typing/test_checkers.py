"""mypy and basedpyright agree with each other, and with what the files in ``cases`` say.

An ``assert_type`` that does not hold is an error on a line where none is expected.  A line that must be an
error ends with ``# E: code | rule``: mypy's codes, then basedpyright's rules, each list separated by commas.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = sorted((HERE / "cases").glob("*.py"))
LIMIT = 240
#: (name of the file, line, code or rule)
Finding = tuple[str, int, str]


def run(*command: str | Path) -> str:
    process = subprocess.run(
        [sys.executable, "-m", *map(str, command)], check=False, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT
    )
    assert process.returncode in (0, 1), process.stderr + process.stdout
    return process.stdout


def mypy() -> set[Finding]:
    lines = run("mypy", "--config-file", "setup.cfg", "--output", "json", *CASES).splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
    return {(Path(e["file"]).name, e["line"], e["code"]) for e in found if e["severity"] == "error"}


def basedpyright() -> set[Finding]:
    project = HERE / "basedpyright.json"
    report = run(
        "basedpyright", "--outputjson", "--level", "error", "--pythonpath", sys.executable, "--project", project
    )
    return {
        (Path(e["file"]).name, e["range"]["start"]["line"] + 1, e.get("rule", "syntax"))
        for e in json.loads(report)["generalDiagnostics"]
        if e["severity"] == "error"
    }


def expected(column: int) -> set[Finding]:
    findings: set[Finding] = set()
    for case in CASES:
        for number, line in enumerate(case.read_text(encoding="utf-8").splitlines(), 1):
            if mark := re.search(r"# E: (.*)$", line):
                codes = mark[1].split(" | ")[column]
                findings |= {(case.name, number, code.strip()) for code in codes.split(",")}
    return findings


def test_the_cases_hold_lines_that_must_be_errors() -> None:
    assert {name for name, _, _ in expected(0)} == {"mistakes.py"}
    assert len(expected(0)) > 20


@pytest.mark.parametrize(("checker", "column"), [(mypy, 0), (basedpyright, 1)], ids=["mypy", "basedpyright"])
def test_checkers_find_what_the_cases_say_and_nothing_else(checker: Any, column: int) -> None:
    found, marked = checker(), expected(column)
    assert sorted(found - marked) == [], "errors on lines where none is expected, or with other codes"
    assert sorted(marked - found) == [], "lines that must be errors, but are not"
