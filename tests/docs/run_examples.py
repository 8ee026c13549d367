"""Run the Python examples of a Markdown file, in one namespace, in order: ``python run_examples.py page.md``.

A block that starts with ``>>>`` is a doctest.  In any other, what stands after ``print(…)  # `` is printed.
Tests with one parameter, for pytest, are called with each of its values.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE


def run_doctest(source: str, namespace: dict[str, Any], page: str, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(source, {}, page, page, line)
    test.globs = namespace
    if doctest.DocTestRunner(optionflags=FLAGS).run(test, clear_globs=False).failed:
        sys.exit(f"{page}: the block in line {line + 1} does not give what it says")


def run_plain(source: str, namespace: dict[str, Any], page: str, line: int) -> None:
    code = compile("\n" * line + source, page, "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)
    lines = printed.getvalue().splitlines()
    for expected in PRINTED.findall(source):
        if expected not in lines:
            sys.exit(f"{page}: the block in line {line + 1} does not print {expected!r}, but {lines}")


def run_tests(namespace: dict[str, Any]) -> None:
    for name, test in tuple(namespace.items()):
        if name.startswith("test_"):
            for value in test.pytestmark[0].args[1]:
                test(value)


def main(page: str) -> None:
    text = Path(page).read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    blocks = list(BLOCK.finditer(text))
    for match in blocks:
        line = text.count("\n", 0, match.start(1))
        run = run_doctest if match[1].startswith(">>>") else run_plain
        run(match[1], namespace, page, line)
    run_tests(namespace)
    print(len(blocks), "blocks")


if __name__ == "__main__":
    main(sys.argv[1])
