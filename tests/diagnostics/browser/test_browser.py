"""The dashboard and the report in headless Chromium: what is seen, and that nothing else happens.

Screenshots go to the folder in ``GRAPHFUTURES_SCREENSHOTS``, if that is set.
"""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from patience import LIMIT, until

from graphfutures import GraphExecutor

pytest.importorskip("bokeh", reason="bokeh is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

EVIL = "</script><img src=x onerror=alert(1)>"
#: the texts of all tooltips, which are in shadow roots as all of Bokeh's
TOOLTIPS = """() => {
    const found = []
    const look = (root) => {
        for (const element of root.querySelectorAll('*')) {
            if (element.shadowRoot) {
                if (element.className.includes('bk-Tooltip')) found.push(element.shadowRoot.textContent)
                look(element.shadowRoot)
            }
        }
    }
    look(document)
    return found
}"""
MILLISECONDS = 1000 * LIMIT
#: all models of a page by type, as plain lists
SOURCES = """() => Bokeh.documents.length === 0 ? [] : [...Bokeh.documents[0]._all_models.values()]
    .filter((model) => model.type === 'ColumnDataSource')
    .map((model) => Object.fromEntries(Object.entries(model.data).map(([name, column]) => [name, [...column]])))"""


class Seen:
    """A page, and what it has complained of.

    :param page: of the browser.
    """

    def __init__(self, page):
        self.page = page
        self.complaints = []
        self.foreign = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.foreign.append(request.url))

    def _heard(self, message):
        if message.type in ("warning", "error"):
            self.complaints.append(message.text)

    def column(self, *names):
        """The first column source that has all these columns."""
        for source in self.page.evaluate(SOURCES):
            if source.keys() >= {*names}:
                return source
        return {name: [] for name in names}

    def shot(self, name):
        """Keep a picture of it."""
        folder = os.environ.get("GRAPHFUTURES_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / name), full_page=True)

    def hover(self, figure, x, y):
        """The texts of the tooltips at a point of a figure, in parts of its frame."""
        where = self.page.locator(".bk-Figure").nth(figure).bounding_box()
        frame = self.page.evaluate(
            """(title) => {
                const found = [...Bokeh.documents[0]._all_models.values()].filter((model) => model.type === 'Figure')
                const views = found.map((model) => Bokeh.index.find_one(model)).filter((view) => view != null)
                const box = views[title].frame.bbox
                return [box.x, box.y, box.width, box.height]
            }""",
            figure,
        )
        at = where["x"] + frame[0] + x * frame[2], where["y"] + frame[1] + y * frame[3]
        assert until(lambda: self._moved(*at) or self.page.evaluate(TOOLTIPS))
        return "".join(self.page.evaluate(TOOLTIPS))

    def _moved(self, x, y):
        self.page.mouse.move(x - 2, y)
        self.page.mouse.move(x, y)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def seen(browser):
    page = browser.new_page(viewport={"width": 1180, "height": 1000})
    yield Seen(page)
    page.close()


def wait(seconds):
    threading.Event().wait(seconds)


def load(number):
    wait(0.002)
    return number


def fail(*inputs):
    raise ValueError(inputs)


def graph(executor, *, size=40):
    """Loads, each made into something, added up pairwise, with an evil name at the end, and a failure."""
    loads = [executor.submit(load, number) for number in range(size)]
    level = [executor.options(name="clean").submit(load, one) for one in loads]
    while len(level) > 1:
        level = [executor.options(name="add").submit(max, *level[at : at + 2], 0) for at in range(0, len(level), 2)]
    last = executor.options(name=EVIL).submit(load, level[0])
    executor.options(retries=1).submit(fail, last).exception(LIMIT)
    return last.result(LIMIT)


def test_the_live_page_opens_and_moves(seen, capfd):
    with GraphExecutor(2, "shown", dashboard=True) as executor:
        link = capfd.readouterr().err.split()[-1]  # as it is printed
        assert link == executor.dashboard_link
        graph(executor)
        seen.page.goto(link)
        assert until(lambda: seen.column("start", "stop", "top")["start"][1:])
        before = seen.column("start", "stop", "top"), seen.column("done_number", "told")
        graph(executor)
        assert until(lambda: sum(seen.column("done_number", "told")["done_number"]) > sum(before[1]["done_number"]))
        assert until(lambda: len(seen.column("start", "stop", "top")["start"]) > len(before[0]["start"]))
        progress = seen.column("done_number", "told")
        assert {"load", "clean", "add", EVIL, "fail"} == {*progress["name"]}
        stream = seen.column("start", "stop", "top")
        assert {"load", "clean"} <= {*stream["name"]}
        assert "#000000" in stream["colour"]  # a failure
        assert until(lambda: seen.column("times", "values")["name"] == ["this process"])
        seen.page.get_by_text("attempts have failed").wait_for(timeout=MILLISECONDS)
        seen.shot("dashboard.png")
    seen.page.get_by_text("ended").wait_for(timeout=MILLISECONDS)
    seen.shot("dashboard-ended.png")
    assert seen.complaints == []
    assert {urlsplit(url).netloc for url in seen.foreign} == {urlsplit(link).netloc}


def test_evil_names_are_text_in_the_live_page(seen):
    with GraphExecutor(2, EVIL, dashboard=True) as executor:
        executor.options(name=EVIL).submit(fail).exception(LIMIT)
        executor.options(name=EVIL).submit(load, 1).result(LIMIT)
        seen.page.goto(executor.dashboard_link)
        assert seen.page.title() == f"{EVIL} – graphfutures"
        seen.page.get_by_text(f"{EVIL}-1").wait_for(timeout=MILLISECONDS)
        assert EVIL in seen.hover(3, 0.3, 0.5)  # functions
        assert EVIL in seen.hover(2, 0.2, 0.5)  # progress
        seen.shot("dashboard-evil.png")
        assert seen.page.locator("img").count() == 0
    assert seen.complaints == []


def test_without_the_token_it_is_refused(seen):
    with GraphExecutor(2, "shown", dashboard=True) as executor:
        link = executor.dashboard_link
        answer = seen.page.goto(link.partition("?")[0])
        assert answer.status == 403
        assert seen.page.locator("body").inner_text() == "the link has a token, and this has not"


def test_a_wrong_host_is_refused(browser):
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    elsewhere = browser.browser_type.launch(executable_path=CHROMIUM, args=arguments)
    try:
        with GraphExecutor(2, "shown", dashboard=True) as executor:
            page = elsewhere.new_page()
            answer = page.goto(executor.dashboard_link.replace("127.0.0.1", "evil.example"))
            assert answer.status == 403
            assert page.locator("body").inner_text() == "this host is not served here (GRAPHFUTURES_DASHBOARD_HOSTS)"
    finally:
        elsewhere.close()


def test_another_site_cannot_connect(seen, tmp_path):
    with GraphExecutor(2, "shown", dashboard=True) as executor:
        (tmp_path / "evil.html").write_text("<p>evil</p>")
        seen.page.goto((tmp_path / "evil.html").as_uri())
        opened = seen.page.evaluate(
            """(link) => new Promise((done) => {
                const socket = new WebSocket(link.replace('http', 'ws').replace('/?', '/ws?'), ['bokeh', 'x'])
                socket.onopen = () => done(true)
                socket.onerror = () => done(false)
            })""",
            executor.dashboard_link,
        )
        assert opened is False


def test_the_report_opens_from_a_file_with_the_network_off(seen, tmp_path):
    with GraphExecutor(2, "shown") as executor:
        graph(executor)
        executor.report(tmp_path / "report.html")
    seen.page.context.set_offline(True)
    link = (tmp_path / "report.html").as_uri()
    seen.page.goto(link)
    seen.page.locator("canvas").first.wait_for(timeout=MILLISECONDS)
    assert until(lambda: seen.page.locator(".bk-Figure").count() == 5)
    assert "attempts of 5 functions took" in seen.page.locator("ul").inner_text()
    assert EVIL in seen.page.locator("table").inner_text()
    assert EVIL in seen.page.locator(".path").inner_text()
    assert {"load", "clean", "add", EVIL, "fail"} == {*seen.column("done_number", "told")["name"]}
    seen.shot("report.png")
    assert seen.page.locator("img").count() == 0
    assert seen.complaints == []
    assert [url for url in seen.foreign if not url.startswith(("file:", "data:"))] == []


def test_evil_names_are_text_in_tooltips_of_the_report(seen, tmp_path):
    with GraphExecutor(1, EVIL) as executor:
        executor.options(name=EVIL).submit(wait, 0.05).result(LIMIT)
        executor.report(tmp_path / "report.html")
    seen.page.goto((tmp_path / "report.html").as_uri())
    assert until(lambda: seen.page.locator(".bk-Figure").count() == 5)
    for figure in (0, 2, 3):
        assert EVIL in seen.hover(figure, 0.3, 0.5)
    seen.shot("report-evil.png")
    assert seen.page.locator("img").count() == 0
    assert seen.complaints == []


def test_a_busy_executor_leaves_the_page_alive(seen):
    with GraphExecutor(2, "busy", dashboard=True) as executor:
        seen.page.goto(executor.dashboard_link)
        for _ in range(20):
            for future in [executor.submit(len, ()) for _ in range(5_000)]:
                future.result(LIMIT)
        assert until(lambda: sum(seen.column("done_number", "told")["done_number"]) == 100_000)
        assert len(seen.column("start", "stop", "top")["start"]) <= 8_000
        seen.shot("dashboard-busy.png")
    assert seen.complaints == []
