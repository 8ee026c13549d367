"""Backends that other packages offer, really installed (CONTRACT 10)."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

import graphfutures

LIMIT = 120
MODULE = """
from concurrent.futures import ThreadPoolExecutor
from graphfutures.backends.executor import Wrapped


def make(request):
    assert request.limit == 3, request
    return Wrapped(ThreadPoolExecutor(8), request.limit, request.name)
"""
ENTRY_POINTS = """
[graphfutures.backends]
their-name = their_backend:make
their-mistake = their_backend:made
their-absence = no_such_module:make
threads = their_backend:made
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a package is installed that offers backends."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = folder / "their_backend-1.0-py3-none-any.whl"
    record = "their_backend-1.0.dist-info"
    files = {
        "their_backend.py": MODULE,
        f"{record}/METADATA": "Metadata-Version: 2.1\nName: their-backend\nVersion: 1.0\n",
        f"{record}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{record}/entry_points.txt": ENTRY_POINTS,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{record}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{record}/RECORD"]))
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", target, wheel]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def run(installed: Path, source: str, **environment: str) -> str:
    paths = os.pathsep.join([str(installed), str(Path(graphfutures.__file__).parents[1])])
    ran = subprocess.run(
        [sys.executable, "-c", dedent(source)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **environment, "PYTHONPATH": paths},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_a_backend_of_another_package(installed: Path) -> None:
    source = """
        from graphfutures import GraphExecutor

        with GraphExecutor(3, backend="their-name") as executor:
            print(executor.submit(sum, [executor.submit(abs, -1), 2]).result(20), executor._max_workers)
        with GraphExecutor(3) as executor:
            print(executor.submit(abs, -1).result(20))
        print(GraphExecutor(backend="threads")._max_workers != 3)
    """
    assert run(installed, source, GRAPHFUTURES_BACKEND="their-name").split() == ["3", "3", "1", "True"]


@pytest.mark.parametrize("name", ["their-mistake", "their-absence"])
def test_one_that_cannot_be_loaded_is_named(installed: Path, name: str) -> None:
    source = f"""
        from graphfutures import GraphExecutor

        try:
            GraphExecutor(backend="{name}")
        except ImportError as error:
            print(error, type(error.__cause__).__name__)
    """
    printed = run(installed, source)
    assert f"backend '{name}' is offered by the entry point" in printed
    assert "their_backend:made" in printed or "No module named 'no_such_module'" in printed


def test_an_unknown_name_lists_them(installed: Path) -> None:
    source = """
        from graphfutures import GraphExecutor

        try:
            GraphExecutor(backend="his-name")
        except ValueError as error:
            print(error)
    """
    printed = run(installed, source)
    assert printed.startswith("unknown backend 'his-name' (did you mean 'their-name'?); known are: threads, ")
    assert "their-absence, their-mistake, their-name" in printed
    assert printed.count("threads,") == 1
