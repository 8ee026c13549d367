"""Scripts that end while an executor of somebody else still has tasks of ours (CONTRACT 8)."""

import pytest
from conftest import Script

#: how the inner executor is made, in modules that are imported after ours
POOLS = {
    "threads": ("from concurrent.futures import ThreadPoolExecutor as Pool", "Pool(1)"),
    "processes": (
        "import multiprocessing; from concurrent.futures import ProcessPoolExecutor as Pool",
        "Pool(1, mp_context=multiprocessing.get_context('forkserver'))",
    ),
    "loky": ("from loky import get_reusable_executor as Pool", "Pool(2)"),
}


@pytest.mark.parametrize(
    "pool", ["threads", *(pytest.param(name, marks=pytest.mark.ci) for name in POOLS if name != "threads")]
)
def test_falling_off_the_end_finishes_the_graph(script: Script, pool: str) -> None:
    imports, make = POOLS[pool]
    source = f"""
        from graphfutures import GraphExecutor

        {imports}

        def show(future):
            print(future.result())

        if __name__ == "__main__":
            executor = GraphExecutor(backend={make})
            executor.submit(abs, -1).result(20)  # loky starts nothing at exit, nor does CPython 3.12
            futures = [executor.submit(pow, n, 2) for n in range(100)]
            for _ in range(5):
                futures = [executor.submit(sum, futures[n : n + 2]) for n in range(0, len(futures), 2)]
            executor.submit(sum, futures).add_done_callback(show)
            print("end")
    """
    ended = script(source)
    assert ended.lines == ["end", "328350"]
    assert ended.err == ""


def test_a_task_with_an_executor_that_was_shut_at_exit(script: Script) -> None:
    source = """
        from concurrent.futures import ThreadPoolExecutor
        from graphfutures import GraphExecutor

        with ThreadPoolExecutor(2) as inner:
            executor = GraphExecutor(backend=inner)
            first = executor.submit(abs, -1).result()
        future = executor.submit(abs, -2)
        future.add_done_callback(lambda future: print(type(future.exception()).__name__))
    """
    assert script(source).lines == ["BrokenGraphError"]


def test_a_forked_child_is_told(script: Script) -> None:
    source = """
        import os
        from concurrent.futures import ThreadPoolExecutor
        from graphfutures import GraphExecutor

        inner = ThreadPoolExecutor(2)
        executor = GraphExecutor(backend=inner)
        print(executor.submit(abs, -1).result(20))
        child = os.fork()
        if not child:
            print("before fork" in str(executor.submit(abs, -1).exception(20)))
            os._exit(0)
        os.waitpid(child, 0)
        print(executor.submit(abs, -2).result(20))
    """
    assert script(source.replace("import os", "import os, warnings; warnings.simplefilter('ignore')")).lines == [
        "1",
        "True",
        "2",
    ]
