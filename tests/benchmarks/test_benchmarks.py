"""The benchmarks run, at a size that says nothing about speed, and their table is complete."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TIME_LIMIT = 120  # seconds; some ten are usual
QUICK = ("--rounds", "1", "--scale", "0.001")
BESIDE_DASK = ("dask", "inline", "graph", "graph_inline")
DASK_ROWS = {
    *(f"{shape}_{peer}" for shape in ("chain", "tree", "fan", "layered") for peer in BESIDE_DASK),
    *(f"{shape}_processes" for shape in ("tree", "layered")),
}
COLLECTIONS = {
    **dict.fromkeys(("flights", "flights_processes", "flights_threads"), "dask.dataframe"),
    **dict.fromkeys(("matmul", "matmul_memory"), "dask.array"),
}
VALUES = {"chain_values": "numpy", **dict.fromkeys(("fan_values", "tree_values", "pairs_values"), "distributed")}
CLUSTERS = {
    **{f"{name}_on_dask": "distributed" for name in ("tree", "chain", "sleeps", "chain_values", "tree_values")},
    "tree_on_ray": "ray",
}
SEEN = ("dashboard_memory", "report", "report_size")
DASHBOARD = dict.fromkeys(("dashboard_cpu", *SEEN), "bokeh")
NEEDS = {**dict.fromkeys(DASK_ROWS, "dask"), **COLLECTIONS, **VALUES, **CLUSTERS, **DASHBOARD}
NO_PEER = {"long_list", "nested_threads", "delay_processes", *SEEN}


def benchmarks(*arguments: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m benchmarks`` as a user does, from the top of the repository."""
    environment = {**os.environ, "PYTHONUTF8": "1"}
    if first_on_path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(first_on_path), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=TOP,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=TIME_LIMIT,
        check=False,
    )


def rows(finished: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """The table's cells by figure."""
    assert finished.returncode == 0, finished.stderr
    header, rule, *lines = finished.stdout.splitlines()
    assert header.split("|")[1].strip() == "figure"
    assert set(rule) == set("| -")
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {name: rest for name, *rest in cells}


def numbers(cell: str) -> list[float]:
    """All numbers in a cell."""
    return [float(digits) for digits in re.findall(r"\d+(?:\.\d+)?", cell)]


@pytest.fixture(scope="module")
def names() -> set[str]:
    """The figures that there are."""
    finished = benchmarks("--list")
    assert finished.returncode == 0, finished.stderr
    return {line.split()[0] for line in finished.stdout.splitlines()}


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.ci)])
def test_every_figure_has_a_row_of_positive_numbers(names: set[str], processes: bool) -> None:
    chosen = {name for name in names if name.endswith("_processes") == processes}
    table = rows(benchmarks(*sorted(chosen), *QUICK))
    assert chosen
    assert set(table) == chosen
    for name, (ours, peer, ratio, limit, verdict) in table.items():
        if verdict.endswith("not installed"):
            assert verdict == f"{NEEDS[name]} not installed"
            continue
        assert verdict in ("ok", "over"), name
        for cell, length in (ours, 1), (peer, 0 if name in NO_PEER else 1), (limit, 1):
            assert len(numbers(cell)) == length, (name, cell)
        assert len(numbers(ratio)) == (2 if name in NO_PEER else 3), (name, ratio)
        assert all(number > 0 for cell in (ours, peer, ratio, limit) for number in numbers(cell)), name


def test_without_dask_its_rows_say_so(tmp_path: Path, names: set[str]) -> None:
    assert names >= DASK_ROWS | COLLECTIONS.keys()
    (tmp_path / "dask.py").write_text("raise ModuleNotFoundError('hidden by the test', name='dask')\n")
    table = rows(benchmarks(*DASK_ROWS, *COLLECTIONS, *QUICK, first_on_path=tmp_path))
    assert set(table) == DASK_ROWS | COLLECTIONS.keys()
    for name, (*_, verdict) in table.items():
        assert verdict == f"{NEEDS[name]} not installed"


def test_an_unknown_figure_is_refused_by_name() -> None:
    finished = benchmarks("chian", *QUICK)
    assert finished.returncode == 1
    assert "'chian'" in finished.stderr
    assert "--list" in finished.stderr


@pytest.mark.parametrize("arguments", [("--rounds", "0"), ("--scale", "0"), ("--scale", "-1")])
def test_rounds_and_scale_out_of_range_are_refused(arguments: tuple[str, ...]) -> None:
    finished = benchmarks("chain", *arguments)
    assert finished.returncode == 2
    assert "--rounds must be at least 1 and --scale above 0" in finished.stderr


@pytest.mark.parametrize(
    ("backend", "function"), [("inline", "step"), ("threads", "step_here"), ("threads", "process_step")]
)
def test_a_task_in_the_wrong_thread_is_no_result(backend: str, function: str) -> None:
    program = (
        "from benchmarks.graphs import GraphExecutor, chain, on_executor, step, step_here\n"
        "from benchmarks.steps import process_step\n"
        f"with GraphExecutor(1, backend={backend!r}) as executor:\n"
        f"    on_executor(executor, chain(3), {function})\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    assert finished.returncode == 1
    assert "WrongThreadError" in finished.stderr
