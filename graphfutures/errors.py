"""Every exception of ours, one class per cause, and the messages that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from contextlib import suppress
from types import ModuleType

AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"
#: how notes begin that are made where nobody knows the key of the task
_IT = "it was"


class GraphFuturesError(Exception):
    """The root of all exceptions of this package."""


class BrokenGraphError(GraphFuturesError, BrokenExecutor):
    """The executor cannot go on: everything pending was settled with this error."""


class TaskFailedError(GraphFuturesError):
    """A task failed in another process with an exception that cannot travel; this is its text."""


class NoThreadError(GraphFuturesError, RuntimeError):
    """No worker thread could be started, and there is none: what was submitted waits for the next attempt."""


class TaskTimeoutError(GraphFuturesError, TimeoutError):
    """An attempt has run for longer than its option ``timeout`` allows."""


def timed_out(key: str, seconds: float, *, stopped: bool = False) -> TaskTimeoutError:
    """For a task whose time is over.

    :param stopped: whether it was stopped then.
    """
    then = (
        "its worker process was stopped"
        if stopped
        else "in a thread it cannot be stopped, so its slot is taken until it returns (current_task().cancelled() "
        "tells it)"
    )
    return TaskTimeoutError(f"{key} has run for longer than its timeout of {seconds:g} s; {then}")


def too_many_tokens(name: str, wanted: float, declared: Mapping[str, float]) -> ValueError:
    """For a task that asks for more of a resource than there is."""
    if name in declared:
        there = f"the executor has {declared[name]:g}"
    else:
        has = ", ".join(f"{number:g} of {other!r}" for other, number in declared.items())
        there = f"the executor was made without any{_meant([name], declared)}" + (f"; it has {has}" if has else "")
    return ValueError(f"the task asks for {wanted:g} of resource {name!r}, but {there}: GraphExecutor(resources=…)")


class DeadlockError(GraphFuturesError, RuntimeError):
    """A wait that would never end: those who wait need each other in a circle."""


def deadlock(key: str, way: Iterable[str]) -> DeadlockError:
    """For the one whose wait closes a circle.

    :param way: keys from what it waits for to itself.
    """
    keys = [key, *way]
    if len(keys) > 12:
        keys[6:-6] = [f"… {len(keys) - 12} more …"]
    return DeadlockError(
        f"{key} would wait for ever: {' → '.join(keys)} need each other in a circle; give the future to submit as an "
        "argument instead of waiting for it, or wait for it outside of these tasks"
    )


def no_worker_left(key: str, need: str) -> DeadlockError:
    """For the last one who may wait on an executor of others, whose slots cannot be lent."""
    return DeadlockError(
        f"{key} would wait for ever for {need}: every worker of its executor waits inside a task, and none is left to "
        "run it; submit the task with options(join=True) and return the future that it needs"
    )


def waits_in_finalizer(key: str) -> DeadlockError:
    """For a finalizer that waits while the collector runs inside the graph, which cannot go on before it returns."""
    return DeadlockError(f"a finalizer waits for {key}, which cannot be settled before the finalizer returns")


def not_inside(name: str) -> RuntimeError:
    """For what is only to be called in a task."""
    return RuntimeError(
        f"{name}() is for code that runs inside a task, in the thread that runs it; a task that has been sent to a "
        "process of another executor's pool has none"
    )


def no_host(key: str) -> RuntimeError:
    """For a task that runs on an executor of others, whose slots cannot be lent."""
    return RuntimeError(
        f"{key} runs on an executor that is not ours, where a task that waits for another may wait for ever: submit it "
        "with options(join=True) and return the futures, or delayed objects, that it needs"
    )


def executor_elsewhere() -> TypeError:
    """For an executor that was pickled and arrives where it is not known."""
    return TypeError(
        "a GraphExecutor can be sent to its own worker processes only: make one where it is to be used, or submit from "
        "the process in which it was made"
    )


def executor_stays() -> TypeError:
    """For an executor that is to be pickled and has no worker processes."""
    return TypeError(
        "a GraphExecutor can be pickled only for its own worker processes, and this one has none: "
        "the function that you submit refers to it, or an argument does"
    )


def future_of_others(name: str) -> TypeError:
    """For a future among the arguments of a call that is submitted in a worker process, which knows nothing of it."""
    return TypeError(
        f"{name} was given a future that its executor's other processes cannot wait for: inside a task on processes "
        "give it futures of current_executor(), or the value"
    )


def executor_gone(key: str) -> RuntimeError:
    """For a task whose executor nobody keeps any more."""
    return RuntimeError(f"the executor of {key} is gone: keep a reference to it for as long as its tasks submit")


def initializer_failed(cause: BaseException) -> BrokenGraphError:
    """For pending futures and for ``submit`` after an initializer has raised."""
    error = BrokenGraphError(
        f"the initializer of a worker raised {cause!r:.200}, so this executor cannot be used any more; "
        "its traceback is on the logger 'concurrent.futures'"
    )
    error.__cause__ = cause
    return error


def initializer_cannot_be_sent(cause: BaseException) -> BrokenGraphError:
    """For pending futures and for ``submit`` where an initializer or its arguments cannot be pickled."""
    error = BrokenGraphError(
        f"the initializer or its initargs cannot be sent to a worker process ({type(cause).__name__}: {_text(cause)}); "
        "queues and locks have to be made by loky.backend.get_context('loky') or multiprocessing.get_context('spawn')"
    )
    error.__cause__ = cause
    return error


def internal_failure(cause: BaseException) -> BrokenGraphError:
    """For pending futures after a bug of ours."""
    error = BrokenGraphError(f"an internal failure ({cause!r}): please report it; make a new executor to go on")
    error.__cause__ = cause
    return error


def inner_ended(inner: object, reason: BaseException | str) -> BrokenGraphError:
    """For pending futures after an executor that was given as the backend has broken or was shut."""
    what = reason if isinstance(reason, str) else f"{type(reason).__name__}: {_text(reason)}"
    error = BrokenGraphError(f"the {type(inner).__qualname__} that runs the tasks takes no more of them ({what:.500})")
    error.__cause__ = reason if isinstance(reason, BaseException) else None
    return error


def cluster_gone(reason: str) -> BrokenGraphError:
    """For pending futures when a cluster takes no more tasks."""
    return BrokenGraphError(
        f"the cluster that runs the tasks cannot be reached any more: {reason}; make a new executor"
    )


def value_lost_by_cluster() -> TaskFailedError:
    """For a value that a cluster has lost, and did not make again."""
    return TaskFailedError("the value was lost by the cluster, which has not made it again: submit its task anew")


def lost_by_cluster(key: str, times: int) -> TaskFailedError:
    """For a task that a cluster has lost once too often."""
    return TaskFailedError(f"{key} was lost by the cluster {times} times, or its inputs were; it is not tried again")


def other_version(sent: str, here: str) -> RuntimeError:
    """For a worker that was sent tasks by another version of this package."""
    return RuntimeError(
        f"this program has graphfutures {sent}, the worker of the cluster {here}: install the same version on both"
    )


def no_extra(backend: str, extra: str, cause: BaseException) -> ImportError:
    """For a backend whose packages are not installed."""
    return needs_extra(f"backend {backend!r}", extra, cause)


def needs_extra(what: str, extra: str, cause: BaseException) -> ImportError:
    """For whatever needs the packages of an extra, which are not installed."""
    return ImportError(
        f'{what} needs packages that are not installed ({_text(cause)}): pip install "graphfutures[{extra}]"'
    )


def no_cluster(address: str, cause: BaseException) -> OSError:
    """For a cluster that does not answer."""
    return OSError(f"no cluster answers at {address}: {type(cause).__name__}: {_text(cause)}")


def no_address(address: str) -> ValueError:
    """For the address of a scheduler that cannot be one."""
    return ValueError(f"{address!r} is no address of a scheduler: it must be like 'tcp://host:8786'")


def client_closed(status: str) -> ValueError:
    """For a client of a cluster that is not connected."""
    return ValueError(
        f"this client of a cluster is {status}: make a new one, and give it to the executor while it is open"
    )


def client_asynchronous() -> ValueError:
    """For a client that answers with coroutines."""
    return ValueError(
        "this client of a cluster is asynchronous: give the executor its address, client.scheduler.address; futures of "
        "the executor can be awaited all the same"
    )


def not_secure(address: str, cause: TypeError) -> TypeError:
    """For a cluster that is to be reached by TLS, without what that needs."""
    return TypeError(f"{address} needs security=distributed.Security(…), with its certificates: {_text(cause)}")


def security_elsewhere(backend: object) -> ValueError:
    """For ``security`` where there is no address of a cluster."""
    return ValueError(
        f"security is for the address of a cluster, as in backend='tls://host:8786', not for {backend!r:.80}"
    )


def no_attendant() -> BrokenGraphError:
    """For pending futures when the interpreter exits, and no thread can be started that would serve a process."""
    return BrokenGraphError("the interpreter exits, and no thread could be started to serve a worker process")


def workers_die(code: int | None) -> BrokenGraphError:
    """For pending futures when no worker process lives long enough to run anything."""
    return BrokenGraphError(
        f"worker processes die before they have run anything ({how_it_died(code)}): see what they wrote to stderr"
    )


def how_it_died(code: int | None) -> str:
    """The end of a worker process, for people."""
    if code is None:
        return "its worker process was lost"
    if code < 0:
        name = _signal(-code)
        advice = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its worker process was killed by {name}{advice}"
    return f"its worker process ended with exit code {code}"


def _signal(number: int) -> str:
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def cannot_be_sent(key: str, what: str, error: BaseException, where: str = "a worker process") -> str:
    """A note for what could not be pickled for a worker, or has no room."""
    problem = "has no room" if isinstance(error, OSError) else "cannot be pickled"
    return f"{key} could not be sent to {where}: {what} {problem}"


def cannot_be_read() -> str:
    """A note for what a worker process was sent and could not unpickle."""
    return f"{_IT} not run: its function or an argument cannot be unpickled in the worker process"


def value_cannot_be_sent() -> str:
    """A note for a value that could not be pickled in its worker process."""
    return f"{_IT} run, but its value cannot be pickled, and could not leave the worker process"


def value_gone() -> RuntimeError:
    """For a future that was found again by a weak reference, after its value was given away."""
    return RuntimeError("the value of this future was given to the task that needed it, since nobody held the future")


def value_cannot_be_read() -> str:
    """A note for a value that a worker process has sent and that could not be unpickled."""
    return f"{_IT} run, but its value, which came from a worker process, cannot be unpickled"


def name_in_notes(error: BaseException, key: str) -> None:
    """Have the notes above say which task it was, which is not known where they are made."""
    unnamed = (cannot_be_read(), value_cannot_be_sent(), value_cannot_be_read())
    with suppress(Exception):  # notes may be anything that the user's code has made of them
        notes = error.__notes__
        notes[:] = [f"{key} was{note.removeprefix(_IT)}" if note in unnamed else note for note in notes]


def cannot_travel(
    error: BaseException, *, cause: BaseException | None = None, is_pickled: bool = True
) -> TaskFailedError:
    """For an exception that cannot be sent, or that another process could not make from what it is sent.

    :param cause: what came of it, if that is known.
    :param is_pickled: whether it could be pickled at least.
    """
    why = f" ({type(cause).__name__}: {_text(cause):.500})" if cause is not None else ""
    advice = "its __init__ has to accept its args, or it needs a __reduce__" if is_pickled else "it needs a __reduce__"
    return TaskFailedError(
        f"{type(error).__qualname__}: {_text(error)} (the exception itself cannot be "
        f"{'unpickled' if is_pickled else 'pickled'}{why}: {advice})"
    )


def to_be_picklable(key: str, inner: object) -> str:
    """A note for what a pool could not send."""
    return (
        f"{key}: functions, arguments and results have to be picklable for a {type(inner).__qualname__}; "
        "functions are, if they can be imported by their name"
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "which cannot be shown"


def initializer_elsewhere(inner: object) -> ValueError:
    """For an initializer beside an executor, which has workers of its own."""
    return ValueError(
        f"give the initializer to the {type(inner).__qualname__} itself: its workers are not started here"
    )


def backend_not_loaded(name: str, source: str, cause: BaseException) -> ImportError:
    """For a backend of others that cannot be imported."""
    return ImportError(
        f"backend {name!r} is offered by the entry point {source!r}, which cannot be loaded: "
        f"{type(cause).__name__}: {_text(cause)}"
    )


def made_before_fork(key: str) -> BrokenGraphError:
    """For futures that only the parent process will see settled."""
    return BrokenGraphError(
        f"{key} was made before fork: it runs in the parent process and never settles in this one; submit it again here"
    )


def unknown_backend(name: str, known: Iterable[str], source: str = "") -> ValueError:
    """For a backend name that is not in the table."""
    addresses = "addresses of clusters like 'tcp://host:8786' or 'ray://host:10001'"
    return ValueError(
        f"unknown backend {name!r}{source}{_meant([name], known)}; known are: {', '.join(known)}, and {addresses}"
    )


def unknown_option(names: Iterable[str], known: Iterable[str]) -> TypeError:
    """For keyword arguments of ``options`` that are none of ours."""
    return TypeError(f"{_unknown(names, known)} (a keyword argument for the function itself goes to submit)")


def named_like_a_backend(name: str) -> str:
    """A warning for a name of threads that looks like something else."""
    return f"{name!r} is the thread_name_prefix here, the second parameter; did you mean backend={name!r}?"


def unknown_parameter(names: Iterable[str], known: Iterable[str]) -> TypeError:
    """For keyword arguments of the constructor that are none of ours."""
    of_tasks = sorted({"name", "priority", "retries", "retry_on", "backoff", "timeout", "join", "backend"} & {*names})
    advice = f" (tasks have it: executor.options({of_tasks[0]}=…).submit(…))" if of_tasks else ""
    return TypeError(_unknown(names, known) + advice)


def _unknown(names: Iterable[str], known: Iterable[str]) -> str:
    names = sorted(names)
    unknown = ", ".join(repr(name) for name in names)
    return f"unknown option {unknown}{_meant(names, known)}; known are: {', '.join(known)}"


def _meant(names: Iterable[str], known: Iterable[str]) -> str:
    """What somebody may have wanted to write."""
    from difflib import get_close_matches  # which nobody needs who makes no mistake

    known = list(known)
    close = list(dict.fromkeys(match for name in names for match in get_close_matches(name, known, 1, 0.7)))
    # others' words, and ours in other places
    workers = {
        "workers": "max_workers",
        "num_workers": "max_workers",
        "n_workers": "max_workers",
        "n_jobs": "max_workers",
    }
    of_graphs = dict.fromkeys([*workers, "max_workers", "threads", "processes"], "num_workers")
    for words in (workers, {**of_graphs, **dict.fromkeys(["backend", "executor", "client"], "scheduler")}):
        close += [words[name] for name in names if words.get(name) in known and words[name] not in close]
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def asyncio_future(place: str) -> TypeError:
    """For an asyncio future as an argument: it belongs to one event loop and to one thread."""
    return TypeError(
        f"{place} holds an asyncio future, which only its event loop may wait for; pass the concurrent future "
        "itself (asyncio.wrap_future makes an asyncio future from one of ours, not the reverse) or await it first"
    )


def graph_circle(keys: Iterable[object]) -> ValueError:
    """For a graph of which some can never run."""
    shown = [repr(key) for key in keys]
    if len(shown) == 1:
        return ValueError(f"the graph has a circle: {shown[0]} needs itself")
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return ValueError(f"the graph has a circle: {', '.join(shown[:10])}{more} need each other, or what does")


def unknown_graph(found: object) -> TypeError:
    """For a graph that is neither a mapping nor an expression of dask's."""
    return TypeError(
        f"a graph is a mapping of keys to tasks, or an expression of dask's with __dask_graph__, not {found!r:.80}"
    )


def warn_of_keyword(name: str, known: Iterable[str]) -> None:
    """For a keyword of a computation that nobody takes; the warning points at the user's line."""
    import sys
    from warnings import warn

    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "graphfutures",
        "dask",
    ):
        depth, frame = depth + 1, frame.f_back
    warn(
        f"keyword {name!r} has no effect here{_meant([name], known)}: scheduler= says where a graph runs (a name, an "
        "executor or a get function), num_workers= on how many workers",
        stacklevel=depth,
    )


def no_such_key(key: object, graph: Mapping[object, object]) -> KeyError:
    """For a key that is asked for."""
    error = KeyError(key)
    if isinstance(key, tuple) and all(part in graph for part in key):
        error.add_note(f"a tuple is one key; several are given as a list: {list(key)!r:.200}")
    return error


def unknown_setting(names: Iterable[str], known: Iterable[str]) -> TypeError:
    """For keyword arguments of ``set_options`` that are none of ours."""
    return TypeError(_unknown(names, known))


def no_scheduler(found: object, called: str = "scheduler") -> TypeError:
    """For a scheduler that is none.

    :param called: the argument in which it came.
    """
    advice = ""
    if isinstance(found, type):
        advice = f": write {found.__name__}(…), with its arguments"
    elif isinstance(found, ModuleType) and hasattr(found, "get"):
        advice = f": did you mean {found.__name__}.get?"
    return TypeError(f"{called} must be a name of a backend, an executor or a get function, not {found!r:.80}{advice}")


def two_schedulers() -> TypeError:
    """For a scheduler that is given by both its names."""
    return TypeError("scheduler and get are two names of one option: give one of them")


def cannot_be_pure(error: BaseException) -> TypeError:
    """For ``pure=True`` and a call that has no hash."""
    return TypeError(f"pure=True needs what can be hashed or pickled, but: {type(error).__name__}: {_text(error)}")


def no_future_yet(name: str) -> AttributeError:
    """For what only futures have, asked of a delayed object."""
    return AttributeError(
        f"a delayed object has no {name!r}, since it is no future: compute() gives its value, executor.submit takes it "
        f"as an argument and gives a future; an attribute {name!r} of the value is delayed(getattr)(…, {name!r})"
    )


def missing_extra(what: str, *packages: str) -> ImportError:
    """For what needs a package that is not there."""
    return ImportError(f"{what} needs {' and '.join(packages)}: pip install {' '.join(packages)}")


def no_such_picture(path: str, endings: Iterable[str]) -> ValueError:
    """For the file of a picture whose ending says nothing that we can write."""
    return ValueError(f"a picture is written as {', '.join(endings)}, by what its name ends in, not {path!r:.200}")


def no_such_value(name: str, value: object, known: Iterable[object]) -> ValueError:
    """For an option of a picture."""
    return ValueError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r:.80}")


def no_times() -> ValueError:
    """For a picture by time of what has not run."""
    return ValueError("color='time' is for what has run: executor.visualize(color='time')")


def no_picture_of(thing: object) -> TypeError:
    """For something that has no graph."""
    return TypeError(
        "visualize takes delayed objects, futures of this package, dask's collections and graphs that are mappings, "
        f"also inside containers, not {thing!r:.80}"
    )


def contains_itself(kind: str) -> ValueError:
    """For a container that holds both itself and a future."""
    return ValueError(f"an argument holds a {kind} that contains itself and a future, so it cannot be rebuilt")


def cannot_rebuild(key: str, kind: str, error: TypeError) -> TypeError:
    """For a container that cannot be made with the values of its futures, such as a set of lists."""
    return TypeError(
        f"{key} did not run: cannot rebuild the {kind} of an argument with the values of its futures: {error}; "
        "give them in a list or a tuple, which take any value"
    )


def cannot_iterate(key: str, value: object, error: TypeError) -> TypeError:
    """For ``unpack`` of a value that has no items."""
    return TypeError(
        f"cannot unpack the {type(value).__name__} that {key} returned: {error}; "
        "unpack is for results that can be iterated over"
    )


def cannot_unpack(key: str, value: object, found: str, count: int) -> ValueError:
    """For ``unpack`` of a value that has another number of items."""
    return ValueError(
        f"cannot unpack a {type(value).__name__} with {found} items into {count} futures: {key} returned it; "
        "give unpack the number of items that it returns"
    )


def no_such_lane(name: object, known: Iterable[str]) -> ValueError:
    """For an option ``backend`` that this executor has not got."""
    known = list(known)
    meant = _meant([name], known) if isinstance(name, str) else ", which is given by its name in backends="
    return ValueError(
        f"this executor has no backend {name!r:.80}{meant}; it has: {', '.join(known)} (GraphExecutor(backends=…))"
    )


def backend_taken(backend: object) -> ValueError:
    """For a ready-made backend that is given to a second executor."""
    return ValueError(f"{backend!r:.200} serves another executor already: make one for each")


def no_backend(found: object, known: Iterable[str]) -> TypeError:
    """For a ``backend=`` that is neither a name nor a backend nor an executor."""
    advice = f": write {found.__name__}(…), with its arguments" if isinstance(found, type) else ""
    return TypeError(
        f"backend must be a name, a backend or an Executor, not {found!r:.80}{advice}; known names are: "
        f"{', '.join(known)}"
    )


def not_callable(fn: object, method: str = "submit", arguments: str = "x") -> TypeError:
    """For a first argument of ``submit`` or ``map`` that cannot be called, or is delayed."""
    if callable(fn):
        return TypeError(
            f"the first argument is a delayed object, {fn!r:.80}, whose calls are only noted: compute them with "
            f"compute(scheduler=executor), or {method} the function itself"
        )
    if hasattr(fn, "add_done_callback"):
        advice = "a future is an argument of the function, as in submit(f, future)"
    else:
        advice = f"write {method}(f, {arguments}), not {method}(f({arguments}))"
    return TypeError(f"the first argument must be callable, not {fn!r:.80}: {advice}")


def not_iterable_yet(key: str) -> TypeError:
    """For ``map`` over a future, whose length nobody knows yet."""
    return TypeError(
        f"map cannot go through {key} before it is done: submit a function that takes its value, submits one task for "
        "each of its items and returns their futures, with options(join=True); or unpack(future, n), if n is known"
    )


def not_a_number(name: str, found: object) -> TypeError:
    """For a number of workers, or of whatever else, that is none."""
    advice = ""
    if name == "max_workers" and isinstance(found, (str, Executor)) and not str(found).isdecimal():
        shown = repr(found) if isinstance(found, str) else "…"
        advice = f" (a backend is given by keyword: GraphExecutor(backend={shown:.80}))"
    return TypeError(f"{name} must be an integer, not {found!r:.80}{advice}")


def not_a_prefix(found: object) -> TypeError:
    """For a thread name that is none, often ProcessPoolExecutor's second argument."""
    return TypeError(
        f"thread_name_prefix must be a str, not {found!r:.80} (ProcessPoolExecutor's second argument is mp_context=, "
        "a keyword here, and of no use on threads)"
    )


def bad_priority(found: object) -> TypeError:
    """For a priority that cannot be compared with others."""
    return TypeError(f"priority must be an int or a float (larger runs first), not {found!r:.80}")


def refused(reason: Exception) -> Exception:
    """A fresh copy of the reason why submissions are refused, so that its traceback does not grow."""
    copy = type(reason)(*reason.args)
    copy.__cause__ = reason.__cause__
    return copy
