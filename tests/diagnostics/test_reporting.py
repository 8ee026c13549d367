"""The report: one file, with all that it needs, in words and figures; and ``performance_report``."""

from __future__ import annotations

import logging
import re
from html import unescape
from time import perf_counter

import pytest
from patience import LIMIT

import graphfutures
from graphfutures import GraphExecutor, performance_report
from graphfutures.history import Attempt

EVIL = "</script><img src=x onerror=alert(1)>"
NAMES = [EVIL, 'it\'s "quoted"\n&amp;', "naïve → 数", "\udc80surrogate", "{{ 1 + 1 }}"]


@pytest.fixture(autouse=True)
def _bokeh():
    pytest.importorskip("bokeh", reason="bokeh is not installed")


def fail(error):
    raise error


def text_of(path):
    """What is to be read, without tags and scripts."""
    page = path.read_text(encoding="utf-8")
    return unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)))


@pytest.mark.parametrize("backend", ["threads", "inline", pytest.param("processes", marks=pytest.mark.ci)])
def test_it_says_where_the_time_went(backend, tmp_path):
    path = tmp_path / "report.html"
    with GraphExecutor(2, backend=backend) as executor:
        loads = [executor.options(name="load").submit(abs, -number) for number in range(10)]
        total = executor.submit(sum, loads)
        bad = executor.options(retries=1).submit(fail, ValueError("x"))
        assert (total.result(LIMIT), type(bad.exception(LIMIT))) == (45, ValueError)
        executor.report(path)
    told = text_of(path)
    assert "13 attempts of 3 functions took" in told
    assert f"→ {total.key}" in told
    assert "2 attempts failed." in told
    assert "1 attempt ran a task again." in told
    for words in ("The critical path is", "The speed-up possible on", "Slots were idle for", "Most time was"):
        assert words in told


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    path = tmp_path / "report.html"
    with GraphExecutor(2) as executor:
        executor.submit(abs, -1).result(LIMIT)
    executor.report(path)
    page = path.read_text(encoding="utf-8")
    outside = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", outside)
    assert not re.search(r"<script[^>]*\bsrc\b", page)
    assert "default-src 'none'" in outside


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name, tmp_path):
    path = tmp_path / "report.html"
    with GraphExecutor(2) as executor:
        first = executor.options(name=name).submit(abs, -1)
        executor.options(name=name).submit(abs, first).result(LIMIT)
    executor.report(path)
    page = path.read_text(encoding="utf-8")
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>")
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert "2 attempts of 1 function took" in text_of(path)
    assert f"Critical path: {shown}-1 → {shown}-2" in text_of(path)


def test_of_nothing(tmp_path):
    GraphExecutor(2).report(tmp_path / "report.html")
    assert "Nothing has run." in text_of(tmp_path / "report.html")


def test_of_what_is_pending_and_forgotten(tmp_path):
    with GraphExecutor(1) as executor:
        for number in range(10_010):
            executor.submit(abs, number)
    executor.report(tmp_path / "report.html")
    assert "Nothing is remembered of 10 tasks" in text_of(tmp_path / "report.html")


def test_a_file_that_cannot_be_written_is_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    executor = GraphExecutor(1)
    monkeypatch.setattr("os.replace", lambda *_: fail(OSError("full")))
    with pytest.raises(OSError, match="full"):
        executor.report(path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("report.html", "old")]
    with pytest.raises(FileNotFoundError):
        executor.report(tmp_path / "none" / "report.html")


def test_without_bokeh_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bokeh.embed", None)
    with pytest.raises(ImportError, match=r"a report needs .* pip install \"graphfutures\[dashboard\]\""):
        GraphExecutor(1).report(tmp_path / "report.html")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"graphfutures\[dashboard\]"), performance_report(tmp_path / "report.html"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ci
def test_a_hundred_thousand_tasks(tmp_path):
    path = tmp_path / "report.html"
    attempts = [
        Attempt(n, f"f{n % 7}", n % 8, n / 1e4, n / 1e4 + 7e-4, 0, n % 100 > 0, (f"f{(n - 1) % 7}-{n - 1}",))
        for n in range(1, 100_001)
    ]
    executor = GraphExecutor(8)
    snapshot = executor.snapshot()._replace(attempts=attempts)
    before = perf_counter()
    graphfutures.diagnostics.reporting.write(snapshot, path)
    assert perf_counter() - before < LIMIT
    assert path.stat().st_size < 5e6
    assert "100,000 attempts of 7 functions" in text_of(path)


# -- performance_report


def test_a_block_around_executors(tmp_path):
    path = tmp_path / "report.html"
    with performance_report(path):
        with GraphExecutor(2, "first") as executor:
            executor.submit(abs, -1)
        with GraphExecutor(2, "second") as executor:
            executor.submit(min, 1, 2)
            executor.submit(max, 1, 2)
    told = text_of(path)
    assert (told.count("2 attempts of 2 functions"), told.count("1 attempt of 1 function")) == (1, 1)
    assert "first" in told
    assert "second" in told


def test_a_block_inside_tells_what_ran_in_it(tmp_path):
    path = tmp_path / "report.html"
    with GraphExecutor(2) as executor:
        executor.submit(abs, -1).result(LIMIT)
        with performance_report(path):
            executor.submit(min, 1, 2).result(LIMIT)
        executor.submit(max, 1, 2).result(LIMIT)
    told = text_of(path)
    assert "1 attempt of 1 function" in told
    assert "Critical path: min-2" in told


def test_a_block_remembers_all_and_then_the_last_ones(tmp_path):
    path = tmp_path / "report.html"
    with GraphExecutor(2) as executor:
        with performance_report(path), performance_report(tmp_path / "other.html"):
            for future in [executor.submit(abs, number) for number in range(10_500)]:
                future.result(LIMIT)
            assert len(executor.attempts()) == 10_500
        assert len(executor.attempts()) == 10_000
        executor.submit(min, 1, 2).result(LIMIT)
        assert [attempt.name for attempt in executor.attempts()][-1] == "min"
        assert len(executor.attempts()) == 10_000
    assert "10,500 attempts of 1 function" in text_of(path)
    assert "10,500 attempts of 1 function" in text_of(tmp_path / "other.html")


def test_what_records_all_goes_on_with_it(tmp_path):
    with GraphExecutor(2, record=True) as executor, performance_report(tmp_path / "report.html"):
        executor.submit(abs, 1)
    assert executor._hub.history.maxlen is None


def test_one_executor_alone(tmp_path):
    path = tmp_path / "report.html"
    with GraphExecutor(2) as one, GraphExecutor(2) as other, performance_report(path, executor=one):
        one.submit(abs, -1).result(LIMIT)
        other.submit(min, 1, 2).result(LIMIT)
    told = text_of(tmp_path / "report.html")
    assert "abs-1" in told
    assert "min-1" not in told


def test_it_is_written_even_if_the_block_raises(tmp_path):
    block = performance_report(tmp_path / "report.html")
    with GraphExecutor(1) as executor, pytest.raises(ValueError, match="x"), block:  # noqa: PT012
        executor.submit(abs, -1).result(LIMIT)
        fail(ValueError("x"))
    assert "1 attempt of 1 function" in text_of(tmp_path / "report.html")


def test_if_both_fail_the_block_is_what_is_heard_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("os.replace", lambda *_: fail(OSError("full")))
    block = performance_report(tmp_path / "report.html")
    with caplog.at_level(logging.ERROR, "graphfutures"), pytest.raises(ValueError, match="x"), block:
        fail(ValueError("x"))
    assert "report.html" in caplog.text


def test_a_block_of_nothing(tmp_path):
    with performance_report(tmp_path / "report.html"):
        pass
    assert "Nothing has run." in text_of(tmp_path / "report.html")


def test_wrong_arguments_are_told_at_once(tmp_path):
    with pytest.raises(TypeError, match="executor must be a GraphExecutor, not 5"):
        performance_report(tmp_path / "report.html", executor=5)
    with pytest.raises(FileNotFoundError, match="no folder"), performance_report(tmp_path / "none" / "report.html"):
        pass
    with pytest.raises(TypeError):
        performance_report(5)


def test_our_scheduler_of_a_graph_is_told_of(tmp_path):
    with performance_report(tmp_path / "report.html"):
        assert graphfutures.get({"a": (abs, -1), "b": (max, "a", 0)}, "b") == 1
    assert "2 attempts of 2 functions" in text_of(tmp_path / "report.html")
