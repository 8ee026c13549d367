"""Clusters that tests run on, each with the client by which it is used."""

import os
import socket
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster
from patience import LIMIT

HERE = Path(__file__).parent
#: where workers find the modules of the tests
PATHS = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]


# Else a LocalCluster gives up workers that died while others were starting.
dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"})


class Local:
    """A LocalCluster, as dask's users make it."""

    def __init__(self, workers: int) -> None:
        self.cluster: Any = LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        )
        self.client = warmed_up(Client(self.cluster, set_as_default=False))

    def close(self) -> None:
        self.client.close()
        self.cluster.close()


class CommandLine:
    """A scheduler and workers that were started as programs."""

    def __init__(self, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.programs = [started("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")]
        for _ in range(workers):
            self.programs.append(started("worker", self.address, "--nthreads", "1", "--no-dashboard"))
        self.client: Any = Client(self.address, set_as_default=False, timeout=LIMIT)
        self.client.wait_for_workers(workers, timeout=LIMIT)
        warmed_up(self.client)

    def close(self) -> None:
        self.client.close()
        for program in reversed(self.programs):
            program.terminate()
        for program in self.programs:
            program.wait(LIMIT)


def started(*command: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]]
    return subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def warmed_up(client: Any) -> Any:
    """Have all threads of a client started that tests would take for their own."""
    told: Future[None] = Future()
    large = client.submit(bytes, 20_000_000)  # which it reads in a thread
    large.add_done_callback(lambda _: told.set_result(None))
    told.result(LIMIT)
    large.result(LIMIT)
    return client


local, command_line = Local, CommandLine
