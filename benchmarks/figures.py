"""All figures: one row of the table each, with the limit that the project set itself."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import loky

from benchmarks import clusters, collections, dashboard, graphs, memory, nested, processes, startup, threads, values
from benchmarks.measure import Figure, Side
from benchmarks.steps import MakeExecutor
from graphfutures import GraphExecutor

SHAPES = {"chain": graphs.chain, "tree": graphs.tree, "fan": graphs.fan, "layered": graphs.layered}
POOL_ALONE: Side = partial(threads.independent, ThreadPoolExecutor)
MILLION: dict[MakeExecutor, Side] = {
    make: partial(threads.without_gc, partial(threads.independent, make, tasks=1_000_000))
    for make in (GraphExecutor, ThreadPoolExecutor)
}
TEN_THOUSAND: Side = partial(
    # One run takes some 40 ms; twenty of them are steadier beside the seconds of a million.
    threads.without_gc,
    partial(threads.independent, GraphExecutor, tasks=10_000, repeat=20),
)


def beside_pool(name: str, what: str, side: threads.OnExecutor, limit: float, unit: str = "µs") -> Figure:
    """The same program with our executor and with ThreadPoolExecutor."""
    return Figure(name, what, partial(side, GraphExecutor), partial(side, ThreadPoolExecutor), limit, unit)


def beside_dask(
    name: str, what: str, side: collections.OnSide, limit: float, unit: str = "ms", requires: str = "dask.array"
) -> Figure:
    """The same collection of dask's on our threads and on its own."""
    return Figure(name, what, partial(side, "ours"), partial(side, "peer"), limit, unit, requires)


def beside_processes(name: str, what: str, side: threads.OnExecutor, limit: float, unit: str = "µs") -> Figure:
    """The same program with our worker processes and with ProcessPoolExecutor."""
    return Figure(name + "_processes", what, partial(side, processes.OURS), partial(side, processes.POOL), limit, unit)


def beside_greedy(name: str, what: str, durations: processes.Durations) -> Figure:
    """Our worker processes beside a schedule that costs nothing."""
    return Figure(
        name + "_processes", what, partial(processes.wall, durations), partial(processes.greedy, durations), 1.15, "ms"
    )


def of_arrays(name: str, what: str, program: values.Program, peer: values.Peer, limit: float) -> Figure:
    """A program with arrays of 64 MB on our worker processes, and beside it."""
    needs = "numpy" if peer is values.plain else "distributed"
    return Figure(
        name + "_values", what, partial(values.ours, program), partial(peer, program), limit, "ms", requires=needs
    )


def on_cluster(name: str, what: str, side: clusters.OnCluster, limit: float, unit: str, needs: str) -> Figure:
    """The same program through our executor and as the users of the cluster write it."""
    return Figure(name, what, partial(side, True), partial(side, False), limit, unit, requires=needs)


def on_dask(name: str, what: str, graph: clusters.Graph, tasks: int, limit: float, unit: str = "µs") -> Figure:
    """A graph of many tasks on a cluster of dask's."""
    side = partial(clusters.of_graph, graph, tasks, clusters.dask)
    return on_cluster(name + "_on_dask", what + " / client.submit", side, limit, unit, "distributed")


def of_each_shape(
    suffix: str, what: str, ours: graphs.OfShape, dasks: graphs.OfShape | None, limit: float
) -> list[Figure]:
    """A figure for each shape of graph, beside dask with the same graph or ThreadPoolExecutor without one."""
    return [
        Figure(
            name + suffix,
            f"{name} {what}",
            partial(ours, make),
            partial(dasks, make) if dasks is not None else POOL_ALONE,
            limit,
            requires="dask" if dasks is not None else None,
        )
        for name, make in SHAPES.items()
    ]


FIGURES: list[Figure] = [
    beside_pool(
        "independent",
        "20,000 independent tasks, submit all then collect: per task / ThreadPoolExecutor",
        threads.independent,
        # ThreadPoolExecutor's locks became cheaper in 3.13.
        0.35 if sys.version_info < (3, 13) else 0.50,
    ),
    beside_pool("as_completed", "the same through an as_completed loop", threads.completed, 0.55),
    beside_pool("run_in_executor", "20,000 × loop.run_in_executor, gathered", threads.gathered, 0.9),
    beside_pool("with_one_task", "`with` an executor around one task", threads.one_task, 1.1),
    *of_each_shape(
        "", "of 20,000: per task / ThreadPoolExecutor's independent per task", graphs.on_threads, None, 0.50
    ),
    *of_each_shape("_dask", "of 20,000: per task / dask.threaded.get", graphs.on_threads, graphs.dask_threads, 0.12),
    beside_pool("round_trip", "submit, result, one at a time", threads.round_trip, 0.90),
    beside_pool("event", "submit, then an Event that the task sets, one at a time", threads.event, 1.0),
    Figure(
        "hashing",
        "200 × 10 ms of hashing without the GIL: wall / two bare threads",
        partial(threads.hashing, GraphExecutor),
        threads.hashing_ideal,
        1.08,
        "ms",
    ),
    beside_pool("sleeping", "32 workers, 5,000 × 5 ms sleeps: wall / ThreadPoolExecutor", threads.naps, 1.05, "ms"),
    Figure(
        "long_list",
        "submit(len, numbers) with a list of 10⁶ ints, until its result",
        partial(threads.long_list, GraphExecutor),
        None,
        0.030,
        "ms",
    ),
    *of_each_shape("_inline", "of 20,000 inline: per task / dask.get", graphs.inline, graphs.dask_inline, 0.20),
    *of_each_shape(
        "_graph",
        "of 20,000 as a dictionary: per task / dask.threaded.get, parsing and ordering included",
        graphs.whole_threads,
        graphs.dask_threads,
        0.35,
    ),
    *of_each_shape(
        "_graph_inline",
        "of 20,000 as a dictionary, inline: per task / dask.get",
        graphs.whole_inline,
        graphs.dask_inline,
        0.7,
    ),
    beside_dask(
        "flights",
        "six questions about flights in ten CSVs, a dask DataFrame: wall / dask threads",
        partial(collections.seconds, collections.questions),
        1.0,
        requires="dask.dataframe",
    ),
    *[
        Figure(
            f"flights_{name}",
            f"the same questions on our worker processes: wall / dask's {name}",
            partial(collections.seconds, collections.questions, "our processes"),
            partial(collections.seconds, collections.questions, peer),
            limit,
            "ms",
            requires="dask.dataframe",
        )
        for name, peer, limit in (("processes", "dask's processes", 0.2), ("threads", "peer", 1.0))
    ],
    beside_dask(
        "matmul",
        "(x @ x.T).mean() of 4,000 × 4,000 in 8 × 8 chunks, a dask Array: wall / dask threads",
        partial(collections.seconds, collections.product),
        1.05,
    ),
    beside_dask("matmul_memory", "the same: peak extra memory / dask threads", collections.matmul_peak, 1.0, "MB"),
    Figure(
        "pending_bytes",
        "memory per pending task, of 100,000 / ThreadPoolExecutor",
        partial(memory.pending, "ours"),
        partial(memory.pending, "peer"),
        0.5,
        "B",
    ),
    Figure(
        "million",
        "10⁶ independent tasks without gc: per task / ThreadPoolExecutor",
        MILLION[GraphExecutor],
        MILLION[ThreadPoolExecutor],
        0.40,
    ),
    Figure("million_growth", "per task at 10⁶ / at 10⁴, without gc", MILLION[GraphExecutor], TEN_THOUSAND, 1.2),
    Figure(
        "import",
        "import graphfutures / concurrent.futures.thread and .process",
        partial(startup.import_seconds, "graphfutures.executor, graphfutures.lazy"),
        partial(startup.import_seconds, "concurrent.futures.thread, concurrent.futures.process"),
        2.0,
        "ms",
    ),
    Figure(
        "peak_memory",
        "512 leaves of 4 MB added pairwise: peak extra memory / all leaves",
        memory.peak,
        memory.leaves_bytes,
        0.25,
        "MB",
    ),
    Figure(
        "fib",
        "fib(18) by nested submit: per task / our independent task",
        nested.fib,
        partial(nested.plain, tasks=nested.FIB_TASKS),
        4.0,
    ),
    Figure(
        "retries",
        "10,000 tasks that fail twice: per attempt / our plain task",
        nested.retried,
        partial(nested.plain, tasks=10_000),
        2.0,
    ),
    Figure(
        "nested_threads",
        "map of 100,000 tasks that each wait on a nested one: most threads alive",
        nested.most_threads,
        None,
        8.0,
        "thr",
    ),
    beside_processes(
        "independent",
        "20,000 independent tasks in worker processes: per task / ProcessPoolExecutor",
        processes.independent,
        0.08,
    ),
    *[
        Figure(
            f"{shape}_processes",
            f"{shape} of 20,000 in worker processes: per task / dask.multiprocessing.get",
            partial(processes.of_graph, SHAPES[shape]),
            partial(processes.of_graph_dask, SHAPES[shape]),
            0.10,
            requires="dask",
        )
        for shape in ("tree", "layered")
    ],
    Figure(
        "chain_processes",
        "chain of 20,000 in worker processes: per task / ProcessPoolExecutor's independent per task",
        partial(processes.of_graph, graphs.chain),
        partial(processes.independent, processes.POOL),
        0.20,
    ),
    beside_processes("round_trip", "submit, result, one at a time, to a worker process", processes.round_trip, 0.6),
    Figure(
        "map_processes",
        "map of 100,000 in worker processes: per task / ProcessPoolExecutor.map at its best chunksize",
        partial(processes.mapped, processes.OURS),
        partial(processes.mapped, processes.POOL, chunksizes=processes.CHUNKSIZES),
        5.0,
    ),
    Figure(
        "cold_processes",
        "from no worker process to the first result: wall / loky's ProcessPoolExecutor",
        partial(processes.first_result, processes.OURS),
        partial(processes.first_result, loky.ProcessPoolExecutor),
        1.2,
        "ms",
    ),
    Figure(
        "python_processes",
        "40 × 50 ms of Python code in worker processes: wall / two processes that share nothing",
        processes.python,
        processes.python_ideal,
        1.1,
        "ms",
    ),
    beside_greedy(
        "short_long",
        "one function 1,000 × 10 µs, then 20 × 200 ms: wall / ideal",
        processes.short_then_long,
    ),
    beside_greedy("long_short", "the reverse: wall / ideal", processes.long_then_short),
    Figure(
        "delay_processes",
        "both of these: the longest from a task's end until as_completed has it",
        processes.longest_delay,
        None,
        0.050,
        "ms",
    ),
    beside_greedy(
        "lengths",
        "40 × 1 to 200 ms in random order, in worker processes: wall / greedy schedule",
        processes.of_all_lengths,
    ),
    of_arrays("chain", "64 MB: make, ten + 1, sum / plain calls in one process", values.chain, values.plain, 1.3),
    of_arrays("fan", "64 MB read by 8 tasks / the better of distributed and Ray", values.fan, values.better_peer, 1.1),
    of_arrays("tree", "eight 64 MB added pairwise / the better of the two", values.tree, values.better_peer, 1.0),
    on_dask("tree", "tree of 10,000 no-ops: per task", clusters.tree, 10_000, 0.10),
    on_dask("chain", "chain of 5,000 no-ops: per task", clusters.chain, 5_000, 0.10),
    on_dask("sleeps", "200 × 100 ms", clusters.sleeps, 200, 1.05, "ms"),
    *(
        on_cluster(
            f"{name}_values_on_dask",
            f"64 MB arrays, {name} / client.submit",
            partial(clusters.of_arrays, program),
            1.1,
            "ms",
            "distributed",
        )
        for name, program in (("chain", values.chain), ("tree", values.tree))
    ),
    on_cluster(
        "tree_on_ray",
        "tree of 5,000 no-ops: per task / .remote",
        partial(clusters.of_graph, clusters.tree, 5_000, clusters.ray),
        0.5,
        "µs",
        "ray",
    ),
    of_arrays(
        "pairs",
        "eight 64 MB (make, + 1), then (i, i + 3) added and summed / the better of the two",
        values.pairs,
        values.better_peer,
        1.0,
    ),
    Figure(
        "dashboard_cpu",
        "200,000 tasks of 100 µs, a page open: CPU time of the user's process with / without",
        partial(dashboard.in_fresh, "cpu", "on", 200_000),
        partial(dashboard.in_fresh, "cpu", "off", 200_000),
        1.10,
        "ms",
        "bokeh",
    ),
    Figure(
        "dashboard_memory",
        "1,000,000 no-ops, a page open: what both processes hold more afterwards",
        partial(dashboard.in_fresh, "memory", "on", 1_000_000),
        None,
        100e6,
        "MB",
        "bokeh",
    ),
    Figure(
        "report",
        "report of 100,000 tasks: seconds",
        partial(dashboard.in_fresh, "report", "seconds", 100_000),
        None,
        5.0,
        "ms",
        "bokeh",
    ),
    Figure(
        "report_size",
        "report of 100,000 tasks: bytes",
        partial(dashboard.in_fresh, "report", "bytes", 100_000),
        None,
        5e6,
        "MB",
        "bokeh",
    ),
]
