"""The whole truth about a machine, asserted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from graphfutures.core.graph import Place, Task
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import NEW, READY, RUNNING, SETTLED, WAITING


def check(
    scheduler: Scheduler,
    tasks: Iterable[Task],
    outstanding: Iterable[tuple[Task, int, Place]] = (),
    postponed: Iterable[Task] = (),
) -> None:
    """Raise AssertionError unless everything that must hold does.

    :param tasks: every task that was submitted.
    :param outstanding: the attempts that were handed over and have not returned, their places alive.
    :param postponed: the tasks that wait to be ``due``.
    """
    tasks = list(tasks)
    late = Counter(postponed)
    pending = Counter(child for _, children in scheduler._spreading for child in children)
    queued = _queued(scheduler)
    for task in tasks:
        assert task.state != NEW, task
        traits = (
            *(task.priority, task.nested, task.lane, task.resources),
            *(task.outside, task.derived, task.foreign, task.aside),
        )
        assert task.special or not any(traits), "what is special about a task goes unnoticed"
        assert (task in scheduler.unsettled) == (task.state not in SETTLED), (task, task.state)
        if task.state in SETTLED:
            assert not task.dependents, "a settled task holds its dependents"
            continue
        missing = Counter(d for d in task.dependencies if d.state not in SETTLED)
        assert task.unmet == missing.total() + late[task] + pending[task], (task.unmet, missing, pending[task])
        for dependency, count in missing.items():
            assert (dependency.dependents or []).count(task) == count, "a dependent is not known, or twice"
        if task.state is READY:
            assert task in queued, "a ready task is in no queue"
            assert not task.unmet
        if task.state is WAITING:
            assert task.unmet or task.outside or task in scheduler.news, "it waits for nothing"
    foreign = [task for task in scheduler.unsettled if task.foreign]
    assert scheduler.foreign == len(foreign)
    assert scheduler.aside == sum(task.aside and not task.foreign for task in scheduler.unsettled)
    assert all(task.state is WAITING for task in foreign)
    _check_attempts(scheduler, tasks, list(outstanding))
    _check_tokens(scheduler, list(outstanding))


def _queued(scheduler: Scheduler) -> set[Task]:
    queued = set(scheduler.tokens.waiting())
    for policy in scheduler.policies.values():
        queued |= {*policy.roots, *policy.continuations, *policy.nested}
        queued |= {task for heap in (policy._first, policy._last) for _, _, task in heap}
    return queued


def _check_attempts(scheduler: Scheduler, tasks: list[Task], outstanding: list[tuple[Task, int, Place]]) -> None:
    current = {(task, task.attempt) for task in tasks if task.state is RUNNING}
    assert current <= {(task, number) for task, number, _ in outstanding}, "a running task has no attempt"
    lent = {*scheduler._blocked, *scheduler._lenders.values()}
    for place in {place for _, _, place in outstanding}:
        held = [1 for task, number, where in outstanding if where is place and (task, number) not in lent]
        assert len(place.resuming) == len(set(place.resuming)), "a waiter is queued twice for its slot"
        assert place.held == len(held), f"{place} holds {place.held} slots for {len(held)} attempts"
        waiting = [waiter for waiter in place.resuming if waiter in lent and not waiter[0].resources]
        assert not (waiting and place.held < place.slots), "a slot is free and a waiter has not got it"


def _check_tokens(scheduler: Scheduler, outstanding: list[tuple[Task, int, Place]]) -> None:
    tokens = scheduler.tokens
    computing = {task for task, number, _ in outstanding if number == task.attempt}
    computing -= {task for task, number in scheduler._blocked if number == task.attempt}
    computing -= scheduler.lent_tokens
    assert set(tokens.held) == {task for task in computing if task.resources}, "tokens are held by who does not compute"
    for name, number in tokens.declared.items():
        held = sum(wanted.get(name, 0) for wanted in tokens.held.values())
        assert tokens.free()[name] == number - held
