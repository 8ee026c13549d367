"""The figures of the report and of the dashboard, drawn by Bokeh.

Each ``draw_…`` gives a figure and the column source behind it; each ``columns_of_…`` gives that source's columns, from
plain numbers and names.  All text is drawn on a canvas, or put into tooltips by Bokeh, which escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from graphfutures.diagnostics.summary import Function

Columns: TypeAlias = dict[str, Any]
#: for functions, in the order in which they come; black is for failures, red for handing over
COLOURS = (
    *("#4c78a8", "#f2a541", "#54a24b", "#b279a2", "#72b7b2", "#eeca3b", "#8c6d5a", "#9ecae9", "#ff9da6", "#88d27a"),
    *("#6f5fb5", "#d8b5a5", "#2f8f9d", "#c7a94a", "#a0679d", "#b9d36c", "#3f6fb5", "#e0a2c8", "#7d8c4f", "#5ec2d8"),
)
FAILED, HANDING, WAITING, READY, RUNNING, DONE = "#000000", "#e45756", "#d9d9d9", "#f2cf5b", "#4c78a8", "#54a24b"
#: the states of tasks, as they are told and drawn
STATES = {
    "done": DONE,
    "failed": FAILED,
    "cancelled": "#8c6bb1",
    "running": RUNNING,
    "ready": READY,
    "waiting": WAITING,
}
WIDTH = 1100
#: how many rows the figures of functions have
ROWS = 15
#: how many boxes the graph has
BOXES = 40


class Drawn(NamedTuple):
    """A figure, and the source behind it."""

    figure: Any
    source: Any


def colour(number: int) -> str:
    """The colour of the how many-th function."""
    return COLOURS[number % len(COLOURS)]


def short(name: str, most: int = 28) -> str:
    """A name that fits beside an axis."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    return name if len(name) <= most else name[: most - 1] + "…"


def clean(text: str) -> str:
    """A text as it can be written in UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _figure(title: str, height: int, tools: str = "", **more: Any) -> Any:
    from bokeh.plotting import figure

    made: Any = figure(title=title, height=height, width=WIDTH, tools=tools, toolbar_location=None, **more)
    made.output_backend = "canvas"
    made.xgrid.grid_line_alpha = made.ygrid.grid_line_alpha = 0.4
    made.outline_line_color = "#e5e5e5"
    if tools:
        made.toolbar_location = "above"
        made.toolbar.logo = None
    return made


def _hover(figure: Any, glyph: Any, tooltips: list[tuple[str, str]]) -> None:
    from bokeh.models import HoverTool

    figure.add_tools(HoverTool(renderers=[glyph], tooltips=tooltips))


def _source(*columns: str) -> Any:
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({column: [] for column in columns})


def _numbers(values: Iterable[float], kind: str = "float64") -> Any:
    """A column of numbers as Bokeh sends it in binary."""
    import numpy as np

    return np.array(list(values), dtype=kind)


# -- the task stream: a row per worker, a colour per function


def draw_stream(workers: Sequence[str], *, follow: float | None = None) -> Drawn:
    """The task stream.

    :param workers: labels of the rows.
    :param follow: how many of the last seconds are shown, None for all.
    """
    from bokeh.models import DataRange1d

    figure = _figure("Task stream", 120, "xpan,xwheel_zoom,box_zoom,reset", y_range=(-0.6, 0.6))
    if follow is not None:
        figure.x_range = DataRange1d(follow="end", follow_interval=follow, range_padding=0)
    figure.xaxis.axis_label = "seconds"
    figure.ygrid.visible = False
    source = _source(*STREAM)
    figure.quad(
        *("start", "stop", "top", "bottom"), source=source, fill_color="colour", line_color="edge", line_width="thick"
    )
    _hover(
        figure,
        figure.renderers[-1],
        [
            ("task", "@name"),
            ("seconds", "@seconds{0.000000}"),
            ("start", "@start{0.000}"),
            ("worker", "@worker"),
            ("attempts", "@number (@failed failed)"),
        ],
    )
    drawn = Drawn(figure, source)
    label_workers(drawn, workers)
    return drawn


def label_workers(stream: Drawn, workers: Sequence[str]) -> None:
    """Have a row for each worker."""
    figure, number = stream.figure, max(1, len(workers))
    figure.height = 110 + min(20 * number, 480)
    figure.y_range.start, figure.y_range.end = number - 0.4, -0.6  # the first one on top
    every = -(-number // 24)
    figure.yaxis.ticker = list(range(0, number, every))
    figure.yaxis.major_label_overrides = {row: clean(short(label)) for row, label in enumerate(workers)}


STREAM = ("start", "stop", "top", "bottom", "colour", "edge", "thick", "name", "worker", "seconds", "number", "failed")


def columns_of_stream(
    bars: Sequence[Sequence[Any]],
    handed: Sequence[Sequence[Any]],
    colours: Mapping[str, str],
    begin: float,
    thin: float,
) -> Columns:
    """The columns of a task stream.

    :param bars: as :class:`graphfutures.diagnostics.bars.Bars` gives them.
    :param handed: likewise, of times in which tasks were handed over; these are lower.
    :param colours: of names.
    :param begin: of the axis, on the clock of the bars.
    :param thin: seconds that are about a pixel: where bars are not much more there is no room for a white edge.
    """
    both = (*handed, *bars)
    halves = [0.2] * len(handed) + [0.42] * len(bars)
    fills = [HANDING] * len(handed) + [FAILED if bar[5] == bar[4] else colours[bar[3]] for bar in bars]
    return {
        "start": _numbers(bar[1] - begin for bar in both),
        "stop": _numbers(bar[2] - begin for bar in both),
        "top": _numbers((bar[0] - half for bar, half in zip(both, halves, strict=True)), "float32"),
        "bottom": _numbers((bar[0] + half for bar, half in zip(both, halves, strict=True)), "float32"),
        "colour": fills,
        "thick": _numbers((1.5 if fill == FAILED else 0.5 for fill in fills), "float32"),
        "edge": [
            fill if fill == FAILED or bar[2] - bar[1] < 4 * thin else "#ffffff"
            for fill, bar in zip(fills, both, strict=True)
        ],
        "name": ["handing over and transfer"] * len(handed) + [clean(bar[3]) for bar in bars],
        "worker": _numbers((bar[6] for bar in both), "int32"),
        "seconds": _numbers((bar[2] - bar[1] for bar in both), "float32"),
        "number": _numbers((bar[4] for bar in both), "int32"),
        "failed": _numbers((bar[5] for bar in both), "int32"),
    }


# -- how many there were at once


def draw_levels(*, pending: bool) -> Drawn:
    """How many tasks ran, and how many waited for a worker, over time.

    :param pending: whether those that wait for others are known as well.
    """
    from bokeh.models import DataRange1d

    figure = _figure("Tasks at once", 190, y_range=DataRange1d(start=0, min_interval=1))
    figure.xaxis.axis_label = "seconds"
    names = {"running": RUNNING, "ready": "#d98c00"} | ({"waiting": "#999999"} if pending else {})
    labels = {
        "running": "running, or sent to a worker" if pending else "running",
        "ready": "ready, waiting for a worker",
        "waiting": "waiting for others",
    }
    source = _source("time", *names)
    for name, shade in names.items():
        figure.step(
            "time", name, source=source, mode="after", line_width=2, line_color=shade, legend_label=labels[name]
        )
    _legend(figure)
    return Drawn(figure, source)


def _legend(figure: Any) -> None:
    legend = figure.legend[0]
    legend.orientation, legend.location = "horizontal", "top_left"
    legend.background_fill_alpha, legend.padding, legend.label_text_font_size = 0.6, 2, "9pt"
    figure.add_layout(legend, "above")


def columns_of_levels(times: Iterable[float], **levels: Iterable[float]) -> Columns:
    """The columns of levels over time."""
    return {"time": _numbers(times), **{name: _numbers(found) for name, found in levels.items()}}


# -- functions


def draw_functions() -> Drawn:
    """The functions that took most, and what their tasks waited for."""
    figure = _figure("Functions that took most", 120, y_range=[""])
    figure.xaxis.axis_label = "seconds, of all their attempts"
    figure.x_range.start = 0
    source = _source("name", "label", "colour", "seconds", "mean", "longest", "number", "failed", "handed", "waited")
    glyph = figure.hbar("label", 0.8, "seconds", source=source, fill_color="colour", line_color=None)
    _hover(
        figure,
        glyph,
        [
            ("function", "@name"),
            ("attempts", "@number (@failed failed)"),
            ("seconds", "@seconds{0.000}"),
            ("mean", "@mean{0.000000}"),
            ("longest", "@longest{0.000000}"),
            ("waited for busy workers", "@waited{0.000}"),
            ("handed over", "@handed{0.000}"),
        ],
    )
    return Drawn(figure, source)


def columns_of_functions(functions: Sequence[Function], colours: Mapping[str, str]) -> Columns:
    """The columns of functions, those that took most first."""
    shown = functions[:ROWS]
    return {
        "name": [clean(one.name) for one in shown],
        "label": _labels([one.name for one in shown]),
        "colour": [colours[one.name] for one in shown],
        "seconds": [one.seconds for one in shown],
        "mean": [one.seconds / one.attempts for one in shown],
        "longest": [one.longest for one in shown],
        "number": [one.attempts for one in shown],
        "failed": [one.failed for one in shown],
        "handed": [one.handed for one in shown],
        "waited": [one.waited for one in shown],
    }


def draw_progress() -> Drawn:
    """How far the tasks of each function are."""
    figure = _figure("Progress", 120, y_range=[""])
    figure.x_range.start, figure.x_range.end = 0, 1.18
    figure.xaxis.ticker = [0, 0.25, 0.5, 0.75, 1]
    figure.xaxis.axis_label = "share of the tasks that are known"
    source = _source("name", "label", "told", *STATES, *[f"{state}_number" for state in STATES])
    glyphs = figure.hbar_stack(
        list(STATES), y="label", height=0.8, source=source, color=list(STATES.values()), legend_label=list(STATES)
    )
    tooltips = [("function", "@name"), *[(state, f"@{state}_number") for state in STATES]]
    for glyph in glyphs:
        _hover(figure, glyph, tooltips)
    figure.text(1.01, "label", "told", source=source, text_font_size="9pt", text_baseline="middle")
    _legend(figure)
    return Drawn(figure, source)


def columns_of_progress(progress: Mapping[str, Mapping[str, int]]) -> Columns:
    """The columns of progress.

    :param progress: how many tasks there are in each state, by function.
    """
    names = list(progress)[:ROWS]
    columns: Columns = {"name": [clean(name) for name in names], "label": _labels(names), "told": []}
    totals = [sum(progress[name].values()) or 1 for name in names]
    for state in STATES:
        numbers = [progress[name].get(state, 0) for name in names]
        columns[f"{state}_number"] = numbers
        columns[state] = [number / total for number, total in zip(numbers, totals, strict=True)]
    columns["told"] = [f"{progress[name].get('done', 0):,} / {sum(progress[name].values()):,}" for name in names]
    return columns


def show_rows(drawn: Drawn, columns: Columns) -> None:
    """Show the columns of functions or of progress, one row each."""
    figure, labels = drawn.figure, list(reversed(columns["label"]))
    drawn.source.data = columns
    if figure.y_range.factors != labels:
        figure.y_range.factors = labels or [""]
        figure.height = (130 if figure.legend else 95) + 20 * max(1, len(labels))


def _labels(names: Sequence[str]) -> list[str]:
    """Labels of rows, no two alike."""
    labels: dict[str, None] = {}
    for name in names:
        label, number = clean(short(name)), 2
        while label in labels:
            label, number = f"{clean(short(name, 24))} ({number})", number + 1
        labels[label] = None
    return list(labels)


# -- the graph, of functions


def draw_graph() -> tuple[Drawn, Drawn]:
    """Which functions need values of which: the boxes, and the lines between them."""
    figure = _figure(
        "Graph, a box for all tasks of a function", 160, "pan,wheel_zoom,reset", x_range=(0, 4), y_range=(-1, 1)
    )
    figure.axis.visible = figure.xgrid.visible = figure.ygrid.visible = False
    lines = _source("x0", "y0", "x1", "y1", "cx0", "cx1", "number", "thick")
    figure.bezier(
        *("x0", "y0", "x1", "y1", "cx0", "y0", "cx1", "y1"), source=lines, line_color="#aaaaaa", line_width="thick"
    )
    boxes = _source("x", "y", "name", "label", "colour", "number", "seconds")
    glyph = figure.rect(
        "x", "y", 0.72, 0.78, source=boxes, fill_color="white", line_color="colour", line_width=2, border_radius=4
    )
    figure.text("x", "y", "label", source=boxes, text_align="center", text_baseline="middle", text_font_size="8pt")
    _hover(figure, glyph, [("function", "@name"), ("attempts", "@number"), ("seconds", "@seconds{0.000}")])
    return Drawn(figure, boxes), Drawn(figure, lines)


def show_graph(
    drawn: tuple[Drawn, Drawn],
    functions: Sequence[Function],
    edges: Mapping[tuple[str, str], int],
    colours: Mapping[str, str],
) -> None:
    """Show the graph of functions.

    :param functions: those that took most first.
    :param edges: how many times a task of one name was given a value of another.
    :param colours: of names.
    """
    boxes, lines = drawn
    shown = {one.name: one for one in functions[:BOXES]}
    joined = [(pair, number) for pair, number in edges.items() if pair[0] in shown and pair[1] in shown]
    places = layered(list(shown), [pair for pair, _ in joined])
    boxes.source.data = {
        "x": [places[name][0] for name in shown],
        "y": [-places[name][1] for name in shown],
        "name": [clean(name) for name in shown],
        "label": [f"{clean(short(name, 16))}\n× {one.attempts:,}" for name, one in shown.items()],
        "colour": [colours[name] for name in shown],
        "number": [one.attempts for one in shown.values()],
        "seconds": [one.seconds for one in shown.values()],
    }
    joined = [(pair, number) for pair, number in joined if pair[0] != pair[1]]
    ends = [(*places[before], *places[after]) for (before, after), _ in joined]
    lines.source.data = {
        "x0": [x0 + 0.36 for x0, _, _, _ in ends],
        "y0": [-y0 for _, y0, _, _ in ends],
        "x1": [x1 - 0.36 for _, _, x1, _ in ends],
        "y1": [-y1 for _, _, _, y1 in ends],
        "cx0": [x0 + 0.55 for x0, _, _, _ in ends],
        "cx1": [x1 - 0.55 for _, _, x1, _ in ends],
        "number": [number for _, number in joined],
        "thick": [1.0 + len(str(number)) * 0.5 for _, number in joined],
    }
    wide = max([x for x, _ in places.values()], default=0.0)
    high = [y for _, y in places.values()] or [0.0]
    figure = boxes.figure
    figure.height = int(70 + min(44 * (max(high) - min(high) + 1), 560))
    figure.x_range.start, figure.x_range.end = -0.5, max(wide + 0.5, 3.5)
    figure.y_range.start, figure.y_range.end = -max(high) - 0.6, -min(high) + 0.6


def layered(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """A place for each name: to the right of all that it needs, but where names need each other in a circle."""
    needs: dict[str, set[str]] = {name: set() for name in names}
    for before, after in edges:
        if before != after:
            needs[after].add(before)
    depth: dict[str, int] = {}
    left = list(names)
    while left:
        free = [name for name in left if needs[name] <= depth.keys()] or [
            min(left, key=lambda name: len(needs[name] - depth.keys()))
        ]
        for name in free:
            depth[name] = 1 + max([depth[need] for need in needs[name] if need in depth], default=-1)
        left = [name for name in left if name not in depth]
    columns: dict[int, list[str]] = {}
    for name in names:
        columns.setdefault(depth[name], []).append(name)
    places: dict[str, tuple[float, float]] = {}
    for at, column in sorted(columns.items()):
        column.sort(key=lambda name: sum(places[one][1] for one in needs[name] if one in places))
        for row, name in enumerate(column):
            places[name] = float(at), row - (len(column) - 1) / 2
    return places


# -- what processes use


def draw_lines(title: str, label: str, *, follow: float | None = None) -> Drawn:
    """Lines over time, one for each worker.

    :param title: of the figure.
    :param label: of its upward axis.
    :param follow: how many of the last seconds are shown, None for all.
    """
    from bokeh.models import DataRange1d

    figure = _figure(title, 190, y_range=DataRange1d(start=0))
    if follow is not None:
        figure.x_range = DataRange1d(follow="end", follow_interval=follow, range_padding=0)
    figure.yaxis.axis_label, figure.xaxis.axis_label = label, "seconds"
    source = _source("times", "values", "colour", "name")
    glyph = figure.multi_line("times", "values", source=source, line_color="colour", line_width=2, legend_field="name")
    _legend(figure)
    _hover(figure, glyph, [("", "@name")])
    return Drawn(figure, source)


def columns_of_lines(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Columns:
    """The columns of lines: times and values, by name."""
    return {
        "times": [list(times) for times, _ in lines.values()],
        "values": [list(values) for _, values in lines.values()],
        "colour": [colour(number) for number in range(len(lines))],
        "name": list(lines),
    }
