"""Large arrays that tasks in worker processes hand to each other: what is copied, and what is made again."""

from __future__ import annotations

import os
import random
import signal
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from faults import FAULTS, workers
from patience import LIMIT, in_time, until

from graphfutures import GraphExecutor, current_executor
from graphfutures.backends.processes.attendant import Attendant
from graphfutures.backends.processes.messages import LINKS

LENGTH = 130_000  # of an array of one megabyte


@pytest.fixture(params=[1, 2])
def executor(request: pytest.FixtureRequest) -> Iterator[GraphExecutor]:
    one = GraphExecutor(request.param, backend="processes")
    one.submit(np.ones, 1).result(LIMIT)  # which imports numpy
    yield one
    in_time(one.shutdown)


def written(executor: GraphExecutor) -> int:
    """How many values have been written into files that are still there."""
    folders = executor._hub.backend.store.folders()  # type: ignore[attr-defined]
    return sum(len(os.listdir(folder)) - 1 for folder in folders)


def last_number(executor: GraphExecutor, value: Any) -> int:
    """How many values the worker had written before this one."""
    return int(executor._hub.backend.attendants and value._outcome._layout[0].rpartition("-")[2])  # type: ignore[attr-defined]


def make(number: float, pause: float = 0.002) -> Any:
    threading.Event().wait(pause)
    return np.full(LENGTH, number, dtype=float)


def plus(array: Any, number: float = 1) -> Any:
    return array + number


def plus_in_place(array: Any) -> Any:
    array += 1
    return array


def added(*arrays: Any) -> Any:
    return sum(arrays[1:], arrays[0])


def value(array: Any) -> float:
    assert (array == array[0]).all()
    return float(array[0])


def noted(array: Any, path: str) -> Any:
    with open(path, "a") as file:
        file.write("x")
    return array + 1


def killed_once(array: Any, path: str) -> Any:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return array + 1


def test_the_links_of_a_chain_are_not_written(executor: GraphExecutor) -> None:
    def chain() -> Any:
        array = executor.submit(make, 0, 0.2)
        for _ in range(30):
            array = executor.submit(plus, array)
        return array

    last = chain()
    assert value(last.result(LIMIT)) == 30
    assert last_number(executor, last) < 10, "values that nobody had a future of were written"


def test_what_was_seen_before_is_not_asked(executor: GraphExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker waits for the answer whether it may hand on a value only as long as it was not told with the tasks."""
    asked: list[int] = []
    may = Attendant._taker

    def taker(self: Attendant, hub: Any, ticket: int, taker: int) -> int:
        if taker:
            asked.append(ticket)
        return may(self, hub, ticket, taker)

    monkeypatch.setattr(Attendant, "_taker", taker)
    for _ in range(3):
        before, ends = len(asked), list[Any]()
        for number in range(20):
            array = executor.submit(make, number, 0.002)
            for _ in range(3):
                array = executor.submit(plus, array)
            ends.append(array)
        del array
        assert [value(end.result(LIMIT)) for end in ends] == [number + 3 for number in range(20)]
    assert len(asked) - before < 20, "of 60 links"


MUCH = 8_000_000  # items of an array of 64 MB


def moved(executor: GraphExecutor) -> int:
    """Bytes that this process and its workers have written, to each other or into files."""
    everybody = [psutil.Process(), *workers()]
    return sum(process.io_counters().write_chars for process in everybody)


def test_a_chain_of_large_arrays_moves_next_to_nothing(executor: GraphExecutor) -> None:
    def chain() -> Any:
        array = executor.submit(np.ones, MUCH)
        for _ in range(10):
            array = executor.submit(np.add, array, 1)
        return executor.submit(np.sum, array)

    assert executor.submit(abs, -1).result(LIMIT) == 1
    before = moved(executor)
    assert chain().result(LIMIT) == 11 * MUCH
    assert moved(executor) - before < 1_000_000


def test_what_is_put_moves_once(executor: GraphExecutor) -> None:
    array = np.ones(MUCH)
    before = moved(executor)
    there = executor.put(array)
    sums = [executor.submit(np.take, there, number) for number in range(1000)]
    assert sum(one.result(LIMIT) for one in sums) == 1000
    assert moved(executor) - before < array.nbytes + 1_000_000


@pytest.mark.parametrize("step", [plus, plus_in_place])
def test_every_link_of_a_chain_that_is_held_has_its_value(executor: GraphExecutor, step: Any) -> None:
    arrays = [executor.submit(make, 0, 0.05)]
    for _ in range(20):
        arrays.append(executor.submit(step, arrays[-1]))
    assert [value(array.result(LIMIT)) for array in arrays] == list(range(21))


def test_some_links_of_a_chain_are_held(executor: GraphExecutor) -> None:
    array, held = executor.submit(make, 0, 0.05), []
    for number in range(1, 60):
        array = executor.submit(plus_in_place if number % 2 else plus, array)
        if number % 7 == 0:
            held.append((number, array))
    assert value(array.result(LIMIT)) == 59
    assert [(number, value(one.result(LIMIT))) for number, one in held] == [(n, n) for n in range(7, 60, 7)]


def test_an_argument_beside_the_array(executor: GraphExecutor) -> None:
    array = executor.submit(make, 0, 0.05)
    for _ in range(10):
        array = executor.submit(plus, array, 2)
    assert value(array.result(LIMIT)) == 20


def test_two_arguments_and_twice_the_same(executor: GraphExecutor) -> None:
    one, other = executor.submit(make, 1, 0.05), executor.submit(make, 2, 0.05)
    both = executor.submit(added, one, other, one)
    del one, other
    assert value(executor.submit(plus, both).result(LIMIT)) == 5


BUFFER = np.zeros(LENGTH)


def reused(number: float) -> Any:
    BUFFER[:] = number
    return BUFFER


def view_of_reused(number: float) -> Any:
    BUFFER[:] = number
    return BUFFER[:]


@pytest.mark.parametrize("function", [reused, view_of_reused])
def test_a_buffer_that_the_next_task_fills_again(executor: GraphExecutor, function: Any) -> None:
    found = [executor.submit(value, executor.submit(function, number)) for number in range(40)]
    assert [one.result(LIMIT) for one in found] == list(range(40))


def plus_when_told(array: Any, folder: str) -> Any:
    Path(folder, "begun").touch()
    assert until(Path(folder, "go").exists)
    return array + 1


def test_a_future_that_is_known_weakly(executor: GraphExecutor, tmp_path: Path) -> None:
    array = executor.submit(make, 4, 0.2)
    weak, following = weakref.ref(array), executor.submit(plus_when_told, array, str(tmp_path))
    del array
    assert until((tmp_path / "begun").exists)
    again = weak()
    (tmp_path / "go").touch()
    assert again is None or value(again.result(LIMIT)) == 4
    assert value(following.result(LIMIT)) == 5


def make_known(number: float) -> Any:
    array = make(number, 0.2)
    np.known = weakref.ref(array)  # type: ignore[attr-defined]
    return array


def changed(array: Any) -> Any:
    array += 1
    known = np.known()  # type: ignore[attr-defined]
    return value(array), None if known is None else value(known)


def test_an_array_that_its_maker_knows_weakly(executor: GraphExecutor) -> None:
    following = executor.submit(changed, executor.submit(make_known, 1))
    assert following.result(LIMIT) in ((2, None), (2, 1))


KNOWN: list[Any] = []


def make_and_know(number: float, kind: str) -> Any:
    """An array that is inside of something else, and which somebody else has as well, or a view of it."""
    array = make(number, 0.1)
    KNOWN[:] = [array if kind == "array" else array[5:]] if kind != "nobody" else []
    return {"array": array[:], "first": [array[:1]]}


def changed_inside(found: Any) -> tuple[float, list[float]]:
    found["array"] += 1
    return value(found["array"]), [value(array) for array in KNOWN]


@pytest.mark.parametrize("kind", ["array", "view", "nobody"])
def test_an_array_inside_of_something_that_its_maker_knows(executor: GraphExecutor, kind: str) -> None:
    for number in range(5):
        found, known = executor.submit(changed_inside, executor.submit(make_and_know, number, kind)).result(LIMIT)
        assert found == number + 1
        assert known in ([], [number]) or executor._hub.backend.max_workers > 1  # type: ignore[attr-defined]


def of_a_library(number: float, inside: bool) -> Any:
    """An array of memory that is not its own, and that it has no base for, as f2py makes those of a module."""
    from ctypes import POINTER, PYFUNCTYPE, c_char_p, c_int, c_ssize_t, c_void_p, cast, py_object, pythonapi

    make(0, 0.1)  # so that the next task is here by then
    KNOWN[:] = memory = [np.full(LENGTH, number, dtype=float)]
    core = getattr(np, "_core", None) or np.core
    capsule = PYFUNCTYPE(c_void_p, py_object, c_char_p)(("PyCapsule_GetPointer", pythonapi))
    table = cast(capsule(core._multiarray_umath._ARRAY_API, None), POINTER(c_void_p))
    new = PYFUNCTYPE(py_object, c_void_p, c_int, c_void_p, c_int, c_void_p, c_void_p, c_int, c_int, c_void_p)(table[93])
    flags = np.ones(1).flags.num & ~4  # without OWNDATA
    array = new(table[2], 1, (c_ssize_t * 1)(LENGTH), 12, None, memory[0].ctypes.data, 0, flags, None)
    assert array.base is None
    assert not array.flags.owndata
    return [array] if inside else array


def changed_of_a_library(found: Any) -> tuple[float, list[float]]:
    array = found[0] if type(found) is list else found
    array += 1
    return value(array), [value(array) for array in KNOWN]


@pytest.mark.parametrize("inside", [False, True])
def test_memory_of_a_library(executor: GraphExecutor, inside: bool) -> None:
    found, known = executor.submit(changed_of_a_library, executor.submit(of_a_library, 1, inside)).result(LIMIT)
    assert found == 2
    assert known in ([], [1])


def frame_of(number: float, kind: str) -> Any:
    """A frame, memory of which somebody has as well."""
    array = make(number, 0.1)
    frame = pd.DataFrame({"a": array, "b": 0.0}, copy=kind != "over an array")
    frame.index.name = "row"
    text = frame.assign(t=pd.Series(["x"] * LENGTH))
    had: dict[str, tuple[Any, Any]] = {
        "nobody": (None, frame),
        "frame": (frame, frame),
        "copy of it": (frame.copy(deep=False), frame),
        "column": (frame.a, frame),
        "of a column": (frame, frame.a),
        "values": (frame.a.values, frame),
        "extension": (frame.a.array, frame),
        "over an array": (array, frame),
        "index": (frame.index, frame),
        "with text": (frame, text),
    }
    known, found = had[kind]
    KNOWN[:] = [known]
    return found


def changed_frame(found: Any) -> tuple[float, list[Any]]:
    column = found if isinstance(found, pd.Series) else found["a"]
    column.array[:] = column.array[0] + 1  # which pandas lets through to whoever shares the memory
    column.index.name = found.index.name = "changed"
    if isinstance(found, pd.DataFrame):
        found.iloc[0, 0] = found.iloc[1, 0]
    kept = [one for one in KNOWN if one is not None]
    names = [
        one.name if isinstance(one, pd.Index) else getattr(getattr(one, "index", None), "name", "row") for one in kept
    ]
    numbers = [
        float((one["a"] if isinstance(one, pd.DataFrame) else one)[0]) for one in kept if not isinstance(one, pd.Index)
    ]
    return float(column.iloc[0]), [*names, *numbers]


@pytest.mark.parametrize(
    "kind",
    [
        *("nobody", "frame", "copy of it", "column", "of a column", "values", "extension", "over an array", "index"),
        "with text",
    ],
)
def test_a_frame_that_its_maker_knows(executor: GraphExecutor, kind: str) -> None:
    for number in range(3):
        found, known = executor.submit(changed_frame, executor.submit(frame_of, number, kind)).result(LIMIT)
        assert found == number + 1
        if executor._hub.backend.max_workers == 1:  # type: ignore[attr-defined]
            assert known in ([], ["row"], ["row", number])


def frame_over_an_index() -> Any:
    array = make(3, 0.1)
    KNOWN[:] = [array]
    return pd.DataFrame({"a": array.copy()}, index=pd.Index(array, copy=False))


def index_after_a_change(frame: Any) -> float:
    for array in KNOWN:
        np.add(array, 1, out=array)
    return float(frame.index[0])


def test_an_index_over_an_array_that_its_maker_knows(executor: GraphExecutor) -> None:
    for _ in range(3):
        assert executor.submit(index_after_a_change, executor.submit(frame_over_an_index)).result(LIMIT) == 3


def more(frame: Any) -> Any:
    return frame[frame.a >= 0].assign(a=frame.a + 1)


def test_frames_are_handed_on_as_they_are(executor: GraphExecutor) -> None:
    def chain() -> Any:
        frame = executor.submit(lambda: pd.DataFrame({"a": make(0, 0.2), "t": ["x"] * LENGTH}))
        for _ in range(30):
            frame = executor.submit(more, frame)
        return frame

    last = chain()
    assert value(last.result(LIMIT).a.values) == 30
    assert last_number(executor, last) < 10, "values that nobody had a future of were written"


def test_frames_that_several_need_are_changed_for_none(executor: GraphExecutor) -> None:
    for number in range(5):
        frame = executor.submit(frame_of, number, "nobody")
        columns = [executor.submit(pd.DataFrame.get, frame, name) for name in ("a", "b", "a")]
        users = [executor.submit(changed_frame, one) for one in (frame, columns[0], frame, columns[2])]
        others = [executor.submit(value, executor.submit(getattr, one, "values")) for one in columns]
        del frame, columns
        assert [user.result(LIMIT)[0] for user in users] == [number + 1] * 4
        assert [other.result(LIMIT) for other in others] == [number, 0, number]


def wrapped(found: Any) -> Any:
    return {"array": found["array"] + 1, "strings": pd.Series(["x"] * LENGTH)}


def test_what_is_no_array_is_handed_on_as_well(executor: GraphExecutor) -> None:
    def chain() -> Any:
        found = executor.submit(lambda: {"array": make(0, 0.2)})
        for _ in range(30):
            found = executor.submit(wrapped, found=found)
        return found

    last = chain()
    assert value(last.result(LIMIT)["array"]) == 30
    assert last_number(executor, last) < 10, "values that nobody had a future of were written"


def test_a_value_that_several_need_is_changed_by_none(executor: GraphExecutor) -> None:
    for _ in range(5):
        array = executor.submit(make, 1, 0.05)
        users = [executor.submit(value, executor.submit(plus_in_place, array)) for _ in range(4)]
        inside = executor.submit(lambda: {"array": make(1, 0.05), "first": []})
        users += [executor.submit(lambda found: changed_inside(found)[0], inside) for _ in range(4)]
        del array, inside
        assert [user.result(LIMIT) for user in users] == [2] * 8


def waits_for(array: Any, path: str) -> float:
    assert until(Path(path).exists)
    return value(array)


def test_what_has_ended_makes_room_for_others(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with GraphExecutor(2, backend="processes", max_pending=2) as executor:
        executor.submit(np.ones, 1).result(LIMIT)
        waiting = executor.submit(waits_for, executor.submit(make, 1, 0.05), str(go))
        other = in_time(executor.submit, abs, -1)
        go.touch()
        assert (waiting.result(LIMIT), other.result(LIMIT)) == (1, 1)


def test_what_has_failed_takes_its_input_with_it(executor: GraphExecutor) -> None:
    failing = executor.submit(np.reshape, executor.submit(make, 1), (3, 5))
    with pytest.raises(ValueError, match="reshape"):
        failing.result(LIMIT)
    assert value(executor.submit(make, 2).result(LIMIT)) == 2


def test_a_chain_that_is_cancelled_halfway(executor: GraphExecutor) -> None:
    array, held = executor.submit(make, 0, 0.1), []
    for number in range(30):
        array = executor.submit(plus, array)
        if number == 15:
            held.append(array)
    held[0].cancel()
    wait([array], LIMIT)
    assert array.cancelled() or value(array.result(0)) == 30
    assert value(executor.submit(make, 2).result(LIMIT)) == 2


def submits_and_waits() -> float:
    return float(value(current_executor().submit(make, 3).result()))


def test_a_task_between_two_links_waits(executor: GraphExecutor) -> None:
    for _ in range(20):
        array = executor.submit(make, 0)
        between = executor.submit(submits_and_waits)
        for _ in range(3):
            array = executor.submit(plus, array)
        assert between.result(LIMIT) == 3
        assert value(array.result(LIMIT)) == 3


def test_what_a_dead_worker_had_is_made_again(executor: GraphExecutor, tmp_path: Path) -> None:
    array, notes = executor.submit(make, 0, 0.1), tmp_path / "notes"
    for _ in range(10):
        array = executor.submit(noted, array, str(notes))
    array = executor.submit(killed_once, array, str(tmp_path / "killed"))
    assert value(array.result(LIMIT)) == 11
    assert 10 <= len(notes.read_text()) <= 20


def test_no_more_is_made_again_than_may_be(executor: GraphExecutor, tmp_path: Path) -> None:
    array, notes = executor.submit(make, 0, 0.1), tmp_path / "notes"
    for _ in range(3 * LINKS):
        array = executor.submit(noted, array, str(notes))
    array = executor.submit(killed_once, array, str(tmp_path / "killed"))
    assert value(array.result(LIMIT)) == 3 * LINKS + 1
    assert len(notes.read_text()) - 3 * LINKS <= LINKS


def test_what_is_never_to_run_twice_does_not(executor: GraphExecutor, tmp_path: Path) -> None:
    careful, notes = executor.options(crash_retries=0), tmp_path / "notes"
    array = executor.submit(make, 0, 0.1)
    for _ in range(10):
        array = careful.submit(noted, array, str(notes))
    array = executor.submit(killed_once, array, str(tmp_path / "killed"))
    assert value(array.result(LIMIT)) == 11
    assert len(notes.read_text()) == 10


@pytest.mark.long
def test_a_loop_over_arrays_while_workers_are_killed(executor: GraphExecutor, tmp_path: Path) -> None:
    notes, memory, kills = tmp_path / "notes", list[int](), 0
    array = executor.submit(make, 0)
    for step in range(1, 10_001):
        array = executor.submit(noted, array, str(notes))
        if step % 500 == 250:
            half = array
        if step % 500 == 0:
            wait([half], LIMIT)
            memory.append(used(executor))
            running = [one for one in tuple(executor._hub.backend.attendants) if one.running]  # type: ignore[attr-defined]
            for one in running:
                one.kill()
            kills += bool(running)
            running = one = None  # which would keep all that was in its hand
            wait([array], LIMIT)
    assert value(array.result(LIMIT)) == 10_000
    assert kills > 15
    assert len(notes.read_text()) <= 10_000 + kills * LINKS
    assert max(memory[5:]) <= 1.1 * max(memory[:5]), memory


def used(executor: GraphExecutor) -> int:
    """Bytes of this process, of its largest worker, and of the values in files."""
    folders = executor._hub.backend.store.folders()  # type: ignore[attr-defined]
    files = 0
    for folder in folders:
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):  # it goes as soon as nobody needs it
                files += os.path.getsize(os.path.join(folder, name))
    largest = max((one.memory_info().rss for one in workers()), default=0)  # how many there are is chance
    return files + psutil.Process().memory_info().rss + largest


def faulty(array: Any, path: str, act: Any) -> Any:
    """Goes wrong once, after it has changed its input."""
    array += 1
    if not os.path.exists(path):
        Path(path).touch()
        act()
    return array


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("retries", [0, 3])
def test_a_fault_where_the_only_copy_is(executor: GraphExecutor, tmp_path: Path, fault: str, retries: int) -> None:
    act, kind, told = FAULTS[fault]
    others = [executor.submit(abs, -number) for number in range(20)]
    array = executor.submit(make, 0, 0.1)
    for _ in range(5):
        array = executor.submit(plus, array)
    door = executor if retries else executor.options(crash_retries=0)
    array = door.submit(faulty, array, str(tmp_path / "happened"), act)
    ended = executor.submit(plus, array)
    if FAULTS[fault].kills and retries:
        assert value(ended.result(LIMIT)) == 7
    else:
        with pytest.raises(kind, match=told):
            ended.result(LIMIT)
    assert [other.result(LIMIT) for other in others] == list(range(20))
    assert value(executor.submit(plus, executor.submit(make, 1)).result(LIMIT)) == 2


def chaos(executor: GraphExecutor, seed: int, most: int) -> None:
    """A random graph of arrays, few of whose futures are held, while workers are killed."""
    rng = random.Random(seed)
    attendants = executor._hub.backend.attendants  # type: ignore[attr-defined]
    door = executor.options(name=f"chaos {seed}") if rng.random() < 0.2 else executor
    values: list[float] = []
    futures: list[Any] = []
    held: dict[int, Any] = {}
    kills = set(rng.sample(range(most), 3))
    for number in range(most):
        near = range(max(0, number - rng.choice([1, 1, 1, 4])), number)
        needs = [rng.choice(near) for _ in range(rng.choice([0, 1, 1, 1, 2]))] if near else []
        arrays = [futures[need] for need in needs if futures[need] is not None]
        inputs = [values[need] for need in needs if futures[need] is not None]
        if arrays:
            function = rng.choice([added, added, plus_in_place]) if len(arrays) == 1 else added
            futures.append(door.submit(function, *arrays))
            values.append(sum(inputs) + (function is plus_in_place))
        else:
            futures.append(door.submit(make, number, rng.choice([0, 0.001, 0.01])))
            values.append(number)
        if number >= 4 and rng.random() < 0.9:
            futures[number - 4] = None
        elif number >= 4:
            held[number - 4] = futures[number - 4]
        if number in kills and (started := [one for one in tuple(attendants) if one.process is not None]):
            rng.choice(started).kill()
    del arrays
    held |= {number: future for number, future in enumerate(futures) if future is not None}
    futures.clear()
    assert {number: value(future.result(LIMIT)) for number, future in held.items()} == {n: values[n] for n in held}


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_chaos_of_arrays(first: int) -> None:
    with GraphExecutor(1 + first // 10 % 3, backend="processes") as executor:
        for seed in range(first, first + 10):
            chaos(executor, seed, most=40)
        assert until(lambda: written(executor) == 0)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_long_chaos_of_arrays(first: int) -> None:
    for seed in range(first, first + 100):
        print(seed)
        with GraphExecutor(1 + seed % 3, backend="processes") as executor:
            chaos(executor, seed, most=200)
