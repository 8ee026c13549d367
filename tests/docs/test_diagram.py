"""The diagram of states in the documentation is the table in the code.

``python tests/docs/test_diagram.py`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from graphfutures.core import states

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
BEGIN, END = "<!-- diagram: begin -->\n", "<!-- diagram: end -->\n"


def with_diagram(page: str) -> str:
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n```mermaid\n{states.mermaid()}\n```\n\n{END}{after}"


def test_the_diagram_is_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_diagram(page), "run: python tests/docs/test_diagram.py"


def test_every_transition_is_drawn() -> None:
    drawn = states.mermaid().splitlines()
    for row in states.TRANSITIONS:
        assert f"    {row.before} --> {row.after}: {row.fact}" in drawn


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
