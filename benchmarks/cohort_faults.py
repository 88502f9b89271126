"""A cohort by one worker, by two in one process and by two worker processes; then with bad cases and killed workers.

    python benchmarks/cohort_faults.py OUT [--cases 40] [--bad 5] [--kills 6]

Makes simulated cases of the smallest size there is (0.8 x 0.8 mm, their region given, registered rigidly and scored
whatever the registration is worth: one in eight is not accepted), runs the cohort in each of the three ways, and
compares every ``score.json`` byte by byte. Then BAD cases are made unusable, each in another way, and the cohort
runs on the scheduler while worker processes and cases are killed at random moments and workers started again: the
sound cases must give the same bytes, the bad ones a reason each. Ends with 1 where anything is not so. Before that,
a plan of 10,000 rows and as many entries of a ledger.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIDE_MM = "0.8"
MPP = "0.5"
WORDS = ("--", "--allow-few-cells", "--use-unaccepted-registration", "--mode", "rigid")
DASK = "from distributed.cli.dask_{part} import main; main()"


def ki67(*words: str, check: bool = True) -> dict[str, Any]:
    """JSON that a command prints; its code is 0, or 1 where ``check`` is off."""
    done = subprocess.run([sys.executable, "-m", "ki67", *words], capture_output=True, text=True, check=False)
    if done.returncode and (check or not done.stdout):
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def make_cases(folder: Path, count: int) -> Path:
    """Simulate pairs and write their table."""
    lines = ["case,he,ki67,patient,regions"]

    def make(number: int) -> None:
        home = folder / f"pair{number:02d}"
        if not (home / "truth.json").exists():
            index = str(5 + number)
            words = ("simulate", str(home), "--size-mm", SIDE_MM, SIDE_MM, "--mpp", MPP, "--seed", str(number))
            ki67(*words, "--index", index, "--json", "--quiet")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, range(count)))
    for number in range(count):
        home = f"pair{number:02d}"
        lines.append(f"c{number:02d},{home}/he.tif,{home}/ki67.tif,p{number // 2},{home}/he_regions.geojson")
    table = folder / "cases.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of the score of each case that has one."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((out / "cases").glob("*/score.json"))
    }


class Cluster:
    """A scheduler and two worker processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / "scheduler.json"
        file.unlink(missing_ok=True)
        words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        self.scheduler = self._start("scheduler", *words)
        while not file.exists():
            time.sleep(0.1)
        self.address = json.loads(file.read_text())["address"]
        self.workers = [self.add(), self.add()]
        time.sleep(10)

    def add(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        words = (self.address, "--nthreads", "1", "--resources", "slot=1", "--no-nanny", "--no-dashboard")
        return self._start("worker", *words, "--local-directory", str(self.folder / "workers"))

    @staticmethod
    def _start(part: str, *words: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-c", DASK.format(part=part), *words]
        return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """End all of them."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def cluster(folder: Path) -> Any:
    """Have a cluster."""
    one = Cluster(folder)
    try:
        yield one
    finally:
        one.close()


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What work gives, seconds, and seconds of processor in all processes that ended."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, time.perf_counter() - start, used


def spoil(folder: Path, table: Path, count: int) -> list[str]:
    """Make the last cases unusable, each in another way; return their names."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    bad = rows[-count:]
    for number, row in enumerate(bad):
        he = folder / row["he"]
        spoiled = he.with_name("spoiled.tif")
        content = he.read_bytes()
        kind = number % 5
        if kind == 0:
            spoiled.unlink(missing_ok=True)  # vanished
        elif kind == 1:
            spoiled.write_bytes(content[: len(content) // 2])  # still being copied
        elif kind == 2:
            spoiled.write_bytes(os.urandom(4096))
        elif kind == 3:
            spoiled.write_bytes(b"")
        else:
            row["ki67"], spoiled = row["he"], he  # one slide given twice
        row["he"] = os.path.relpath(spoiled, folder)
    with table.with_name("bad.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [row["case"] for row in bad]


def children_of(process: int) -> list[int]:
    """Processes that a process has started."""
    text = Path(f"/proc/{process}/task/{process}/children")
    found = [int(word) for word in text.read_text().split()] if text.exists() else []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        found += [int(word) for word in thread.read_text().split()]
    return sorted(set(found))


def with_kills(
    run: Cluster, words: tuple[str, ...], kills: int, draw: random.Random
) -> tuple[dict[str, Any], list[str]]:
    """Run a cohort while workers and cases are killed; a killed worker is started again."""
    told: list[str] = []
    program = [sys.executable, "-m", "ki67", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        for _ in range(kills):
            time.sleep(draw.uniform(5, 30))
            if driver.poll() is not None:
                break
            place = draw.randrange(2)
            cases = children_of(run.workers[place].pid)
            if draw.random() < 0.5 and cases:
                os.kill(cases[0], signal.SIGKILL)
                told.append("case")
            else:
                run.workers[place].kill()
                run.workers[place].wait()
                run.workers[place] = run.add()
                told.append("worker")
        stdout, _ = driver.communicate()
    return json.loads(stdout), told


def plan_many(folder: Path, count: int = 10_000) -> dict[str, float]:
    """Seconds and memory of planning many rows, and of a ledger with as many entries."""
    table = folder / "many.csv"
    table.write_text("case,he,ki67\n" + "".join(f"c{number},cases.csv,cases.csv\n" for number in range(count)))
    program = """
import json, resource, sys, time
from pathlib import Path
from ki67.cohort import CohortOptions, plan_cohort
from ki67.cohort.cases import WHOLE
from ki67.cohort.ledger import Entry, now, open_ledger, read_entries
times = [time.perf_counter()]
out = Path(sys.argv[2])
plan = plan_cohort(Path(sys.argv[1]), out, CohortOptions())
times.append(time.perf_counter())
with open_ledger(out, WHOLE) as ledger:
    for number in range(plan["to_run"]):
        name = f"c{number}"
        ledger.append(Entry(time=now(), case=name, key="k", attempt=1, state="done", code=0, seconds=60))
times.append(time.perf_counter())
known = len(read_entries(out))
times.append(time.perf_counter())
peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
plan_s, write_s, read_s = (end - start for start, end in zip(times, times[1:]))
found = {"rows": plan["cases"], "entries": known, "plan_s": plan_s, "write_s": write_s, "read_s": read_s}
print(json.dumps(found | {"peak_mib": peak_mib}))
"""
    out = folder / "many"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-c", program, str(table), str(out)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run all and tell."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("out", type=Path)
    words.add_argument("--cases", type=int, default=40)
    words.add_argument("--bad", type=int, default=5)
    words.add_argument("--kills", type=int, default=6)
    words.add_argument("--seed", type=int, default=1)
    options = words.parse_args()
    folder = options.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.csv").touch()
    many = plan_many(folder)
    print(f"10,000 rows: {json.dumps({name: round(value, 2) for name, value in many.items()})}", flush=True)
    table = make_cases(folder, options.cases)
    wrong: list[str] = []
    draw = random.Random(options.seed)  # noqa: S311  moments of kills

    def cohort(name: str, *more: str) -> Callable[[], dict[str, Any]]:
        shutil.rmtree(folder / name, ignore_errors=True)
        command = ("cohort", str(table), "--out", str(folder / name), *more, "--json", "--quiet", *WORDS)
        return lambda: ki67(*command)

    found: dict[str, dict[str, str]] = {}
    with cluster(folder) as run:
        ways = {"one": (), "two": ("--workers", "2"), "scheduler": ("--scheduler", run.address)}
        print("way        cases  seconds  sum of cases  processor of this tree")
        for name, more in ways.items():
            result, seconds, used = timed(cohort(name, *more))
            found[name] = hashes(folder / name)
            own = sum(float(row["seconds"]) for row in read_summary(folder / name))
            print(f"{name:10s} {result['done']:5d} {seconds:8.1f} {own:13.1f} {used:10.1f}", flush=True)
        others = [name for name in found if found[name] != found["one"] or len(found[name]) != options.cases]
        wrong += [f"{name}: other scores than one worker gave" for name in others]
        bad = spoil(folder, table, options.bad)
        shutil.rmtree(folder / "killed", ignore_errors=True)
        command = ("cohort", str(folder / "bad.csv"), "--out", str(folder / "killed"), "--scheduler", run.address)
        result, told = with_kills(run, (*command, "--json", "--quiet", *WORDS), options.kills, draw)
    killed = hashes(folder / "killed")
    equal = sum(killed.get(name) == found["one"][name] for name in found["one"] if name not in bad)
    named = {row["case"]: row["kind"] for row in result["failures"]}
    print(f"killed: {', '.join(told)}; {equal} equal scores; failures: {named}")
    if equal != options.cases - options.bad or sorted(named) != sorted(bad):
        wrong.append("the cohort under kills lost or invented something")
    print("\n".join(wrong) or "all is as it must be")
    sys.exit(bool(wrong))


def read_summary(out: Path) -> list[dict[str, str]]:
    """Lines of a summary."""
    with (out / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    main()
