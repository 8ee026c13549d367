"""``python -m benchmarks [NAME ...] [--rounds 7] [--scale 1.0] [--list]``, from the top of the repository.

A NAME may hold ``*``. Limits were set for scale 1.0 and an otherwise idle machine. The exit code is 1 when a figure
could not be measured; a figure over its limit is reported in the table alone, since that may be the machine's doing.
"""

import argparse
import sys
from fnmatch import fnmatchcase

from benchmarks.figures import FIGURES
from benchmarks.measure import Figure, measure_alone
from benchmarks.table import NAMES, heading, row


def chosen(patterns: list[str]) -> list[Figure]:
    """The figures that any pattern names, all without patterns, in the order of the table."""
    for pattern in patterns:
        if not any(fnmatchcase(figure.name, pattern) for figure in FIGURES):
            raise SystemExit(f"no figure is named {pattern!r}; --list shows the names")
    return [figure for figure in FIGURES if not patterns or any(fnmatchcase(figure.name, p) for p in patterns)]


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=str(__doc__).partition("\n\n")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to measure; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each figure (7)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of each figure's work (1.0)")
    parser.add_argument("--list", action="store_true", help="print each figure's name and meaning, and measure nothing")
    options = parser.parse_args()
    if options.rounds < 1 or options.scale <= 0:
        parser.error("--rounds must be at least 1 and --scale above 0")
    figures = chosen(options.names)
    if options.list:
        for figure in figures:
            print(f"{figure.name:{NAMES}} {figure.what}")
        return 0
    print(heading(), flush=True)
    failed = False
    for figure in figures:
        measured = measure_alone(figure.name, options.rounds, options.scale)
        failed |= isinstance(measured, str) and not measured.endswith("not installed")
        print(row(figure, measured), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
