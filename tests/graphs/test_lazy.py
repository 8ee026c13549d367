"""``delayed`` and ``compute`` (CONTRACT 11), on each backend."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import os
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import CancelledError, Future
from operator import add
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pytest
from patience import LIMIT

import graphfutures
import graphfutures.tokenizing
from graphfutures import Delayed, GraphExecutor, allow_failure, compute, delayed, quote


@pytest.fixture(params=["threads", "inline", "a get function"])
def scheduler(request):
    if request.param == "a get function":
        yield graphfutures.synchronous.get
        return
    with GraphExecutor(2, backend=request.param) as executor:
        yield executor


@delayed
def plus(first: int, second: int = 1) -> int:
    return first + second


def test_calls_are_made_when_somebody_computes(scheduler):
    calls: list[int] = []
    total = plus(delayed(calls.append, name="note")(1) is None and 1, plus(2))
    assert calls == []
    assert total.compute(scheduler=scheduler) == 3 + int(calls == [1])


def test_any_nesting_of_delayed_objects_and_futures(scheduler):
    theirs: Future[int] = Future()
    theirs.set_result(5)
    one, two = plus(0), plus(plus(0))
    things = compute(one, [two, {"three": plus(one, two)}, (theirs,)], 7, {one}, scheduler=scheduler)
    assert things == (1, [2, {"three": 3}, (5,)], 7, {1})
    assert compute(1, [2], scheduler=scheduler) == (1, [2])
    assert compute(scheduler=scheduler) == ()


def test_common_pieces_run_once(scheduler):
    calls: list[int] = []
    common = delayed(lambda: calls.append(1) or 3, name="common")()
    assert compute(common + 1, [common + 2], plus(common, common), scheduler=scheduler) == (4, [5], 6)
    assert calls == [1]


def test_operators_items_attributes_and_methods(scheduler):
    letters, number = delayed("ab"), delayed(5)
    assert (letters + delayed("cd"))[0].upper().compute(scheduler=scheduler) == "A"
    pairs: list[tuple[Any, Any]] = [
        *((number + 2, 7), (2 + number, 7), (number - 2, 3), (2 - number, -3), (number * 2, 10), (2 * number, 10)),
        *((number / 2, 2.5), (10 / number, 2), (number // 2, 2), (11 // number, 2), (number % 3, 2), (7 % number, 2)),
        *((number**2, 25), (2**number, 32), (number << 1, 10), (1 << number, 32), (number >> 1, 2), (64 >> number, 2)),
        *((number & 4, 4), (4 & number, 4), (number | 2, 7), (2 | number, 7), (number ^ 1, 4), (1 ^ number, 4)),
        *((-number, -5), (+number, 5), (abs(-number), 5), (~number, -6), (divmod(number, 2), (2, 1))),
        *((number == 5, True), (number != 5, False), (number < 6, True), (number <= 4, False), (number > 4, True)),
        *((number >= 6, False), (divmod(11, number), (2, 1)), (round(delayed(2.6)), 3), (number.real, 5)),
        *((number.bit_length(), 3), (delayed(lambda: max)()(number, 7), 7), (delayed({"a": 1})["a"], 1)),
    ]
    computed = compute(*[lazy for lazy, _ in pairs], scheduler=scheduler)
    assert computed == tuple(value for _, value in pairs)


def test_keywords_and_containers_in_arguments(scheduler):
    made = delayed(dict)(a=plus(1), b=[plus(2), (plus(3),)])
    assert made.compute(scheduler=scheduler) == {"a": 2, "b": [3, (4,)]}
    assert delayed([plus(1), 2]).compute(scheduler=scheduler) == [2, 2]


def test_what_is_never_lazy():
    lazy = plus(1)
    assert isinstance(lazy, Delayed)
    assert lazy.key.startswith("plus-")
    assert repr(lazy) == f"Delayed({lazy.key!r})"
    assert list(lazy.__dask_graph__()) == [lazy.key]
    assert delayed(lazy) is lazy
    for name in ("_private", "__array__", "visualise"):
        assert not hasattr(lazy, name)


@pytest.mark.parametrize(
    "wrong", [bool, len, list, lambda lazy: setattr(lazy, "x", 1), lambda lazy: lazy.__setitem__(0, 1)]
)
def test_what_cannot_be_known_before_or_done(wrong):
    with pytest.raises(TypeError):
        wrong(plus(1))


def test_several_results(scheduler):
    quotient, remainder = delayed(divmod, nout=2)(17, 5)
    assert compute(quotient, remainder, scheduler=scheduler) == (3, 2)
    assert len(delayed(divmod, nout=2)(17, 5)) == 2
    with pytest.raises(ValueError, match="nout"):
        delayed(divmod, nout=-1)


def test_equal_pure_calls_are_one(scheduler):
    calls: list[int] = []

    def note(number: int) -> int:
        calls.append(number)
        return number

    pure = delayed(note, pure=True)
    assert pure(1).key == pure(1).key != pure(2).key
    assert delayed(note)(1, pure=True).key == pure(1).key
    assert delayed(note)(1).key != delayed(note)(1).key
    assert compute(pure(1), [pure(1)], scheduler=scheduler) == (1, [1])
    assert calls == [1]


def test_what_has_no_hash_is_not_pure():
    with pytest.raises(TypeError, match="pure=True needs what can be hashed or pickled"):
        delayed(id, pure=True)(threading.Lock())


def test_names(scheduler):
    assert plus(1, dask_key_name="mine").key == "mine"
    assert delayed(5, name="five").key == "five"
    assert delayed(len, name="size")("abc").key.startswith("size-")
    if isinstance(scheduler, GraphExecutor):
        plus(1, dask_key_name="mine").compute(scheduler=scheduler)
        assert [attempt.name for attempt in scheduler.attempts()] == ["mine"]


def test_delayed_methods(scheduler):
    class Account:
        balance = 3

        @delayed
        def with_interest(self, rate: int) -> int:
            return self.balance * rate

    assert Account().with_interest(2).compute(scheduler=scheduler) == 6


def test_a_failure_has_its_type_and_its_key(scheduler):
    with pytest.raises(ZeroDivisionError) as raised:
        plus(delayed(divmod, name="divide")(1, 0), 1).compute(scheduler=scheduler)
    assert any("divide" in note for note in raised.value.__notes__)


def test_a_long_chain(scheduler):
    total = delayed(0)
    for _ in range(3000):
        total = plus(total)
    assert total.compute(scheduler=scheduler) == 3000


def test_delayed_objects_given_to_submit_and_futures_to_them():
    with GraphExecutor(2) as executor:
        future = executor.submit(abs, -3)
        lazy = plus(future)
        assert executor.submit(sum, [lazy, plus(lazy)]).result(LIMIT) == 9
        assert executor.submit(dict, a=lazy).result(LIMIT) == {"a": 4}
        assert [*executor.map(add, [lazy, 1], [1, lazy])] == [5, 5]
        assert executor.submit(type, quote(lazy)).result(LIMIT) is Delayed
        assert compute(future, [lazy], scheduler=executor) == (3, [4])
        bad = executor.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            plus(bad).compute(scheduler=executor)
        assert type(compute(allow_failure(bad), scheduler=executor)[0]) is ValueError


# -- what was found wrong -----------------------------------------------------------------------


def test_values_are_values_whatever_they_look_like(scheduler):
    assert delayed((abs, -2)).compute(scheduler=scheduler) == (abs, -2)
    ten = plus(9)
    assert compute(delayed(ten.key), delayed([ten.key]), ten, scheduler=scheduler) == (ten.key, [ten.key], 10)
    with GraphExecutor(1) as executor:
        assert executor.submit(list, delayed((abs, -2))).result(LIMIT) == [abs, -2]


def test_keys_of_another_process_are_others():
    code = "import sys, pickle, math; from graphfutures import delayed; "
    code += "sys.stdout.buffer.write(pickle.dumps(delayed(math.sqrt)(16)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(graphfutures.__file__).parents[1])}
    theirs = pickle.loads(subprocess.check_output([sys.executable, "-c", code], env=environment, timeout=LIMIT))
    assert compute(theirs, delayed(math.sqrt)(81), theirs + delayed(math.sqrt)(81)) == (4, 9, 13)


def test_copies_keep_what_they_are():
    pair = pickle.loads(pickle.dumps(delayed(divmod, nout=2)(17, 5)))
    assert len(pair) == 2
    assert compute(*pair) == (3, 2)


def test_keywords_of_any_name(scheduler):
    class Thing:
        def take(this, **names: int) -> dict[str, int]:
            return names

    lazy = delayed(Thing()).take(fn=3, self=4)
    assert lazy.compute(scheduler=scheduler) == {"fn": 3, "self": 4}


def test_three_arguments_of_pow(scheduler):
    assert pow(delayed(3), 2, 5).compute(scheduler=scheduler) == 4


def test_equal_objects_in_sets_and_dicts():
    one, same = delayed(5, name="x"), delayed(5, name="x")
    assert len({one, same}) == 2
    with pytest.raises(TypeError):
        del one.key


def test_futures_for_schedulers_that_know_none_of_them():
    with GraphExecutor(1) as executor:
        future, bad = executor.submit(abs, -3), executor.submit(int, "x")

        def get(graph, keys, **keywords):
            return graphfutures.synchronous.get({**graph, "unused": 1}, keys)

        assert compute(plus(future), [future], scheduler=get) == (4, [3])
        assert type(compute(allow_failure(bad), scheduler=get)[0]) is ValueError


def test_what_delayed_arguments_have_in_common_runs_once():
    calls: list[int] = []
    common = delayed(lambda: calls.append(1) or 3, name="common")()
    with GraphExecutor(2) as executor:
        assert executor.submit(sum, [common, plus(common), common]).result(LIMIT) == 10
        assert calls == [1]
        assert executor.get({"x": (add, common, plus(common))}, "x") == 7
    assert calls == [1, 1]


def test_a_future_that_may_fail_is_told_from_the_future_itself(scheduler):
    bad: Future[int] = Future()
    threading.Timer(0.05, bad.set_exception, [ValueError("bad")]).start()  # not yet: those who depend on it wait
    name = delayed(lambda value: type(value).__name__)
    assert name(allow_failure(bad)).compute(scheduler=scheduler) == "ValueError"
    for things in ((bad, allow_failure(bad)), (allow_failure(bad), bad), (name(allow_failure(bad)), name(bad))):
        with pytest.raises(ValueError, match="bad"):
            compute(*things, scheduler=scheduler)
    with pytest.raises(ValueError, match="bad"):
        delayed(max)(allow_failure(bad), bad).compute(scheduler=scheduler)


def test_slices_with_delayed_bounds(scheduler):
    numbers, two = delayed([*range(9)]), plus(1)
    assert numbers[two:].compute(scheduler=scheduler) == [2, 3, 4, 5, 6, 7, 8]
    assert numbers[1:-two:two].compute(scheduler=scheduler) == [1, 3, 5]
    assert numbers[1:3].compute(scheduler=scheduler) == [1, 2]

    class Table:
        def __getitem__(self, place):
            return place

    future: Future[int] = Future()
    future.set_result(7)
    places = delayed(Table())[1, :two, future::two]
    assert places.compute(scheduler=scheduler) == (1, slice(None, 2), slice(7, None, 2))
    pure = delayed([1, 2, 3], pure=True)
    assert pure[: delayed(abs, pure=True)(-2)].key == pure[: delayed(abs, pure=True)(-2)].key
    assert pure[: delayed(abs, pure=True)(-2)].key != pure[: delayed(abs, pure=True)(-1)].key


def test_a_cancelled_future_that_is_allowed_to_fail(scheduler):
    cancelled: Future[int] = Future()
    cancelled.cancel()
    cancelled.set_running_or_notify_cancel()
    assert type(compute(allow_failure(cancelled), scheduler=scheduler)[0]) is CancelledError


def test_a_delayed_object_in_a_graph_of_others():
    assert graphfutures.synchronous.get({"x": (abs, plus(-3)), "y": (sum, [plus(1), 2])}, ["x", "y"]) == (2, 4)


@pytest.mark.parametrize("by", [pickle, cloudpickle], ids=lambda by: by.__name__)
def test_a_long_chain_travels(by):
    total = delayed(add)(0, {"x": 0}["x"])
    for _ in range(5000):
        total = delayed(add)(total, 1)
    again = by.loads(by.dumps(total))
    assert again.key == total.key
    assert again.compute() == 5000


@pytest.mark.parametrize("by", [pickle, cloudpickle], ids=lambda by: by.__name__)
def test_what_is_in_arguments_travels(by):
    one = delayed(abs)(-1)
    both = delayed(divmod, nout=2, pure=True)(one, 1)
    lazy = delayed(dict)(a={one: [one, (both, {one})]}, b=delayed(map)(delayed(abs), [one]), c=quote([one]), d=both[0])
    again = by.loads(by.dumps(lazy))
    found = again.compute()
    assert (found["a"], [*found["b"]], found["c"][0].compute(), found["d"]) == ({1: [1, ((1, 0), {1})]}, [1], 1, 1)
    pair = copy.deepcopy(both)
    assert len(pair) == 2
    assert pair[0].key == both[0].key
    assert len(again.dask) == len(lazy.dask)


def test_a_call_in_a_graph_travels_without_what_it_needs():
    future, large = Future(), delayed(bytes)(bytes(100_000))  # a future cannot travel at all
    lazy = delayed(dict)(one=large, two=[future, {"a": large, "b": (3, future)}], q=quote([4]))
    call, *_ = lazy.dask[lazy.key]
    pickled = cloudpickle.dumps(cloudpickle.loads(cloudpickle.dumps(call)))
    assert len(pickled) < 1000
    values = [f"of {name}" for name in ("future" if source is future else "large" for source in call.sources)]
    assert cloudpickle.loads(pickled)(*values) == call(*values)
    assert call(*values)["two"] == ["of future", {"a": "of large", "b": (3, "of future")}]


def test_quoted_arguments_beside_delayed_ones(scheduler):
    one = plus(0)
    inside, value = delayed(lambda *args: args)(quote([one]), one).compute(scheduler=scheduler)
    assert (type(inside[0]), value) == (Delayed, 1)
    assert compute(quote([one]), one, scheduler=scheduler) == ([one], 1)


class Thing:
    calls: ClassVar[list[str]] = []
    value = 3

    def method(self, number: int = 0, pure: int = 0) -> int:
        self.calls.append("method")
        return number + pure

    def __add__(self, other: int) -> int:
        self.calls.append("add")
        return self.value + other

    def __getitem__(self, place: int) -> int:
        self.calls.append("item")
        return place


def test_what_is_made_of_pure_things_is_pure(scheduler):
    del Thing.calls[:]
    for make in (delayed(Thing, pure=True), delayed(Thing)):
        steps = [lambda x: x + 1, lambda x: x[2], lambda x: x.value, lambda x: x.method(1, pure=2), lambda x: -(x + 1)]
        keys = [(step(make()).key, step(make()).key) for step in steps]
        assert [one == other for one, other in keys] == 5 * [make().key == make().key]
    things = [delayed(Thing, pure=True)() for _ in range(2)]
    asked = [[thing + 1, thing[2], thing.method(1), -(thing + 1)] for thing in things]
    assert compute(*asked, scheduler=scheduler) == ([4, 2, 1, -4], [4, 2, 1, -4])
    assert sorted(Thing.calls) == ["add", "item", "method"]
    assert things[0].method(1).key != things[0].method(2).key
    assert [*delayed(divmod, pure=True, nout=2)(7, 2)][1].key == [*delayed(divmod, pure=True, nout=2)(7, 2)][1].key
    assert things[0].method(threading.Lock()).key != things[0].method(threading.Lock()).key


def test_a_long_pure_chain_costs_no_more_for_each_step(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.tokenize", None)
    seen: list[int] = []
    total = delayed(0, pure=True)
    for _ in range(1000):
        total = total + 1
    monkeypatch.setattr(graphfutures.tokenizing, "sha1", lambda data, **_: seen.append(len(data)) or math)
    monkeypatch.setattr(math, "hexdigest", lambda: "x", raising=False)
    assert (total + 1).compute() == 1001
    assert seen[0] < 1000


def test_the_key_of_a_method_call():
    assert delayed("a").upper(dask_key_name="mine").key == "mine"
    assert compute(delayed("a").upper(dask_key_name="mine")) == ("A",)


def test_functions_are_called_what_they_wrap():
    def add_up(first: int, self: int = 2) -> int:
        """Their sum."""
        return first + self

    lazy = delayed(add_up, name="another")
    assert (lazy.__name__, lazy.__doc__, lazy.__wrapped__) == ("add_up", "Their sum.", add_up)
    assert lazy.__qualname__ == add_up.__qualname__
    assert inspect.signature(lazy) == inspect.signature(add_up)
    assert lazy(1, self=4).compute() == 5
    assert not hasattr(lazy(1), "__name__")


# -- as dask has it -----------------------------------------------------------------------------


def test_decorators_with_options(scheduler):
    @delayed(pure=True)
    def double(number: int) -> int:
        return 2 * number

    @delayed(nout=2, name="both")
    def pair(number: int) -> tuple[int, int]:
        return number, double.__wrapped__(number)

    one, two = pair(3)
    assert double(2).key == double(2).key
    assert pair(1).key.startswith("both-")
    assert compute(double(2), one, two, scheduler=scheduler) == (4, 3, 6)
    with pytest.raises(ValueError, match="nout"):
        delayed(nout=-1)
    assert delayed(None).compute(scheduler=scheduler) is None


def test_containers_that_are_not_looked_through(scheduler):
    one = plus(1)
    inside = [one, 2]
    lazy = delayed(inside, traverse=False)
    assert lazy.compute(scheduler=scheduler) is inside
    assert compute(lazy[1], delayed(len)(lazy), scheduler=scheduler) == (2, 2)
    assert delayed(one, traverse=False) is one
    assert delayed(inside, traverse=True).compute(scheduler=scheduler) == [2, 2]


def test_persist_computes_once(scheduler):
    calls: list[int] = []
    common = delayed(lambda: calls.append(1) or (3, 4), nout=2, name="common")()
    kept = common.persist(scheduler=scheduler)
    assert calls == [1]
    assert (type(kept), kept.key) == (Delayed, common.key)
    assert compute(*kept, kept.count(3), scheduler=scheduler) == (3, 4, 1)
    assert calls == [1]
    with pytest.raises(TypeError, match="num_workers"):
        common.persist(num_workers="2")


@pytest.mark.parametrize("name", ["result", "exception", "done", "running", "cancel", "cancelled", "add_done_callback"])
def test_what_only_futures_have(name):
    with pytest.raises(AttributeError, match=rf"no '{name}', since it is no future: compute\(\) gives its value"):
        getattr(plus(1), name)


@pytest.mark.parametrize("view", [lambda executor: executor, lambda executor: executor.options(priority=1)])
def test_delayed_functions_are_not_for_submit(view):
    advice = r"compute\(scheduler=executor\).*(submit|map) the function itself"
    with GraphExecutor(1) as executor:
        door = view(executor)
        with pytest.raises(TypeError, match=rf"a delayed object, Delayed\('plus-.*'\), .*{advice}"):
            door.submit(plus, 3)
        with pytest.raises(TypeError, match=advice):
            door.submit(plus(3))
        with pytest.raises(TypeError, match=advice):
            door.map(plus, [])


def test_the_token_of_a_function_is_made_once_while_that_is_the_same(monkeypatch):
    made: list[Any] = []
    token = graphfutures.tokenizing.token_of
    monkeypatch.setattr(graphfutures.tokenizing, "token_of", lambda *parts: made.append(parts[0]) or token(*parts))

    def keys(*functions: Any) -> list[str]:
        return [delayed(function, name="same", pure=True)(1).key for function in functions]

    def scale(number: int, by: int = 2) -> int:
        return number * by

    def with_offset(offset: Any) -> Any:
        return lambda number: number + offset if isinstance(offset, int) else offset

    first = keys(scale)
    assert keys(scale, scale) == first * 2
    assert made.count(scale) == 1
    scale.__defaults__ = (3,)
    second = keys(scale)
    scale.__code__ = with_offset.__code__
    assert len({*first, *second, *keys(scale)}) == 3
    assert len({*keys(with_offset(1), with_offset(1), with_offset(2), with_offset([1]), with_offset([2]))}) == 4

    number = 1
    counting = lambda: number  # noqa: E731
    before = keys(counting)
    number = 2
    assert keys(counting) != before
    inside = [1]
    changing = lambda: inside  # noqa: E731
    before = keys(changing)
    inside.append(2)
    assert keys(changing) != before


def test_functions_whose_tokens_are_known_are_let_go():
    def used(value: Any) -> Any:
        def recursive() -> Any:
            return recursive, value

        delayed(recursive, pure=True)()
        return weakref.ref(recursive)

    kept = len(graphfutures.tokenizing._tokens)
    gone = used(1)
    gc.collect()
    assert gone() is None
    for _ in range(10):
        delayed(lambda: 1, pure=True)()
    gc.collect()
    assert len(graphfutures.tokenizing._tokens) <= kept


def test_notes_of_failures_hold_keys_as_they_are():
    bad = delayed(divmod)(1, 0)
    with GraphExecutor(1) as executor:
        with pytest.raises(ZeroDivisionError) as raised:
            bad.compute(scheduler=executor)
        assert raised.value.__notes__ == [f"raised by the task {bad.key}"]
        lazy = plus(bad)
        with pytest.raises(ZeroDivisionError) as raised:
            lazy.compute(scheduler=executor)
        assert raised.value.__notes__ == [f"{bad.key} → {lazy.key} (argument 0)"]
        future = executor.submit(divmod, 1, 0)
        with pytest.raises(ZeroDivisionError) as raised:
            plus(future, dask_key_name="mine").compute(scheduler=executor)
        assert raised.value.__notes__ == [f"{future.key} → mine (argument 0)"]
        with pytest.raises(ZeroDivisionError) as raised:
            executor.get({("x", 1): (divmod, 1, 0)}, ("x", 1))
        assert raised.value.__notes__ == ["raised by the task ('x', 1)"]
