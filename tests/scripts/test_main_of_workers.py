"""The ``__main__`` of a script in its worker processes, without any guard (CONTRACT 10)."""

import pytest

pytestmark = pytest.mark.ci


def test_the_initializer_and_the_tasks_share_their_globals(script):
    ended = script(
        """
        from graphfutures import GraphExecutor

        def prepare(value):
            global STATE
            STATE = value

        def read():
            return STATE

        with GraphExecutor(2, backend="processes", initializer=prepare, initargs=(7,)) as executor:
            futures = [executor.submit(read) for _ in range(50)]
            print({future.result() for future in futures}, "STATE" in globals())
        """
    )
    assert ended.lines == ["{7} False"]


def test_what_tasks_bind_stays_until_it_is_bound_anew(script):
    ended = script(
        """
        from graphfutures import GraphExecutor

        counted = 0

        def count():
            global counted
            counted += 1
            return counted

        def read():
            return counted

        with GraphExecutor(1, backend="processes") as executor:
            print([executor.submit(count).result() for _ in range(3)], executor.submit(read).result(), counted)
            counted = 10
            print(executor.submit(read).result(), executor.submit(count).result(), counted)
        """
    )
    assert ended.lines == ["[1, 2, 3] 3 0", "10 11 10"]


def test_whatever_uses_a_global_sees_what_it_is_bound_to(script):
    ended = script(
        """
        from functools import partial
        from graphfutures import GraphExecutor

        bound = 0

        def read(*args, **kwargs):
            return bound

        class Reader:
            def read(self):
                return bound

        def of(reader):
            return reader.read()

        with GraphExecutor(1, backend="processes") as executor:
            calls = [(read, 1), (read, [1]), (partial(read, 1),), (Reader().read,), (of, Reader())]
            for bound in range(3):
                futures = [executor.submit(*call) for call in [*calls, *calls[::-1]]]
                mapped = [*executor.map(read, [1, [1]]), *executor.map(partial(read, 1), [1])]
                named = executor.submit(read, value=1).result()
                print({future.result() for future in futures} | {named, *mapped})
        """
    )
    assert ended.lines == ["{0}", "{1}", "{2}"]


def test_a_namespace_that_is_run_as_main_but_is_not_that_of_the_module(script):
    ended = script(
        """
        from graphfutures import GraphExecutor

        with GraphExecutor(1, backend="processes") as executor:
            names = {"__name__": "__main__", "executor": executor, "print": print}
            for number in range(3):
                exec(f"bound = {number}\\nprint(executor.submit(lambda: bound).result())", names)
        """
    )
    assert ended.lines == ["0", "1", "2"]
