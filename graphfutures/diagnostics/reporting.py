"""One page that says where the time went: ``report`` and ``performance_report``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import count
from os import PathLike
from typing import Any

from graphfutures import errors
from graphfutures.diagnostics import figures
from graphfutures.diagnostics.amounts import in_time
from graphfutures.diagnostics.bars import Bars, Groups, Levels, Rows
from graphfutures.diagnostics.replacing import replacing
from graphfutures.diagnostics.snapshot import Snapshot
from graphfutures.diagnostics.summary import Delays, Function, Summary, summarize

#: bars of one task stream, about
BARS = 20_000
#: stretches of time that it is divided into, at most
STRETCHES = 2_000
#: names with a colour of their own
NAMES = 500
#: executors with figures of their own
SECTIONS = 6
_numbers = count()

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1120px; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 24px; } h2 { font-size: 19px; margin-top: 32px; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
td, th { padding: 3px 12px; border-bottom: 1px solid #e5e5e5; text-align: right; }
td:first-child, th:first-child { text-align: left; overflow-wrap: anywhere; }
.path { color: #555; overflow-wrap: anywhere; }
.key span { display: inline-block; width: 12px; height: 12px; margin: 0 4px 0 14px; vertical-align: -1px; }
"""
#: nothing from elsewhere is loaded, whatever the page holds
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def write(snapshot: Snapshot, path: str | PathLike[str]) -> None:
    """Write it to a file.

    :raises ImportError: without Bokeh.
    :raises OSError: for a path that cannot be written.
    """
    write_all([snapshot], path)


def write_all(snapshots: Sequence[Snapshot], path: str | PathLike[str]) -> None:
    """Write of several executors, each in a section of its own."""
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
    except ImportError as error:
        raise errors.needs_extra("a report", "dashboard", error) from error
    summaries = sorted([(summarize(one), one) for one in snapshots], key=lambda pair: -pair[0].work)
    shown = summaries[:SECTIONS]
    drawn = [_drawn(summary, snapshot) for summary, snapshot in shown if summary.attempts]
    script, divs = components(drawn) if drawn else ("", ())
    divs += ("",) * (len(shown) - len(divs))  # those in which nothing has run come last
    library = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    sections = [
        f"<h2>{_text(summary.name)}</h2>\n{_words(summary)}\n{div}"
        for (summary, _), div in zip(shown, divs, strict=True)
    ]
    if len(summaries) > SECTIONS:
        work = sum(summary.work for summary, _ in summaries[SECTIONS:])
        sections.append(f"<p>{len(summaries) - SECTIONS} more executors did {work:.3g} s of work in all.</p>")
    if not sections:
        sections = ["<p>Nothing has run.</p>"]
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>Report of {_text(", ".join(summary.name for summary, _ in shown)) or "graphfutures"}</title>
<style>{STYLE}</style>
<script>{library}</script>
</head>
<body>
<h1>Where the time went</h1>
{"".join(sections)}
{script}
</body>
</html>
"""
    with replacing(path) as file:
        file.write(figures.clean(page))


def _text(text: str) -> str:
    return escape(figures.clean(text))


def _words(summary: Summary) -> str:
    rows = "".join(
        f"<tr><td>{_text(one.name)}</td><td>{one.attempts:,}</td><td>{one.failed:,}</td><td>{in_time(one.seconds)}</td>"
        f"<td>{in_time(one.seconds / one.attempts)}</td><td>{in_time(one.longest)}</td><td>{in_time(one.waited)}</td>"
        f"<td>{in_time(one.handed)}</td></tr>"
        for one in summary.functions[: figures.ROWS]
    )
    told = "".join(f"<li>{_text(sentence)}</li>" for sentence in summary.sentences())
    if not rows:
        return f"<ul>{told}</ul>"
    heads = ["function", "attempts", "failed", "in all", "mean", "longest", "waited for workers", "handed over"]
    path = summary.path if len(summary.path) <= 20 else [*summary.path[:10], "…", *summary.path[-9:]]
    return (
        f'<ul class="summary">{told}</ul>\n<table><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr>{rows}'
        f'</table>\n<p class="path">Critical path: {_text(" → ".join(path))}</p>\n'
        f'<p class="key">A colour for each function;'
        f'<span style="background: {figures.FAILED}"></span>failed'
        f'<span style="background: {figures.HANDING}"></span>handing over and transfer</p>'
    )


def _drawn(summary: Summary, snapshot: Snapshot) -> Any:
    """The figures of one executor."""
    from bokeh.layouts import column

    attempts = snapshot.attempts
    groups, functions, edges = _grouped(snapshot, summary)
    colours = {name: figures.colour(number) for name, number in groups.found.items()}
    rows = Rows(summary.workers)
    width = summary.wall / min(STRETCHES, max(200, BARS // summary.workers))
    bars, handed = Bars(width), Bars(width)
    stretches = 400
    running, ready = [Levels(summary.begin, summary.wall, stretches) for _ in range(2)]
    delays, of = Delays(), groups.of
    for serial, name, worker, start, stop, _, good, needs in attempts:
        row = rows.of(worker, start, stop)
        bars.add(((row, start, stop, of(name), good, worker),))
        running.add(start, stop)
        delay = delays.before(worker, start, stop, needs)
        if delay is not None:
            ready.add(start - delay.handed - delay.waited, start)
            if delay.handed > width / 4:
                handed.add(((row, start - delay.handed, start, "", True, worker),))
        if good:
            delays.ended(f"{name}-{serial}", worker, stop)

    stream = figures.draw_stream(rows.labels())
    stream.source.data = figures.columns_of_stream(bars.take(), handed.take(), colours, summary.begin, width)
    levels = figures.draw_levels(pending=False)
    times = [place * summary.wall / stretches for place in range(stretches)]
    levels.source.data = figures.columns_of_levels(times, running=running.means(), ready=ready.means())
    levels.figure.x_range = stream.figure.x_range
    slowest = figures.draw_functions()
    figures.show_rows(slowest, figures.columns_of_functions(functions, colours))
    progress = figures.draw_progress()
    figures.show_rows(progress, figures.columns_of_progress(_progress(snapshot, groups, functions)))
    graph = figures.draw_graph()
    figures.show_graph(graph, functions, edges, colours)
    return column(stream.figure, levels.figure, slowest.figure, progress.figure, graph[0].figure)


def _grouped(snapshot: Snapshot, summary: Summary) -> tuple[Groups, list[Function], Counter[tuple[str, str]]]:
    """Functions by the names that they are shown by, and how many times one was given a value of another."""
    groups, found = Groups(NAMES), dict[str, Function]()
    for one in summary.functions:
        name = groups.of(one.name)
        group = found.setdefault(name, Function(name))
        for field in ("attempts", "failed", "seconds", "waited", "handed"):
            setattr(group, field, getattr(group, field) + getattr(one, field))
        group.longest = max(group.longest, one.longest)
    edges: Counter[tuple[str, str]] = Counter()
    for attempt in snapshot.attempts:
        if attempt.needs:
            name = groups.of(attempt.name)
            edges.update((groups.of(need.rpartition("-")[0] or need), name) for need in attempt.needs)
    return groups, sorted(found.values(), key=lambda one: -one.seconds), edges


def _progress(snapshot: Snapshot, groups: Groups, functions: Sequence[Function]) -> dict[str, Counter[str]]:
    last = {attempt.serial: (groups.of(attempt.name), attempt.good) for attempt in snapshot.attempts}
    progress: dict[str, Counter[str]] = {one.name: Counter() for one in functions}
    for pending in (*snapshot.without, *snapshot.pending):
        last.pop(pending.serial, None)  # it is to be tried again, or has settled before its attempt returned
        progress.setdefault(groups.of(pending.name), Counter())[pending.state] += 1
    for name, good in last.values():
        progress[name]["done" if good else "failed"] += 1
    return progress
