"""Colours, and words that fit into boxes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from math import log
from typing import NamedTuple

from graphfutures.diagnostics.amounts import in_time
from graphfutures.diagnostics.boxes import CALL, UNKNOWN, VALUE, Box

#: of the small letters and of the others, in pixels
SMALL, PLAIN = 10.0, 12.0
#: how wide a label may be, in pixels
WIDEST = 190.0
#: what XML cannot hold, not even escaped, nor UTF-8
_NOWHERE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAKS = re.compile(r"\s+")


class Look(NamedTuple):
    """Of a box.

    :param fill: its colour.
    :param edge: that of the line around it.
    :param ink: that of what is written in it.
    :param dashed: whether the line around it is.
    """

    fill: str
    edge: str
    ink: str = "#1b2430"
    dashed: bool = False


STATES = {
    "done": Look("#d8eedd", "#3c8f55"),
    "failed": Look("#f8d2cd", "#b3261e"),
    "running": Look("#cfe2fa", "#1f66c1"),
    "ready": Look("#fdeeb8", "#a67c00"),
    "waiting": Look("#ffffff", "#7b8794"),
    "cancelled": Look("#e8e2f1", "#6f5b9a"),
    CALL: Look("#dfe9f7", "#4f74a8"),
    VALUE: Look("#f1f2f4", "#9aa4b1"),
    UNKNOWN: Look("#f1f2f4", "#9aa4b1", "#59636f", dashed=True),
}
#: from little time to much of it
_SCALE = ((255, 250, 226), (254, 217, 118), (252, 141, 60), (215, 38, 34), (103, 0, 31))
_NO_TIME = Look("#ffffff", "#9aa4b1", dashed=True)
#: into how many colours times are sorted; they reach over three powers of ten
STEPS, REACH = 9, 1000.0


class Painter:
    """Chooses how boxes look.

    :param boxes: of the picture.
    :param color: ``"state"`` or ``"time"``.
    """

    def __init__(self, boxes: Sequence[Box], color: str) -> None:
        self._by_time = color == "time"
        self.states = [state for state in STATES if any(box.state == state for box in boxes)]
        self._some_without = any(box.seconds is None for box in boxes)
        self._most = max([box.seconds for box in boxes if box.seconds is not None], default=0.0)

    def look(self, box: Box) -> Look:
        """How a box looks."""
        if not self._by_time:
            return STATES[box.state]
        look = self._of_time(box.seconds)
        return look._replace(edge=STATES["failed"].edge) if box.state == "failed" else look

    def legend(self) -> list[tuple[Look | None, str]]:
        """What the colours mean, and the words beside them."""
        if not self._by_time:
            return [(STATES[state], state) for state in self.states]
        steps = [self._most * REACH ** (step / (STEPS - 1) - 1) for step in range(STEPS)] if self._most else []
        scale: list[tuple[Look | None, str]] = [(self._of_time(seconds), "") for seconds in steps]
        if scale:
            scale = [(None, f"up to {in_time(steps[0])}"), *scale[:-1], (scale[-1][0], in_time(self._most))]
        return scale + ([(_NO_TIME, "no time")] if self._some_without else [])

    def _of_time(self, seconds: float | None) -> Look:
        if seconds is None:
            return _NO_TIME
        part = 1 + log(max(seconds, 1e-12) / self._most) / log(REACH) if self._most else 0.0
        part = round(min(max(part, 0.0), 1.0) * (STEPS - 1)) / (STEPS - 1) * (len(_SCALE) - 1)
        lower = min(int(part), len(_SCALE) - 2)
        pairs = zip(_SCALE[lower], _SCALE[lower + 1], strict=True)
        red, green, blue = (round(low + (high - low) * (part - lower)) for low, high in pairs)
        dark = red * 0.3 + green * 0.59 + blue * 0.11 < 128
        return Look(f"#{red:02x}{green:02x}{blue:02x}", "#7a6a52", "#ffffff" if dark else "#1b2430")


def clean(text: str) -> str:
    """Without what no file can hold."""
    return _NOWHERE.sub("\ufffd", text)


def on_one_line(text: str, wide: float = WIDEST, letters: float = PLAIN) -> str:
    """Shortened, if need be, in the middle: the beginning of a name says what it is, its end which one."""
    text = _BREAKS.sub(" ", clean(text)).strip()
    if len(text) > 400:
        text = f"{text[:200]}…{text[-200:]}"
    if width(text, letters) <= wide:
        return text
    keep = len(text) - 1
    while keep > 2 and width(text[: keep * 3 // 5] + "…" + text[-(keep - keep * 3 // 5) :], letters) > wide:
        keep -= 1
    return text[: keep * 3 // 5] + "…" + text[-(keep - keep * 3 // 5) :]


def width(text: str, letters: float = PLAIN) -> float:
    """About as many pixels as a text takes, in letters of a size, of whatever font there is."""
    return letters * sum([0.62 if letter.islower() or letter in _NARROW else _wide(letter) for letter in text])


_NARROW = frozenset(" .,:;-_/()[]{}'|!·0123456789")


def _wide(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    return 0.0 if unicodedata.combining(letter) else 0.76
