"""What holds after every test in a browser."""

import threading
from collections.abc import Iterator

import pytest
from patience import until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After a test, all threads that it started leave, but those by which Playwright talks to the browser."""
    before = set(threading.enumerate())

    def left() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one not in before and not one.name.startswith("asyncio")]

    yield
    assert until(lambda: not left()), left()
