"""Traces of arbitrary attempts, as a reader sees them (CONTRACT 12)."""

import os
import stat
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import checked, read

from graphfutures.diagnostics.snapshot import Pending, Snapshot
from graphfutures.diagnostics.tracing import DEEPEST, SEARCHED, write
from graphfutures.history import Attempt

NASTY = '</script><img src=x onerror=alert(1)>"\\\n\x00\x1fé\ud800 𝄞'


def attempt(serial, start, stop, *, name="f", worker=0, size=0, good=True, needs=()):
    return Attempt(serial, name, worker, start, stop, size, good, tuple(needs))


def traced(attempts, missing=0, pending=(), name="loads", suffix=".json"):
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"trace{suffix}"
        write(Snapshot(name, 2, list(attempts), missing, list(pending)), path)
        assert os.listdir(folder) == [path.name]
        return read(path)


times = st.one_of(st.integers(0, 6).map(float), st.floats(0, 1e5), st.floats(0, 2e-8))
attempts_of_all_kinds = st.lists(
    st.builds(
        lambda serial, name, worker, start, length, size, good, needs: Attempt(
            serial, name, worker, start, start + length, size, good, tuple(needs)
        ),
        serial=st.integers(1, 8),
        name=st.one_of(st.just("f"), st.text(max_size=4)),
        worker=st.integers(-1, 2),
        start=times,
        length=times,
        size=st.integers(0, 10**12),
        good=st.booleans(),
        needs=st.lists(st.one_of(st.integers(1, 8).map("f-{}".format), st.text(max_size=4)), max_size=4),
    ),
    max_size=30,
)


@given(attempts_of_all_kinds)
def test_nothing_is_dropped_and_arrows_mean_what_they_say(attempts):
    slices, arrows = checked(traced(attempts))
    drawn = [(one["args"]["key"], one["args"].get("failed", False)) for one in slices]
    assert sorted(drawn) == sorted((one.key, not one.good) for one in attempts)
    needs = {(need, one.key) for one in attempts for need in one.needs}
    assert set(arrows) <= needs
    starts = [one["ts"] for one in slices]
    assert starts == sorted(starts)


def test_what_it_tells_of_an_attempt():
    first, last = attempt(7, 10.0, 10.5, name="load", worker=1, size=3_000), attempt(8, 11, 11.25, needs=["load-7"])
    trace = traced([first, last], missing=5, pending=[Pending(9, "g", "ready", ())], name="night")
    assert trace["otherData"] == {"name": "night", "workers": 2, "attempts": 2, "missing": 5, "pending": 1}
    slices, arrows = checked(trace)
    assert [one["name"] for one in slices] == ["load", "f"]
    assert [(one["ts"], one["dur"]) for one in slices] == [(0, 500_000), (1_000_000, 250_000)]
    assert slices[0]["args"] == {"key": "load-7", "seconds": 0.5, "bytes": 3000}
    assert slices[1]["args"] == {"key": "f-8", "seconds": 0.25, "needs": ["load-7"]}
    assert arrows == [("load-7", "f-8")]
    names = [event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M" and "name" in event["args"]]
    assert names == ["night", "worker 0", "worker 1"]


def test_a_failed_attempt_is_marked_and_arrows_come_from_the_last_good_one():
    again = [attempt(1, 0, 1, good=False), attempt(1, 2, 3), attempt(2, 4, 5, needs=["f-1"])]
    slices, arrows = checked(trace := traced(again))
    assert [one["args"].get("attempt") for one in slices] == [1, 2, None]
    assert [one["name"] for one in slices] == ["f (failed)", "f", "f"]
    assert [one.get("cname") for one in slices] == ["terrible", None, None]
    assert arrows == [("f-1", "f-2")]
    (tail,) = [event for event in trace["traceEvents"] if event["ph"] == "s"]
    assert 2e6 < tail["ts"] < 3e6


def tracks(trace):
    called = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    return {one["args"]["key"]: called[one["tid"]] for one in checked(trace)[0]}


def test_what_is_inside_another_is_drawn_there_and_what_overlaps_beside_it():
    outer, inner, later = attempt(1, 0, 10), attempt(2, 1, 2), attempt(3, 2, 3)
    assert set(tracks(traced([inner, later, outer])).values()) == {"worker 0"}
    overlapping = attempt(4, 5, 11)
    assert tracks(traced([inner, outer, overlapping])) | {} == {
        "f-1": "worker 0",
        "f-2": "worker 0",
        "f-4": "worker 0 (2)",
    }


def test_an_arrow_comes_from_a_slice_that_others_are_inside_of():
    needed = [attempt(1, 0, 10), attempt(2, 1, 2), attempt(3, 11, 12, needs=["f-1"]), attempt(4, 3, 4, needs=["f-2"])]
    assert sorted(checked(traced(needed))[1]) == [("f-1", "f-3"), ("f-2", "f-4")]


def test_no_arrow_goes_back():
    backwards = [attempt(1, 5, 6), attempt(2, 0, 1, needs=["f-1"]), attempt(3, 7, 8, needs=["f-3"])]
    assert checked(traced(backwards))[1] == []


def test_a_future_of_others_by_the_name_of_a_task_has_no_arrow():
    assert checked(traced([attempt(1, 0, 1), attempt(2, 2, 3, needs=["g-1", f"f-{'9' * 5000}", "f-"])]))[1] == []


def test_many_at_once_have_a_track_each_and_give_it_on():
    many = 3 * SEARCHED
    first = [attempt(number, number * 1e-3, 1 + number * 1e-3) for number in range(1, many)]
    second = [attempt(many + number, 2 + number * 1e-3, 3 + number * 1e-3) for number in range(1, many)]
    assert len(set(tracks(traced(first + second)).values())) == many - 1


def test_what_is_too_deep_is_drawn_beside():
    deep = [attempt(number, number * 1e-3, 10 - number * 1e-3) for number in range(1, 2 * DEEPEST + 1)]
    assert set(tracks(traced(deep)).values()) == {"worker 0", "worker 0 (2)"}


def test_names_are_data():
    trace = traced([attempt(1, 0, 1, name=NASTY), attempt(2, 2, 3, needs=[f"{NASTY}-1"])], name=NASTY)
    slices, arrows = checked(trace)
    assert slices[0]["name"] == NASTY
    assert arrows == [(f"{NASTY}-1", "f-2")]


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_trace_of_nothing(suffix):
    assert checked(traced([], name="", suffix=suffix)) == ([], [])


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text("old")
    with pytest.raises(AttributeError):
        write(Snapshot("x", 1, [attempt(1, 0, 1), None], 0, []), path)  # type: ignore[list-item]
    with pytest.raises(FileNotFoundError, match=r"trace\.json'$"):
        write(Snapshot("x", 1, [], 0, []), tmp_path / "missing" / "trace.json")
    with pytest.raises(IsADirectoryError):
        write(Snapshot("x", 1, [], 0, []), tmp_path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["trace.json"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.json").symlink_to("trace.json")
    write(Snapshot("x", 1, [], 0, []), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert read(tmp_path / "trace.json")["otherData"]["attempts"] == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append(read(tmp_path / "pipe")), daemon=True)
    reader.start()
    write(Snapshot("x", 1, [attempt(1, 0, 1)], 0, []), tmp_path / "pipe")
    reader.join(20)
    assert len(checked(found[0])[0]) == 1
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
