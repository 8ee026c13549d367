"""asyncio: futures are awaitable, and the executor runs a loop's calls (CONTRACT 2)."""

import asyncio
import threading

import pytest
from patience import LIMIT

from graphfutures import CancelledError, GraphExecutor


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


def fail(error):
    raise error


def test_run_in_executor(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, pow, n, 2) for n in range(50)))

    assert run(main()) == [n * n for n in range(50)]


def test_await_a_future(executor, held):
    async def main():
        future = executor.submit(abs, held)
        asyncio.get_running_loop().call_later(0.02, held.set_result, -3)
        return await future, await future

    assert run(main()) == (3, 3)


def test_await_raises_what_the_task_raised(executor):
    async def main():
        await executor.submit(fail, LookupError("x"))

    with pytest.raises(LookupError):
        run(main())


def test_await_a_cancelled_task(executor, held):
    async def main():
        future = executor.submit(abs, held)
        asyncio.get_running_loop().call_later(0.02, future.cancel)
        await future

    with pytest.raises((CancelledError, asyncio.CancelledError)):
        run(main())


def test_gather_futures_by_awaiting_them(executor):
    async def one(n):
        return await executor.submit(pow, n, 2)

    async def main():
        return await asyncio.gather(*map(one, range(20)))

    assert run(main()) == [n * n for n in range(20)]


def test_cancelling_an_await_leaves_the_task_alone(executor, held):
    future = executor.submit(abs, held)

    async def main():
        async def awaiting():
            return await future

        task = asyncio.ensure_future(awaiting())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert not future.done()
    held.set_result(-3)
    assert future.result(LIMIT) == 3


def test_wait_for_leaves_the_task_alone(executor, held):
    future = executor.submit(abs, held)

    async def main():
        async def awaiting():
            return await future

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaiting(), 0.01)

    run(main())
    held.set_result(-3)
    assert future.result(LIMIT) == 3


def test_cancelling_wrap_future_cancels_the_task(executor, held):
    future = executor.submit(abs, held)

    async def main():
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    run(main())
    assert future.cancelled()


def test_wrap_future_gives_the_value(executor, held):
    async def main():
        wrapped = asyncio.wrap_future(executor.submit(abs, held))
        held.set_result(-3)
        return await wrapped

    assert run(main()) == 3


def test_async_with_does_not_block_the_loop(case, held):
    ticks = []

    async def main():
        loop = asyncio.get_running_loop()
        async with GraphExecutor(case.workers, backend=case.backend) as executor:
            future = executor.submit(abs, held)
            loop.call_later(0.02, ticks.append, "still ticking")
            loop.call_later(0.04, held.set_result, -3)
        assert future.done()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(abs, -1)

    run(main())
    assert ticks == ["still ticking"]


def test_a_loop_that_is_closed_meanwhile_harms_nobody(executor, held):
    future = executor.submit(abs, held)

    async def main():
        async def awaiting():
            return await future

        asyncio.ensure_future(awaiting()).add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    run(main())
    held.set_result(-3)
    assert future.result(LIMIT) == 3


def test_two_loops_await_one_future(executor, held):
    future = executor.submit(abs, held)
    found, started = [], threading.Barrier(3)

    async def main():
        started.wait(LIMIT)
        found.append(await future)

    threads = [threading.Thread(target=run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.wait(LIMIT)
    held.set_result(-3)
    for thread in threads:
        thread.join(LIMIT)
    assert found == [3, 3]


def test_an_asyncio_future_is_refused(executor):
    async def main():
        pending = asyncio.get_running_loop().create_future()
        for argument in (pending, [pending], {"x": (1, pending)}):
            with pytest.raises(TypeError, match=r"asyncio\.wrap_future"):
                executor.submit(print, argument)

    run(main())


def test_a_cancelled_async_with_cancels_what_has_not_started(case, held):
    futures = []

    async def main():
        async with GraphExecutor(case.workers, backend=case.backend) as executor:
            futures.append(executor.submit(abs, held))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(main())
    assert futures[0].cancelled()
