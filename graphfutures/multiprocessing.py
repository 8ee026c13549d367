"""The ``processes`` backend as a scheduler of graphs, by the name that it has in dask."""

from __future__ import annotations

from typing import Any

from graphfutures import schedulers


def get(graph: Any, keys: Any, **keywords: Any) -> Any:
    """The values of some keys of a graph, computed by the ``processes`` backend; see :func:`graphfutures.get`."""
    return schedulers.get_by(graph, keys, "processes", keywords)
