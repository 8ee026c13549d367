"""The shape of the package: who imports whom, how long files are, what an import costs."""

from __future__ import annotations

import ast
import io
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "graphfutures"
FILES = sorted(PACKAGE.rglob("*.py"))
LIMIT = 120

#: what the core may use of the standard library
PURE = {"__future__", "collections", "dataclasses", "enum", "heapq", "itertools", "typing"}
#: only imported when they are used
HEAVY = (
    *("asyncio", "cloudpickle", "dask", "distributed", "inspect", "loky", "multiprocessing", "pickle", "psutil", "ray"),
)

#: what most programs import
NAMES = "GraphExecutor, GraphFuture, compute, current_executor, delayed, get, quote, set_options, unpack"
LONGEST = 400
MEDIAN = 200
#: files that may be longer than LONGEST, at most two, each with its reason
LONG: dict[str, str] = {}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], check=False, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT
    )


def imported_by(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            names.add(node.module or "")
    return names


def lines_of_code(source: str) -> int:
    """How many lines hold code; blank ones, comments and docstrings do not count."""
    lines: set[int] = set()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_arrows_point_one_way() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    linted = run("-c", command)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("file", sorted((PACKAGE / "core").glob("*.py")), ids=lambda file: file.name)
def test_the_core_imports_itself_and_pure_modules_only(file: Path) -> None:
    foreign = {name for name in imported_by(file) if name.split(".")[0] not in PURE}
    assert all(name.startswith("graphfutures.core.") for name in foreign), foreign


def test_no_file_is_too_long() -> None:
    assert len(LONG) <= 2
    lengths = {file.relative_to(PACKAGE).as_posix(): lines_of_code(file.read_text(encoding="utf-8")) for file in FILES}
    too_long = {name: length for name, length in lengths.items() if length > LONGEST and name not in LONG}
    assert too_long == {}
    assert statistics.median(lengths.values()) < MEDIAN
    assert {name for name in LONG if lengths.get(name, 0) <= LONGEST} == set(), "these need no exception any more"


def test_comments_and_docstrings_are_no_lines_of_code() -> None:
    source = "\n".join(
        [
            '"""Two',
            "",
            'lines."""',
            "",
            "# a comment",
            'x = """text',
            '"""',
            "def f() -> int:",
            '    """One."""',
            "    return 1  # yes",
            "",
        ]
    )
    assert lines_of_code(source) == 4


def test_the_import_loads_nothing_heavy() -> None:
    program = f"from graphfutures import {NAMES}; import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = run("-c", program)
    assert loaded.stderr == ""
    assert loaded.stdout.split() == []
