"""Cases beside one another on Dask workers: in this process, or on a cluster that is there already.

One case is one task on a worker of one thread that offers one ``slot``. The task waits for the case's own process, so
that whatever happens to the case, the worker lives on; where a worker dies, its case goes with it and Dask gives it
to another one. What a task asks for is looked for before: a resource that nobody offers is waited for without end.
"""

from __future__ import annotations

import logging
import platform
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ki67 import __version__
from ki67.cohort.case_run import LOST, CaseEnd, CaseTask, Share, run_case, stop_all
from ki67.errors import Ki67Error, MissingExtraError, SchedulerError
from ki67.progress import message

if TYPE_CHECKING:
    from distributed import Client, Future

SLOT: Final = "slot"
"""Resource of which a worker offers 1 and a case takes 1."""

MEMORY_GIB: Final = "memory_gib"
"""Resource that workers may offer: a case that ran out of memory is tried again on one that offers the most."""

START_A_WORKER: Final = "dask worker ADDRESS --nthreads 1 --resources slot=1"
_FOR_THIS_MACHINE: Final = "127.0.0.1:0"
"""Dashboards listen to the whole network otherwise, the workers' too."""

_CONNECT_S: Final = 10.0
_LOST_CODE: Final = -9


class DaskWorkers:
    """Workers that a client knows; :func:`local_workers` and :func:`cluster_workers` make it."""

    def __init__(self, client: Client, shares: Mapping[str, Share], most_memory_gib: float | None) -> None:
        self._client = client
        self._shares = dict(shares)
        self._most_memory_gib = most_memory_gib
        self.count = len(shares)

    def run(self, tasks: Sequence[CaseTask], *, alone: bool) -> Iterator[tuple[CaseTask, CaseEnd]]:
        """Run cases; ``alone`` one at a time, on a worker with the most memory where workers say how much.

        Raises
        ------
        SchedulerError
            Where the scheduler has gone.
        """
        batches = [[task] for task in tasks] if alone else [list(tasks)]
        for batch in batches:
            yield from self._run(batch, alone=alone)

    def _run(self, tasks: Sequence[CaseTask], *, alone: bool) -> Iterator[tuple[CaseTask, CaseEnd]]:
        from distributed import as_completed

        resources = {SLOT: 1.0}
        if alone and self._most_memory_gib is not None:
            resources[MEMORY_GIB] = self._most_memory_gib
        shares = {} if alone else self._shares
        # A name would show on the dashboard and in other people's logs.
        waiting = {
            self._client.submit(
                run_on_worker, task, shares, key=f"ki67-{uuid.uuid4().hex}", resources=resources, pure=False
            ): task
            for task in tasks
        }
        try:
            for future in as_completed(list(waiting)):
                yield waiting.pop(future), self._end(future)
                future.release()
        finally:
            if waiting:
                # Those that wait first: they would take the places of those that are stopped.
                self._client.cancel(list(waiting), force=True)
                stop_all()

    def _end(self, future: Future[CaseEnd]) -> CaseEnd:
        if future.status == "finished":
            end: CaseEnd = future.result()
            return end
        if future.status == "error":
            error = future.exception()
            return CaseEnd(_LOST_CODE, 0.0, LOST, f"the worker was lost ({type(error).__name__}: {error})")
        raise SchedulerError("the scheduler has gone; start it again and run the same command, which continues")


def run_on_worker(task: CaseTask, shares: Mapping[str, Share]) -> CaseEnd:
    """Run a case from within a Dask task; ``shares`` are the workers' parts of their machines, by address."""
    from distributed import get_worker

    worker = get_worker()
    return run_case(task, shares.get(worker.address), f"{platform.node()} {worker.name}")


@contextmanager
def local_workers(count: int) -> Iterator[DaskWorkers]:
    """Start workers in this process; their dashboard is for this machine only.

    Raises
    ------
    MissingExtraError
        Where Dask is not installed.
    """
    _require("several workers")
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=False,
                resources={SLOT: 1},
                memory_limit=0,
                dashboard_address=_FOR_THIS_MACHINE,
                worker_dashboard_address=_FOR_THIS_MACHINE,
                silence_logs=logging.CRITICAL,
            )
        )
        client = stack.enter_context(Client(cluster))
        port = urlsplit(client.dashboard_link).port
        message(f"{count} workers; what they do: http://127.0.0.1:{port}/status")
        yield DaskWorkers(client, _shares(client.scheduler_info()["workers"]), None)


@contextmanager
def cluster_workers(address: str, out: Path) -> Iterator[DaskWorkers]:
    """Connect to a scheduler whose workers are as they must be.

    Parameters
    ----------
    address
        Of the scheduler, ``tcp://host:8786``.
    out
        Folder of the cohort, which every worker must see.

    Raises
    ------
    MissingExtraError
        Where Dask is not installed.
    SchedulerError
        Where it does not answer or has no workers.
    Ki67Error
        Where a worker has more than one thread, offers no slot, has another version, or does not see the folder.
    """
    _require("a scheduler")
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SchedulerError(f"the scheduler {address} does not answer ({told}). Check its address") from error
    with client:
        workers = client.scheduler_info()["workers"]
        _check(client, workers, address, out)
        offers = [worker["resources"].get(MEMORY_GIB) for worker in workers.values()]
        most = max((offer for offer in offers if offer is not None), default=None)
        message(f"{len(workers)} workers at {address}")
        yield DaskWorkers(client, _shares(workers), most)


def look_around(out: str) -> tuple[str, bool]:
    """Tell from a worker: its version of the program, and whether it sees the cohort's folder."""
    return __version__, Path(out).is_dir()


def _check(client: Client, workers: Mapping[str, Any], address: str, out: Path) -> None:
    if not workers:
        start = START_A_WORKER.replace("ADDRESS", address)
        raise SchedulerError(f"the scheduler {address} has no workers. Start some: {start}")
    seen = client.run(look_around, str(out), on_error="return")
    for place, worker in workers.items():
        found = ""
        if worker["nthreads"] != 1:
            found = f"has {worker['nthreads']} threads, expected 1"
        elif worker["resources"].get(SLOT) != 1:
            found = "does not offer one slot"
        elif not isinstance(seen.get(place), tuple):
            found = "has no ki67 of this version that answers"
        elif seen[place][0] != __version__:
            found = f"has ki67 {seen[place][0]}, expected {__version__}"
        elif not seen[place][1]:
            found = f"does not see {out}, which must be on a file system that all share"
        if found:
            start = START_A_WORKER.replace("ADDRESS", address)
            raise Ki67Error(f"the worker {place} of {address} {found}. Start workers so: {start}")


def _shares(workers: Mapping[str, Any]) -> dict[str, Share]:
    """Each worker's part of its machine: workers on one machine share it equally."""
    by_host: dict[str, list[str]] = defaultdict(list)
    for address, worker in sorted(workers.items()):
        by_host[worker["host"]].append(address)
    return {
        address: Share(number, len(addresses))
        for addresses in by_host.values()
        for number, address in enumerate(addresses)
    }


def _require(what: str) -> None:
    if find_spec("distributed") is None:
        raise MissingExtraError("cohort", what)
