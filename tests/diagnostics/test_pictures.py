"""Pictures of arbitrary graphs as SVG, DOT and Mermaid (CONTRACT 12)."""

import os
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphfutures.diagnostics import boxes
from graphfutures.diagnostics.amounts import in_bytes, in_time
from graphfutures.diagnostics.looks import clean, on_one_line, width
from graphfutures.diagnostics.naming import function_of, without_tokens
from graphfutures.diagnostics.pictures import of_snapshot
from graphfutures.diagnostics.snapshot import Pending, Snapshot
from graphfutures.history import Attempt

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</script><img src=x onerror=alert(1)>\"'&#]`%%\\\n\r\x00\x1fé\ud800\ufffe 𝄞 end"


def attempt(serial, name="f", good=True, needs=(), seconds=1.0, worker=0, size=0):
    return Attempt(serial, name, worker, float(serial), serial + seconds, size, good, tuple(needs))


def pictured(attempts=(), pending=(), missing=0, name="loads", **options):
    return of_snapshot(Snapshot(name, 2, list(attempts), missing, list(pending)), **options)


def read(picture):
    """The tooltips of the boxes, and all texts, of a picture that is well formed."""
    root = ElementTree.fromstring(picture.svg)
    drawn = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    assert all(group.find(f"{SVG}rect") is not None for group in drawn)
    return [group.find(f"{SVG}title").text for group in drawn], [text.text or "" for text in root.iter(f"{SVG}text")]


def lines(picture):
    return len(re.findall(r"<path d=", picture.svg))


names = st.one_of(st.sampled_from(["f", "g"]), st.text(max_size=5), st.just(NASTY))
keys = st.one_of(st.tuples(names, st.integers(1, 9)).map(lambda pair: f"{pair[0]}-{pair[1]}"), st.text(max_size=4))
needs = st.lists(keys, max_size=4).map(tuple)
moments = st.floats(0, 1e4)
snapshots = st.builds(
    Snapshot,
    names,
    st.integers(1, 4),
    st.lists(
        st.builds(
            Attempt,
            st.integers(1, 9),
            names,
            st.integers(-1, 3),
            moments,
            moments,
            st.integers(0, 10**15),
            st.booleans(),
            needs,
        ),
        max_size=12,
    ),
    st.integers(0, 10**6),
    st.lists(
        st.builds(Pending, st.integers(1, 9), names, st.sampled_from(["waiting", "ready", "running"]), needs),
        max_size=6,
    ),
    st.lists(
        st.builds(Pending, st.integers(1, 9), names, st.sampled_from(["done", "failed", "cancelled"]), needs),
        max_size=6,
    ),
)


@given(snapshots, st.sampled_from(["state", "time"]), st.sampled_from([None, "right", "down"]))
def test_each_task_is_drawn(snapshot, color, direction):
    picture = of_snapshot(snapshot, color=color, direction=direction, group=False)
    told, _ = read(picture)
    keys = {one.key for one in [*snapshot.attempts, *snapshot.without, *snapshot.pending]}
    assert len(told) >= len(keys)
    assert len(told) == len(re.findall(r"^  n\d+ \[", picture.dot, re.MULTILINE))
    assert len(told) == len(re.findall(r"^  n\d+\[", picture.mermaid, re.MULTILINE))
    for key in keys:
        begins = clean(key).replace("\r", "\n") + "\n"  # XML knows one kind of line ends
        assert any(text.startswith(begins) for text in told)
    for text in (picture.dot, picture.mermaid, picture.svg):
        text.encode()
    known = {f"n{number}" for number in range(len(told))}
    arrows = re.findall(r"^  (n\d+) -> (n\d+)[ ;]", picture.dot, re.MULTILINE)
    assert {end for arrow in arrows for end in arrow} <= known
    assert len(arrows) == lines(picture) == len(re.findall(r"^  n\d+ -->", picture.mermaid, re.MULTILINE))


@given(snapshots)
def test_groups_stand_for_all(snapshot):
    found = boxes.of_snapshot(snapshot, True)
    each = boxes.of_snapshot(snapshot, False)
    assert sum(box.tasks for box in found.boxes) == len(each.boxes)
    assert sum(found.lines.values()) == len(each.lines)
    assert all(0 <= end < len(found.boxes) for line in found.lines for end in line)
    read(of_snapshot(snapshot, group=True))


def test_what_it_tells():
    done = attempt(1, "load", size=3_000_000, seconds=0.25, worker=3)
    failed = [attempt(2, "parse", good=False, needs=["load-1"]), attempt(2, "parse", good=False, needs=["load-1"])]
    waiting = Pending(3, "sum", "waiting", ("load-1", "put-9"))
    picture = pictured([done, *failed], [waiting], missing=4)
    told, texts = read(picture)
    assert told[:3] == [
        "load-1\ndone\n250 ms on worker 3\n3 MB",
        "parse-2\nfailed\n2 s on worker 0\n2 attempts",
        "sum-3\nwaiting",
    ]
    assert told[3].startswith("put-9\na value that was put, a future of others, or")
    title = "loads: 3 tasks, 1 failed, 1 waiting; 4 more that have ended are not remembered"
    assert texts[:5] == [title, "done", "failed", "waiting", "not remembered"]
    assert texts[5:] == ["250 ms", "load-1", "failed · 2 s", "parse-2", "waiting", "sum-3", "put-9"]
    assert lines(picture) == 3
    assert repr(picture) == f"<Picture {title}; 4 boxes>"
    assert picture._repr_svg_() == picture.svg
    assert picture.svg in picture._repr_html_()


def test_a_task_that_is_tried_again_waits():
    told, _ = read(pictured([attempt(1, good=False)], [Pending(1, "f", "ready", ())]))
    assert told == ["f-1\nready\n1 s on worker 0"]


def test_futures_of_others_are_not_one():
    told, _ = read(pictured([attempt(1, needs=["a Future"]), attempt(2, needs=["a Future"])]))
    assert sum(text.startswith("a Future\n") for text in told) == 2


def test_many_are_grouped_by_function():
    loads = [attempt(number, "load") for number in range(1, 301)]
    sums = [attempt(number, "sum", needs=[f"load-{number - 300}"]) for number in range(301, 303)]
    again = attempt(303, "sum", needs=["sum-301", "sum-302"])
    picture = pictured([*loads, *sums, again])
    told, texts = read(picture)
    assert told[0] == "load\n300 × done\n5 min 0 s in all, 1 s each, at most 1 s"
    assert told[1] == "sum\n3 × done\n3 s in all, 1 s each, at most 1 s"
    assert texts[2:4] == ["2", "2"]  # load → sum, and sum → sum
    assert 'n0 -> n1 [label="2"];' in picture.dot
    assert 'n1 -->|"2"| n1' in picture.mermaid
    assert len(read(pictured([*loads, *sums, again], group=False))[0]) == 303
    assert len(read(pictured(sums, group=True))[0]) == 2


def test_too_many_functions_are_taken_together():
    picture = pictured([attempt(number, f"f{number}x") for number in range(1, 1000)])
    told, _ = read(picture)
    assert len(told) <= boxes.GROUPS
    assert any(text.startswith("857 other functions\n857 × done") for text in told)


def test_color_by_time():
    picture = pictured(
        [attempt(1, seconds=1e-5), attempt(2, seconds=10)], [Pending(3, "f", "waiting", ())], color="time"
    )
    _, texts = read(picture)
    assert texts[1:4] == ["up to 10 ms", "10 s", "no time"]
    assert len(set(re.findall(r'fillcolor="(#\w+)"', picture.dot))) == 3


@pytest.mark.parametrize("empty", [pictured(), pictured(color="time"), pictured(group=True, name="")])
def test_a_picture_of_nothing(empty):
    assert read(empty)[0] == []
    assert empty.dot.endswith("}\n")


def test_names_are_data():
    picture = pictured([attempt(1, NASTY), attempt(2, needs=[f"{NASTY}-1"])], name=NASTY)
    assert "<img" not in picture.svg + picture.mermaid
    assert lines(picture) == 1
    (label,) = re.findall(
        r'^  n0 \[label="((?:[^"\\]|\\.)*)", tooltip="(?:[^"\\]|\\.)*", fill', picture.dot, re.MULTILINE
    )
    assert label.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\").startswith("</script><img src=x")
    for line in picture.mermaid.split("\n"):
        assert re.fullmatch(
            r'flowchart LR|  n\d+\["[^"<>`]*(<br/>[^"<>`]*)*"\]:::look\d|  n0 --> n1|  classDef .*|', line
        )


@pytest.mark.parametrize(
    ("name", "begins"),
    [("x.svg", "<svg "), ("x.dot", "digraph {"), ("x.mmd", "flowchart "), ("x.Mermaid", "flowchart ")],
)
def test_saving(tmp_path, name, begins):
    picture = pictured([attempt(1, NASTY)], path=tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    (tmp_path / name).unlink()
    picture.save(str(tmp_path / name))
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"path": "x.png"}, ValueError, r"\.svg, \.dot, \.mmd, \.mermaid.*not 'x\.png'"),
        ({"path": "graph"}, ValueError, r"\.svg"),
        ({"colour": "time"}, TypeError, "'colour' .did you mean 'color'.*group, direction"),
        ({"color": "order"}, ValueError, "color must be 'state' or 'time', not 'order'"),
        ({"group": 1}, ValueError, "group must be None or True or False, not 1"),
        ({"direction": "LR"}, ValueError, "direction must be None or 'right' or 'down'"),
    ],
)
def test_wrong_options(wrong, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        pictured([attempt(1)], **wrong)
    assert os.listdir(tmp_path) == []


@given(st.text(max_size=80), st.floats(30, 200))
def test_labels_fit(text, wide):
    short = on_one_line(text, wide)
    assert width(short) <= wide or len(short) <= 3
    assert "\n" not in short


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0, "0 µs"), (4.5e-5, "45 µs"), (0.00045, "450 µs"), (0.0123, "12.3 ms"), (0.9996, "1 s"), (1.234, "1.23 s")],
        *[(99.9, "99.9 s"), (100, "1 min 40 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
    ],
)
def test_times_as_one_reads_them(seconds, text):
    assert in_time(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (3_456_000, "3.46 MB"), (999_999, "1 MB"), (10**18, "1000 PB")],
)
def test_bytes_as_one_reads_them(size, text):
    assert in_bytes(size) == text


@pytest.mark.parametrize(
    ("name", "function", "readable"),
    [
        ("load", "load", "load"),
        ("load-3", "load", "load-3"),
        ("inc-691aa2be-3", "inc", "inc-3"),
        ("('sum-c19e4aba519772e2bb7e303456c25293', 0, 1)-9", "('sum', 0, 1)", "('sum', 0, 1)-9"),
        ("('sum-c19e4aba519772e2bb7e303456c25293', 0, 1)", "sum", "('sum', 0, 1)"),
        ("sum-aggregate-c872c6d30604431aaafb4cdca077599d", "sum-aggregate", "sum-aggregate"),
        ("-3", "-3", "-3"),
        ("", "", ""),
    ],
)
def test_what_names_say(name, function, readable):
    assert function_of(name) == function
    assert without_tokens(name) == readable
