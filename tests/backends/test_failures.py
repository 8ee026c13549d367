"""What a failure does to the tasks that depend on it (CONTRACT 4)."""

import asyncio
import threading
import traceback
from concurrent.futures import Future, wait
from dataclasses import dataclass

import pytest
from patience import LIMIT

from graphfutures import GraphExecutor, allow_failure


class Coded(Exception):
    """Its ``__init__`` cannot be called with its ``args``."""

    def __init__(self, code, *, reason):
        super().__init__(f"{reason} ({code})")
        self.code = code


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Sealed(Exception):
    """Nobody sets its attributes."""

    def __setattr__(self, name, value):
        raise TypeError("sealed")


class Hiding(Exception):
    """Its ``args`` cannot be read."""

    @property
    def args(self):
        raise LookupError("no args")


class Unnoted(Exception):
    __notes__ = None


class Falsy(ValueError):
    def __bool__(self):
        return False


class Sized(MemoryError):
    """As numpy's: its state is in attributes."""

    def __init__(self, shape):
        self.shape = shape


class Unreadable(list):
    def __iter__(self):
        raise LookupError("unreadable")


class Slotted(Exception):
    __slots__ = ("code",)


class Reducing(Exception):
    def __reduce__(self):
        return Reducing, ("reduced",)


def with_notes(notes):
    error = ValueError("noted")
    error.__notes__ = notes
    return error


def fail(error, *_):
    raise error


def merge(*parts, frames=()):
    return parts


def add(a, b):
    return a + b


def test_a_dependent_has_its_own_instance_of_the_root_causes_type(executor):
    root = executor.submit(fail, ValueError("bad", 7))
    end = executor.submit(add, executor.submit(add, root, 1), 1)
    with pytest.raises(ValueError, match="bad") as caught:
        end.result(LIMIT)
    original = root.exception(LIMIT)
    assert type(caught.value) is ValueError
    assert caught.value.args == ("bad", 7)
    assert caught.value is not original
    assert caught.value.__cause__ is original
    assert end.exception(LIMIT) is caught.value


def test_the_note_holds_the_path_and_the_argument(executor):
    load = executor.options(name="load").submit(fail, ValueError("bad"))
    clean = executor.options(name="clean").submit(abs, load)
    whole = executor.options(name="whole").submit(merge, 1, frames=[1, 2, clean])
    (note,) = whole.exception(LIMIT).__notes__
    assert note == f"{load.key} → {clean.key} → {whole.key} (argument 'frames'[2])"
    assert clean.exception(LIMIT).__notes__[0].startswith(f"{load.key} → {clean.key} (argument")


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda ex, f: ex.submit(add, 1, f), "argument 'b'"),
        (lambda ex, f: ex.submit(merge, 1, [{"k": f}]), "argument 1[0]['k']"),
        (lambda ex, f: ex.submit(merge, frames={"a": (0, f)}), "argument 'frames'['a'][1]"),
    ],
)
def test_the_note_names_the_place(executor, call, place):
    (note,) = call(executor, executor.submit(fail, KeyError("k"))).exception(LIMIT).__notes__
    assert note.endswith(f"({place})")


def test_long_paths_are_shortened_in_the_middle(executor):
    chain = [executor.submit(fail, ValueError("bad"))]
    for _ in range(50):
        chain.append(executor.submit(add, chain[-1], 1))
    (note,) = chain[-1].exception(LIMIT).__notes__
    assert note.startswith(f"{chain[0].key} → {chain[1].key} → ")
    assert f"→ {chain[-1].key} (" in note
    assert "45 more" in note
    assert len(note) < 200


def test_the_original_gets_no_note(executor):
    root = executor.submit(fail, ValueError("bad"))
    assert executor.submit(abs, root).exception(LIMIT).__notes__
    assert not hasattr(root.exception(LIMIT), "__notes__")


def test_each_dependent_has_its_own_notes(executor):
    error = ValueError("bad")
    error.add_note("of the author")
    root = executor.submit(fail, error)
    one, two = (executor.submit(abs, root).exception(LIMIT) for _ in range(2))
    assert one is not two
    assert one.__notes__[0] == two.__notes__[0] == "of the author"
    assert len(one.__notes__) == len(two.__notes__) == 2
    assert one.__notes__[1] != two.__notes__[1]
    assert root.exception(LIMIT).__notes__ == ["of the author"]


@pytest.mark.asks(shares_memory=True)  # one like this cannot be pickled
def test_copies_are_made_without_calling_init(executor):
    root = executor.submit(fail, Coded(7, reason="full"))
    copy = executor.submit(abs, root).exception(LIMIT)
    assert type(copy) is Coded
    assert (str(copy), copy.code) == ("full (7)", 7)


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("error", [Slotted("s"), Reducing("r"), OSError(2, "none", "file"), UnicodeError("u")])
def test_types_that_cannot_be_copied_faithfully_keep_what_they_say(executor, error):
    root = executor.submit(fail, error)
    passed = executor.submit(abs, root).exception(LIMIT)
    assert type(passed) is type(error)
    assert str(passed) == str(error)
    if isinstance(error, (Slotted, Reducing)):
        assert passed is error


ODD = [
    MemoryError("full"),
    Sized((3, 4)),
    Frozen(7),
    Sealed("s"),
    Hiding("h"),
    Unnoted("u"),
    Falsy("f"),
    with_notes(None),
    with_notes("no list"),
    with_notes(("a", "b")),
]


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_odd_exceptions_are_copied_too(executor, error):
    root = executor.submit(fail, error)
    dependent = executor.submit(add, root, 1)
    copy = dependent.exception(LIMIT)
    assert type(copy) is type(error)
    assert copy is not error
    assert copy.__cause__ is error
    assert BaseException.args.__get__(copy) == BaseException.args.__get__(error)
    assert getattr(copy, "shape", None) == getattr(error, "shape", None)
    assert getattr(copy, "code", None) == getattr(error, "code", None)
    assert copy.__notes__[-1].startswith(f"{root.key} → {dependent.key} (")
    with pytest.raises(type(error)) as caught:
        dependent.result(LIMIT)
    assert caught.value is copy
    assert type(error).__name__ in repr(dependent)


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("error", [*ODD, with_notes(Unreadable())], ids=lambda error: type(error).__name__)
def test_nobody_waits_for_ever_for_an_odd_exception(executor, error):
    dependent = executor.submit(add, executor.submit(fail, error), 1)

    async def main():
        try:
            await asyncio.wait_for(asyncio.wrap_future(dependent), LIMIT)
        except BaseException as found:
            return found

    assert type(asyncio.run(main())) is type(error)
    assert executor.submit(type, allow_failure(dependent)).result(LIMIT) is type(error)


@pytest.mark.asks(shares_memory=True)
def test_one_that_cannot_be_copied_is_passed_on(executor):
    error = with_notes(Unreadable())
    assert executor.submit(add, executor.submit(fail, error), 1).exception(LIMIT) is error


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("error", [Slotted("s"), OSError(2, "none", "file")])
@pytest.mark.parametrize("foreign", [False, True])
def test_one_that_is_passed_on_shows_where_it_happened(executor, error, foreign):
    error.with_traceback(None)  # of other tests
    with GraphExecutor(1) as other:
        root = (other if foreign else executor).submit(fail, error)
        heirs = [executor.submit(add, root, 1)]
        heirs.append(executor.submit(add, heirs[0], 1))
        for heir in (*heirs, root, *heirs):
            lengths = set()
            for _ in range(3):
                with pytest.raises(type(error)) as caught:
                    heir.result(LIMIT)
                frames = traceback.extract_tb(caught.value.__traceback__)
                assert frames[-1].name == "fail"
                lengths.add(len(frames))
                for one in (root, *heirs):
                    assert [frame.name for frame in traceback.extract_tb(one.exception().__traceback__)] == ["fail"]
            assert len(lengths) == 1


def test_one_that_is_passed_on_by_a_foreign_future_shows_where_it_happened(executor, held):
    dependent = executor.submit(abs, held)
    try:
        fail(OSError(2, "none", "file"))
    except OSError as error:
        held.set_exception(error)
    for _ in range(2):
        with pytest.raises(OSError, match="none") as caught:
            dependent.result(LIMIT)
        assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "fail"


@pytest.mark.asks(shares_memory=True)
def test_a_failure_that_is_false_is_a_failure(executor):
    root = executor.submit(fail, Falsy("f"))
    assert executor.submit(repr, allow_failure(root)).result(LIMIT) == "Falsy('f')"


def test_the_traceback_does_not_grow(executor):
    root = executor.submit(fail, ValueError("bad"))
    for future in (root, executor.submit(abs, root)):
        lengths = set()
        for _ in range(5):
            with pytest.raises(ValueError, match="bad") as caught:
                future.result(LIMIT)
            lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(lengths) == 1


@pytest.mark.asks(shares_memory=True)
def test_the_traceback_shows_where_the_task_failed(executor):
    future = executor.submit(fail, ValueError("bad"))
    with pytest.raises(ValueError, match="bad") as caught:
        future.result(LIMIT)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"


def test_a_dependent_never_runs(executor, gate):
    gate.open()
    dependent = executor.submit(gate.passage, executor.submit(fail, ValueError("bad")))
    assert dependent.exception(LIMIT)
    assert gate.nobody_new()


def test_siblings_go_on(executor):
    root = executor.submit(abs, -1)
    bad, good = executor.submit(fail, ValueError("bad"), root), executor.submit(add, root, 1)
    last = executor.submit(add, good, 1)
    assert isinstance(executor.submit(add, good, bad).exception(LIMIT), ValueError)
    assert (good.result(LIMIT), last.result(LIMIT)) == (2, 3)


def test_a_dependent_fails_as_soon_as_one_dependency_has_failed(executor, held):
    dependent = executor.submit(add, held, executor.submit(fail, ValueError("bad")))
    assert isinstance(dependent.exception(LIMIT), ValueError)
    assert not held.done()


@pytest.mark.asks(submits_run=False)
def test_a_failure_is_told_while_a_sibling_still_runs(make, gate):
    executor = make(2)
    slow = executor.submit(gate.passage, 1)
    gate.arrived()
    dependent = executor.submit(add, slow, executor.submit(fail, ValueError("bad")))
    assert isinstance(dependent.exception(LIMIT), ValueError)
    assert slow.running()


@pytest.mark.asks(submits_run=False)
@pytest.mark.one_worker
def test_a_dependent_of_a_failed_task_fails_while_all_workers_are_busy(executor, gate):
    failed = executor.submit(fail, ValueError("bad"))
    assert failed.exception(LIMIT)
    executor.submit(gate.passage)
    gate.arrived()
    assert isinstance(executor.submit(abs, failed).exception(LIMIT), ValueError)


def test_two_failing_dependencies_settle_a_dependent_once(executor, held):
    called = []
    one, two = executor.submit(fail, held), executor.submit(fail, held)
    dependent = executor.submit(add, one, two)
    dependent.add_done_callback(called.append)
    held.set_result(ValueError("bad"))
    assert isinstance(dependent.exception(LIMIT), ValueError)
    executor.shutdown()
    assert called == [dependent]
    assert executor.stats()["failed"] == 3


def test_a_failing_foreign_future(executor, held):
    dependent = executor.submit(abs, held)
    end = executor.submit(abs, dependent)
    held.set_exception(KeyError("foreign"))
    error = dependent.exception(LIMIT)
    assert isinstance(error, KeyError)
    assert error.__cause__ is held.exception(0)
    assert isinstance(end.exception(LIMIT), KeyError)
    assert dependent.key in end.exception(LIMIT).__notes__[0]


def test_a_failure_in_another_executor_is_named_by_its_key(executor):
    with GraphExecutor(1) as other:
        root = other.options(name="elsewhere").submit(fail, KeyError("foreign"))
        error = executor.submit(abs, root).exception(LIMIT)
    assert isinstance(error, KeyError)
    assert root.key in error.__notes__[0]


def test_a_failed_future_given_later_fails_its_dependent(executor):
    failed = executor.submit(fail, ValueError("bad"))
    wait([failed], LIMIT)
    assert isinstance(executor.submit(add, 1, failed).exception(LIMIT), ValueError)
    foreign = Future()
    foreign.set_exception(KeyError("k"))
    assert isinstance(executor.submit(add, 1, foreign).exception(LIMIT), KeyError)


def test_nothing_is_left_pending_whatever_fails(executor):
    futures = [executor.submit(abs, -1)]
    for n in range(300):
        fn = fail if n % 17 == 3 else merge
        futures.append(executor.submit(fn, *([ValueError(n)] if fn is fail else []), *futures[n // 2 : n // 2 + 3]))
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert executor.stats()["done"] + executor.stats()["failed"] == 301


@pytest.mark.asks(shares_memory=True)
def test_many_threads_ask_for_one_inherited_failure(executor):
    dependent = executor.submit(abs, executor.submit(fail, ValueError("bad")))
    found, start = [], threading.Barrier(8)

    def ask():
        start.wait(LIMIT)
        found.append(dependent.exception(LIMIT))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(set(map(id, found))) == 1
