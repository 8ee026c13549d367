"""The options that tasks may carry, and what they are to the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypedDict

from graphfutures import errors
from graphfutures.terms import RetryOn, Terms, checked_terms


class Options(TypedDict, total=False):
    """The keyword arguments of ``options``."""

    name: str | None
    priority: float
    retries: int
    retry_on: RetryOn
    backoff: float | Callable[[int], float]
    timeout: float | None
    join: bool
    crash_retries: int
    resources: Mapping[str, float] | None
    backend: str | None
    workers: str | Sequence[str] | None


OPTIONS: Final = ("name", "priority", *Terms._fields, "crash_retries", "resources", "backend", "workers")


def traits_of(
    options: Mapping[str, Any], *, limits: bool, clusters: bool = False, counts: bool = True
) -> dict[str, Any]:
    """What a task with these options has that others have not.

    :param limits: whether the backend can limit the time of an attempt.
    :param clusters: whether a cluster runs the task.
    :param counts: whether the executor has resources, else they are those of the cluster.
    :raises TypeError: for an unknown option or a value of the wrong type.
    :raises ValueError: for a value that cannot be, or that the backend cannot keep.
    """
    unknown = options.keys() - set(OPTIONS)
    if unknown:
        raise errors.unknown_option(unknown, OPTIONS)
    name, priority = options.get("name"), options.get("priority", 0)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r:.80}")
    if name == "":
        raise ValueError("name must not be empty: leave it out to have tasks called after their functions")
    if not isinstance(priority, (int, float)) or priority != priority:
        raise errors.bad_priority(priority)
    crashes = options.get("crash_retries", 0)
    if not isinstance(crashes, int) or isinstance(crashes, bool):
        raise TypeError(f"crash_retries must be an integer, not {crashes!r:.80}")
    if crashes < 0:
        raise ValueError(f"crash_retries must not be negative, but is {crashes}")
    traits: dict[str, Any] = {
        "priority": priority,
        "resources": counted(options.get("resources")),
        "terms": checked_terms(options, limits=limits),
    }
    workers = options.get("workers")
    if workers is not None and not clusters:
        raise ValueError("workers can be chosen on a cluster only: backend='dask'")
    if clusters:
        wishes = {"resources": None if counts else traits.pop("resources"), "workers": _names(workers)}
        traits["wishes"] = {name: wish for name, wish in wishes.items() if wish}
    given = {trait: value for trait, value in traits.items() if value}
    if "crash_retries" in options:
        given["crash_retries"] = crashes
    return given


def _names(workers: Any) -> list[str]:
    names = [workers] if isinstance(workers, str) else list(workers or ())
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"workers must be the address or name of a worker, or a list of them, not {name!r:.80}")
    return names


def counted(resources: Any) -> dict[str, float]:
    """Numbers of tokens by name; none may be asked for by leaving it out or by 0.

    :raises TypeError: for anything but a mapping of names to numbers.
    :raises ValueError: for a number below 0.
    """
    if resources is None:
        return {}
    if not isinstance(resources, Mapping):
        raise TypeError(f"resources must map names to numbers, as in {{'gpu': 1}}, not {resources!r:.80}")
    for name, number in resources.items():
        if not isinstance(name, str) or not isinstance(number, (int, float)) or isinstance(number, bool):
            raise TypeError(
                f"resources must map names to numbers, as in {{'gpu': 1}}, not {name!r:.40}: {number!r:.40}"
            )
        if not number >= 0:
            raise ValueError(f"resources must not be negative, but {name!r} is {number}")
    return {name: number for name, number in resources.items() if number}
