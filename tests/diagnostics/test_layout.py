"""Boxes and lines of arbitrary graphs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphfutures.diagnostics import layout
from graphfutures.diagnostics.layout import laid_out

NEARLY = 1e-6


@st.composite
def graphs(draw):
    sizes = draw(st.lists(st.tuples(st.floats(5, 200), st.floats(5, 60)), max_size=14))
    box = st.integers(0, max(len(sizes) - 1, 0))
    lines = draw(st.lists(st.tuples(box, box), max_size=30, unique=True)) if sizes else []
    return sizes, lines


def on_an_edge(point, place, size):
    x, y = point[0] - place[0], point[1] - place[1]
    assert -NEARLY <= x <= size[0] + NEARLY
    assert -NEARLY <= y <= size[1] + NEARLY
    return min(abs(x), abs(x - size[0]), abs(y), abs(y - size[1])) < NEARLY


def check(sizes, lines, found):
    assert len(found.places) == len(sizes)
    boxes = [(x, y, x + wide, y + high) for (x, y), (wide, high) in zip(found.places, sizes, strict=True)]
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= -NEARLY
        assert top >= -NEARLY
        assert right <= found.size[0] + NEARLY
        assert bottom <= found.size[1] + NEARLY
        for other in boxes[number + 1 :]:
            beside = right <= other[0] or other[2] <= left
            assert beside or bottom <= other[1] + NEARLY or other[3] <= top + NEARLY
    for (one, other), way in zip(lines, found.ways, strict=True):
        assert on_an_edge(way[0], found.places[one], sizes[one])
        assert on_an_edge(way[-1], found.places[other], sizes[other])
        assert len(way) % 2 == 0


@given(graphs(), st.sampled_from([None, "right", "down"]))
def test_no_box_is_on_another_and_lines_lead_from_box_to_box(graph, direction):
    sizes, lines = graph
    found = laid_out(sizes, lines, direction)
    check(sizes, lines, found)
    assert found == laid_out(sizes, lines, direction)


@given(graphs(), st.sampled_from(["right", "down"]))
def test_lines_lead_forward_where_there_are_no_circles(graph, direction):
    sizes, lines = graph
    lines = [(min(line), max(line)) for line in lines if line[0] != line[1]]
    lines = list(dict.fromkeys(lines))
    along = 0 if direction == "right" else 1
    for way in laid_out(sizes, lines, direction).ways:
        steps = [point[along] for point in way]
        assert steps == sorted(steps)


@given(graphs())
def test_lines_are_straight_where_bends_would_be_too_many(graph):
    sizes, lines = graph
    before, layout.BENDS = layout.BENDS, -1
    try:
        found = laid_out(sizes, lines)
    finally:
        layout.BENDS = before
    check(sizes, lines, found)
    assert all(len(way) == 2 for way in found.ways)


def test_it_grows_to_where_it_is_less_wide():
    size = (100.0, 30.0)
    chain = [(number, number + 1) for number in range(40)]
    assert laid_out([size] * 41, chain).downwards
    assert not laid_out([size] * 41, [(number, 40) for number in range(40)]).downwards


def test_a_chain_is_straight():
    found = laid_out([(100.0, 30.0)] * 5, [(number, number + 1) for number in range(4)], "right")
    assert {y for _, y in found.places} == {0.0}


@pytest.mark.ci
def test_a_large_graph():
    lines = [(number // 2, number) for number in range(1, 20_000)] + [(0, number) for number in range(2, 20_000, 7)]
    found = laid_out([(60.0, 20.0)] * 20_000, lines)
    ordered = sorted(found.places)
    assert all(one[0] < other[0] or one[1] + 20 <= other[1] for one, other in pairwise(ordered))
