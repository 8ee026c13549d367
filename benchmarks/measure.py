"""How a figure is measured: both sides in turn, in a fresh interpreter, and the ratio of each round.

The ratio of a round compares two runs made within seconds of each other; the median of these ratios is steadier on a
shared machine than the ratio of two medians.
"""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TOP = Path(__file__).parent.parent
TIME_LIMIT = 3600.0  # seconds for all rounds of one figure
WARM_UP = 0.01  # of the scale: enough to import, to compile and to calibrate

Side = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    A side is called with the scale (1.0 for the sizes that the limit was set for) and returns what it cost, in
    seconds or bytes, mostly per task. Without a peer the limit is absolute, else it bounds ours / peer.
    """

    name: str
    what: str
    ours: Side
    peer: Side | None
    limit: float
    unit: str = "µs"
    requires: str | None = None  # a module without which the row cannot be measured


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the rounds of one figure gave; the peer's list is empty when there is none."""

    ours: list[float]
    peer: list[float]

    @property
    def judged(self) -> list[float]:
        """What the limit applies to, one number a round."""
        if not self.peer:
            return self.ours
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    def within(self, limit: float) -> bool:
        """Whether the median of the rounds keeps the limit."""
        return median(self.judged) <= limit


def interleave(figure: Figure, rounds: int, scale: float) -> Rounds:
    """Run both sides `rounds` times, the one that goes first changing each round."""
    measured = Rounds([], [])
    sides = [(figure.ours, measured.ours)]
    if figure.peer is not None:
        sides.append((figure.peer, measured.peer))
    for side, _ in sides:
        side(scale * WARM_UP)
    for _ in range(rounds):
        for side, costs in sides:
            gc.collect()  # neither side pays for what the other one left behind
            costs.append(side(scale))
        sides.reverse()
    return measured


def fresh(*command: str) -> str:
    """What a new interpreter, started with these arguments, prints; what it complains of goes to our stderr."""
    finished = subprocess.run(
        [sys.executable, *command], cwd=TOP, stdout=subprocess.PIPE, text=True, check=True, timeout=TIME_LIMIT
    )
    return finished.stdout


def measure_alone(name: str, rounds: int, scale: float) -> Rounds | str:
    """Measure the figure in an interpreter of its own, so that no row depends on the rows before it.

    The answer is the reason, in a few words, when there is nothing to measure.
    """
    try:
        printed = fresh("-m", "benchmarks.alone", name, str(rounds), str(scale))
    except subprocess.CalledProcessError as error:
        return f"failed with exit code {error.returncode}"
    except subprocess.TimeoutExpired:
        return f"took over {TIME_LIMIT:.0f} s"
    answer = json.loads(printed)
    return answer if isinstance(answer, str) else Rounds(answer["ours"], answer["peer"])
