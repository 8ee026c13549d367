"""Where the boxes of a picture are, and the ways of the lines between them.

In layers, after Sugiyama, Tagawa and Toda (1981): each box comes in a layer after those that lead to it; lines over
several layers bend in those between; the boxes of a layer are sorted by where their neighbours are, and moved towards
them as far as they leave each other room (isotonic regression, by pooling those that are in each other's way).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, sqrt
from typing import NamedTuple

#: pixels between two layers, and between two boxes of one
BETWEEN, BESIDE = 56.0, 10.0
#: what a line from a box to itself takes beyond it
LOOP = 44.0
#: how often the layers are gone through, there and back, to sort them, and to move what is in them
SORTED, MOVED = 4, 3
#: lines bend up to so many bends for each box, else they are straight
BENDS = 8
#: from this width on, a picture that is less wide the other way round grows downwards
WIDE = 1200.0

Point = tuple[float, float]


class Layout(NamedTuple):
    """Of a picture.

    :param places: of each box, its left upper corner.
    :param ways: of each line, its points: first and last are on the edges of the boxes; between the second and the
        third, the fourth and the fifth … it is straight.
    :param size: width and height of the whole.
    :param downwards: whether layers are below each other instead of beside each other.
    """

    places: list[Point]
    ways: list[list[Point]]
    size: Point
    downwards: bool


def laid_out(sizes: Sequence[Point], lines: Sequence[tuple[int, int]], direction: str | None = None) -> Layout:
    """Where some boxes and the lines between them are.

    :param sizes: width and height of each box.
    :param lines: from which box to which, by their numbers; circles are allowed.
    :param direction: ``"right"``, ``"down"``, or None for what is less wide.
    """
    tied = {end for line in lines for end in line}
    number = {box: index for index, box in enumerate(sorted(tied))}
    graph = _Graph([(number[one], number[other]) for one, other in lines if one != other], len(number))
    inside = [sizes[box] for box in number]
    downwards = direction == "down" if direction else _better_downwards(graph, inside)
    if downwards:
        inside = [(height, width) for width, height in inside]
    graph.move(inside)
    places: list[Point] = [(0.0, 0.0)] * len(sizes)
    for box, index in number.items():
        along, across = graph.corner(index)
        places[box] = (across, along) if downwards else (along, across)
    ways = iter([[(y, x) for x, y in way] if downwards else way for way in graph.ways()])
    width, height = graph.size[::-1] if downwards else graph.size
    width, height = _in_a_grid([box for box in range(len(sizes)) if box not in tied], sizes, places, width, height)
    if any(one == other for one, other in lines):
        width, height = width + (not downwards) * LOOP, height + downwards * LOOP
    drawn = [next(ways) if one != other else _loop(places[one], sizes[one], downwards) for one, other in lines]
    return Layout(places, drawn, (width, height), downwards)


def _better_downwards(graph: _Graph, sizes: list[Point]) -> bool:
    widest = max([width for width, _ in sizes], default=0.0)
    right = len(graph.layers) * (widest + BETWEEN)
    down = max(map(len, graph.layers), default=0) * (widest + BESIDE)
    return right > WIDE and right > down


def _in_a_grid(boxes: list[int], sizes: Sequence[Point], places: list[Point], width: float, height: float) -> Point:
    """Put boxes that no line ties below what is there already; return the size of all."""
    if not boxes:
        return width, height
    cell = max(sizes[box][0] for box in boxes) + BESIDE, max(sizes[box][1] for box in boxes) + BESIDE
    columns = max(int((width + BESIDE) // cell[0]), min(ceil(sqrt(2 * len(boxes) * cell[1] / cell[0])), len(boxes)))
    top = height + BETWEEN if height else 0.0
    for index, box in enumerate(boxes):
        places[box] = index % columns * cell[0], top + index // columns * cell[1]
    columns = min(columns, len(boxes))
    return max(width, columns * cell[0] - BESIDE), top + ceil(len(boxes) / columns) * cell[1] - BESIDE


def _loop(place: Point, size: Point, downwards: bool) -> list[Point]:
    """From the edge to which lines leave to that edge."""
    (left, top), (wide, high) = place, size
    if downwards:
        aside = min(wide, high) / 4
        return [(left + wide / 2 + aside, top + high), (left + wide / 2 - aside, top + high)]
    return [(left + wide, top + high / 4), (left + wide, top + high * 3 / 4)]


class _Graph:
    """Boxes with lines, along the layers and across.

    :param lines: from which box to which, never to itself.
    :param boxes: how many there are; what comes after them are bends.
    """

    def __init__(self, lines: list[tuple[int, int]], boxes: int) -> None:
        self._lines = lines
        self._boxes = boxes
        self._back = _closing(lines, boxes)
        forth = [(b, a) if back else (a, b) for (a, b), back in zip(lines, self._back, strict=True)]
        self._layer = _layers(forth, boxes)
        self._bends: dict[tuple[int, int], int] = {}
        self._before: list[list[int]] = [[] for _ in range(boxes)]
        self._after: list[list[int]] = [[] for _ in range(boxes)]
        self._ways: list[list[int]] = []
        spans = {box: self._layer[box] for box in range(boxes)}
        for one, other in forth:
            spans[one] = max(spans[one], self._layer[other] - 1)
        bends = sum(spans[box] - self._layer[box] for box in range(boxes)) <= BENDS * boxes
        for one, other in forth:
            self._ways.append(self._way(one, other) if bends else [one, other])
        for one, other in dict.fromkeys(step for way in self._ways for step in pairwise(way)):
            self._after[one].append(other)
            self._before[other].append(one)
        self.layers: list[list[int]] = [[] for _ in range(max(self._layer, default=-1) + 1)]
        for box, layer in enumerate(self._layer):
            self.layers[layer].append(box)
        self._sort()

    def _way(self, one: int, other: int) -> list[int]:
        """A line over several layers; those that come from one box go together as long as they can."""
        way = [one]
        for layer in range(self._layer[one] + 1, self._layer[other]):
            bend = self._bends.get((one, layer))
            if bend is None:
                bend = self._bends[one, layer] = len(self._layer)
                self._layer.append(layer)
                self._before.append([])
                self._after.append([])
            way.append(bend)
        return [*way, other]

    def _sort(self) -> None:
        at = [0.0] * len(self._layer)
        for layer in self.layers:
            _spread(layer, at)
        for _ in range(SORTED):
            for layers, near in ((self.layers, self._before), (self.layers[::-1], self._after)):
                for layer in layers:
                    means = {box: _mean([at[other] for other in near[box]], at[box]) for box in layer}
                    layer.sort(key=means.__getitem__)
                    _spread(layer, at)

    def move(self, sizes: Sequence[Point]) -> None:
        """Give each box its place.

        :param sizes: of the boxes, along and across.
        """
        self._sizes = [*sizes, *[(0.0, 0.0)] * len(self._bends)]
        across = [size[1] for size in self._sizes]
        at = [0.0] * len(self._layer)
        for layer in self.layers:
            steps = _steps(layer, across)
            for box, step in zip(layer, steps, strict=True):
                at[box] = step - steps[-1] / 2
        for _ in range(MOVED):
            for layers, near in ((self.layers, self._before), (self.layers[::-1], self._after)):
                for layer in layers:
                    wishes = [_mean([at[other] for other in near[box]], at[box]) for box in layer]
                    weights = [len(near[box]) + 0.1 if box < self._boxes else 4.0 for box in layer]
                    for box, place in zip(layer, _apart(wishes, weights, _steps(layer, across)), strict=True):
                        at[box] = place
        least = min([at[box] - across[box] / 2 for box in range(len(at))], default=0.0)
        self._at = [place - least for place in at]
        self._columns: list[Point] = []
        begin = 0.0
        for layer in self.layers:
            end = begin + max(self._sizes[box][0] for box in layer)
            self._columns.append((begin, end))
            begin = end + BETWEEN
        most = max([self._at[box] + across[box] / 2 for box in range(len(at))], default=0.0)
        self.size: Point = max(begin - BETWEEN, 0.0), most

    def corner(self, box: int) -> Point:
        """Where a box begins, along and across."""
        (begin, end), (length, breadth) = self._columns[self._layer[box]], self._sizes[box]
        return (begin + end - length) / 2, self._at[box] - breadth / 2

    def ways(self) -> Iterable[list[Point]]:
        """Of each line, along and across."""
        for way, back in zip(self._ways, self._back, strict=True):
            (begin, _), last = self.corner(way[0]), self.corner(way[-1])
            points = [(begin + self._sizes[way[0]][0], self._at[way[0]])]
            for bend in way[1:-1]:
                points += [(edge, self._at[bend]) for edge in self._columns[self._layer[bend]]]
            points.append((last[0], self._at[way[-1]]))
            yield points[::-1] if back else points


def _closing(lines: list[tuple[int, int]], boxes: int) -> list[bool]:
    """Which lines close a circle, if one goes along from the first box on."""
    leaving: list[list[int]] = [[] for _ in range(boxes)]
    entered = [False] * boxes
    for line, (one, other) in enumerate(lines):
        leaving[one].append(line)
        entered[other] = True
    back = [False] * len(lines)
    seen, on_the_way = [False] * boxes, [False] * boxes
    for first in sorted(range(boxes), key=entered.__getitem__):
        stack = [first]
        while stack:
            box = stack[-1]
            seen[box] = on_the_way[box] = True
            while leaving[box]:
                line = leaving[box].pop()
                other = lines[line][1]
                back[line] = on_the_way[other]
                if not seen[other]:
                    stack.append(other)
                    break
            else:
                on_the_way[box] = False
                stack.pop()
    return back


def _layers(lines: list[tuple[int, int]], boxes: int) -> list[int]:
    """The layer of each box: after all that lead to it; if nothing does, just before the first that it leads to."""
    after: list[list[int]] = [[] for _ in range(boxes)]
    missing = [0] * boxes
    for one, other in lines:
        after[one].append(other)
        missing[other] += 1
    firsts = [box for box in range(boxes) if not missing[box]]
    layer = [0] * boxes
    order = list(firsts)
    for box in order:
        for other in after[box]:
            layer[other] = max(layer[other], layer[box] + 1)
            missing[other] -= 1
            if not missing[other]:
                order.append(other)
    for box in firsts:
        layer[box] = min([layer[other] for other in after[box]], default=1) - 1
    return layer


def _spread(layer: list[int], at: list[float]) -> None:
    for index, box in enumerate(layer):
        at[box] = index - (len(layer) - 1) / 2


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _steps(layer: list[int], across: list[float]) -> list[float]:
    """How far from the first box of a layer the others are at least, from middle to middle."""
    steps = [0.0]
    for one, other in pairwise(layer):
        steps.append(steps[-1] + (across[one] + across[other]) / 2 + BESIDE)
    return steps


def _apart(wishes: list[float], weights: list[float], steps: list[float]) -> list[float]:
    """The places next to those that are wished for at which all are as far from each other as they must be."""
    blocks: list[tuple[float, float, int]] = []  # where it is, its weight, how many boxes it has
    for wish, weight, step in zip(wishes, weights, steps, strict=True):
        place, heavy, count = wish - step, weight, 1
        while blocks and blocks[-1][0] >= place:
            before, others, more = blocks.pop()
            place = (before * others + place * heavy) / (others + heavy)
            heavy, count = others + heavy, count + more
        blocks.append((place, heavy, count))
    places = [place for place, _, count in blocks for _ in range(count)]
    return [place + step for place, step in zip(places, steps, strict=True)]
