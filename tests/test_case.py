"""A case's folder keeps what is done, and refuses what it must not mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ki67.case import MANIFEST, Case, Stage, open_case
from ki67.errors import CaseError, RegionError
from ki67.files import write_text

SLIDE = {"ki67": {"path": "a.svs", "mpp": 0.25, "fingerprint": {"bytes": 1, "sha256": "00"}}}
OTHER = {"ki67": {"path": "b.svs", "mpp": 0.25, "fingerprint": {"bytes": 2, "sha256": "11"}}}
COUNT = Stage("count", 1, ("count.txt",))


def run_count(case: Case, calls: list[str], text: str = "7", **parameters: object) -> dict[str, object]:
    def work() -> dict[str, object]:
        calls.append(text)
        write_text(case.path("count.txt"), text)
        return {"count": text, "warnings": ["pale"]}

    return case.run_stage(COUNT, parameters, (), work)


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        with open_case(tmp_path, "count", SLIDE, {}) as case:
            summary = run_count(case, calls)

    assert calls == ["7"]
    assert summary == {"count": "7", "warnings": ["pale"]}


def test_a_changed_parameter_runs_the_stage_again(tmp_path: Path) -> None:
    calls: list[str] = []
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, calls, threshold=0.2)
        run_count(case, calls, threshold=0.3)

    assert len(calls) == 2


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("8")])
def test_a_lost_or_changed_output_runs_the_stage_again(tmp_path: Path, damage: object) -> None:
    calls: list[str] = []
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        run_count(case, calls)
        damage(case.path("count.txt"))  # type: ignore[operator]
        run_count(case, calls)

    assert len(calls) == 2
    assert (tmp_path / "count.txt").read_text() == "7"


def test_a_changed_file_that_a_stage_reads_runs_it_again(tmp_path: Path) -> None:
    stage, calls = Stage("score", 1, ("score.txt",)), []
    with open_case(tmp_path, "count", SLIDE, {}) as case:

        def work() -> dict[str, object]:
            calls.append(1)
            write_text(case.path("score.txt"), "x")
            return {"warnings": []}

        for text in ("a", "a", "b"):
            write_text(case.path("in.txt"), text)
            case.run_stage(stage, {}, ("in.txt",), work)

    assert len(calls) == 2


def test_a_failed_stage_is_recorded_with_its_error_and_runs_again(tmp_path: Path) -> None:
    def fail() -> dict[str, object]:
        raise RegionError("no carcinoma")

    with open_case(tmp_path, "count", SLIDE, {}) as case, pytest.raises(RegionError):
        case.run_stage(COUNT, {}, (), fail)

    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["stages"]["count"]["state"] == "failed"
    assert manifest["stages"]["count"]["error"] == "no carcinoma"
    with open_case(tmp_path, "count", SLIDE, {}) as case:
        assert run_count(case, [])["count"] == "7"


def test_a_folder_that_holds_another_slide_is_refused(tmp_path: Path) -> None:
    with open_case(tmp_path, "count", SLIDE, {}):
        pass

    with (
        pytest.raises(CaseError, match=r"another slide \(a.svs, not b.svs\)"),
        open_case(tmp_path, "count", OTHER, {}),
    ):
        pass


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        open_case(tmp_path, "count", SLIDE, {}),
        pytest.raises(CaseError, match="in use"),
        open_case(tmp_path, "count", SLIDE, {}),
    ):
        pass


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 99, "stages": {}}', '{"format": 1, "stages": []}'])
def test_a_damaged_manifest_is_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)

    with pytest.raises(CaseError, match="--out"), open_case(tmp_path, "count", SLIDE, {}):
        pass


def test_what_a_killed_writer_left_behind_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "idc" / ".part-xyz-heatmap.tif"
    leftover.parent.mkdir()
    leftover.write_text("half")

    with open_case(tmp_path, "count", SLIDE, {}):
        assert not leftover.exists()
