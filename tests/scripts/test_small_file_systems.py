"""Large values where there is little shared memory, as in containers, and little room on disk (CONTRACT 10)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

MOUNTS = subprocess.run("unshare --mount mount -t tmpfs tmpfs /mnt", shell=True, check=False, capture_output=True)
pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(MOUNTS.returncode != 0, reason="nothing may be mounted here"),
]

PROGRAM = """\
    import os, shlex, subprocess, sys

    def made(number):
        return bytes([number]) * 1_000_000

    def mounted(folder):
        small = f"mount -t tmpfs -o size=4m tmpfs /dev/shm && mount -t tmpfs -o size={sys.argv[2]} tmpfs {folder}"
        again = shlex.join([sys.executable, __file__, *sys.argv[1:], "mounted"])
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", f"{small} && exec {again}"])

    if sys.argv[-1] != "mounted":
        mounted(sys.argv[1])
    from graphfutures import GraphExecutor

    os.environ["GRAPHFUTURES_TEMP_DIR"] = sys.argv[1]
    with GraphExecutor(2, backend="processes", max_shared_bytes=10**9) as executor:
        futures = [executor.submit(made, number) for number in range(12)]
        errors = [future.exception() for future in futures]
        print({type(error).__name__ for error in errors if error})
        print({note for error in errors if error for note in error.__notes__ if "no room" in note})
        lengths = [executor.submit(len, future).result() for future, error in zip(futures, errors) if not error]
        print(len(lengths), {*lengths})
        right = [future.result() == made(number) for number, future in enumerate(futures) if not errors[number]]
        print({*right})
        del futures
        print(executor.submit(len, executor.submit(made, 1)).result())
    print([name for folder in ("/dev/shm", sys.argv[1]) for name in os.listdir(folder) if "graphfutures" in name])
"""


def test_what_shared_memory_has_no_room_for_is_on_disk(script, tmp_path):
    ended = script(PROGRAM, folder(tmp_path), "100m")
    assert ended.lines == ["set()", "set()", "12 {1000000}", "{True}", "1000000", "[]"]


def test_where_nothing_has_room_the_task_fails_and_others_go_on(script, tmp_path):
    ended = script(PROGRAM, folder(tmp_path), "4m")
    kinds, notes, lengths, right, again, left = ended.lines
    assert kinds == "{'OSError'}"
    assert "no room for a value of 1,000,0" in notes
    assert 4 <= int(lengths.split()[0]) <= 8
    assert (right, again, left) == ("{True}", "1000000", "[]")


def folder(parent: Path) -> str:
    one = parent / "disk"
    one.mkdir()
    return str(one)
