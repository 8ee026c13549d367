"""What graphs cost in memory, measured in fresh interpreters by what the system says that the process holds.

Bytes in all numbers. ``python -m benchmarks.memory pending ours|peer TASKS`` and ``… peak LEAVES`` are the
interpreters that the two figures start.
"""

import resource
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import fresh
from benchmarks.steps import WORKERS, MakeExecutor, count, start_workers, step
from graphfutures import GraphExecutor

LEAF_BYTES = 4_000_000
WORD = 8
MAKERS: dict[str, MakeExecutor] = {"ours": GraphExecutor, "peer": ThreadPoolExecutor}


def highest() -> int:
    """The most memory that this process ever held."""
    try:
        # ru_maxrss would begin with what the process held that started this one.
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def held() -> int:
    """The memory that this process holds now, or the most that it ever did where only that is known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return highest()
    return pages * resource.getpagesize()


def pending_bytes(make: MakeExecutor, tasks: int) -> float:
    """Bytes per task that has been submitted while all workers are held at a gate."""
    entered, gate = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        entered.release()
        gate.wait()

    with make(WORKERS) as executor:
        for _ in range(WORKERS):
            executor.submit(hold)
        for _ in range(WORKERS):
            entered.acquire()
        futures: list[Future[int] | None] = [None] * tasks
        before = held()
        for number in range(tasks):
            futures[number] = executor.submit(step)
        grown = held() - before
        gate.set()
        for future in futures:
            assert future is not None
            assert future.result() == 0
    return grown / tasks


def leaf(number: int) -> bytes:
    """A large value: one word, repeated."""
    return number.to_bytes(WORD, "little") * (LEAF_BYTES // WORD)


def add(left: bytes, right: bytes) -> bytes:
    """The sum of two such values, word by word; as all words are equal, one addition gives them all."""
    assert len(left) == len(right) == LEAF_BYTES
    return leaf(int.from_bytes(left[:WORD], "little") + int.from_bytes(right[:WORD], "little"))


def peak_bytes(leaves: int) -> int:
    """What the process held at its highest, above what it held before, to add up the leaves in pairs."""
    with GraphExecutor(WORKERS) as executor:
        start_workers(executor, WORKERS)
        before = highest()
        level = [executor.submit(leaf, number) for number in range(leaves)]
        while len(level) > 1:
            pairs = [executor.submit(add, *level[place : place + 2]) for place in range(0, len(level) - 1, 2)]
            level = pairs + level[len(pairs) * 2 :]  # one without a partner waits for the next level
        last = level.pop()
        assert last.result() == leaf(sum(range(leaves)))
        return highest() - before


def pending(side: str, scale: float) -> float:
    """Bytes per pending task of one side, in an interpreter of its own."""
    # Below some thousand tasks the growth drowns in the pages that the allocator has in store.
    return float(fresh("-m", "benchmarks.memory", "pending", side, str(count(100_000, scale, least=5_000))))


def leaves_at(scale: float) -> int:
    """The number of leaves; with fewer than some, what the two workers hold at a time is most of it."""
    return count(512, scale, least=8)


def peak(scale: float) -> float:
    """Peak extra memory for the leaves added pairwise, in an interpreter of its own."""
    return float(fresh("-m", "benchmarks.memory", "peak", str(leaves_at(scale))))


def leaves_bytes(scale: float) -> float:
    """What all the leaves would hold together."""
    return leaves_at(scale) * LEAF_BYTES


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pending", side, tasks]:
            print(pending_bytes(MAKERS[side], int(tasks)))
        case ["peak", leaves]:
            print(peak_bytes(int(leaves)))
