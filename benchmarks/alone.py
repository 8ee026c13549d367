"""``python -m benchmarks.alone NAME ROUNDS SCALE``: one figure in this interpreter, as JSON; good to profile, too."""

import importlib
import json
import sys
from dataclasses import asdict

from benchmarks.figures import FIGURES
from benchmarks.measure import Figure, Rounds, interleave


def measure(figure: Figure, rounds: int, scale: float) -> Rounds | str:
    """The figure's rounds, or why there are none."""
    if figure.requires is not None:
        try:
            importlib.import_module(figure.requires)
        except ImportError:  # dask says so of what its collections need
            return f"{figure.requires} not installed"
    return interleave(figure, rounds, scale)


def main() -> None:
    """Measure the figure that the command line names."""
    name, rounds, scale = sys.argv[1:]
    (figure,) = [figure for figure in FIGURES if figure.name == name]
    answer = measure(figure, int(rounds), float(scale))
    print(json.dumps(answer if isinstance(answer, str) else asdict(answer)))


if __name__ == "__main__":
    main()
