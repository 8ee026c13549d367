"""Arrays and frames of all kinds as values of tasks in worker processes, small ones and large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from patience import LIMIT

from graphfutures import GraphExecutor

WORDS = ["", "a", "Zürich", "x" * 40, "\N{SNOWMAN}"]


def strings(length: int) -> list[str]:
    return [WORDS[number % 5] + str(number % 97) for number in range(length)]


def frame(length: int, **options: Any) -> pd.DataFrame:
    index = pd.date_range("2026-01-01", periods=length, freq="s", name="moment")
    columns = {"text": pd.Series(strings(length), index=index, **options), "number": np.arange(length) / 7}
    return pd.DataFrame(columns, index=index).assign(kind=lambda all_of_it: all_of_it.text.astype("category"))


#: each makes a value of about so many items
KINDS: dict[str, Callable[[int], Any]] = {
    "floats": lambda length: np.arange(length, dtype=float),
    "no bytes": lambda length: np.empty((length, 0)),
    "no items": lambda length: [np.empty(0), np.arange(length)],
    "a scalar": np.float64,
    "every third": lambda length: np.arange(3 * length)[::3],
    "backwards": lambda length: np.arange(length)[::-1],
    "columns first": lambda length: np.asfortranarray(np.arange(length * 4).reshape(4, length)),
    "transposed part": lambda length: np.arange(length * 4).reshape(4, length).T[1:, 1:3],
    "read-only": lambda length: np.frombuffer(bytes(8) * length),
    "objects": lambda length: np.array([None, *strings(length)], dtype=object),
    "strings": lambda length: np.array(strings(length)),
    "records": lambda length: np.zeros(length, dtype=[("one", "i4"), ("other", "f8", 2)]),
    "masked": lambda length: np.ma.masked_less(np.arange(length), 5),
    "frame": frame,
    "frame of objects": lambda length: frame(length, dtype=object),
    "frame of Arrow's strings": lambda length: frame(length, dtype="string[pyarrow]"),
    "frame of nothing": lambda length: frame(length).iloc[:0],
    "part of a frame": lambda length: frame(length).iloc[1::2, 1:],
    "index": lambda length: pd.MultiIndex.from_product([strings(length), [1, 2]]),
    "table": lambda length: pa.Table.from_pandas(frame(length)),
    "part of a table": lambda length: pa.table({"text": strings(length)}).slice(length // 3, length // 2),
}


def make(kind: str, length: int) -> Any:
    return KINDS[kind](length)


def as_it_is(value: Any) -> Any:
    return value


def overwritten(value: Any) -> Any:
    """What is left of it, and can be, after a change in place."""
    if isinstance(value, pd.DataFrame):
        value["number"] = -1.0
        value.iloc[:3, 0] = value.iloc[-1, 0] if len(value) else None
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = value.flat[0] if value.size else 0
    return value


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return all(map(alike, one, other))
    if isinstance(one, pd.DataFrame):
        return bool(one.equals(other) and one.index.equals(other.index) and (one.dtypes == other.dtypes).all())
    if isinstance(one, np.ma.MaskedArray):
        return one.tolist() == other.tolist()
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, strict=True)
        return bool(one.flags.writeable == other.flags.writeable)
    return type(one) is type(other) and bool(one.equals(other) if hasattr(one, "equals") else one == other)


@pytest.mark.parametrize("length", [10, 20_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_this_kind(processes: GraphExecutor, kind: str, length: int) -> None:
    expected = KINDS[kind](length)
    made = processes.submit(make, kind, length)
    users = [processes.submit(overwritten, made) for _ in range(4)]
    read = [processes.submit(as_it_is, made) for _ in range(2)]
    put = processes.submit(as_it_is, processes.put(expected))
    for future in (*read, made, put):
        assert alike(expected, future.result(LIMIT))
    changed = overwritten(KINDS[kind](length))
    for future in users:
        assert alike(changed, future.result(LIMIT))
    overwritten(made.result(0))
    assert alike(expected, read[0].result(0)), "each result is its own"
