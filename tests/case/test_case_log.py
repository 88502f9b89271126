"""A case's log tells every run that opened its folder, and how it ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ki67.case import Case, Stage, open_case
from ki67.case.log import LOG, CaseLog
from ki67.case.manifest import MANIFEST
from ki67.errors import CancelledError, CaseError, RegionError
from ki67.files import write_text

SLIDE = {"ki67": {"path": "a.svs", "mpp": 0.25, "fingerprint": {"bytes": 1, "sha256": "00"}}}
COUNT = Stage("count", 1, ("count.txt",))


def run(folder: Path, error: BaseException | None = None) -> None:
    with open_case(folder, "count", SLIDE, {}) as case:
        count(case, error)


def count(case: Case, error: BaseException | None) -> None:
    def work() -> dict[str, object]:
        if error is not None:
            raise error
        write_text(case.path("count.txt"), "7")
        return {"warnings": ["pale"]}

    case.run_stage(COUNT, {"error": str(error)}, (), work)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_a_run_and_one_that_finds_all_done_are_told(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path)

    told = lines(tmp_path)
    first = ["run begun", "stage begun", "stage done", "run done"]
    assert [line["event"] for line in told] == [*first, "run begun", "stage current", "run done"]
    assert told[0]["command"] == "count"
    assert told[0]["threads"] >= 1
    assert told[2]["warnings"] == ["pale"]
    assert told[2]["seconds"] >= 0
    assert all(line["run"] == told[0]["run"] for line in told[:4])


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (RegionError("no carcinoma"), "run failed"),
        (CancelledError(), "run stopped"),
        (KeyboardInterrupt(), "run stopped"),
    ],
)
def test_how_a_run_ended_is_told(tmp_path: Path, error: BaseException, event: str) -> None:
    with pytest.raises(type(error)):
        run(tmp_path, error)

    assert lines(tmp_path)[-1]["event"] == event


def test_half_a_line_of_a_killed_run_spoils_no_other(tmp_path: Path) -> None:
    run(tmp_path)
    with (tmp_path / LOG).open("a") as stream:
        stream.write('{"time": "2026-')
    run(tmp_path)

    texts = (tmp_path / LOG).read_text().splitlines()
    assert [json.loads(text)["event"] for text in texts[5:]] == ["run begun", "stage current", "run done"]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / LOG).unlink()
    (tmp_path / LOG).mkdir()

    run(tmp_path)

    assert json.loads((tmp_path / MANIFEST).read_text())["state"] == "done"


def test_a_file_of_that_name_that_is_no_log_is_not_added_to(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("of another program")

    with pytest.raises(CaseError, match="not written by this program"):
        run(tmp_path)

    assert (tmp_path / LOG).read_text() == "of another program"


def test_a_log_whose_manifest_was_deleted_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(RegionError):
        run(tmp_path, RegionError("no carcinoma"))
    (tmp_path / MANIFEST).unlink()

    run(tmp_path)

    assert lines(tmp_path)[-1]["event"] == "run done"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_nothing_is_written_through_a_link_and_no_pipe_is_waited_for(tmp_path: Path, kind: str) -> None:
    case, elsewhere = tmp_path / "case", tmp_path / "elsewhere.txt"
    run(case)
    (case / LOG).unlink()
    if kind == "pipe":
        os.mkfifo(case / LOG)
    else:
        (case / LOG).symlink_to(elsewhere)
    if kind == "link":
        elsewhere.write_text("of another program")

    run(case)

    assert json.loads((case / MANIFEST).read_text())["state"] == "done"
    assert not elsewhere.exists() if kind != "link" else elsewhere.read_text() == "of another program"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")
def test_a_pipe_in_a_new_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOG)

    with pytest.raises(CaseError, match="not written by this program"):
        run(tmp_path)


def test_text_that_is_no_unicode_is_shown(tmp_path: Path) -> None:
    CaseLog(tmp_path).note("run failed", error="Pr\udcfcfung.svs")

    assert lines(tmp_path)[0]["error"] == r"Pr\xfcfung.svs"
