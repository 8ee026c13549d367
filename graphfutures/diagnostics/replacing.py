"""Files that are written whole or not at all."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Literal, TextIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file that takes the place of what is at a path once it is written, and only then.

    :param path: of the file; ``.gz`` at its end has it compressed.
    :raises OSError: if it cannot be written; what was there is as it was.
    """
    path = os.path.realpath(os.fspath(path))  # else a link would be replaced by a file
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device, which nothing is to take the place of
        with _opened(path, "w") as file:
            yield file
        return
    beside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with _opened(beside, "x", packed=path.endswith(".gz")) as file:
            yield file
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(beside)
        if isinstance(error, OSError) and error.filename == beside:
            error.filename = path  # by which its user knows it
        raise


def _opened(path: str, mode: Literal["w", "x"], *, packed: bool = False) -> TextIO:
    if packed:
        return TextIOWrapper(gzip.GzipFile(path, f"{mode}b", compresslevel=4), encoding="utf-8", newline="\n")
    return open(path, mode, encoding="utf-8", newline="\n")
