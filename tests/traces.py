"""Reads a trace as Perfetto does, and asserts that nothing in it is dropped or means something else."""

import gzip
import json
import os
from typing import Any

DEEPEST = 512


def read(path: Any) -> Any:
    opened = gzip.open if os.fspath(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def nanoseconds(microseconds: float) -> int:
    return round(microseconds * 1000)


def checked(trace: Any) -> tuple[list[Any], list[tuple[str, str]]]:
    """The slices, and the arrows as pairs of keys, of a trace that holds to the format."""
    events = trace["traceEvents"]
    assert {event["ph"] for event in events} <= {*"MXsf"}
    named = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert len(set(named.values())) == len(named)
    assert 0 not in named, "Perfetto takes track 0 for the process"
    open_slices: dict[int, list[Any]] = {track: [] for track in named}
    begun: dict[int, Any] = {}
    arrows = []
    ended = set()
    timed = [event for event in events if event["ph"] != "M"]
    for event in sorted(timed, key=lambda event: nanoseconds(event["ts"])):  # stable, as Perfetto's is
        assert event["pid"] == 1
        assert event["ts"] >= 0
        stack, now = open_slices[event["tid"]], nanoseconds(event["ts"])
        if event["ph"] == "X":
            length = nanoseconds(event["dur"])
            assert length > 0
            while stack and end(stack[-1]) <= now:
                stack.pop()
            assert all(now + length <= end(other) for other in stack), "it overlaps another and would be dropped"
            assert len(stack) < DEEPEST
            stack.append(event)
        elif event["ph"] == "s":
            assert event["id"] not in begun
            begun[event["id"]] = stack[-1]
            assert nanoseconds(stack[-1]["ts"]) <= now < end(stack[-1]), "Chrome takes the slice that is there"
        else:
            assert event["bp"] == "e"
            assert event["id"] not in ended
            assert nanoseconds(stack[-1]["ts"]) == now
            ended.add(event["id"])
            arrows.append((begun[event["id"]]["args"]["key"], stack[-1]["args"]["key"]))
    assert ended == begun.keys()
    return [event for event in events if event["ph"] == "X"], arrows


def end(event: Any) -> int:
    return nanoseconds(event["ts"]) + nanoseconds(event["dur"])
