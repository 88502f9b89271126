"""Cases on Dask workers: as many as asked for, each on its share of the processors; a killed worker loses no case."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ki67.cohort import CohortOptions, run_cohort
from ki67.cohort import dask_workers as dask_module
from ki67.cohort import running as running_module
from ki67.cohort.dask_workers import cluster_workers, local_workers
from ki67.errors import Ki67Error, MissingExtraError, SchedulerError

Cohort = Callable[..., Path]
STAND_IN = Path(__file__).with_name("stand_in.py")

pytest.importorskip("distributed")
# Dask leaves sockets to the collector when a cluster of the same process ends.
pytestmark = [
    pytest.mark.usefixtures("stand_in"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_module, "PAUSE_S", 0.0)


def attempts(out: Path, case: str) -> list[list[str]]:
    """Lines that are whole: the file is there before its first line."""
    file = out / "cases" / case / "attempts.txt"
    return [line.split() for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def test_workers_in_this_process_share_the_processors(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = cohort(A="sleep 0.5", B="sleep 0.5", C="once memory", D="damaged", E="once signal SIGKILL")
    result = run_cohort(table, out, CohortOptions(workers=2))
    assert (result["done"], [row["case"] for row in result["failures"]]) == (4, ["D"])
    shares = {attempts(out, name)[0][1] for name in "AB"}
    assert shares == {"0/2", "1/2"}
    assert int(attempts(out, "A")[0][2]) >= 1
    assert not any("/" in word for word in attempts(out, "C")[1])  # alone, with all processors


def test_the_dashboard_is_for_this_machine_only() -> None:
    with local_workers(2) as workers:
        cluster = workers._client.cluster
        servers = [cluster.scheduler, *cluster.workers.values()]
        sockets = [socket for one in servers for socket in one.http_server._sockets.values()]
        assert len(sockets) >= 3
        assert {socket.getsockname()[0] for socket in sockets} == {"127.0.0.1"}


PROLOGUE = "import sys; from ki67.cohort import case_run; case_run.COMMAND = (sys.executable, {stand_in!r}); "
SCHEDULER = "from distributed.cli.dask_scheduler import main; main(sys.argv[1:])"
WORKER = "from distributed.cli.dask_worker import main; main(sys.argv[1:])"


@contextmanager
def cluster(folder: Path, *workers: str) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and worker processes of their own, each with words of its own."""
    prologue = PROLOGUE.format(stand_in=str(STAND_IN))
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    started = [subprocess.Popen([sys.executable, "-c", prologue + SCHEDULER, *words], **quiet)]
    try:
        wait_for(file.exists)
        address = re.search(r"tcp://127\.0\.0\.1:\d+", file.read_text())
        assert address
        for extra in workers:
            own = [address[0], "--no-nanny", "--no-dashboard", "--local-directory", str(folder), *extra.split()]
            started.append(subprocess.Popen([sys.executable, "-c", prologue + WORKER, *own], **quiet))
        if workers:
            from distributed import Client

            with Client(address[0]) as client:
                client.wait_for_workers(len(workers), timeout=300)
        yield address[0], started
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_for(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


SOUND = "--nthreads 1 --resources slot=1"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_worker_that_is_killed_in_the_middle_loses_no_case(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = cohort(A="once sleep 100", B="", C="damaged", D="")
    with cluster(tmp_path, SOUND, SOUND) as (address, processes):
        program = "import sys; from pathlib import Path; from ki67.cohort import CohortOptions, run_cohort; "
        program += "run_cohort(Path(sys.argv[1]), Path(sys.argv[2]), CohortOptions(scheduler=sys.argv[3]))"
        with subprocess.Popen([sys.executable, "-c", program, str(table), str(out), address]) as driver:
            wait_for(lambda: attempts(out, "A") != [])
            case = int(attempts(out, "A")[0][0])
            parent = int(Path(f"/proc/{case}/stat").read_text().rpartition(")")[2].split()[1])
            assert parent in {process.pid for process in processes}
            os.kill(parent, signal.SIGKILL)
            assert driver.wait(timeout=300) == 0
        assert len(attempts(out, "A")) == 2
    text = (out / "summary.csv").read_text()
    assert [line.split(",")[2] for line in text.splitlines()[1:]] == ["done", "done", "failed", "done"]


def test_workers_that_do_not_fit_are_refused_before_anything_waits(tmp_path: Path) -> None:
    refused = pytest.raises(SchedulerError, match=r"has no workers\. Start some: dask")
    with cluster(tmp_path) as (address, _), refused, cluster_workers(address, tmp_path):
        pass
    (tmp_path / "scheduler.json").unlink()
    for words, found in (("--nthreads 2 --resources slot=1", "has 2 threads"), ("--nthreads 1", "offer one slot")):
        refused = pytest.raises(Ki67Error, match=found)
        with cluster(tmp_path, words) as (address, _), refused, cluster_workers(address, tmp_path):
            pass
        (tmp_path / "scheduler.json").unlink()


def test_a_scheduler_that_is_not_there_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_module, "_CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(SchedulerError, match="does not answer") as caught, cluster_workers(address, tmp_path):
            pass
        assert "\n" not in str(caught.value)


def test_without_dask_one_worker_does_and_several_say_what_to_install(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_module, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    table = cohort(A="")
    assert run_cohort(table, tmp_path / "one", CohortOptions())["done"] == 1
    for options in (CohortOptions(workers=2), CohortOptions(scheduler="tcp://127.0.0.1:9")):
        with pytest.raises(MissingExtraError, match=r"pip install 'ki67\[cohort\]'"):
            run_cohort(table, tmp_path / "two", options)


def test_the_room_is_loaded_without_dask() -> None:
    program = (
        "import sys, ki67.cohort; sys.exit(any(name.startswith(('dask', 'distributed')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
