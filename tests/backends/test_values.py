"""Values that are too large for messages, and those that nobody has asked for yet (CONTRACT 3, 7, 10)."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import Future, as_completed, wait
from pathlib import Path
from platform import libc_ver
from typing import Any

import pytest
from faults import workers
from gates import Gate
from patience import LIMIT, in_time, until

from graphfutures import GraphExecutor, allow_failure, current_executor, unpack
from graphfutures.backends.processes import store
from graphfutures.backends.processes.files import HUGE, LARGE, Mapper, Pickled, copied, read, write

pytestmark = pytest.mark.ci

SIZE = 4 * LARGE


class Block:
    """A value whose pickle leaves its memory out, as those of arrays do."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.memory),)


def block(number: int, size: int = SIZE) -> Block:
    return Block(bytearray([number]) * size)


def first(one: Block) -> int:
    return int(one.memory[0])


def overwritten(one: Block) -> int:
    one.memory[:] = bytes(len(one.memory))
    return first(one)


def same(one: object, other: object) -> bool:
    return one is other


def plus(one: Block, number: int = 1) -> Block:
    return block(first(one) + number)


class Unreadable:
    def __init__(self, size: int) -> None:
        self.size = size

    def __reduce__(self) -> Any:
        return _fails, (bytes(self.size),)


def _fails(_: bytes) -> None:
    raise ValueError("it cannot be read")


@pytest.fixture(params=[1, 2])
def executor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GraphExecutor]:
    monkeypatch.setenv("GRAPHFUTURES_TEMP_DIR", str(tmp_path))
    one = GraphExecutor(request.param, backend="processes")
    yield one
    folders = folders_of(one)
    in_time(one.shutdown)
    assert until(lambda: not workers()), workers()
    assert [folder for folder in folders if os.path.exists(folder)] == []


def folders_of(executor: GraphExecutor) -> list[str]:
    return list(executor._hub.backend.store.folders())  # type: ignore[attr-defined]


def files_of(executor: GraphExecutor) -> list[str]:
    found = [os.path.join(folder, name) for folder in folders_of(executor) for name in os.listdir(folder)]
    return [path for path in found if not path.endswith(store.LOCK)]


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, HUGE - 1, HUGE, HUGE + 1])
def test_a_copy_is_memory_of_one_s_own(size: int) -> None:
    memory = bytearray(os.urandom(size))
    copy = copied(memoryview(memory))
    assert len(copy) == size
    assert bytes(copy) == bytes(memory)
    if size:
        copy[0] ^= 1
        assert copy[0] != memory[0]
        assert copy[1:] == memory[1:]
    assert pickle.loads(pickle.dumps(pickle.PickleBuffer(copy), protocol=5)) in (bytes(copy), bytearray(copy))


@pytest.mark.parametrize("sizes", [(), (LARGE,), (LARGE + 1, LARGE + 63, 3 * LARGE)])
def test_a_value_is_what_was_written(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    value = [Block(bytearray(os.urandom(size))) for size in sizes]
    found = Pickled(value, pickle.dumps)
    assert len(found.buffers) == len(sizes)
    layout = write(str(tmp_path / "value"), [*found.buffers, found.text])
    again = read(layout, pickle.loads)
    assert [bytes(one.memory) for one in again] == [bytes(one.memory) for one in value]
    assert layout[1] == os.path.getsize(tmp_path / "value")


class Once:
    """Gives what it has away when it is pickled."""

    def __init__(self, content: int) -> None:
        self.content: int | None = content

    def __getstate__(self) -> Any:
        content, self.content = self.content, None
        return {"content": content}


def once_with_what_has_no_name() -> Any:
    return [Once(5), lambda: 1, type("Made", (), {})]


def test_a_value_is_pickled_once_whatever_is_in_it() -> None:
    with GraphExecutor(1, backend="processes") as executor:
        (once, one, made) = executor.submit(once_with_what_has_no_name).result(LIMIT)
        assert (once.content, one(), made.__name__) == (5, 1, "Made")
        put = executor.put([Once(7), lambda: 2])
        assert executor.submit(lambda value: (value[0].content, value[1]()), put).result(LIMIT) == (7, 2)


def new_pages(size: int) -> int:
    """How many pages of memory were new to this process while it had this much."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    some = [bytearray(size) for _ in range(4)]
    del some
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_a_task_has_let_go_is_there_for_the_next_one() -> None:
    size, pages = 4 << 20, (16 << 20) // resource.getpagesize()
    with GraphExecutor(1, backend="processes") as executor:
        needed = [executor.submit(new_pages, size).result(LIMIT) for _ in range(5)]
    assert min(needed) < pages / 16


def test_a_file_is_mapped_again_if_the_memory_is_not_as_it_was(tmp_path: Path) -> None:
    mapper, layout = Mapper(), write(str(tmp_path / "value"), [bytes(SIZE), b"another one"])
    first_one = id(mapper.mapped(layout))
    mapper.next()
    assert id(mapper.mapped(layout)) == first_one
    view = memoryview(mapper.mapped(layout))[5:]
    in_use = mapper.mapped(layout)
    assert in_use is not view.obj
    view[SIZE // 2] = 1
    assert bytes(in_use) == bytes(SIZE) + b"another one"
    in_use[SIZE // 2] = 2
    del in_use
    mapper.next()
    assert mapper.mapped(layout)[:SIZE] == bytes(SIZE)
    mapper.next()
    mapper.next()
    assert mapper.memory is None, "the last task has not needed it"


def test_of_what_cannot_be_written_nothing_is_left(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write(str(tmp_path / "value"), [bytes(2000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


# -- where values are --------------------------------------------------------------------------


def test_a_file_goes_with_its_future(executor: GraphExecutor) -> None:
    future = executor.submit(block, 7)
    wait([future], LIMIT)
    assert len(files_of(executor)) == 1
    assert first(future.result(0)) == 7
    del future
    gc.collect()
    assert until(lambda: files_of(executor) == [])


def test_of_a_chain_only_what_somebody_needs_is_kept(executor: GraphExecutor) -> None:
    future = executor.submit(block, 0)
    for _ in range(20):
        future = executor.submit(plus, future)
    assert first(future.result(LIMIT)) == 20
    assert until(lambda: len(files_of(executor)) <= 1)


def test_a_value_can_be_had_after_the_executor() -> None:
    with GraphExecutor(1, backend="processes") as executor:
        large, small = executor.submit(block, 5), executor.submit(list, [1, 2])
        read_before = executor.submit(block, 6)
        read_before.result(LIMIT)
        folders = folders_of(executor)
    assert first(large.result(0)) == 5
    assert first(read_before.result(0)) == 6
    assert small.result(0) == [1, 2]
    assert [folder for folder in folders if os.path.exists(folder)] == []


def test_a_file_goes_whose_task_was_given_back(gate: Gate) -> None:
    with GraphExecutor(2, backend="processes") as executor:
        for _ in range(100):
            executor.submit(abs, -1).result(LIMIT)  # so that both of these are handed to one worker
        begin: Future[int] = Future()
        waiting = executor.submit(gate.passage, begin)
        value = executor.submit(block, begin)
        begin.set_result(1)
        gate.arrived()
        wait([value], LIMIT)
        assert len(files_of(executor)) == 1
        del value
        assert until(lambda: files_of(executor) == [])
        gate.open()
        assert waiting.result(LIMIT) == 1


def test_what_goes_beyond_the_budget_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFUTURES_TEMP_DIR", str(tmp_path))
    with GraphExecutor(1, backend="processes", max_shared_bytes=3 * SIZE) as executor:
        futures = []
        for number in range(4):
            futures.append(executor.submit(block, number))
            wait(futures, LIMIT)
        on_disk = [path for path in files_of(executor) if path.startswith(str(tmp_path))]
        assert len(on_disk) == (2 if os.path.isdir(store.MEMORY) else 4)
        assert [first(future.result(0)) for future in futures] == [0, 1, 2, 3]


def no_file_above(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_where_there_is_no_room_that_task_fails() -> None:
    with GraphExecutor(1, initializer=no_file_above, initargs=(2 * SIZE,), backend="processes") as executor:
        with pytest.raises(OSError, match="too large") as caught:
            executor.submit(block, 1, 3 * SIZE).result(LIMIT)
        assert "no room for a value of" in "".join(caught.value.__notes__)
        assert first(executor.submit(block, 1).result(LIMIT)) == 1
        assert until(lambda: files_of(executor) == [])


def test_where_there_is_no_room_for_what_is_put_the_task_fails(executor: GraphExecutor) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    there = executor.put(block(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
    try:
        error = executor.submit(first, there).exception(LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(error, OSError)
    assert "could not be sent to a worker process: argument 'one' has no room" in "".join(error.__notes__)
    assert executor.submit(first, there).result(LIMIT) == 1


def test_max_shared_bytes_is_a_number_above_zero() -> None:
    with pytest.raises(ValueError, match="max_shared_bytes must be greater than 0"):
        GraphExecutor(1, backend="processes", max_shared_bytes=0)
    with pytest.raises(TypeError, match="max_shared_bytes"):
        GraphExecutor(1, backend="processes", max_shared_bytes="1 GB")  # type: ignore[arg-type]


def test_a_folder_for_files_has_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFUTURES_TEMP_DIR", "/nowhere")
    with pytest.raises(ValueError, match="GRAPHFUTURES_TEMP_DIR must be a folder, not '/nowhere'"):
        GraphExecutor(1, backend="processes")


def test_a_folder_for_files_is_the_same_wherever_a_task_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "values").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHFUTURES_TEMP_DIR", "values")
    with GraphExecutor(1, backend="processes", max_shared_bytes=1) as executor:
        large = executor.submit(block, 3)
        wait([large], LIMIT)
        executor.submit(os.chdir, "/").result(LIMIT)
        assert executor.submit(first, large).result(LIMIT) == 3
        assert first(executor.submit(block, 4).result(LIMIT)) == 4


@pytest.mark.skipif(not os.path.isdir(store.MEMORY), reason="needs shared memory")
def test_a_folder_that_takes_no_files_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GRAPHFUTURES_TEMP_DIR", "/proc/self")
    with GraphExecutor(1, backend="processes", max_shared_bytes=1) as executor:
        assert first(executor.submit(block, 5).result(LIMIT)) == 5
    assert "no value can be written into /proc/self: " in caplog.text


def test_what_dead_processes_have_left_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHFUTURES_TEMP_DIR", str(tmp_path))
    left = tmp_path / f"{store.PREFIX}left"
    left.mkdir()
    (left / store.LOCK).touch()
    (left / "value").touch()
    new = tmp_path / f"{store.PREFIX}new"
    new.mkdir()
    with GraphExecutor(1, backend="processes") as one:
        one.submit(int).result(LIMIT)
        with GraphExecutor(1, backend="processes") as other:
            other.submit(int).result(LIMIT)
            assert not left.exists()
            assert new.exists()  # somebody is about to lock it
            assert [folder for folder in folders_of(one) if not os.path.exists(folder)] == []


# -- what others see of it ----------------------------------------------------------------------


def test_a_change_in_place_is_seen_by_nobody_else(executor: GraphExecutor) -> None:
    future = executor.submit(block, 3)
    changed = [executor.submit(overwritten, future) for _ in range(3)]
    seen = [executor.submit(first, future) for _ in range(3)]
    assert [one.result(LIMIT) for one in changed] == [0, 0, 0]
    assert [one.result(LIMIT) for one in seen] == [3, 3, 3]
    mine = future.result(LIMIT)
    assert first(mine) == 3
    overwritten(mine)
    assert executor.submit(first, future).result(LIMIT) == 3


def grown(one: Block, kept: list[Any]) -> int:
    kept.append(one)
    one.memory[-1] += 1
    return int(one.memory[-1])


KEPT: list[Any] = []


def grown_and_kept(one: Block) -> tuple[int, list[int]]:
    return grown(one, KEPT), [int(other.memory[-1]) for other in KEPT]


def test_one_after_the_other_gets_what_was_put(executor: GraphExecutor) -> None:
    there = executor.put(block(0))
    assert {executor.submit(first, there).result(LIMIT) for _ in range(10)} == {0}
    assert {executor.submit(grown, there, []).result(LIMIT) for _ in range(10)} == {1}
    for number in range(10):
        grown_to, all_kept = executor.submit(grown_and_kept, there).result(LIMIT)
        assert grown_to == 1
        assert set(all_kept) == {1}, number


@pytest.mark.parametrize("size", [10, SIZE])
def test_twice_the_same_is_the_same_object(executor: GraphExecutor, size: int) -> None:
    future = executor.submit(block, 1, size)
    assert executor.submit(same, future, future).result(LIMIT)
    assert executor.submit(same, other=future, one=future).result(LIMIT)
    wait([future], LIMIT)
    assert executor.submit(same, future, future).result(LIMIT)
    assert executor.submit(same, future, other=future).result(LIMIT)
    assert future.result(0) is future.result(0)
    put = executor.put(block(1, size))
    assert executor.submit(same, put, put).result(LIMIT)


def test_a_buffer_of_the_caller_that_is_filled_again(executor: GraphExecutor) -> None:
    buffer, found = bytearray(SIZE), []
    for number in range(10):
        buffer[:] = bytes([number]) * SIZE
        found.append(executor.submit(first, Block(buffer)))
        wait(found, LIMIT)
    assert [one.result(0) for one in found] == list(range(10))


@pytest.mark.parametrize("size", [0, SIZE])
def test_a_generator_is_no_value(executor: GraphExecutor, size: int) -> None:
    generates = executor.submit(lambda: (bytes(size), (n for n in range(3))))
    with pytest.raises(TypeError, match="generator") as caught:
        generates.result(LIMIT)
    assert "value" in "".join(caught.value.__notes__), "it says what could not be sent"
    assert first(executor.submit(block, 1).result(LIMIT)) == 1


def test_a_large_string_of_bytes(executor: GraphExecutor) -> None:
    futures = [executor.submit(bytes, SIZE), executor.submit("x".__mul__, SIZE)]
    assert [executor.submit(len, future).result(LIMIT) for future in futures] == [SIZE, SIZE]
    assert len(files_of(executor)) == 2
    assert [future.result(0) for future in futures] == [bytes(SIZE), "x" * SIZE]


def test_map_brings_large_values(executor: GraphExecutor) -> None:
    assert [first(one) for one in executor.map(block, range(20))] == list(range(20))
    assert until(lambda: files_of(executor) == [])


def test_items_of_a_large_value(executor: GraphExecutor) -> None:
    one, other = unpack(executor.submit(lambda: (block(1), block(2))), 2)
    assert (first(one.result(LIMIT)), first(other.result(LIMIT))) == (1, 2)


def pair_inside() -> tuple[int, int]:
    inner = current_executor()
    one = inner.submit(block, 4)
    other = inner.submit(plus, one)
    return first(one.result()), first(other.result())


def test_large_values_of_tasks_that_tasks_have_submitted(executor: GraphExecutor) -> None:
    assert executor.submit(pair_inside).result(LIMIT) == (4, 5)


def test_a_large_value_on_threads() -> None:
    with GraphExecutor(1, backends={"processes": 1}) as executor:
        there = executor.options(backend="processes")
        large, small = there.submit(block, 2), there.submit(list, [3])
        assert executor.submit(first, large).result(LIMIT) == 2
        assert executor.submit(lambda one, other: first(one) + other["x"][0], large, {"x": small}).result(LIMIT) == 5
        assert there.submit(first, executor.submit(block, 6)).result(LIMIT) == 6
        put = executor.put(block(1))
        assert there.submit(first, put).result(LIMIT) == executor.submit(first, put).result(LIMIT) == 1
        assert put.result() is put.result()


def test_a_large_value_on_another_executor(executor: GraphExecutor) -> None:
    with GraphExecutor(1) as other:
        assert other.submit(first, executor.submit(block, 9)).result(LIMIT) == 9


def test_a_large_value_for_another_executor_outlives_its_own(executor: GraphExecutor) -> None:
    other = GraphExecutor(1, backend="processes")
    made, put = other.submit(block, 9), other.put(block(8))
    assert other.submit(first, put).result(LIMIT) == 8
    under_way = [executor.submit(first, one) for one in (made, put)]
    in_time(other.shutdown)
    assert [future.result(LIMIT) for future in under_way] == [9, 8]
    assert [executor.submit(first, one).result(LIMIT) for one in (made, put)] == [9, 8]


# -- put --------------------------------------------------------------------------------------


class Counted:
    pickles = 0

    def __reduce__(self) -> Any:
        Counted.pickles += 1
        return list, ([1],)


@pytest.mark.parametrize("number", [1, 50])
def test_what_is_put_is_pickled_once(executor: GraphExecutor, number: int) -> None:
    Counted.pickles = 0
    put = executor.put(Counted())
    futures = [executor.submit(len, put) for _ in range(number)]
    assert [future.result(LIMIT) for future in futures] == [1] * number
    assert Counted.pickles == 1
    assert type(put.result()) is Counted


def test_what_is_put_is_written_once(executor: GraphExecutor) -> None:
    put = executor.put(block(8))
    futures = [executor.submit(first, put) for _ in range(50)]
    assert [future.result(LIMIT) for future in futures] == [8] * 50
    assert len(files_of(executor)) == 1
    del put, futures
    gc.collect()
    assert until(lambda: files_of(executor) == [])


# -- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, SIZE])
def test_what_cannot_be_read_fails_whoever_asks(executor: GraphExecutor, size: int) -> None:
    future = executor.submit(Unreadable, size)
    assert until(future.done)
    with pytest.raises(ValueError, match="cannot be read"):
        future.result(0)
    assert isinstance(future.exception(0), ValueError)
    with pytest.raises(ValueError, match="cannot be read"):
        executor.submit(same, future, 1).result(LIMIT)
    assert executor.submit(int).result(LIMIT) == 0


@pytest.mark.parametrize("done", [True, False])
def test_who_is_called_back_meets_a_value_that_was_read(executor: GraphExecutor, done: bool) -> None:
    future = executor.submit(Unreadable, SIZE)
    if done:
        assert until(future.done)
    told: Future[Any] = Future()
    future.add_done_callback(lambda one: told.set_result((one.exception(0), one.cancelled())))
    error, cancelled = told.result(LIMIT)
    assert isinstance(error, ValueError)
    assert not cancelled


def test_who_awaits_what_cannot_be_read_hears_of_it(executor: GraphExecutor) -> None:
    async def asks(*, done: bool) -> None:
        future = executor.submit(Unreadable, SIZE)
        if done:
            await asyncio.to_thread(wait, [executor.submit(int), future])
        await asyncio.wait_for(asyncio.wrap_future(future), LIMIT)

    for done in (True, False):
        with pytest.raises(ValueError, match="cannot be read"):
            asyncio.run(asks(done=done))


def test_a_failure_that_is_allowed(executor: GraphExecutor) -> None:
    future = executor.submit(Unreadable, SIZE)
    future.add_done_callback(lambda _: None)
    error = executor.submit(repr, allow_failure(future)).result(LIMIT)
    assert "cannot be read" in error


def test_a_failure_to_read_that_is_allowed_on_threads() -> None:
    with GraphExecutor(1, backend="processes", backends={"threads": 1}) as executor:
        threads = executor.options(backend="threads")
        after = threads.submit(type, allow_failure(executor.submit(Unreadable, 1)))
        assert after.result(LIMIT) is ValueError


def read_all(blocks: list[Block]) -> int:
    return sum(map(first, blocks))


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_more_values_than_files_that_may_be_open() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with GraphExecutor(1, backend="processes", initializer=few_files) as executor:
        futures = [executor.submit(block, 1, LARGE) for _ in range(250)]
        assert executor.submit(read_all, futures).result(LIMIT) == 250
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        try:
            blocks = [future.result(LIMIT) for future in futures]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert read_all(blocks) == 250
    assert {overwritten(one) for one in blocks} == {0}, "a copy is to be as writable as a mapped file"


def test_what_is_done_is_there_at_once(executor: GraphExecutor) -> None:
    futures = [executor.submit(block, number) for number in range(8)]
    found = [first(future.result(0)) for future in as_completed(futures, LIMIT)]
    assert sorted(found) == list(range(8))


# -- when a worker dies ---------------------------------------------------------------------------


def once(path: str) -> Block:
    with open(path, "a") as file:
        file.write("x")
    return block(1)


def test_what_is_published_outlives_its_worker(executor: GraphExecutor, tmp_path: Path) -> None:
    future = executor.submit(once, str(tmp_path / "ran"))
    wait([future], LIMIT)
    for process in workers():
        os.kill(process.pid, signal.SIGKILL)
    assert executor.submit(first, future).result(LIMIT) == 1
    assert first(future.result(0)) == 1
    assert (tmp_path / "ran").read_text() == "x"


def half_written(folder: str) -> None:
    with open(os.path.join(folder, f"{os.getpid()}-half"), "wb") as file:
        file.write(bytes(100))
    os._exit(3)


def test_what_a_dead_worker_has_never_told_of_is_removed(executor: GraphExecutor) -> None:
    futures = [executor.submit(block, number) for number in range(4)]
    wait(futures, LIMIT)
    crashing = executor.options(crash_retries=0).submit(half_written, folders_of(executor)[0])
    assert crashing.exception(LIMIT) is not None
    assert until(lambda: not [path for path in files_of(executor) if path.endswith("half")])
    assert sorted(first(future.result(0)) for future in futures) == [0, 1, 2, 3]


# -- containers that look at what they are given --------------------------------------------------


class Checked(list[Any]):
    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        assert all(type(item) is not object for item in items)


@pytest.mark.parametrize("size", [10, SIZE])
def test_a_container_is_made_of_values(executor: GraphExecutor, size: int) -> None:
    for number in range(10):
        one, other = executor.submit(bytes, size), executor.submit(tuple, [number])
        assert executor.submit(len, {one, other, (number,)}).result(LIMIT) == 2
        assert executor.submit(sorted, {other: 1}).result(LIMIT) == [(number,)]
        assert executor.submit(len, {"x": [one, (other, one)]}).result(LIMIT) == 1
        assert executor.submit(type, Checked([one, other])).result(LIMIT) is Checked
