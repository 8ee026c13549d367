"""What the types of results are, with and without futures among the arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, assert_type

from graphfutures import GraphExecutor, GraphFuture, allow_failure, as_completed, progress, quote, unpack, value, wait


def double(x: int) -> int:
    return 2 * x


def join(words: list[str], separator: str = " ", *, upper: bool = False) -> str:
    joined = separator.join(words)
    return joined.upper() if upper else joined


def describe(outcome: int | BaseException) -> str:
    return str(outcome)


def pair(x: int) -> tuple[int, str]:
    return x, str(x)


async def later() -> bytes:
    return b""


class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: float) -> float:
        return self.factor * x

    def times(self, x: float) -> float:
        return self.factor * x


executor = GraphExecutor(2)


# Without futures: the parameters of the function are known, so editors can show them.
number = executor.submit(double, 1)
assert_type(number, GraphFuture[int])
assert_type(number.result(), int)
assert_type(number.result(timeout=1.5), int)
assert_type(number.exception(), BaseException | None)
assert_type(number.cancel(force=True), bool)
assert_type(executor.submit(join, ["a"], upper=True), GraphFuture[str])
assert_type(executor.submit(Scale, 2.0), GraphFuture[Scale])
assert_type(executor.submit(Scale(2.0), 1.0), GraphFuture[float])
assert_type(executor.submit(Scale(2.0).times, 1.0), GraphFuture[float])
assert_type(executor.submit(partial(double, 1)), GraphFuture[int])
coroutine: Coroutine[Any, Any, bytes] = executor.submit(later).result()  # as ThreadPoolExecutor does

# With futures, wherever they stand.
assert_type(executor.submit(double, number), GraphFuture[int])
assert_type(executor.submit(double, x=number), GraphFuture[int])
assert_type(executor.submit(double, executor.submit(double, number)), GraphFuture[int])
words = [executor.submit(str, 1), executor.submit(str, number)]
assert_type(executor.submit(join, words, separator="-"), GraphFuture[str])
assert_type(executor.submit(sum, [number, number]), GraphFuture[int])
assert_type(executor.submit(len, words), GraphFuture[int])
assert_type(executor.submit(Scale, number), GraphFuture[Scale])
foreign: Future[int] = Future()
assert_type(executor.submit(double, foreign), GraphFuture[int])

# What is written around an argument.
assert_type(quote([number]), list[GraphFuture[int]])
assert_type(executor.submit(len, quote([number])), GraphFuture[int])
assert_type(allow_failure(number), int | BaseException)
assert_type(executor.submit(describe, allow_failure(number)), GraphFuture[str])
assert_type(unpack(executor.submit(pair, number), 2), list[GraphFuture[Any]])
assert_type(executor.put("text"), GraphFuture[str])

# Options change nothing about types.
urgent = executor.options(name="urgent", priority=2)
assert_type(urgent.submit(double, 1), GraphFuture[int])
assert_type(urgent.submit(double, number), GraphFuture[int])
assert_type(urgent.options(priority=3).submit(join, words), GraphFuture[str])
assert_type(urgent.map(double, [1, 2]), Iterator[int])

assert_type(executor.map(double, [1, 2], timeout=1, buffersize=2), Iterator[int])
assert_type(executor.map(double, [number, 2]), Iterator[int])

# Every argument checked.
assert_type(executor.strict.submit(double, 1), GraphFuture[int])
assert_type(value(number), int)
assert_type(executor.strict.submit(double, value(number)), GraphFuture[int])
assert_type(executor.strict.submit(join, [value(word) for word in words], upper=True), GraphFuture[str])

assert_type(executor.strict.map(double, [number]), Iterator[int])
assert_type(executor.strict.put(1), GraphFuture[int])
assert_type(urgent.strict.submit(double, 1), GraphFuture[int])
assert_type(executor.strict.options(name="urgent").submit(double, value(number)), GraphFuture[int])

# What is told of them: six counts, and more.
counts: dict[str, int] = executor.stats()
assert_type(executor.stats()["running"], int)
assert_type(executor.strict.stats().slots.busy, int)
assert_type(urgent.stats().functions["double"].mean, float)

# Where a standard executor or future is taken.
standard: Executor = executor
strictly: Executor = executor.strict
view: Executor = urgent
future: Future[int] = number
done, pending = wait([number, foreign], timeout=1)
assert_type(done, set[Future[int]])
for ended in as_completed([number, executor.submit(double, 2)]):
    assert_type(ended.result(), int)
for word in as_completed(dict.fromkeys(words, "index")):
    assert_type(word.result(), str)
for shown in progress(words):
    assert_type(shown, GraphFuture[str])
for mixed in progress([number, foreign]):
    assert_type(mixed.result(), int)
number.add_done_callback(lambda future: print(future.key, future.result() + 1))
with GraphExecutor() as opened:
    assert_type(opened, GraphExecutor)


async def main() -> None:
    assert_type(await number, int)
    assert_type(await asyncio.wrap_future(number), int)
    assert_type(await asyncio.get_running_loop().run_in_executor(executor, double, 1), int)
    assert_type(await asyncio.gather(number, executor.submit(join, words)), tuple[int, str])
    async with GraphExecutor() as opened:
        assert_type(opened, GraphExecutor)
