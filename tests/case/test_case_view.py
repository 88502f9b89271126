"""A case is read without a lock, typed and whole, and says of each stage what it was made with."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn_field import MPP, draw_field
from filelock import FileLock

from ki67 import idc
from ki67.case import open_case, read_case
from ki67.case.artefacts import FILES, HEATMAP
from ki67.case.manifest import MANIFEST
from ki67.checking import section
from ki67.errors import CaseError
from ki67.files import write_json
from ki67.options import Options
from ki67.pipeline import run_count
from ki67.stages import predict_idc


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counted")
    draw_field(folder / "field.png")
    run_count(folder / "field.png", folder / "case", Options(), mpp=MPP)
    return folder


@pytest.fixture
def case(counted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(counted / "case", tmp_path / "case")


def manifest_of(case: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((case / MANIFEST).read_text())
    return found


def test_a_case_is_read_while_another_run_holds_it(case: Path) -> None:
    with FileLock(case / ".lock"):
        view = read_case(case)

        assert view.score.cells > 40
        assert view.cells.num_rows == pq.read_metadata(case / "cells.parquet").num_rows
        assert view.regions_ki67 is view.regions_he is view.quality is view.transform is view.heatmap is None


def test_score_json_is_read_back_whole(case: Path, tmp_path: Path) -> None:
    score = read_case(case).score

    write_json(tmp_path / "again.json", score.to_dict())
    assert (tmp_path / "again.json").read_bytes() == (case / "score.json").read_bytes()
    assert score.domain.all_checks()[0].name in score.domain.checks


def test_slides_are_opened_again_and_checked(counted: Path, case: Path, tmp_path: Path) -> None:
    with read_case(case).open_slide("ki67") as slide:
        assert (slide.mpp, slide.size_px) == (MPP, (800, 800))
    with pytest.raises(CaseError, match="without a slide 'he', by 'ki67 count'"):
        read_case(case).open_slide("he")
    with pytest.raises(CaseError, match=r"lies no longer at .*read_case\(folder, ki67=PATH\)"):
        read_case(case, ki67=tmp_path / "gone.png").open_slide("ki67")
    shutil.copy(counted / "field.png", tmp_path / "moved.png")
    read_case(case, ki67=tmp_path / "moved.png").open_slide("ki67").close()
    cv2.imwrite(str(tmp_path / "moved.png"), np.full((800, 800, 3), 200, np.uint8))
    with pytest.raises(CaseError, match="is not the slide that the case"):
        read_case(case, ki67=tmp_path / "moved.png").open_slide("ki67")


def test_a_file_changed_since_is_never_read_as_if_it_belonged(case: Path) -> None:
    view = read_case(case)
    (case / "score.json").write_text("{}")

    with pytest.raises(CaseError, match="changed after it was made"):
        _ = view.score


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_case_without_a_result_says_why(case: Path, state: str) -> None:
    manifest = manifest_of(case)
    del manifest["stages"]["score"]  # type: ignore[attr-defined]
    (case / MANIFEST).write_text(json.dumps(manifest | {"state": state, "error": "only 37 tumour cells"}))

    with pytest.raises(CaseError, match="not ended" if state == "running" else "only 37 tumour cells"):
        _ = read_case(case).score


def test_a_folder_that_is_no_case_is_told(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="is no case"):
        read_case(tmp_path)


def test_views_pickle_without_what_they_read(case: Path) -> None:
    view = read_case(case)
    assert view.cells.num_rows
    sent = pickle.dumps(view)

    assert len(sent) < 20_000
    assert pickle.loads(sent).score == view.score


def test_a_case_shows_itself_in_a_notebook(case: Path) -> None:
    shown = read_case(case)._repr_html_()
    assert "Ki-67 index" in shown
    assert "data:image/jpeg;base64," in shown


def test_reopening_leaves_old_results_their_versions(
    counted: Path, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest_of(case)
    monkeypatch.setattr("ki67.case.folder.library_versions", lambda: {"ki67": "99"})

    run_count(counted / "field.png", case, Options(), mpp=MPP)

    assert manifest_of(case) == before
    run_count(counted / "field.png", case, Options(dab_threshold=0.2), mpp=MPP)
    stages = read_case(case).stages
    assert stages["cells"].versions == {"ki67": "99"}
    assert stages["domain"].versions["ki67"] != "99"
    report = (case / "report.html").read_text(encoding="utf-8")
    assert f"ki67 {stages['domain'].versions['ki67']} (domain), 99 (cells, score)" in report


def test_cells_tell_what_ran_their_model(case: Path) -> None:
    stage = read_case(case).stages["cells"]
    assert stage.provider == "CPUExecutionProvider"
    assert stage.parameters["keep_artefacts"] is False


def test_a_case_of_before_keeps_its_one_list_of_versions_stage_by_stage(counted: Path, case: Path) -> None:
    manifest = manifest_of(case)
    for record in manifest["stages"].values():  # type: ignore[attr-defined]
        for name in ("versions", "version", "provider"):
            del record[name]
    (case / MANIFEST).write_text(json.dumps(manifest | {"versions": {"ki67": "0.0.1"}}))

    assert {stage.versions["ki67"] for stage in read_case(case).stages.values()} == {"0.0.1"}
    run_count(counted / "field.png", case, Options(), mpp=MPP)
    assert {stage.versions["ki67"] for stage in read_case(case).stages.values()} == {"0.0.1"}


def test_a_heat_map_of_another_processor_is_made_anew(
    counted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def predict(*_arguments: object, **_options: object) -> dict[str, idc.HeatMap]:
        calls.append(1)
        return {idc.TUMOUR_CLASS: idc.HeatMap(np.zeros((4, 4), np.float32), 100.0)}

    def run() -> None:
        with (
            section(counted / "field.png", MPP, overrides_file=False) as he,
            open_case(tmp_path, "idc predict", {"he": he.facts}, {}, FILES) as case,
        ):
            predict_idc(case, he)

    monkeypatch.setattr(idc, "predict_classes", predict)
    run()
    run()
    assert calls == [1]
    monkeypatch.setattr(idc.IdcModel, "provider", "CUDAExecutionProvider")
    run()
    assert calls == [1, 1]
    assert read_case(tmp_path).stages["idc"].provider == "CUDAExecutionProvider"
    assert read_case(tmp_path).file(HEATMAP) is not None
