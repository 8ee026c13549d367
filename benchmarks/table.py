"""The table: one line per figure, printed as soon as it is known."""

from statistics import median

from benchmarks.measure import Figure, Rounds

UNITS = {"µs": 1e-6, "ms": 1e-3, "B": 1.0, "MB": 1e6, "thr": 1.0}
NAMES = 21  # the width of the longest
WIDTHS = (NAMES, 10, 10, 21, 9, 6)
HEADER = ("figure", "ours", "peer", "ratio (min–max)", "limit", "")


def line(cells: tuple[str, ...]) -> str:
    """One line of the table."""
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)) + " |"


def heading() -> str:
    """The two lines above the first figure."""
    return line(HEADER) + "\n" + line(tuple("-" * width for width in WIDTHS))


def number(seconds_or_bytes: float, unit: str) -> str:
    """A measured number in its unit, in three digits."""
    shown = seconds_or_bytes / UNITS[unit]
    return f"{shown:.{max(0, 3 - len(str(int(shown))))}f}"


def row(figure: Figure, measured: Rounds | str) -> str:
    """A figure's line; without a peer the limit judges our own numbers, whose spread it then shows."""
    unit = figure.unit
    limit = f"{figure.limit:.2f}" if figure.peer else f"{number(figure.limit, unit)} {unit}"
    if isinstance(measured, str):
        return line((figure.name, "", "", "", limit, measured))
    ours = f"{number(median(measured.ours), unit)} {unit}"
    verdict = "ok" if measured.within(figure.limit) else "over"
    judged = measured.judged
    if not measured.peer:
        spread = f"({number(min(judged), unit)}–{number(max(judged), unit)} {unit})"
        return line((figure.name, ours, "", spread, limit, verdict))
    peer = f"{number(median(measured.peer), unit)} {unit}"
    spread = f"{median(judged):.3f} ({min(judged):.3f}–{max(judged):.3f})"
    return line((figure.name, ours, peer, spread, limit, verdict))
