"""What a picture shows: boxes for tasks or for groups of them, and what leads from one to another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from graphfutures.diagnostics.amounts import in_bytes, in_time
from graphfutures.diagnostics.naming import function_of, without_tokens
from graphfutures.diagnostics.snapshot import Snapshot
from graphfutures.history import Attempt

#: how a box looks for which no attempt is remembered: a value that was put, a future of others, a task that has never
#: run or is forgotten
UNKNOWN = "not remembered"
#: a call that is only written down, and a value among such calls
CALL, VALUE = "call", "value"
#: by which a picture has groups unless it is said otherwise: more tasks than these
MANY = 300
#: the most groups that a picture has, the smaller ones being taken together
GROUPS = 150


class Box(NamedTuple):
    """A task, or a group of them.

    :param label: what is written in it, shortened if need be.
    :param detail: what is written below that, in small letters.
    :param state: done, failed, running, ready, waiting, or one of those above.
    :param seconds: that its attempts have taken, None if there was none.
    :param about: what is told of it on a closer look, in lines; the first is its whole name.
    :param tasks: how many it stands for.
    """

    label: str
    detail: str
    state: str
    seconds: float | None
    about: tuple[str, ...]
    tasks: int = 1


class Scene(NamedTuple):
    """What a picture shows.

    :param title: above it.
    :param boxes: in the order in which they came.
    :param lines: from which box to which one, by their numbers, and how many dependencies that are.
    """

    title: str
    boxes: list[Box]
    lines: dict[tuple[int, int], int]


class _Task(NamedTuple):
    """A task with what is to be said of it before anything is drawn."""

    name: str
    label: str
    state: str
    seconds: float | None
    needs: tuple[Hashable, ...]
    about: Callable[[], tuple[str, ...]]


def of_snapshot(snapshot: Snapshot, group: bool | None, only: Iterable[str] | None = None) -> Scene:
    """Of what an executor remembers, and of what is pending.

    :param group: whether tasks of one name and state are one box; None for many tasks only.
    :param only: keys; then only these and what leads to them is shown.
    """
    tasks = _tasks(snapshot)
    if only is not None:
        tasks = _leading_to(tasks, only)
    states = Counter(task.state for task in tasks.values())
    count = len(tasks) - states[UNKNOWN]
    shown = [state for state in ("failed", "cancelled", "running", "ready", "waiting") if states[state]]
    told = ", ".join(f"{states[state]:,} {state}" for state in shown)
    title = f"{snapshot.name}: {count:,} task{'' if count == 1 else 's'}{told and ', '}{told}"
    if only is None and snapshot.missing:
        title += f"; {snapshot.missing:,} more that have ended are not remembered"
    return _scene(title, tasks, group)


def of_calls(title: str, calls: Mapping[Hashable, tuple[str, str, Iterable[Hashable]]], group: bool | None) -> Scene:
    """Of a graph that is only written down.

    :param title: above the picture; the number of calls is added.
    :param calls: for each key what is called, its state, and which keys it needs.
    :param group: see :func:`of_snapshot`.
    """
    tasks: dict[Hashable, _Task] = {}
    for key, (name, state, needs) in calls.items():
        text = key if isinstance(key, str) else repr(key)
        told = (text, f"{state}: {name}" if state in (CALL, VALUE) else state)
        tokens = isinstance(key, str) and without_tokens(key) != key
        label = name if state not in (CALL, VALUE) or tokens else without_tokens(text)
        tasks[key] = _Task(name, label, state, None, tuple(needs), lambda told=told: told)  # type: ignore[misc]
    count = sum(task.state != VALUE for task in tasks.values())
    return _scene(f"{title}: {count:,} call{'' if count == 1 else 's'}", tasks, group)


def _scene(title: str, tasks: Mapping[Hashable, _Task], group: bool | None) -> Scene:
    if group is None:
        group = len(tasks) > MANY
    return Scene(title, *(_grouped(tasks) if group else _each(tasks)))


def _tasks(snapshot: Snapshot) -> dict[Hashable, _Task]:
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in snapshot.attempts:
        attempts[attempt.key].append(attempt)
    tasks: dict[Hashable, _Task] = {}
    for key, tried in attempts.items():
        last = next((attempt for attempt in reversed(tried) if attempt.good), tried[-1])
        tasks[key] = _task(key, last.name, "done" if last.good else "failed", last.needs, tried)
    for one in (*snapshot.without, *snapshot.pending):
        tasks[one.key] = _task(one.key, one.name, one.state, one.needs, attempts.get(one.key, []))
    for task in list(tasks.values()):
        for need in task.needs:
            if need not in tasks:
                tasks[need] = _unknown(str(need[-1]) if isinstance(need, tuple) else str(need))
    return tasks


def _task(key: str, name: str, state: str, needs: tuple[str, ...], tried: list[Attempt]) -> _Task:
    def about() -> tuple[str, ...]:
        told = [key, state]
        if tried:
            last = tried[-1]
            told.append(f"{in_time(seconds or 0)} on worker {last.worker}")
            if last.size:
                told.append(in_bytes(last.size))
            if len(tried) > 1:
                told.append(f"{len(tried)} attempts")
        return tuple(told)

    seconds = sum(max(attempt.stop - attempt.start, 0.0) for attempt in tried) if tried else None
    # A future of others has no number, so that two of them would be one box.
    needed = tuple(need if need[-1:].isdecimal() else (key, need) for need in dict.fromkeys(needs) if need != key)
    return _Task(function_of(name), without_tokens(key), state, seconds, needed, about)


def _unknown(key: str) -> _Task:
    told = "a value that was put, a future of others, or a task of which nothing is remembered"
    return _Task(function_of(key), without_tokens(key), UNKNOWN, None, (), lambda: (key, told))


def _leading_to(tasks: dict[Hashable, _Task], keys: Iterable[str]) -> dict[Hashable, _Task]:
    found: dict[Hashable, _Task] = {}
    stack: list[Hashable] = [*keys]
    while stack:
        key = stack.pop()
        if key not in found:
            found[key] = task = tasks.get(key) or _unknown(str(key))
            stack += task.needs
    return {key: task for key, task in [*tasks.items(), *found.items()] if key in found}


def _each(tasks: Mapping[Hashable, _Task]) -> tuple[list[Box], dict[tuple[int, int], int]]:
    number = {key: index for index, key in enumerate(tasks)}
    lines = {(number[need], number[key]): 1 for key, task in tasks.items() for need in task.needs if need in number}
    boxes = []
    for task in tasks.values():
        if task.state in (CALL, VALUE):
            detail = "" if task.label == task.name else task.name
        else:
            told = [] if task.state in (UNKNOWN, "done") else [task.state]
            detail = " · ".join(told + ([in_time(task.seconds)] if task.seconds is not None else []))
        boxes.append(Box(task.label, detail, task.state, task.seconds, task.about()))
    return boxes, lines


def _grouped(tasks: Mapping[Hashable, _Task]) -> tuple[list[Box], dict[tuple[int, int], int]]:
    sizes = Counter((task.name, task.state) for task in tasks.values())
    if len(sizes) > GROUPS:
        kept = {group for group, _ in sizes.most_common(GROUPS - 8)}
        others = Counter(state for name, state in sizes if (name, state) not in kept)
        merged = {state: f"{count:,} other functions" for state, count in others.items()}
    else:
        kept, merged = {*sizes}, {}
    numbers: dict[tuple[str, str], int] = {}
    members: list[list[_Task]] = []
    number: dict[Hashable, int] = {}
    for key, task in tasks.items():
        group = (task.name, task.state)
        if group not in kept:
            group = (merged[task.state], task.state)
        index = number[key] = numbers.setdefault(group, len(numbers))
        if index == len(members):
            members.append([])
        members[index].append(task)
    lines: Counter[tuple[int, int]] = Counter()
    for key, task in tasks.items():
        for need in task.needs:
            if need in number:
                lines[number[need], number[key]] += 1
    return [_group(name, state, members[index]) for (name, state), index in numbers.items()], dict(lines)


def _group(name: str, state: str, members: list[_Task]) -> Box:
    times = [task.seconds for task in members if task.seconds is not None]
    told = f"{len(members):,} × {state}" if state not in (CALL, VALUE, UNKNOWN) else f"{len(members):,} ×"
    about = [name, f"{len(members):,} × {state}"]
    if times:
        told += f" · {in_time(sum(times))}"
        about += [
            f"{in_time(sum(times))} in all, {in_time(sum(times) / len(times))} each, at most {in_time(max(times))}"
        ]
    return Box(name, told, state, sum(times) if times else None, tuple(about), len(members))
