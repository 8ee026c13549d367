"""Each wrong argument of each public call: the right type of error, and a message that says what to do."""

import asyncio
import multiprocessing
import pickle
import sys
import weakref
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
from patience import LIMIT

from graphfutures import GraphExecutor, allow_failure, unpack
from graphfutures.testing import SeededBackend


@pytest.fixture
def executor():
    with GraphExecutor(2) as one:
        yield one


CONSTRUCTOR = [
    ((0,), {}, ValueError, "^max_workers must be greater than 0$"),
    ((-3,), {}, ValueError, "^max_workers must be greater than 0$"),
    (("4",), {}, TypeError, "max_workers must be an integer, not '4'"),
    ((2.5,), {}, TypeError, "max_workers must be an integer, not 2.5"),
    ((4, multiprocessing.get_context("spawn")), {}, TypeError, "thread_name_prefix must be a str.*mp_context="),
    ((4, None), {}, TypeError, "thread_name_prefix must be a str"),
    ((4, "name", "not callable"), {}, TypeError, "^initializer must be a callable$"),
    ((4, "name", print, (), "threads"), {}, TypeError, "positional arguments"),
    (
        (),
        {"backend": "thread"},
        ValueError,
        r"'thread' \(did you mean 'threads'\?\); known are: threads, processes, inline, ",
    ),
    ((), {"backend": "trheads"}, ValueError, r"unknown backend 'trheads' \(did you mean 'threads'\?\); known are"),
    (("threads",), {}, TypeError, r"max_workers must be an integer, not 'threads' \(.*backend='threads'\)"),
    (
        (Executor(),),
        {},
        TypeError,
        r"max_workers must be an integer, not <.*a backend is given by keyword.*backend=…",
    ),
    ((), {"workers": 4}, TypeError, r"option 'workers' \(did you mean 'max_workers'\?\); known are: max_w[^(]*$"),
    ((), {"backend": ""}, ValueError, "unknown backend ''; known are: threads"),
    (
        (),
        {"backend": "localhost:8786"},
        ValueError,
        "addresses of clusters like 'tcp://host:8786' or 'ray://host:10001'$",
    ),
    ((), {"security": 3}, ValueError, "^security is for the address of a cluster, .*, not for 'threads'$"),
    ((), {"backend": 3}, TypeError, "backend must be a name, a backend or an Executor, not 3; known names"),
    ((), {"backend": dict}, TypeError, "backend must be a name, a backend or an Executor"),
    ((), {"max_pending": 0}, ValueError, "^max_pending must be greater than 0$"),
    ((), {"max_pending": -1}, ValueError, "^max_pending must be greater than 0$"),
    ((), {"max_pending": "many"}, TypeError, "max_pending must be an integer, not 'many'"),
    ((), {"max_pending": 1.5}, TypeError, "max_pending must be an integer, not 1.5"),
    ((), {"max_tasks_per_child": 0}, ValueError, "^max_tasks_per_child must be greater than 0$"),
    ((), {"max_tasks_per_child": "x"}, TypeError, "max_tasks_per_child must be an integer"),
    ((), {"mp_context": multiprocessing.get_context("spawn")}, ValueError, r"left out.*loky\.backend\.get_context"),
    ((), {"n_jobs": 4}, TypeError, "'n_jobs' .did you mean 'max_workers'"),
    ((), {"max_worker": 4}, TypeError, "'max_worker' .did you mean 'max_workers'.*known are: .*max_pending"),
    ((), {"a": 1, "b": 2}, TypeError, "unknown option 'a', 'b'"),
    ((), {"retries": 3}, TypeError, r"unknown option 'retries'.*tasks have it: executor.options\(retries=…\).submit"),
    ((), {"backend": SeededBackend}, TypeError, r"write SeededBackend\(…\), with its arguments"),
    ((), {"backends": ["threads"]}, TypeError, r"backends must map names.*not \['threads'\]"),
    ((), {"backends": "inline"}, TypeError, "backends must map names"),
    ((), {"backends": {"pool": Executor}}, TypeError, r"write Executor\(…\), with its arguments"),
]


@pytest.mark.parametrize(("args", "kwargs", "kind", "message"), CONSTRUCTOR)
def test_the_constructor(args, kwargs, kind, message):
    with pytest.raises(kind, match=message):
        GraphExecutor(*args, **kwargs)


@pytest.mark.parametrize("value", ["0", "-1", "many", "2.5", " "])
def test_a_number_of_workers_in_the_environment(monkeypatch, value):
    monkeypatch.setenv("GRAPHFUTURES_MAX_WORKERS", value)
    with pytest.raises(ValueError, match="GRAPHFUTURES_MAX_WORKERS must be an integer greater than 0"):
        GraphExecutor()


@pytest.mark.parametrize("backend", ["ray", "ray://127.0.0.1:1"])
def test_a_backend_whose_packages_are_missing(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'backend \'ray\' needs .*: pip install "graphfutures\[ray\]"'):
        GraphExecutor(backend=backend)


def test_an_unknown_backend_in_the_environment(monkeypatch):
    monkeypatch.setenv("GRAPHFUTURES_BACKEND", "treads")
    with pytest.raises(ValueError, match=r"'treads' \(from GRAPHFUTURES_BACKEND\) \(did you mean 'threads'\?\); known"):
        GraphExecutor()


@pytest.mark.parametrize("value", [None, 3, "abs", [abs]])
def test_submit_something_that_cannot_be_called(executor, value):
    for submit in (executor.submit, executor.options(name="x").submit, executor.strict.submit):
        with pytest.raises(TypeError, match=r"must be callable.*write submit\(f, x\), not submit\(f\(x\)\)"):
            submit(value)


def test_submit_a_future_as_the_function(executor):
    with pytest.raises(TypeError, match=r"a future is an argument of the function, as in submit\(f, future\)"):
        executor.submit(executor.submit(abs, -1), 3)


def test_map_over_a_future(executor):
    with pytest.raises(TypeError, match=r"map cannot go through list-1 before it is done.*join=True"):
        executor.map(abs, executor.submit(list, (1, 2)))


def test_tokens_that_the_executor_has_not_got():
    with GraphExecutor(1, resources={"gpu": 2}) as executor:
        with pytest.raises(ValueError, match=r"without any \(did you mean 'gpu'\?\); it has 2 of 'gpu'"):
            executor.options(resources={"gpus": 1}).submit(abs, -1)
        with pytest.raises(ValueError, match="asks for 3 of resource 'gpu', but the executor has 2"):
            executor.options(resources={"gpu": 3}).submit(abs, -1)


def test_submit_nothing(executor):
    with pytest.raises(TypeError):
        executor.submit()


def test_map_something_that_cannot_be_called(executor):
    for door in (executor, executor.options(name="x"), executor.strict):
        for things in ([1], []):
            with pytest.raises(TypeError, match=r"must be callable, not 'abs': write map\(f, xs\), not map\(f\(xs\)\)"):
                door.map("abs", things)


def test_map_something_that_cannot_be_iterated_over(executor):
    with pytest.raises(TypeError, match=r"not iterable|argument must support iteration"):
        executor.map(abs, 3)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"priority": "high"}, TypeError, "priority must be an int or a float.*not 'high'"),
        ({"priority": None}, TypeError, "priority must be an int or a float"),
        ({"priority": 1j}, TypeError, "priority must be an int or a float"),
        ({"priority": float("nan")}, (TypeError, ValueError), "priority must be an int or a float"),
        ({"name": ""}, ValueError, "name must not be empty"),
        ({"name": 3}, TypeError, "name must be a str, not 3"),
        ({"nmae": "x"}, TypeError, r"unknown option 'nmae' \(did you mean 'name'\?\); known are: name"),
        ({"retry": 3}, TypeError, "unknown option 'retry'.*goes to submit"),
    ],
)
def test_options(executor, options, kind, message):
    for door in (executor, executor.options(name="x")):
        with pytest.raises(kind, match=message):
            door.options(**options)


def test_options_take_no_positional_argument(executor):
    with pytest.raises(TypeError):
        executor.options("name")


@pytest.mark.parametrize("place", [lambda f: f, lambda f: [f], lambda f: {"k": (f,)}])
def test_an_asyncio_future(executor, place):
    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match=r"asyncio future.*asyncio\.wrap_future.*await it first"):
            executor.submit(print, place(future))
        with pytest.raises(TypeError, match="asyncio future"):
            executor.submit(print, keyword=place(future))

    asyncio.run(main())


def test_a_self_containing_list_with_a_future_in_it(executor):
    circle = [Future()]
    circle.append(circle)
    with pytest.raises(ValueError, match="list that contains itself and a future"):
        executor.submit(print, circle)


def test_a_list_that_is_changed_after_submit(executor):
    first = Future()
    numbers = [first, 2]
    total = executor.submit(sum, numbers)
    numbers[:] = ["nonsense"]
    first.set_result(1)
    assert total.result(LIMIT) == 3


def test_an_unhashable_value_in_a_set_of_futures(executor):
    future = executor.submit(len, {executor.submit(list, "ab")})
    with pytest.raises(TypeError, match=rf"{future.key} did not run: cannot rebuild the set.*unhashable.*a tuple"):
        future.result(LIMIT)


def test_an_unhashable_value_on_an_executor_of_others():
    with ThreadPoolExecutor(1) as inner, GraphExecutor(backend=inner) as executor:
        future = executor.submit(len, {executor.submit(list, "ab")})
        with pytest.raises(TypeError, match=rf"{future.key} did not run: cannot rebuild the set of an argument"):
            future.result(LIMIT)


@pytest.mark.parametrize("value", [3, None, [Future()], "x"])
def test_allow_failure_of_something_else(value):
    with pytest.raises(TypeError, match="allow_failure takes a future, not"):
        allow_failure(value)


@pytest.mark.parametrize("value", [3, None, Future()])
def test_unpack_something_else(value):
    with pytest.raises(TypeError, match="unpack takes a future of a GraphExecutor, not"):
        unpack(value, 2)


def test_unpack_into_no_number(executor):
    future = executor.submit(divmod, 7, 2)
    with pytest.raises(TypeError):
        unpack(future, "2")
    with pytest.raises(TypeError):
        unpack(future, 2.0)
    with pytest.raises(ValueError, match="n must not be negative, but is -1"):
        unpack(future, -1)


def test_unpack_a_value_with_other_items(executor):
    pair, number = executor.submit(divmod, 7, 2), executor.submit(abs, -1)
    with pytest.raises(ValueError, match=rf"a tuple with more than 1 items into 1 futures: {pair.key} returned"):
        unpack(pair, 1)[0].result(LIMIT)
    with pytest.raises(ValueError, match=rf"with 2 items into 3 futures: {pair.key} returned it; give unpack"):
        unpack(pair, 3)[0].result(LIMIT)
    with pytest.raises(TypeError, match=rf"cannot unpack the int that {number.key} returned: .*iterated over"):
        unpack(number, 2)[0].result(LIMIT)


def test_unpack_after_shutdown():
    with GraphExecutor(1) as executor:
        future = executor.submit(divmod, 7, 2)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        unpack(future, 2)


def test_explain_something_else(executor):
    with GraphExecutor(1) as other:
        for value in (3, None, Future(), other.submit(abs, -1)):
            with pytest.raises(ValueError, match="is not a future of this executor"):
                executor.explain(value)


def test_a_callback_that_cannot_be_called(executor):
    future = executor.submit(abs, -1)
    assert future.result(LIMIT) == 1
    future.add_done_callback(None)  # logged, as by the standard library
    assert future.result(LIMIT) == 1


def test_after_all_of_this_it_still_works(executor):
    with pytest.raises(TypeError):
        executor.submit(3)
    assert executor.submit(abs, -1).result(LIMIT) == 1


@pytest.mark.parametrize("name", ["submit", "map", "get", "put", "explain", "options", "__call__"])
def test_messages_speak_of_the_class_that_users_know(executor, name):
    for door in (executor, executor.options(priority=1)):
        kind = "View" if name == "options" and door is not executor else "GraphExecutor"
        with pytest.raises(TypeError, match=rf"^{kind}\.{name}\(\) "):
            getattr(door, name)(*([] if name != "options" else [1]))
    assert pickle.loads(pickle.dumps(GraphExecutor.submit)) is GraphExecutor.submit


def test_a_proxy_whose_function_is_gone(executor):
    def function() -> None: ...

    proxy = weakref.proxy(function)
    del function
    future = executor.submit(proxy)
    assert isinstance(future.exception(LIMIT), ReferenceError), "it is the task's, not submit's"


def test_a_backend_in_the_place_of_a_prefix_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="did you mean backend='processes'"):
        GraphExecutor(1, "processes").shutdown()
