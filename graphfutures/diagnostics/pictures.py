"""Pictures of graphs."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from functools import cached_property
from typing import Any

from graphfutures import errors
from graphfutures.diagnostics import boxes, drawing, languages
from graphfutures.diagnostics.boxes import Scene
from graphfutures.diagnostics.replacing import replacing
from graphfutures.diagnostics.snapshot import Snapshot

#: the option of a picture, and what it may be
OPTIONS: dict[str, tuple[Any, ...]] = {
    "color": ("state", "time"),
    "group": (None, True, False),
    "direction": (None, "right", "down"),
}
#: endings of files, and what is written
ENDINGS = {".svg": "svg", ".dot": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}


class Picture:
    """A picture of a graph.  Notebooks show it; ``save`` writes it.

    :param scene: what it shows.
    :param color: ``"state"``, or ``"time"``: how long tasks took, groups of them in all, on a scale that grows by
        factors.
    :param direction: to where dependencies lead: ``"right"``, ``"down"``, or None for whatever fits.
    """

    def __init__(self, scene: Scene, *, color: str = "state", direction: str | None = None) -> None:
        self._scene = scene
        self._color = color
        self._direction = direction

    @cached_property
    def svg(self) -> str:
        """As SVG, which browsers and most programs show."""
        return drawing.svg(self._scene, self._color, self._direction)

    @cached_property
    def dot(self) -> str:
        """As text for Graphviz."""
        return languages.dot(self._scene, self._color, self._direction)

    @cached_property
    def mermaid(self) -> str:
        """As text for Mermaid, which many Markdown pages show."""
        return languages.mermaid(self._scene, self._color, self._direction)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it.

        :param path: of the file, whose ending says as what: ``.svg``, ``.dot``, and ``.mmd`` or ``.mermaid``.
        :raises ValueError: for another ending.
        :raises OSError: if it cannot be written.
        """
        text = getattr(self, written_as(path))
        with replacing(path) as file:
            file.write(text)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto;max-height:80vh">{self.svg}</div>'

    def __repr__(self) -> str:
        shown = len(self._scene.boxes)
        return f"<Picture {self._scene.title}; {shown:,} box{'' if shown == 1 else 'es'}>"


def written_as(path: str | os.PathLike[str]) -> str:
    """Which text of a picture a file is to hold.

    :raises ValueError: for an unknown ending.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in ENDINGS:
        raise errors.no_such_picture(os.fspath(path), ENDINGS)
    return ENDINGS[ending]


def of_snapshot(
    snapshot: Snapshot,
    path: str | os.PathLike[str] | None = None,
    only: Iterable[str] | None = None,
    **options: Any,
) -> Picture:
    """A picture of what an executor remembers, and of what is pending.

    :param path: see :meth:`Picture.save`; without it nothing is written.
    :param only: keys; then only these and what leads to them is shown.
    :param options: ``color`` and ``direction`` of the :class:`Picture`; ``group=True`` for one box for all tasks of a
        name and state, False for one each, None for groups of more than 300.
    :raises TypeError: for an unknown option.
    :raises ValueError: for an unknown value of one, or ending of the path.
    """
    group = checked(path, options)
    return _saved(Picture(boxes.of_snapshot(snapshot, group, only), **options), path)


def of_calls(
    title: str,
    calls: Mapping[Hashable, tuple[str, str, Iterable[Hashable]]],
    path: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Picture:
    """A picture of a graph that is only written down.

    :param title: what it is called.
    :param calls: for each key what is called, its state, and which keys it needs.
    :param path: see :meth:`Picture.save`; without it nothing is written.
    :param options: see :func:`of_snapshot`; there is no time to be shown.
    :raises TypeError: for an unknown option.
    :raises ValueError: for an unknown value of one, or ending of the path.
    """
    group = checked(path, options)
    if options.get("color") == "time":
        raise errors.no_times()
    return _saved(Picture(boxes.of_calls(title, calls, group), **options), path)


def checked(path: str | os.PathLike[str] | None, options: dict[str, Any]) -> bool | None:
    """Take ``group`` out of the options, and look whether they are right, before anything is drawn.

    :raises TypeError: for an unknown option.
    :raises ValueError: for an unknown value of one, or ending of the path.
    """
    if path is not None:
        written_as(path)
    for name, value in options.items():
        if name not in OPTIONS:
            raise errors.unknown_setting([name], OPTIONS)
        if not any(value is one or (isinstance(one, str) and value == one) for one in OPTIONS[name]):
            raise errors.no_such_value(name, value, OPTIONS[name])
    group: bool | None = options.pop("group", None)
    return group


def _saved(picture: Picture, path: str | os.PathLike[str] | None) -> Picture:
    if path is not None:
        picture.save(path)
    return picture
