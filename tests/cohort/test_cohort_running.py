"""No case is ever lost: whatever kills a case, a worker or the run, every case ends with a result or a reason."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ki67.cohort import CohortOptions, Shard, collect, plan_cohort, run_cohort
from ki67.cohort import running as running_module
from ki67.cohort.ledger import read_entries
from ki67.errors import BusyError, CohortError

STAND_IN = Path(__file__).with_name("stand_in.py")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
Cohort = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_module, "PAUSE_S", 0.0)


def summary(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def attempts(out: Path, case: str) -> list[str]:
    """Lines that are whole: the file is there before its first line."""
    file = out / "cases" / case / "attempts.txt"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def test_a_case_that_hangs_is_ended_and_named_and_the_others_run(cohort: Cohort, tmp_path: Path) -> None:
    table = cohort(A="sleep 300", B="")
    result = run_cohort(table, tmp_path / "out", CohortOptions(case_minutes=0.05))
    assert (result["done"], result["failed"]) == (1, 1)
    (failure,) = result["failures"]
    assert (failure["case"], failure["kind"]) == ("A", "time limit")
    assert "ended after 0.05 minutes" in failure["error"]
    assert len(attempts(tmp_path / "out", "A")) == 1


def test_every_case_is_tried_and_every_failure_named(cohort: Cohort, tmp_path: Path) -> None:
    table = cohort(
        A="", B="damaged", C="", D="signal SIGKILL", E="signal SIGSEGV", F="memory", G="defect", H="nothing"
    )
    (tmp_path / "C.he").unlink()
    out = tmp_path / "out"
    result = run_cohort(table, out, CohortOptions(attempts=2))
    assert (result["cases"], result["done"], result["failed"]) == (8, 1, 7)
    kinds = {row["case"]: row["kind"] for row in result["failures"]}
    assert kinds == {
        "B": "slide cannot be read",
        "C": "slide cannot be read",
        "D": "killed",
        "E": "crashed",
        "F": "out of memory",
        "G": "defect of the program",
        "H": "defect of the program",
    }
    rows = summary(out)
    assert list(rows) == list("ABCDEFGH")
    assert rows["A"]["index_percent"] == "10"
    assert rows["A"]["doubts"] == "stain"
    assert {name: int(row["attempts"]) for name, row in rows.items()} == {
        "A": 1,
        "B": 1,
        "C": 1,
        "D": 2,
        "E": 2,
        "F": 2,
        "G": 1,
        "H": 1,
    }  # what may pass is tried again, a known error is not
    text = (out / "summary.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 9  # of any kind that Unicode knows
    assert not any(sign in text for sign in "\r\x1b\u2028")
    parquet = pq.read_table(out / "summary.parquet").to_pylist()
    assert [row["case"] for row in parquet] == list("ABCDEFGH")
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert "slide cannot be read" in page
    assert 'href="cases/A/report.html"' in page


def test_what_passes_is_tried_again_and_memory_is_given_alone(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = cohort(A="once memory", B="once disk", C="once signal SIGTERM", D="")
    result = run_cohort(table, out, CohortOptions())
    assert result["done"] == 4
    assert [len(attempts(out, name)) for name in "ABCD"] == [2, 2, 2, 1]
    assert {row["state"] for row in summary(out).values()} == {"done"}


def test_finished_cases_are_not_run_again_unless_something_changed(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = cohort(A="", B="", C="damaged")
    run_cohort(table, out, CohortOptions())
    (tmp_path / "C.he").write_text("")
    (tmp_path / "B.ki67").write_text("250")
    plan = plan_cohort(table, out, CohortOptions())
    assert (plan["finished"], plan["to_run"], plan["missing"]) == (1, 2, [])
    result = run_cohort(table, out, CohortOptions())
    assert (result["done"], result["already_done"]) == (3, 1)
    assert [len(attempts(out, name)) for name in "ABC"] == [1, 2, 2]
    assert summary(out)["B"]["index_percent"] == "25"
    (out / "cases" / "A" / "score.json").unlink()
    run_cohort(table, out, CohortOptions(score_words=("--allow-few-cells",)))
    assert [len(attempts(out, name)) for name in "ABC"] == [2, 3, 3]


def test_blocks_of_a_patient_are_combined_in_two_named_ways(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_cohort(cohort(A="", B="", C="", D="damaged"), out, CohortOptions())
    with (out / "patients.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["patient"], first["blocks_with_index"], first["cells"]) == ("P0", "2", "2000")
    assert float(first["pooled_index_percent"]) == pytest.approx(100 * (100 + 101) / 2000)
    assert float(first["mean_index_percent"]) == pytest.approx((10.0 + 10.1) / 2)
    assert (second["blocks"], second["blocks_with_index"], second["cases_without_index"]) == ("2", "1", "D")


def test_shards_run_side_by_side_and_are_collected(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = cohort(A="", B="", C="damaged", D="", E="")
    first = run_cohort(table, out, CohortOptions(shard=Shard(1, 2)))
    assert (first["cases"], first["failed"]) == (3, 1)
    assert not (out / "summary.csv").exists()
    half = collect(out)
    assert (half["done"], half["failed"], half["not_run"]) == (2, 1, 2)
    assert run_cohort(table, out, CohortOptions(shard=Shard(2, 2)))["failed"] == 0
    assert {name: row["state"] for name, row in summary_after(out).items()} == {
        "A": "done",
        "B": "done",
        "C": "failed",
        "D": "done",
        "E": "done",
    }


def summary_after(out: Path) -> dict[str, dict[str, str]]:
    collect(out)
    return summary(out)


def test_a_folder_without_a_cohort_is_told(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"cohort\.json: does not exist"):
        collect(tmp_path)
    (tmp_path / "cohort.json").write_text('{"format": 1}')
    with pytest.raises(CohortError, match="is damaged"):
        collect(tmp_path)


DRIVER = """
import sys
from pathlib import Path
from ki67.cohort import CohortOptions, case_run, run_cohort
case_run.COMMAND = (sys.executable, sys.argv[3])
run_cohort(Path(sys.argv[1]), Path(sys.argv[2]), CohortOptions())
"""


def wait_for(true: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_takes_its_case_with_it_and_is_continued(cohort: Cohort, tmp_path: Path, number: int) -> None:
    out = tmp_path / "out"
    table = cohort(A="", B="once sleep 100", C="")
    words = [sys.executable, "-c", DRIVER, str(table), str(out), str(STAND_IN)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as driver:
        wait_for(lambda: attempts(out, "B") != [])
        case = int(attempts(out, "B")[0].split()[0])
        with pytest.raises(BusyError, match="is in use by another run"):
            run_cohort(table, out, CohortOptions())
        driver.send_signal(number)
        driver.wait()
    wait_for(lambda: not alive(case))
    assert list(read_entries(out)) == ["A"]
    result = run_cohort(table, out, CohortOptions())
    assert (result["done"], result["already_done"]) == (3, 1)
    assert [len(attempts(out, name)) for name in "ABC"] == [1, 2, 1]


@posix
def test_a_case_that_is_killed_from_outside_is_done_all_the_same(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = cohort(A="once sleep 100", B="")
    words = [sys.executable, "-c", DRIVER, str(table), str(out), str(STAND_IN)]
    with subprocess.Popen(words) as driver:
        wait_for(lambda: attempts(out, "A") != [])
        os.kill(int(attempts(out, "A")[0].split()[0]), signal.SIGKILL)
        assert driver.wait() == 0
    assert {row["state"] for row in summary(out).values()} == {"done"}
    assert len(attempts(out, "A")) == 2


def test_a_plan_of_ten_thousand_rows_names_what_is_missing(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("case,he,ki67\n" + "".join(f"c{number},he{number}.svs,k.svs\n" for number in range(10_000)))
    (tmp_path / "k.svs").write_text("")
    plan = plan_cohort(table, tmp_path / "out", CohortOptions())
    assert (plan["cases"], plan["to_run"], plan["finished"]) == (10_000, 10_000, 0)
    assert len(plan["missing"]) == 10_000
    assert not (tmp_path / "out").exists()
    json.dumps(plan)
