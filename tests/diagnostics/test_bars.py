"""Bars: many short attempts become few, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphfutures.diagnostics.bars import OTHERS, Bars, Groups, Levels, Rows

moments = st.floats(0, 100, allow_nan=False)


@st.composite
def attempts(draw):
    """Attempts of two workers, those of each one after the other."""
    now = [0.0, 0.0]
    made = []
    for _ in range(draw(st.integers(0, 60))):
        worker = draw(st.integers(0, 1))
        start = now[worker] + draw(st.sampled_from([0.0, 0.25, 3.0]))
        now[worker] = start + draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.5]))
        made.append((worker, start, now[worker], draw(st.sampled_from("abc")), draw(st.integers(0, 9)) > 0, worker))
    return made


@given(attempts(), st.integers(1, 10))
def test_each_attempt_is_in_a_bar(attempts, often):
    bars, found = Bars(1.0), []
    for place, one in enumerate(attempts):
        bars.add([one])
        if not place % often:
            found += bars.take()
    found += bars.take()
    own = [bar for bar in found if not (bar[4] == bar[5] == 1)]  # a failure may be drawn by itself as well
    assert len(attempts) - sum(not one[4] for one in attempts) <= sum(bar[4] for bar in own) <= len(attempts)
    for worker, start, stop, name, good, _ in attempts:
        around = [bar for bar in found if bar[0] == worker and bar[1] <= start and stop <= bar[2]]
        assert around
        if not good:
            assert any(bar[5] for bar in around)
        if stop - start >= 1:
            assert [worker, start, stop, name, 1, int(not good), worker] in found
    assert bars.take() == []


def test_the_number_of_bars_depends_on_time_alone():
    bars = Bars(1.0)
    bars.add((0, place / 1000, place / 1000 + 0.0005, "abc"[place % 3], place % 50 > 0, 5) for place in range(100_000))
    found = bars.take()
    assert len(found) <= 300
    assert max(bar[2] for bar in found) == pytest.approx(99.9995)


def test_those_of_one_function_are_one_bar():
    bars = Bars(1.0)
    bars.add((0, place / 10, place / 10 + 0.1, "a", True, 5) for place in range(1000))
    assert [bar[3:] for bar in bars.take()] == [["a", 1000, 0, 5]]


def test_names_are_limited():
    groups = Groups(10)
    assert {groups.of(f"load-{number}") for number in range(1000)} == {"load"}
    others = [groups.of(f"{number}x") for number in range(1000)]
    assert others[:9] == [f"{number}x" for number in range(9)]
    assert set(others[9:]) == {OTHERS}
    assert len(groups.found) == 11


@given(st.lists(st.tuples(moments, moments).map(sorted), max_size=20))
def test_levels_are_the_mean_number(spans):
    levels = Levels(10.0, 50.0, 25)
    for start, stop in spans:
        levels.add(start, stop)
    for place, mean in enumerate(levels.means()):
        begin, end = 10 + place * 2, 12 + place * 2
        within = sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop in spans) / 2
        assert abs(mean - within) < 1e-6


@given(attempts())
def test_a_worker_of_many_has_a_row_of_its_own(attempts):
    rows = Rows(2)
    assert all(rows.of(worker, start, stop) == worker for worker, start, stop, *_ in attempts)


def test_those_that_are_replaced_share_a_row_with_their_successors():
    rows = Rows(2)
    placed = [rows.of(worker, start, start + 1.0) for start in range(0, 100, 2) for worker in (start, start + 1)]
    assert placed == [0, 1] * 50
    assert rows.labels() == ["worker 98", "worker 99"]


def test_more_at_once_than_there_are_have_rows_as_well():
    rows = Rows(2)
    assert [rows.of(worker, 0.0, 1.0) for worker in (7, 1, 5, -1)] == [0, 1, 2, 3]
    assert rows.labels() == ["worker 7", "worker 1", "worker 5", "worker -1"]
    assert rows.of(8, 2.0, 3.0) in range(4)
