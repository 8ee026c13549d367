"""Where tasks run that need large values (CONTRACT 10)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest
from faults import executor_of
from gates import Gate
from patience import LIMIT, until

from graphfutures import GraphExecutor, blocked
from graphfutures.backends.processes.files import LARGE

pytestmark = pytest.mark.ci


@pytest.fixture
def executor() -> Iterator[GraphExecutor]:
    with executor_of(2) as one:
        yield one


def made(passage: Any, size: int) -> bytes:
    passage()
    return os.getpid().to_bytes(4, "big") * (size // 4)


def maker_of(value: bytes) -> int:
    return int.from_bytes(value[:4], "big")


def process_of(*_: bytes) -> int:
    return os.getpid()


def quiet(executor: GraphExecutor) -> bool:
    pool = executor._hub.backend
    return until(lambda: len(pool.idle) == len(pool.attendants) == 2)


def in_two_workers(executor: GraphExecutor, gate: Gate, sizes: list[int]) -> Any:
    values = [executor.submit(made, gate.passage, size) for size in sizes]
    gate.arrived(2)
    gate.open()
    wait(values, LIMIT)
    assert quiet(executor)
    return values


@pytest.mark.parametrize("sizes", [[LARGE, 4 * LARGE], [4 * LARGE, LARGE]])
def test_where_most_bytes_of_the_inputs_are(executor, gate, sizes):
    values = in_two_workers(executor, gate, sizes)
    homes = [maker_of(value.result(LIMIT)) for value in values]
    assert homes[0] != homes[1]
    largest = homes[sizes.index(max(sizes))]
    for number in range(20):
        inputs = values if number % 2 else values[::-1]
        assert executor.submit(process_of, *inputs).result(LIMIT) == largest
        assert quiet(executor)
        assert executor.submit(process_of, values[number % 3 // 2]).result(LIMIT) == homes[number % 3 // 2]
        assert quiet(executor)


def passed(passage: Any, *_: bytes) -> int:
    passage()
    return os.getpid()


def test_elsewhere_when_that_worker_is_busy(executor, gate):
    values = in_two_workers(executor, gate, [LARGE, 4 * LARGE])
    home = maker_of(values[1].result(LIMIT))
    other_gate = Gate()
    try:
        both = [executor.submit(passed, other_gate.passage, values[1]) for _ in range(2)]
        other_gate.arrived(2)
        other_gate.open()
        assert {one.result(LIMIT) == home for one in both} == {True, False}
    finally:
        other_gate.close()


def test_elsewhere_when_handed_over_before_the_input_was_there(executor, gate):
    for _ in range(100):
        executor.submit(abs, -1).result(LIMIT)  # so that many are handed over at once
    begin, other_gate = Future(), Gate()
    value = executor.submit(bytes, executor.submit(int, begin))
    both = [executor.submit(passed, other_gate.passage, value) for _ in range(2)]
    begin.set_result(LARGE)
    try:
        other_gate.arrived(2)
        other_gate.open()
        assert len({one.result(LIMIT) for one in both}) == 2
    finally:
        other_gate.close()


def test_tasks_that_go_along_with_their_inputs(executor, gate):
    values = in_two_workers(executor, gate, [LARGE, 4 * LARGE])
    begin = Future()
    lengths = [executor.submit(len, values[0])]
    lengths += [executor.submit(lambda n, *_: n + 1, begin, values[1])]
    for _ in range(50):
        lengths.append(executor.submit(lambda n, *_: n + 1, lengths[-1], *values))
    begin.set_result(0)
    assert [length.result(LIMIT) for length in lengths] == [LARGE, *range(1, 52)]


def test_a_worker_that_is_gone_is_not_waited_for(executor, gate):
    values = in_two_workers(executor, gate, [LARGE, 4 * LARGE])
    home = maker_of(values[1].result(LIMIT))
    os.kill(home, 9)
    assert executor.submit(process_of, *values).result(LIMIT) != home


def lent(passage: Any) -> int:
    with blocked():
        passage()
    return os.getpid()


def test_nothing_is_left_to_a_worker_that_has_no_slot(gate):
    with GraphExecutor(1, backend="processes") as executor:
        waiting = executor.submit(lent, gate.passage)
        gate.arrived()
        value = executor.submit(bytes, LARGE)  # in a worker that stands in for the one whose task waits
        wait([value], LIMIT)
        gate.open()
        assert waiting.result(LIMIT) != os.getpid()
        for number in range(20):
            assert executor.submit(abs, -number).result(LIMIT) == number
        begin = Future()
        chain = [executor.submit(lambda *given: len(given[0]), value, begin)]
        for _ in range(50):
            chain.append(executor.submit(lambda length: length + 1, chain[-1]))
        begin.set_result(0)
        assert chain[-1].result(LIMIT) == LARGE + 50
        assert max(link.attempt for link in chain) < 5  # else they went to and fro
