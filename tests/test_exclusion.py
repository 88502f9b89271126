"""What is not counted, through a whole count: score, region file, report, and a second run with other options."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ki67.annotations import read_regions
from ki67.options import Options
from ki67.pipeline import run_count
from ki67.slides import PixelFrame, open_slide

MPP = 0.5


@pytest.fixture(scope="module")
def picture(simulated_pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piece of a simulated tumour whose right half is out of focus."""
    folder = tmp_path_factory.mktemp("exclusion")
    with open_slide(simulated_pair / "ki67.tif") as slide:
        regions = read_regions(simulated_pair / "ki67_regions.geojson", slide.frame)
        tumour = next(region for region in regions if region.label == "IDC").geometry
        centre = tumour.representative_point()
        left, top = int(centre.x / MPP) - 320, int(centre.y / MPP) - 240
        pixels = slide.read(slide.bounds_um, MPP)[max(top, 0) :, max(left, 0) :][:480, :640].copy()
    half = pixels.shape[1] // 2
    pixels[:, half:] = cv2.GaussianBlur(pixels, (0, 0), 2.5 / MPP)[:, half:]
    path = folder / "field.png"
    assert cv2.imwrite(str(path), pixels[..., ::-1])
    return path


def test_a_count_reports_what_it_left_out_and_counts_it_on_request(picture: Path, tmp_path: Path) -> None:
    usual = run_count(picture, tmp_path, mpp=MPP)
    lost = usual["area_lost_mm2"]
    whole_mm2 = 480 * 640 * MPP**2 / 1e6
    assert usual["area_mm2"] + sum(lost.values()) == pytest.approx(whole_mm2)
    assert lost["focus"] == pytest.approx(whole_mm2 / 2, rel=0.2)
    assert lost["pen"] == lost["fold"] == 0
    assert any("was not counted" in line for line in usual["warnings"])
    assert json.loads((tmp_path / "score.json").read_text())["area_lost_mm2"] == lost
    (excluded,) = read_regions(tmp_path / "excluded.geojson", PixelFrame(MPP))
    assert excluded.label == "Out of focus"
    assert excluded.area_mm2 == pytest.approx(lost["focus"], rel=1e-3)
    assert "Area not counted: out of focus" in (tmp_path / "report.html").read_text()

    kept = run_count(picture, tmp_path, Options(keep_artefacts=True), mpp=MPP)
    assert kept["cells"] > usual["cells"]
    assert kept["area_mm2"] == pytest.approx(whole_mm2)
    assert set(kept["area_lost_mm2"].values()) == {0.0}
    assert "Area not counted" not in (tmp_path / "report.html").read_text()

    again = run_count(picture, tmp_path, mpp=MPP)
    assert {**again, "seconds": 0} == {**usual, "seconds": 0}


def test_a_count_of_a_field_wholly_out_of_focus_has_no_index(picture: Path, tmp_path: Path) -> None:
    pixels = cv2.imread(str(picture))
    assert pixels is not None
    soft = cv2.GaussianBlur(pixels, (0, 0), 4.0 / MPP)
    assert cv2.imwrite(str(tmp_path / "soft.png"), np.asarray(soft))
    result = run_count(tmp_path / "soft.png", tmp_path / "case", mpp=MPP)
    assert result["area_lost_mm2"]["focus"] > 0.9 * 480 * 640 * MPP**2 / 1e6
    assert result["cells"] < 50
