"""``progress``: yields as completed, draws beside whatever else goes on, and never stands in anybody's way."""

import asyncio
import fcntl
import gc
import io
import os
import subprocess
import sys
import termios
import textwrap
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from patience import LIMIT, in_time, until

from graphfutures import GraphExecutor, as_completed, delayed, progress


@pytest.fixture
def executor():
    with GraphExecutor(2) as one:
        yield one


class Terminal:
    """A terminal, 100 columns wide, and what was written to it."""

    def __init__(self):
        self._reads, writes = os.openpty()
        fcntl.ioctl(writes, termios.TIOCSWINSZ, b"\x1e\x00\x64\x00\x00\x00\x00\x00")
        self.file = os.fdopen(writes, "w", encoding="utf-8")
        self._read = b""
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self):
        while True:
            try:
                self._read += os.read(self._reads, 4096)
            except OSError:  # the other end is closed
                os.close(self._reads)
                return

    def text(self):
        return self._read.decode()

    def close(self):
        self.file.close()
        self._thread.join(LIMIT)


@pytest.fixture
def terminal():
    one = Terminal()
    yield one
    one.close()


@pytest.fixture
def no_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)


def fail(error):
    raise error


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


# -- what is yielded


def test_it_yields_each_future_once_as_it_completes(executor):
    first, second, other = Future(), Future(), Future()
    futures = [executor.submit(abs, first), executor.submit(abs, second), other]
    found = iter(progress([*futures, *futures], file=io.StringIO()))
    second.set_result(-2)
    assert in_time(next, found) is futures[1]
    other.set_result(3)
    assert in_time(next, found) is other
    first.set_result(-1)
    assert in_time(next, found) is futures[0]
    assert list(found) == []


def test_futures_of_several_executors_and_a_generator_of_them(executor):
    with ThreadPoolExecutor(1) as others, GraphExecutor(1) as second:
        futures = [maker.submit(abs, -n) for n in range(30) for maker in (executor, others, second)]
        assert {*progress((one for one in futures), file=io.StringIO())} == {*futures}


def test_a_task_may_iterate_over_what_it_submits(executor):
    def outer():
        futures = [executor.submit(abs, -n) for n in range(10)]
        return sum(future.result() for future in progress(futures, file=io.StringIO()))

    assert executor.submit(outer).result(LIMIT) == 45


def test_no_futures():
    file = io.StringIO()
    assert list(progress([], file=file)) == []
    assert file.getvalue() == ""
    assert not watchers()


# -- what is drawn


def test_one_line_at_the_end_where_there_is_no_terminal(executor):
    file = io.StringIO()
    load, clean = executor.options(name="load"), executor.options(name="clean")
    loads = [load.submit(abs, -n) for n in range(20)]
    list(progress(loads + [clean.submit(abs, one) for one in loads], file=file))
    (line,) = file.getvalue().splitlines()
    assert line.startswith("40/40: load 20/20, clean 20/20, ")


def test_lines_now_and_then_where_that_is_asked_for(executor):
    file, held = io.StringIO(), Future()
    progress([executor.submit(abs, held)], file=file, mininterval=0)
    assert until(lambda: file.getvalue().count("abs 0/1, ") >= 2)
    held.set_result(1)
    assert until(lambda: "abs 1/1, " in file.getvalue())
    assert until(lambda: not watchers())


def test_losses_are_counted(executor):
    file, held = io.StringIO(), Future()
    failed = executor.options(name="load").submit(fail, ValueError("bad"))
    inherits = executor.options(name="load").submit(abs, failed)
    cancelled = executor.options(name="load").submit(abs, held)
    cancelled.cancel()
    foreign = Future()
    foreign.set_exception(KeyError(1))
    list(progress([failed, inherits, cancelled, foreign, executor.options(name="load").submit(abs, 1)], file=file))
    assert "5/5: load 4/4 (2 failed, 1 cancelled), Future 1/1 (1 failed), " in file.getvalue()


def test_names_beyond_ten_are_summed_up(executor):
    file = io.StringIO()
    futures = [executor.options(name=f"rare{n}").submit(abs, n) for n in range(30)]
    futures += [executor.options(name=f"often{n}").submit(abs, n) for n in range(10) for _ in range(2)]
    list(progress(futures, file=file))
    assert "rare" not in file.getvalue()
    assert file.getvalue().startswith("50/50: often0 2/2, often1 2/2, ")
    assert ", often9 2/2, others 30/30, " in file.getvalue()


def test_a_name_is_not_obeyed_by_the_terminal(executor):
    file = io.StringIO()
    names = ["a\nb", "\x1b[2J", "\ud800", "x" * 1000, "naïve 名前"]
    list(progress([executor.options(name=name).submit(abs, 1) for name in names], file=file))
    (line,) = file.getvalue().splitlines()
    assert r"a\nb 1/1, \x1b[2J 1/1, \ud800 1/1, xxx" in line
    assert "naïve 名前 1/1" in line
    assert len(line) < 200


@pytest.mark.usefixtures("no_tqdm")
def test_one_line_is_written_anew_on_a_terminal_without_tqdm(executor, terminal):
    held = Future()
    futures = [executor.options(name=name).submit(abs, held) for name in ("load", "clean" * 30)]
    progress(futures, file=terminal.file)
    assert until(lambda: "\r0/2: load 0/1, clean" in terminal.text())
    held.set_result(1)
    assert until(lambda: "\r2/2: load 1/1, clean" in terminal.text() and not watchers())
    assert until(lambda: terminal.text().endswith("\n"))
    assert terminal.text().count("\n") == 1
    assert max(map(len, terminal.text().split("\r"))) < 100


def test_tqdm_draws_on_a_terminal(executor, terminal):
    pytest.importorskip("tqdm")
    load, clean = executor.options(name="load"), executor.options(name="clean")
    futures = [load.submit(abs, 1), load.submit(fail, ValueError(1)), clean.submit(abs, 2)]
    list(progress(futures, file=terminal.file))
    assert until(lambda: "load: 100%" in terminal.text() and "clean: 100%" in terminal.text())
    assert until(lambda: "2/2 [" in terminal.text() and ", 1 failed]" in terminal.text())


# -- in nobody's way


def test_it_draws_in_the_background_and_keeps_no_value(executor):
    class Value:
        pass

    held, file = Future(), io.StringIO()
    first, last = executor.submit(Value), executor.submit(abs, held)
    value = weakref.ref(first.result(LIMIT))
    progress([first, last], file=file)
    del first
    gc.collect()
    assert value() is None, "what is done is let go of"
    held.set_result(1)
    assert until(lambda: "2/2: Value 1/1, abs 1/1, " in file.getvalue())
    assert until(lambda: not watchers())


def test_the_end_of_a_loop_closes_it_and_the_next_one_goes_on(executor):
    file, held = io.StringIO(), Future()
    futures = [executor.submit(abs, 1), executor.submit(abs, held)]
    seen = progress(futures, file=file)
    for future in seen:
        assert future is futures[0]
        break
    assert "abs 1/2, " in file.getvalue()
    assert until(lambda: not watchers())
    held.set_result(-2)
    assert [future.result() for future in seen] == [2]
    assert list(seen) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_loop_closes_it(executor, error):
    file, held = io.StringIO(), Future()

    def loop():
        for _ in progress([executor.submit(abs, 1), executor.submit(abs, held)], file=file):
            raise error

    with pytest.raises(error):
        loop()
    assert "abs 1/2, " in file.getvalue()
    assert until(lambda: not watchers())
    held.set_result(1)


def test_a_file_that_is_closed_harms_nobody(executor):
    file, held = io.StringIO(), Future()
    seen = progress([executor.submit(abs, held), executor.submit(abs, 1)], file=file, mininterval=0)
    file.close()
    assert until(lambda: not watchers())
    held.set_result(-1)
    assert sorted(future.result() for future in seen) == [1, 1]


def test_without_a_standard_error_nothing_is_drawn(executor, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert len(list(progress([executor.submit(abs, 1)]))) == 1


def run(script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=3 * LIMIT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_program_ends_although_its_futures_never_do():
    code, _, told = run(
        """
        from concurrent.futures import Future
        from graphfutures import progress
        progress([Future(), Future()])
        """
    )
    assert code == 0
    assert told.startswith("Future 0/2, ")
    assert told.count("\n") == 1


def test_at_the_end_of_the_program_it_says_what_was_done_until_then():
    code, out, told = run(
        """
        import time
        from graphfutures import GraphExecutor, progress
        executor = GraphExecutor(2)
        started = time.perf_counter()
        progress([executor.submit(time.sleep, 0.3) for _ in range(4)])
        print(time.perf_counter() - started < 0.3)
        """
    )
    assert (code, out) == (0, "True\n")
    assert told.startswith("sleep 4/4, ")


def test_an_exception_ends_a_program_as_ever():
    code, _, told = run(
        """
        from concurrent.futures import Future
        from graphfutures import progress
        done = Future()
        done.set_result(1)
        for future in progress([done, Future()]):
            raise KeyError("mine")
        """
    )
    assert code == 1
    assert "Future 1/2, " in told
    assert told.endswith("KeyError: 'mine'\n")
    assert told.count("Traceback") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_child_iterates_and_draws_nothing():
    code, out, told = run(
        """
        import os, warnings
        from concurrent.futures import Future
        from graphfutures import progress
        warnings.simplefilter("ignore")
        done = [Future(), Future()]
        seen = progress(done)
        if not (pid := os.fork()):
            for future in done:
                future.set_result(1)
            print(len(list(seen)), flush=True)
        else:
            print(os.waitpid(pid, 0)[1])
        """
    )
    assert (code, out) == (0, "2\n0\n")
    assert told.count("Future") == 1


@pytest.mark.ci
def test_values_stay_where_they_are():
    with GraphExecutor(1, backend="processes") as executor:
        future = executor.submit(bytes, 1_000_000)
        progress([future], file=io.StringIO())
        assert until(future.done)
        assert until(lambda: not watchers())
        assert not future._outcome.is_read


# -- what it costs, and what it refuses


def test_a_hundred_thousand_futures(executor):
    file = io.StringIO()
    futures = [executor.submit(int) for _ in range(100_000)]
    assert sum(1 for _ in progress(futures, file=file)) == 100_000
    assert "int 100,000/100,000, " in file.getvalue()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "takes futures, a list of them for instance, not 3"),
        (Future(), "put this one into a list"),
        ([1], "among these is an object of type int"),
        ({"a": Future()}, "among these is an object of type str"),
        ([[Future()]], "among these is an object of type list"),
        ((len(1) for _ in "a"), "has no len"),
        ([delayed(abs)(1)], "among these is an object of type Delayed"),
    ],
)
def test_what_is_no_future(given, message):
    with pytest.raises(TypeError, match=message):
        progress(given)


def test_a_future_of_asyncio():
    async def main():
        with pytest.raises(TypeError, match=r"asyncio\.wrap_future"):
            progress([asyncio.get_running_loop().create_future()])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"file": "log.txt"}, TypeError, "file must be a text file that is open for writing, not 'log.txt'"),
        ({"mininterval": "1"}, TypeError, "mininterval must be a number of seconds, not '1'"),
        ({"mininterval": True}, TypeError, "mininterval must be a number of seconds, not True"),
        ({"mininterval": -1}, ValueError, "mininterval must be finite and 0 or greater, but is -1"),
        ({"mininterval": float("nan")}, ValueError, "but is nan"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        progress([], **options)


def test_what_it_returns_says_where_it_stands(executor):
    futures = [executor.submit(abs, 1), Future()]
    assert until(futures[0].done)
    seen = progress(futures, file=io.StringIO())
    assert repr(seen) == "<progress of 1/2: abs 1/1, Future 0/1>"
    futures[1].set_result(1)


def test_as_completed_is_what_it_does(executor):
    futures = [executor.submit(abs, n) for n in range(100)]
    assert {*progress(futures, file=io.StringIO())} == {*as_completed(futures)}
