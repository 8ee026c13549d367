"""A picture as SVG: boxes, lines with arrows, a title, and what the colours mean.

Nothing in it has a name or a style sheet, so that several can be on one page, and nothing is fetched from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise

from graphfutures.diagnostics.boxes import UNKNOWN, Box, Scene
from graphfutures.diagnostics.layout import Layout, Point, laid_out
from graphfutures.diagnostics.looks import PLAIN, SMALL, WIDEST, Painter, clean, on_one_line, width

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"
#: around the whole, in pixels
MARGIN = 16.0
#: of an arrow
HEAD = 6.0


def svg(scene: Scene, color: str, direction: str | None) -> str:
    """The text of a file.

    :param color: ``"state"`` or ``"time"``.
    :param direction: ``"right"``, ``"down"`` or None.
    """
    painter = Painter(scene.boxes, color)
    sizes = _sizes(scene.boxes)
    layout = laid_out(sizes, list(scene.lines), direction)
    legend, wide = _legend(painter)
    title = on_one_line(scene.title, max(760.0, layout.size[0]), PLAIN + 1)
    wide = max(layout.size[0], wide, width(title, PLAIN + 1)) + 2 * MARGIN
    top = MARGIN + (58 if legend else 34)
    high = top + layout.size[1] + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" '
            f'viewBox="0 0 {wide:.0f} {high:.0f}" font-family="{FONT}" font-size="{PLAIN:g}" fill="#1b2430">',
            f"<title>{_xml(scene.title)}</title>",
            f'<rect width="{wide:.0f}" height="{high:.0f}" rx="6" fill="#ffffff"/>',
            f'<text x="{MARGIN:g}" y="{MARGIN + 12:g}" font-size="{PLAIN + 1:g}" font-weight="600">'
            f"{_xml(title)}</text>",
            *legend,
            f'<g transform="translate({MARGIN:g} {top:g})">',
            *_lines(scene, layout),
            *_boxes(scene, layout, sizes, painter),
            "</g>",
            "</svg>\n",
        ]
    )


def _xml(text: str) -> str:
    return escape(clean(text))


def _sizes(boxes: list[Box]) -> list[Point]:
    """All as wide as the widest, and two lines high if one has two, but for small ones of what is not remembered."""
    plain = [box for box in boxes if box.state != UNKNOWN or box.tasks > 1]
    labels = max([width(on_one_line(box.label)) for box in plain], default=0.0)
    details = max([width(on_one_line(box.detail, letters=SMALL), SMALL) for box in plain], default=0.0)
    size = min(max(labels, details, 40.0), WIDEST + 10) + 16, 38.0 if details else 26.0
    return [size if box.state != UNKNOWN or box.tasks > 1 else (_small(box) + 12, 18.0) for box in boxes]


def _small(box: Box) -> float:
    return width(on_one_line(box.label, 110, SMALL), SMALL)


def _legend(painter: Painter) -> tuple[list[str], float]:
    found, at, middle = [], MARGIN, MARGIN + 32
    for look, text in painter.legend():
        if look is not None:
            dashes = ' stroke-dasharray="3 2"' if look.dashed else ""
            found.append(
                f'<rect x="{at:.0f}" y="{middle - 7:g}" width="14" height="14" rx="3" fill="{look.fill}" '
                f'stroke="{look.edge}"{dashes}/>'
            )
            at += 20 if text else 14
        if text:
            found.append(f'<text x="{at:.0f}" y="{middle + 4:g}" font-size="{SMALL + 1:g}">{_xml(text)}</text>')
            at += width(text, SMALL + 1) + (14 if look else 6)
    return found, at - MARGIN


def _boxes(scene: Scene, layout: Layout, sizes: list[Point], painter: Painter) -> Iterator[str]:
    yield '<g text-anchor="middle">'
    for box, (x, y), (wide, high) in zip(scene.boxes, layout.places, sizes, strict=True):
        look, middle = painter.look(box), x + wide / 2
        small = high < 20
        label = on_one_line(box.label, 110, SMALL) if small else on_one_line(box.label)
        lower = y + high / 2 + (3.5 if small else 4.5)
        dashes = ' stroke-dasharray="3 2"' if look.dashed else ""
        heavy = ' stroke-width="2"' if box.state == "failed" else ""
        yield (
            f"<g><title>{_xml(chr(10).join(box.about))}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="5" fill="{look.fill}" '
            f'stroke="{look.edge}"{heavy}{dashes}/>'
        )
        letters = f' font-size="{SMALL:g}"' if small else ""
        if box.detail and not small:
            detail = on_one_line(box.detail, letters=SMALL)
            yield (
                f'<text x="{middle:.1f}" y="{y + high - 8:.1f}" font-size="{SMALL:g}" fill="{look.ink}" '
                f'fill-opacity="0.8">{_xml(detail)}</text>'
            )
            lower = y + high / 2 - 2
        yield f'<text x="{middle:.1f}" y="{lower:.1f}"{letters} fill="{look.ink}">{_xml(label)}</text></g>'
    yield "</g>"


def _lines(scene: Scene, layout: Layout) -> Iterator[str]:
    yield '<g fill="none" stroke="#8b95a3" stroke-width="1.2">'
    heads, numbers = [], []
    for (line, count), way in zip(scene.lines.items(), layout.ways, strict=True):
        loop = line[0] == line[1]
        yield f'<path d="{_loop(way, layout.downwards) if loop else _path(way, layout.downwards)}"/>'
        heads.append(_head(way, layout.downwards, loop))
        if count > 1:
            (x, y), (to_x, to_y) = way[0], way[1]
            x, y = (x + to_x) / 2, (y + to_y) / 2
            if loop:
                x, y = (x, y + 24) if layout.downwards else (x + 26, y)
            numbers.append(f'<text x="{x:.1f}" y="{y + 3.5:.1f}">{count:,}</text>')
    yield "</g>"
    if heads:
        yield f'<path fill="#8b95a3" d="{"".join(heads)}"/>'
    if numbers:
        halo = 'stroke="#ffffff" stroke-width="3" paint-order="stroke"'
        yield f'<g text-anchor="middle" font-size="{SMALL:g}" fill="#59636f" {halo}>'
        yield from numbers
        yield "</g>"


def _path(way: list[Point], downwards: bool) -> str:
    """Curves that leave and arrive along the layers, straight where they pass one."""
    path = [f"M{way[0][0]:.1f} {way[0][1]:.1f}"]
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(way)):
        if number % 2:
            path.append(f"L{to_x:.1f} {to_y:.1f}")
        elif downwards:
            half = (y + to_y) / 2
            path.append(f"C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}")
        else:
            half = (x + to_x) / 2
            path.append(f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
    return "".join(path)


def _loop(way: list[Point], downwards: bool) -> str:
    (x, y), (to_x, to_y) = way
    if downwards:
        return f"M{x:.1f} {y:.1f}C{x + 8:.1f} {y + 22:.1f} {to_x - 8:.1f} {y + 22:.1f} {to_x:.1f} {to_y:.1f}"
    return f"M{x:.1f} {y:.1f}C{x + 22:.1f} {y - 8:.1f} {x + 22:.1f} {to_y + 8:.1f} {to_x:.1f} {to_y:.1f}"


def _head(way: list[Point], downwards: bool, loop: bool) -> str:
    x, y = way[-1]
    if downwards:
        back = -HEAD if way[-2][1] <= y and not loop else HEAD
        return f"M{x:.1f} {y:.1f}l-3 {back:g}h6z"
    back = -HEAD if way[-2][0] <= x and not loop else HEAD
    return f"M{x:.1f} {y:.1f}l{back:g} -3v6z"
