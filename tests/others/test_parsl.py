"""A graph on Parsl, in processes that it starts on this machine: run by the tox environment "others"."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.ci
pytest.importorskip("parsl", reason="only the tox environment 'others' has Parsl")

LIMIT = 100
SCRIPT = """
    import os

    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    from graphfutures import GraphExecutor

    if __name__ == "__main__":
        local = LocalProvider(init_blocks=1, max_blocks=1)
        workers = HighThroughputExecutor(label="local", max_workers_per_node=2, address="127.0.0.1", provider=local)
        with ParslPoolExecutor(Config(executors=[workers], run_dir="runs")) as inner:
            with GraphExecutor(2, backend=inner) as executor:
                print(executor.submit(sum, [executor.submit(pow, n, 2) for n in range(50)]).result(60))
                print(executor.submit(os.getpid).result(60) == os.getpid())
                print(type(executor.submit(abs, executor.submit(int, "x")).exception(60)).__name__)
            print({attempt.worker for attempt in executor.attempts()} <= {0, 1})
            print(inner.submit(abs, -4).result(60))
"""


def test_a_graph_on_parsl(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT), encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of its worker pool's program
    ran = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "PATH": path},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines() == ["40425", "False", "ValueError", "True", "4"]
