"""Sphinx: ``tox run -e docs`` builds into docs/_build/html, every warning an error."""

from __future__ import annotations

from typing import Any

from pygments.lexers.special import TextLexer

import graphfutures

project = "graphfutures"
author = "The graphfutures authors"
copyright = author
version = release = graphfutures.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "graphfutures"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True


def setup(app: Any) -> None:
    """Mermaid diagrams are shown as they are written; nothing is loaded from elsewhere to draw them."""
    app.add_lexer("mermaid", TextLexer)
