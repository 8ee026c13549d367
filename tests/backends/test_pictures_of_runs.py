"""Pictures of what has run on every backend (CONTRACT 12)."""

from xml.etree import ElementTree

from patience import LIMIT


def fail(number):
    raise ValueError(number)


def test_what_ran_and_what_waits(executor, held, tmp_path):
    first = executor.options(name="load <1>").submit(abs, executor.put(-1))
    second, failed = executor.submit(max, first, 0), executor.submit(fail, first)
    waiting = executor.submit(max, second, held)
    assert second.result(LIMIT) == 1
    assert isinstance(failed.exception(LIMIT), ValueError)
    picture = executor.options(priority=1).visualize(tmp_path / "graph.svg")
    held.set_result(2)
    assert waiting.result(LIMIT) == 2
    titles = [title.text for title in ElementTree.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}title")]
    states = dict(title.split("\n")[:2] for title in titles[1:])
    drawn = {one.key: states[one.key] for one in (first, second, failed, waiting)}
    assert drawn == {first.key: "done", second.key: "done", failed.key: "failed", waiting.key: "waiting"}
    assert picture.dot.count(" -> ") == 5
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == picture.svg
    assert "waiting" not in executor.visualize().svg
