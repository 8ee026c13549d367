"""A page of the dashboard: the figures of the report, told anew twice a second."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from graphfutures.diagnostics import figures
from graphfutures.diagnostics.dashboard.board import LISTED, WINDOW, Board

#: milliseconds between two looks at the board
PERIOD = 500
#: bars that a page shows at most
SHOWN = 8_000
#: between how many looks the graph is drawn anew
RARELY = 4
#: nothing from elsewhere is loaded, and no script that was not in the page
HEAD = """{% extends base %}
{% block preamble %}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
 style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<style>body { margin: 16px auto; max-width: 1120px; }</style>
{% endblock %}
"""


def page_of(board: Board) -> Callable[[Any], None]:
    """What makes a document of each session."""

    def make(document: Any) -> None:
        from jinja2 import Template

        board.opened = True
        page = Page(board)
        document.title = f"{figures.clean(board.name)} – graphfutures"
        document.template = Template(HEAD)
        document.config.reconnect_session = document.config.notify_connection_status = (
            False  # it says that it has ended
        )
        document.add_root(page.root)
        page.tell()
        document.add_periodic_callback(page.tell, PERIOD)

    return make


class Page:
    """The figures of one browser."""

    def __init__(self, board: Board) -> None:
        from bokeh.layouts import column
        from bokeh.models import Div

        self._board = board
        self._version = -1
        self._looks = 0
        self._streamed = 0
        self._rows: list[str] = []
        self._ended = False
        self._told: Any = Div(text="", width=figures.WIDTH)
        self._trouble: Any = Div(text="", width=figures.WIDTH)
        self._stream = figures.draw_stream([], follow=WINDOW)
        first = [[0, 0.0, 0.0, "", 1, 0, 0]]  # invisible: without anything Bokeh complains that it knows no range
        self._stream.source.data = figures.columns_of_stream(first, [], {"": "#ffffff"}, 0.0, 0.0)
        self._levels = figures.draw_levels(pending=True)
        self._progress = figures.draw_progress()
        self._functions = figures.draw_functions()
        self._memory = figures.draw_lines("Memory of processes", "MB")
        self._cpu = figures.draw_lines("CPU of processes", "% of one CPU")
        self._held = figures.draw_lines("Values held in files and shared memory", "MB")
        self._graph = figures.draw_graph()
        drawn = (self._stream, self._levels, self._progress, self._functions, self._memory, self._cpu)
        self.root = column(self._told, *[one.figure for one in drawn], self._graph[0].figure, self._trouble)

    def tell(self) -> None:
        """Show what is new."""
        board = self._board
        with board.lock:
            if board.version == self._version and self._ended == board.ended:
                return
            self._version, self._ended = board.version, board.ended
            self._show()

    def _show(self) -> None:
        board = self._board
        colours = {name: figures.colour(number) for name, number in board.groups.found.items()}
        self._told.text = words(board)
        self._trouble.text = trouble(board)
        rows = board.rows.labels()
        if rows != self._rows:
            self._rows = rows
            figures.label_workers(self._stream, rows)
        new = board.since(self._streamed)
        self._streamed = board.streamed
        if new:
            handed = [bar for lower, bar in new if lower]
            bars = [bar for lower, bar in new if not lower]
            both = bars[-SHOWN:], handed[-SHOWN:]
            columns = figures.columns_of_stream(*both, colours, board.begin, board.width)
            self._stream.source.stream(columns, rollover=SHOWN)
        times, *levels = zip(*(board.levels or [(0.0, 0, 0, 0)]), strict=True)
        self._levels.source.data = figures.columns_of_levels(
            times, **dict(zip(("running", "ready", "waiting"), levels, strict=True))
        )
        functions = sorted(board.functions.values(), key=lambda function: -function.seconds)
        figures.show_rows(self._progress, figures.columns_of_progress(board.known()))
        figures.show_rows(self._functions, figures.columns_of_functions(functions, colours))
        for drawn, place, unit in ((self._memory, 1, 1e6), (self._cpu, 2, 1)):
            drawn.source.data = figures.columns_of_lines(
                {
                    label: ([use[0] for use in used], [use[place] / unit for use in used])
                    for label, used in board.used.items()
                }
                or {"this process": ([0.0], [0.0])}
            )
        if board.held:
            self._held.source.data = figures.columns_of_lines(
                {"values": ([time for time, _ in board.held], [held / 1e6 for _, held in board.held])}
            )
            if self._held.figure not in self.root.children:
                self.root.children = [*self.root.children[:-2], self._held.figure, *self.root.children[-2:]]
        if not self._looks % RARELY or board.ended:
            figures.show_graph(self._graph, functions, board.edges, colours)
        self._looks += 1


def words(board: Board) -> str:
    """How it stands, as HTML."""
    state = board.state
    states = state.get("states", {})
    unsettled = sum(states.values())
    failed, cancelled = state.get("failed", 0), state.get("cancelled", 0)
    done = max(0, state.get("added", 0) - unsettled - failed - cancelled)
    numbers = {
        **{name: states.get(name, 0) for name in ("waiting", "ready", "running")},
        **{"done": done, "failed": failed, "cancelled": cancelled},
    }
    told = ", ".join(f"<b>{number:,}</b> {name}" for name, number in numbers.items())
    ended = "<b>ended</b>" if board.ended else "running"
    return (
        f"<h2 style='margin: 0'>{escape(figures.clean(board.name))}</h2>"
        f"<p style='font-size: 14px; margin: 4px 0'>{ended}, {board.time:,.1f} s: {told} tasks; "
        f"{board.attempts:,} attempts</p>"
        f"<p style='font-size: 13px; margin: 0'>A colour for each function; "
        f"<span style='color: {figures.FAILED}'>■</span> failed, "
        f"<span style='color: {figures.HANDING}'>■</span> handing over and transfer</p>"
    )


def trouble(board: Board) -> str:
    """Failures and repetitions, as HTML."""
    repeated = board.repeated.total()
    lines = [f"<b>{board.failures:,}</b> attempts have failed, <b>{repeated:,}</b> of them were followed by another."]
    late, died = board.state.get("late"), board.state.get("died")
    if late:
        lines.append(f"<b>{late:,}</b> ran out of time.")
    if died:
        lines.append(f"<b>{died:,}</b> worker process{'es have' if died > 1 else ' has'} died.")
    if board.missed:
        lines.append(f"<b>{board.missed:,}</b> attempts came too fast to be shown.")
    lines += [
        f"{time:,.2f} s: <code>{escape(figures.clean(figures.short(key, 100)))}</code> failed on worker {worker}"
        for time, key, worker in list(board.failed)[-LISTED:]
    ]
    return "<h3 style='margin: 8px 0'>Trouble</h3>" + "<br>".join(lines)
