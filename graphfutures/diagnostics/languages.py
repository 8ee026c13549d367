"""A picture in the languages of Graphviz (DOT) and Mermaid."""

from __future__ import annotations

import re

from graphfutures.diagnostics.boxes import Box, Scene
from graphfutures.diagnostics.looks import Look, Painter, clean

#: what a text of Mermaid may hold as it is
_PLAIN = re.compile(r"[^\w .,:()…·×/+-]")


def dot(scene: Scene, color: str, direction: str | None) -> str:
    """For Graphviz: ``dot -Tpng``.

    :param color: ``"state"`` or ``"time"``.
    :param direction: ``"right"``, ``"down"`` or None.
    """
    painter = Painter(scene.boxes, color)
    found = [
        "digraph {",
        f"  graph [label={_quoted(scene.title)}, labelloc=t, rankdir={'TB' if direction == 'down' else 'LR'}];",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
        '  edge [color="#8b95a3", fontname="sans-serif", fontsize=9];',
    ]
    for number, box in enumerate(scene.boxes):
        look = painter.look(box)
        dashes = ', style="rounded,filled,dashed"' if look.dashed else ""
        found.append(
            f"  n{number} [label={_quoted(_words(box))}, tooltip={_quoted(chr(10).join(box.about))}, "
            f'fillcolor="{look.fill}", color="{look.edge}", fontcolor="{look.ink}"{dashes}];'
        )
    for (one, other), count in scene.lines.items():
        found.append(f"  n{one} -> n{other}" + (f' [label="{count:,}"];' if count > 1 else ";"))
    return "\n".join([*found, "}\n"])


def mermaid(scene: Scene, color: str, direction: str | None) -> str:
    """For Markdown pages and https://mermaid.live, which take up to 500 lines between boxes.

    :param color: ``"state"`` or ``"time"``.
    :param direction: ``"right"``, ``"down"`` or None.
    """
    painter = Painter(scene.boxes, color)
    classes: dict[Look, str] = {}
    found = [f"flowchart {'TB' if direction == 'down' else 'LR'}"]
    for number, box in enumerate(scene.boxes):
        kind = classes.setdefault(painter.look(box), f"look{len(classes)}")
        found.append(f'  n{number}["{_encoded(_words(box))}"]:::{kind}')
    for (one, other), count in scene.lines.items():
        found.append(f"  n{one} -->" + (f'|"{count:,}"|' if count > 1 else "") + f" n{other}")
    for look, kind in classes.items():
        dashes = ",stroke-dasharray:3 2" if look.dashed else ""
        found.append(f"  classDef {kind} fill:{look.fill},stroke:{look.edge},color:{look.ink}{dashes}")
    return "\n".join([*found, ""])


def _words(box: Box) -> str:
    label = box.label if len(box.label) <= 120 else f"{box.label[:60]}…{box.label[-59:]}"
    return f"{label}\n{box.detail}" if box.detail else label


def _quoted(text: str) -> str:
    text = clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\r", "")
    return '"' + text.replace("\n", "\\n") + '"'


def _encoded(text: str) -> str:
    return "<br/>".join(_PLAIN.sub(lambda found: f"#{ord(found[0])};", line) for line in clean(text).split("\n")) or " "
