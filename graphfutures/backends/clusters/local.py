"""A cluster of dask's on this machine, in a process of its own.

Not in this one: its workers are started by ``spawn``, and would run the script of the user again; and its scheduler
would compute in a thread beside the user's.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing import process
from typing import Any, Final

from graphfutures import errors

#: seconds that it has to begin and to end
BEGIN: Final = 60.0
END: Final = 10.0
LOOPBACK: Final = "127.0.0.1"


class Local:
    """A cluster that lives as long as this, and as this process.

    :param workers: how many processes it has, of one thread each.
    :param name: of its process.
    :param folder: for its files, None for the system's.
    :raises Exception: what starting it raises.
    """

    def __init__(self, workers: int, name: str, folder: str | None) -> None:
        from loky.backend import get_context

        context: Any = get_context("loky")
        self._connection, its = context.Pipe(duplex=True)
        self._process = context.Process(target=serve, args=(its, workers, folder), name=f"{name}_cluster")
        self._process.daemon = True  # so that nobody waits for it at exit who does not tell it to end
        self._process.start()
        its.close()
        if not self._connection.poll(BEGIN):
            self.close()
            raise errors.no_cluster("this machine", TimeoutError(f"it has not started within {BEGIN:g} s"))
        try:
            found = self._connection.recv()
        except EOFError:
            self.close()
            raise errors.no_cluster("this machine", EOFError("its process has ended")) from None
        if isinstance(found, BaseException):
            self.close()
            raise found
        #: of its scheduler, and of its dashboard
        self.address: str
        self.dashboard_link: str
        self.address, self.dashboard_link = found

    def forked(self) -> None:
        """In a forked child, which would end it at exit as a process of its own."""
        process._children.discard(self._process)  # type: ignore[attr-defined]
        self._connection.close()  # else it lives as long as the child

    def close(self) -> None:
        """End it, and wait for that."""
        with suppress(OSError):
            self._connection.send(None)  # whoever was forked off may hold the other end as well
        self._connection.close()
        self._process.join(END)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(END)


def serve(connection: Any, workers: int, folder: str | None) -> None:
    """Run a cluster until whoever has the other end of a connection lets go of it; the main thread of a process."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # it may have workers
    multiprocessing.set_start_method("spawn", force=True)  # which is loky's here, and not known to them
    try:
        import dask
        from distributed import LocalCluster

        # Else workers that die again and again, as some task's doing, are not replaced any more.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "365 days"})
        if folder is not None:
            dask.config.set(temporary_directory=folder)
        cluster: Any = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
        )
    except BaseException as error:
        connection.send(error)
        return
    with suppress(OSError, ValueError):
        connection.send((cluster.scheduler_address, cluster.dashboard_link))
        with suppress(EOFError):
            connection.recv()
    with suppress(Exception):
        cluster.close(timeout=END / 2)
    os._exit(0)
