"""Where futures are found among the arguments, and what comes in their place (CONTRACT 3)."""

import collections
import dataclasses
import typing

import pytest
from patience import LIMIT

from graphfutures import GraphFuture

Point = collections.namedtuple("Point", "x y")


class Labelled(typing.NamedTuple):
    label: str
    value: object = None


class MyList(list):
    pass


class MyDict(dict):
    pass


class MySet(set):
    pass


class MyTuple(tuple):
    pass


@dataclasses.dataclass
class Blank:
    pass


@dataclasses.dataclass
class Plain:
    a: object
    b: object = None

    def __post_init__(self):
        self.checked = True


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: object
    b: object = None


@dataclasses.dataclass(slots=True)
class Slots:
    a: object
    b: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots:
    a: object
    b: object = None


@dataclasses.dataclass
class OnlyHalfInit:
    a: object
    b: object = dataclasses.field(init=False, default=5)


@dataclasses.dataclass
class Problem(Exception):
    a: object
    b: object = None


class Tagged(Labelled):
    """A named tuple with attributes."""


class SlottedList(list):
    __slots__ = ("__hidden", "tag")

    def hide(self, value):
        self.__hidden = value

    def seek(self):
        return self.__hidden


@dataclasses.dataclass
class Listing(list):
    a: object = None


@dataclasses.dataclass
class Mapping(dict):
    a: object = None


class Opaque:
    def __init__(self, content):
        self.content = content


def same(x):
    return x


def describe(x):
    return type(x), x


SHAPES = {
    "list": lambda f: [f, 2],
    "tuple": lambda f: (1, f),
    "set": lambda f: {f, 2},
    "frozenset": lambda f: frozenset({f}),
    "dict value": lambda f: {"k": f},
    "dict key": lambda f: {f: "v"},
    "dict key and value": lambda f: {f: f},
    "namedtuple": lambda f: Point(f, 2),
    "NamedTuple": lambda f: Labelled("l", f),
    "OrderedDict": lambda f: collections.OrderedDict(b=f, a=f),
    "list subclass": lambda f: MyList([f]),
    "dict subclass": lambda f: MyDict(k=f),
    "set subclass": lambda f: MySet([f]),
    "tuple subclass": lambda f: MyTuple([f]),
    "dataclass": lambda f: Plain(f, 2),
    "frozen dataclass": lambda f: Frozen(f, 2),
    "dataclass with slots": lambda f: Slots(2, f),
    "frozen dataclass with slots": lambda f: FrozenSlots(f, 2),
    "dataclass with a field outside init": OnlyHalfInit,
    "nested": lambda f: [{"a": (f, [Point(f, {f: Plain(f)})] if isinstance(f, GraphFuture) else [])}],
    "Counter": lambda f: collections.Counter({f: 3}),
}


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "nested"])
def test_the_value_comes_in_the_futures_place(executor, shape):
    build = SHAPES[shape]
    kind, value = executor.submit(describe, build(executor.submit(abs, -1))).result(LIMIT)
    assert (kind, value) == describe(build(1))


def test_defaultdict_keeps_its_factory(executor):
    argument = collections.defaultdict(list, k=executor.submit(abs, -1))
    value = executor.submit(same, argument).result(LIMIT)
    assert value == {"k": 1}
    assert value.default_factory is list
    assert isinstance(argument["k"], GraphFuture)


@pytest.mark.asks(shares_memory=True)
def test_an_empty_container_beside_a_future_is_passed_on_as_it_is(executor):
    nothing, blank = [], Blank()
    value = executor.submit(same, [nothing, blank, executor.submit(abs, -1)]).result(LIMIT)
    assert value == [nothing, blank, 1]
    assert value[0] is nothing
    assert value[1] is blank


def test_a_deep_mixture(executor):
    f = executor.submit(abs, -1)
    value = executor.submit(same, [{"a": (f, [Point(f, {f: Plain(f, Slots(f))})])}]).result(LIMIT)
    assert value == [{"a": (1, [Point(1, {1: Plain(1, Slots(1))})])}]


def test_subclasses_keep_their_attributes(executor):
    argument = MyList([executor.submit(abs, -1)])
    argument.origin = "here"
    value = executor.submit(same, argument).result(LIMIT)
    assert type(value) is MyList
    assert (value, value.origin) == ([1], "here")


@pytest.mark.asks(shares_memory=True)
def test_subclasses_keep_what_is_in_slots_and_beside_a_named_tuple(executor):
    future = executor.submit(abs, -1)
    slotted, tagged = SlottedList([future]), Tagged("l", future)
    slotted.tag = tagged.tag = "tag"
    slotted.hide("hidden")
    first, second = executor.submit(same, [slotted, tagged]).result(LIMIT)
    assert (type(first), first, first.tag, first.seek()) == (SlottedList, [1], "tag", "hidden")
    assert (type(second), second, second.tag) == (Tagged, ("l", 1), "tag")


@pytest.mark.asks(shares_memory=True)
def test_a_dataclass_that_is_an_exception(executor):
    future = executor.submit(abs, -1)
    problem = Problem(future, [future])
    problem.add_note("noted")
    value = executor.submit(same, problem).result(LIMIT)
    assert type(value) is Problem
    assert (value.a, value.b, value.args, value.__notes__) == (1, [1], (1, [1]), ["noted"])
    assert problem.a is problem.args[0] is future


@pytest.mark.asks(shares_memory=True)
def test_a_dataclass_that_is_a_container_is_searched_twice(executor):
    future = executor.submit(abs, -1)
    for inside, field in ((2, future), (future, 2), (future, future)):
        listing, mapping = Listing(field), Mapping(a=field)
        listing.append(inside)
        mapping["k"] = inside
        value = executor.submit(same, [listing, mapping]).result(LIMIT)
        seen = [1 if x is future else x for x in (inside, field)]
        assert [[*value[0], value[0].a], [value[1]["k"], value[1].a]] == [seen, seen]
        assert [type(one) for one in value] == [Listing, Mapping]


def test_the_note_of_a_failure_names_the_field(executor):
    failed = executor.submit(int, "x")
    (note,) = executor.submit(same, [Plain(1, (failed,))]).exception(LIMIT).__notes__
    assert note.endswith("(argument 'x'[0].b[0])")


def test_dataclasses_are_rebuilt_without_init(executor):
    argument = Plain(executor.submit(abs, -1))
    argument.checked = "changed later"
    value = executor.submit(same, argument).result(LIMIT)
    assert (value.a, value.checked) == (1, "changed later")


def test_order_is_kept(executor):
    argument = collections.OrderedDict((n, executor.submit(abs, -n)) for n in (3, 1, 2))
    argument.move_to_end(3)
    assert list(executor.submit(same, argument).result(LIMIT).items()) == [(1, 1), (2, 2), (3, 3)]
    assert list(executor.submit(same, {n: executor.submit(abs, n) for n in (3, 1, 2)}).result(LIMIT)) == [3, 1, 2]


def all_of_it(*args, **kwargs):
    return args, kwargs


def test_positional_and_keyword_arguments(executor):
    one, two = executor.submit(abs, -1), executor.submit(abs, -2)
    found = executor.submit(all_of_it, one, [two], 3, a=one, b={"c": two}, d=4).result(LIMIT)
    assert found == ((1, [2], 3), {"a": 1, "b": {"c": 2}, "d": 4})


@pytest.mark.parametrize("shape", list(SHAPES))
def test_without_a_future_the_same_object_is_passed(executor, case, shape):
    argument = SHAPES[shape](1)
    passed = executor.submit(same, argument).result(LIMIT)
    assert passed == argument
    if case.capabilities.shares_memory:
        assert passed is argument


def test_parts_without_a_future_are_passed_as_they_are(executor, case):
    plain, f = [1, 2], executor.submit(abs, -1)
    value = executor.submit(same, [plain, f, {"k": plain}]).result(LIMIT)
    assert value == [[1, 2], 1, {"k": [1, 2]}]
    if case.capabilities.shares_memory:
        assert value[0] is plain
        assert value[2]["k"] is plain


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("hide", [Opaque, lambda f: iter([f]), lambda f: (f for f in [f]), lambda f: lambda: f])
def test_other_objects_are_never_entered(executor, held, hide):
    hidden = hide(executor.submit(abs, held))
    assert executor.submit(same, hidden).result(LIMIT) is hidden


def test_the_same_future_twice(executor):
    f = executor.submit(abs, -2)
    assert executor.submit(pow, f, f).result(LIMIT) == 4
    assert executor.submit(same, [f, [f], f]).result(LIMIT) == [2, [2], 2]


def test_a_shared_container_stays_shared(executor):
    shared = [executor.submit(abs, -1)]
    value = executor.submit(same, [shared, shared, {"k": shared}]).result(LIMIT)
    assert value == [[1], [1], {"k": [1]}]
    assert value[0] is value[1]
    assert value[2]["k"] is value[0]


def test_values_are_not_looked_through(executor):
    inner = executor.submit(abs, -1)
    hidden = executor.submit(Opaque, 1)
    assert executor.submit(same, hidden).result(LIMIT).content == 1
    assert inner.result(LIMIT) == 1


@pytest.mark.asks(shares_memory=True)
def test_a_future_returned_by_a_task_stays_a_future(executor):
    inner = executor.submit(abs, -1)
    outer = executor.submit(lambda: [inner])
    assert executor.submit(same, outer).result(LIMIT) == [inner]


@pytest.mark.asks(shares_memory=True)
def test_a_slotted_dataclass_with_an_unset_field(executor):
    @dataclasses.dataclass(slots=True)
    class Lazy:
        a: object
        b: object = dataclasses.field(init=False)

    value = executor.submit(same, Lazy(executor.submit(abs, -1))).result(LIMIT)
    assert value.a == 1
    assert not hasattr(value, "b")


def test_a_container_that_cannot_be_rebuilt_fails_that_task_alone(executor):
    bad = executor.submit(same, {executor.submit(list, "ab"), 2})
    with pytest.raises(TypeError, match="set"):
        bad.result(LIMIT)
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_an_unhashable_key_fails_that_task_alone(executor):
    with pytest.raises(TypeError, match="dict"):
        executor.submit(same, {executor.submit(list, "ab"): 2}).result(LIMIT)
