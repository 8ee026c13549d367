"""What the dashboard's process keeps of what it is told."""

from __future__ import annotations

from graphfutures.diagnostics.dashboard.board import KEPT, LINES, Board
from graphfutures.diagnostics.dashboard.page import trouble, words


def row(serial, name="load", *, worker=0, start=0.0, good=True, needs=()):
    flat = [part for need in needs for part in need]
    return (serial, name, worker, start, start + 0.5, 0, good, *flat)


def state(time, counts=(), **states):
    return {
        **{
            "time": time,
            "begin": 0.0,
            "without": [],
            "counts": list(counts),
            "states": states,
            "added": 0,
            "failed": 0,
        },
        **{"cancelled": 0, "posted": 0, "processes": {}, "held": None},
    }


def test_functions_edges_and_levels():
    board = Board("some", 2)
    board.tell((row(1), row(2, "add", worker=1, start=1.0, needs=[(1, "load"), (0, "a Future")])))
    board.tell(state(2.0, [(("add", "waiting"), 3)], waiting=3, running=1))
    assert {one.name: (one.attempts, one.seconds) for one in board.functions.values()} == {
        "load": (1, 0.5),
        "add": (1, 0.5),
    }
    assert board.edges == {("load", "add"): 1}
    assert list(board.levels) == [(2.0, 1, 0, 3)]
    assert board.known() == {"add": {"done": 1, "failed": 0, "waiting": 3}, "load": {"done": 1, "failed": 0}}
    assert sorted(bar[:5] for lower, bar in board.since(0) if not lower) == [
        [0, 0.0, 0.5, "load", 1],
        [1, 1.0, 1.5, "add", 1],
    ]
    assert board.since(board.streamed) == []


def test_handing_over_is_a_bar_of_its_own():
    board = Board("some", 2)
    board.tell((row(1), row(2, worker=1, start=1.0, needs=[(1, "load")])))
    board.tell(state(2.0))
    assert [bar[:3] for lower, bar in board.since(0) if lower] == [[1, 0.5, 1.0]]


def test_an_attempt_after_one_that_failed_is_a_repetition():
    board = Board("some", 2)
    board.tell((row(1, good=False), row(2, good=False), row(1, start=1.0)))
    assert (board.failures, board.repeated.total()) == (2, 1)
    assert board.known() == {"load": {"done": 1, "failed": 1}}
    assert [key for _, key, _ in board.failed] == ["load-1", "load-2"]


def test_all_of_it_is_bounded():
    board = Board("some", 2)
    for chunk in range(60):
        first = chunk * 1000
        board.tell(
            tuple(row(n, f"n{n}", worker=n % 3, start=n / 2.0, good=n % 3 > 0) for n in range(first, first + 1000))
        )
        board.tell(state(float(chunk)))
    assert (board.attempts, len(board.stream), board.streamed) == (60_000, KEPT, 60_000)
    assert len(board.functions) <= 4001
    assert len(board.since(0)) == KEPT
    assert len(board.since(board.streamed - 10)) == 10


def test_what_was_missed_is_counted():
    board = Board("some", 2)
    board.tell({"missed": 7})
    assert board.missed == 7


def test_lines_of_processes_that_have_ended_go():
    board = Board("some", 2)
    for number in range(200):
        board.tell(state(float(number)) | {"processes": {"this process": 1, f"worker {number}": number}})
        board.use("this process", 1e6, 1.0)
        board.use(f"worker {number}", 1e6, 1.0)
    assert len(board.used) <= LINES + 1
    assert {"this process", "worker 199"} <= board.used.keys()


def test_words_are_escaped_and_count():
    board = Board("<b>&", 2)
    board.tell((row(1, "<i>", good=False),))
    board.tell(state(2.0) | {"added": 5, "failed": 1, "died": 2})
    assert "&lt;b&gt;&amp;" in words(board)
    assert "<b>4</b> done, <b>1</b> failed" in words(board)
    assert "<code>&lt;i&gt;-1</code> failed on worker 0" in trouble(board)
    assert "<b>2</b> worker processes have died." in trouble(board)
    board.ended = True
    assert "<b>ended</b>" in words(board)
