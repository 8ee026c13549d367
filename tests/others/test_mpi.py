"""A graph on mpi4py's pool, under a real ``mpiexec``: run by the tox environment "others"."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.ci
pytest.importorskip("mpi4py", reason="only the tox environment 'others' has MPI")

LIMIT = 100
SCRIPT = """
    import os

    from mpi4py.futures import MPIPoolExecutor

    from graphfutures import GraphExecutor

    if __name__ == "__main__":
        with MPIPoolExecutor(2) as inner:
            with GraphExecutor(backend=inner) as executor:
                print(executor._max_workers)
                print(executor.submit(sum, [executor.submit(pow, n, 2) for n in range(50)]).result(60))
                print(executor.submit(os.getpid).result(60) == os.getpid())
                failed = executor.submit(int, "x")
                heir = executor.submit(abs, failed)
                print(type(heir.exception(60)).__name__, "Traceback" in str(failed.exception().__cause__))
                print(type(executor.submit(lambda: 1).exception(60)).__name__)
                print(executor.submit(abs, -3).result(60))
            print({attempt.worker for attempt in executor.attempts()} <= {0, 1})
            print(inner.submit(abs, -4).result(60))
"""


def test_a_graph_on_mpi(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT), encoding="utf-8")
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert mpiexec is not None
    may_be_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    ran = subprocess.run(
        [mpiexec, "--oversubscribe", "-n", "3", sys.executable, "-m", "mpi4py.futures", str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, **may_be_root},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines() == ["2", "40425", "False", "ValueError True", "PicklingError", "3", "True", "4"]
