"""What a name says: those of tasks of a graph are its keys, which have tokens in them that say nothing."""

from __future__ import annotations

import re
from functools import lru_cache

#: of eight hexadecimal digits at least, as dask's keys have them, and those of delayed objects
_TOKEN = re.compile(r"-[0-9a-f]{8,}(?=$|[-'\"])")
#: a key that is a tuple, of a name and numbers
_TUPLE = re.compile(r"\((['\"])(.*?)\1,.*\)$", re.DOTALL)
_NUMBERS = re.compile(r"([-\s:/#]+\d+|\s*[\[(]\d+[\])])+$")


def without_tokens(name: str) -> str:
    """A name as one can read it."""
    return _TOKEN.sub("", name) or name


@lru_cache(4096)
def function_of(name: str) -> str:
    """What tasks have in common whose names differ by tokens and numbers only: ``load`` for ``load-3``."""
    found = _TUPLE.match(name)
    text = without_tokens(found[2] if found else name)
    return _NUMBERS.sub("", text) or text or name
