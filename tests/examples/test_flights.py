"""The example that the README names: run as its readers run it, as a script in a process of its own."""

import gzip
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import graphfutures

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 120

# Counted with awk from the published table, so that the example is not its own judge.
ANSWERS = {
    "flights": "336,776",
    "not cancelled": "328,521",
    "largest delay": "1,301 minutes",
    "not cancelled per origin": "EWR 117,596, LGA 101,509, JFK 109,416",
    "mean delay per origin": "EWR 15.11, LGA 10.35, JFK 12.11",
    "mean delay per weekday": (
        "Monday 14.78, Tuesday 10.63, Wednesday 11.80, Thursday 16.15, Friday 14.70, Saturday 7.65, Sunday 11.59"
    ),
    "worst weekday": "Thursday",
}


def run(*flags: str, examples: Path = EXAMPLES) -> subprocess.CompletedProcess[str]:
    # The script has to find the package under test, installed or not.
    environment = os.environ | {"PYTHONPATH": str(Path(graphfutures.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-W", "error", str(examples / "flights.py"), *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def answers(stdout: str) -> dict[str, str]:
    """Question and answer of each line like ` 0.87 s  largest delay             1,301`."""
    lines = [line.split(maxsplit=2)[2] for line in stdout.splitlines()[:-1]]
    return {line[:26].rstrip(): line[26:] for line in lines}


def assert_all_answered(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert answers(done.stdout) == ANSWERS
    assert done.stdout.splitlines()[-1] == "All 7 answers agree with the known ones."


@pytest.mark.parametrize("backend", ["threads", "inline", pytest.param("processes", marks=pytest.mark.ci)])
def test_every_answer_is_right(backend: str) -> None:
    assert_all_answered(run("--backend", backend, "--workers", "2"))


@pytest.mark.ci
@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_every_answer_is_right_on_a_cluster(backend: str, package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    done = run("--backend", backend, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert answers(done.stdout) == ANSWERS  # what a cluster writes to stderr is its own affair


@pytest.mark.parametrize("flag", ["--report", "--dashboard"])
def test_it_can_be_seen(flag: str, tmp_path: Path) -> None:
    report = tmp_path / "flights.html"
    done = run("--workers", "2", *([flag, str(report)] if flag == "--report" else [flag]))
    if find_spec("bokeh") is None:
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith('pip install "graphfutures[dashboard]"')
        return
    assert answers(done.stdout) == ANSWERS
    if flag == "--report":
        assert_all_answered(done)
        assert "The critical path is" in report.read_text(encoding="utf-8")
    else:
        assert done.stderr.startswith("dashboard of GraphExecutor-0: http://127.0.0.1:")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_cluster_whose_packages_are_missing_is_explained_in_one_line(backend: str, package: str) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    done = run("--backend", backend)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f'pip install "graphfutures[{backend}]"')


def test_without_flags_it_runs_on_threads() -> None:
    assert_all_answered(run())


@pytest.mark.ci
@pytest.mark.parametrize(("backend", "workers"), [("threads", "1"), ("threads", "32"), ("inline", "4")])
def test_any_number_of_workers_gives_the_same_answers(backend: str, workers: str) -> None:
    assert_all_answered(run("--backend", backend, "--workers", workers))


def test_a_lost_flight_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    month = tmp_path / "data" / "2013-07.csv.gz"
    month.write_bytes(gzip.compress(b"".join(gzip.decompress(month.read_bytes()).splitlines(True)[:-1])))

    done = run(examples=tmp_path)

    assert done.returncode == 1
    assert "WRONG:\n  flights: 336775, but the known answer is 336776\n" in done.stdout
    assert "agree" not in done.stdout


def test_a_missing_month_ends_the_run_with_its_name(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "data" / "2013-07.csv.gz").unlink()

    done = run(examples=tmp_path)

    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert "2013-07.csv.gz" in done.stderr
    assert "agree" not in done.stdout


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--workers", "0"], "max_workers must be greater than 0"),
        (["--workers", "two"], "argument --workers: invalid int value: 'two'"),
        (["--backend", "treads"], "threads"),
        (["--backend"], "argument --backend: expected one argument"),
        (["--wrokers", "2"], "unrecognized arguments: --wrokers 2"),
    ],
)
def test_a_wrong_flag_is_explained_in_one_line(flags: list[str], complaint: str) -> None:
    done = run(*flags)
    assert done.returncode == 2
    assert done.stdout == ""
    usage, *_, error = done.stderr.splitlines()
    assert usage.startswith("usage: flights.py")
    assert error.startswith("flights.py: error: ")
    assert complaint in error
