"""``map``: that of Python 3.14 on every Python, with futures among the elements (CONTRACT 1, 2)."""

import itertools
from concurrent.futures import CancelledError, Future

import pytest
from patience import LIMIT


def test_values_come_in_order(executor):
    assert list(executor.map(pow, range(20), [2] * 20, timeout=LIMIT)) == [n * n for n in range(20)]


def test_it_ends_with_the_shortest_iterable(executor):
    assert list(executor.map(pow, itertools.count(), (2, 3))) == [0, 1]


def test_without_iterables_nothing_is_called(executor):
    assert list(executor.map(print)) == []


def test_elements_may_be_futures(executor):
    squares = [executor.submit(pow, n, 2) for n in range(5)]
    assert list(executor.map(sum, [squares, squares[:2]])) == [30, 1]
    assert list(executor.map(abs, squares)) == [0, 1, 4, 9, 16]


def test_chunksize_is_accepted(executor):
    assert list(executor.map(abs, [-1, -2, -3], chunksize=2)) == [1, 2, 3]


def test_an_exception_is_raised_in_its_place(executor):
    values = executor.map(divmod, [1, 1, 1, 1], [1, 1, 0, 1])
    assert next(values) == (1, 0)
    assert next(values) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def first(a, _):
    return a


def test_all_is_submitted_before_the_first_value_is_asked_for(executor, held):
    taken = []
    values = executor.map(first, (taken.append(n) or n for n in range(30)), itertools.repeat(held))
    assert taken == list(range(30))
    held.set_result(None)
    assert list(values) == taken


def test_a_timeout_counts_from_the_call(executor, held):
    values = executor.map(abs, [-1, held], timeout=0.1)
    with pytest.raises(TimeoutError):
        list(values)


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_at_all(executor, held, timeout):
    with pytest.raises(TimeoutError):
        next(executor.map(abs, [held], timeout=timeout))


def test_after_a_timeout_the_rest_is_cancelled(executor, held):
    late = Future()
    values = executor.map(abs, [held, late], timeout=0.01)
    with pytest.raises(TimeoutError):
        next(values)
    executor.shutdown()  # without cancelling it would wait for ever
    assert executor.stats()["cancelled"] == 2


def test_closing_the_iterator_cancels_the_rest(executor, held):
    values = executor.map(abs, [-1, held, held, held])
    assert next(values) == 1
    values.close()
    executor.shutdown()
    assert executor.stats()["cancelled"] == 3


def test_dropping_the_iterator_cancels_the_rest(executor, held):
    values = executor.map(abs, [-1, held, held, held])
    assert next(values) == 1
    del values
    executor.shutdown()
    assert executor.stats()["cancelled"] == 3


def test_after_an_exception_the_rest_is_cancelled(executor, held):
    values = executor.map(abs, ["x", held, held])
    with pytest.raises(TypeError):
        next(values)
    executor.shutdown()
    assert executor.stats()["cancelled"] == 2


def test_an_iterable_that_raises_does_so_at_once(executor):
    def broken():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError):
        executor.map(abs, broken())


def test_buffersize_holds_exactly_so_many(executor):
    taken = []
    values = executor.map(abs, (taken.append(n) or n for n in itertools.count()), buffersize=3)
    assert taken == [0, 1, 2]
    for number in range(5):
        assert next(values) == number
        assert taken == list(range(number + 4))
    values.close()


def test_buffersize_with_fewer_elements(executor):
    assert list(executor.map(abs, [-1, -2], buffersize=10)) == [1, 2]
    assert list(executor.map(abs, [], buffersize=1)) == []


def test_buffersize_of_an_executor_that_is_shut_meanwhile(executor):
    values = executor.map(abs, [-1, -2, -3], buffersize=1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        list(values)


@pytest.mark.parametrize("buffersize", ["1", 1.0, 2.5])
def test_buffersize_must_be_an_integer(executor, buffersize):
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        executor.map(abs, [1], buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [0, -1])
def test_buffersize_must_be_positive(executor, buffersize):
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        executor.map(abs, [1], buffersize=buffersize)


def test_map_after_shutdown(executor):
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(abs, [1])


def test_a_cancelled_element_is_raised(executor, held):
    values = executor.map(abs, [-1, held])
    held.cancel()
    assert next(values) == 1
    with pytest.raises(CancelledError):
        next(values)
