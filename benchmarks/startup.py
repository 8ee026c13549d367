"""What it costs to import, in fresh interpreters: seconds per import, without the interpreter's own start."""

from benchmarks.measure import fresh
from benchmarks.steps import count

PROGRAM = """
from time import perf_counter
started = perf_counter()
import {modules}
print(perf_counter() - started)
"""


def import_seconds(modules: str, scale: float) -> float:
    """Seconds that ``import <modules>`` takes, the least of a few interpreters: all that is above it is noise."""
    program = PROGRAM.format(modules=modules)
    return min(float(fresh("-c", program)) for _ in range(count(5, scale, least=1)))
