"""A region of another slide, or in another frame, gives no index, unless the user insists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Region, Regions, read_regions, write_regions
from ki67.geometry import as_multipolygon
from ki67.slides import open_slide, tissue_mask

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def section(simulated_pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Ki-67 section beside which ``elsewhere.geojson`` outlines its tissue without the carcinoma."""
    folder = tmp_path_factory.mktemp("section")
    for name in ("ki67.tif", "ki67_regions.geojson"):
        shutil.copy(simulated_pair / name, folder)
    with open_slide(folder / "ki67.tif") as slide:
        drawn = read_regions(folder / "ki67_regions.geojson", slide.frame).with_label("IDC").union()
        elsewhere = tissue_mask(slide).geometry.difference(drawn.buffer(60))
        for name, geometry in {
            "elsewhere": elsewhere,
            "loose": drawn.buffer(100),
            "glass": box(5, 5, 150, 120),
        }.items():
            write_regions(folder / f"{name}.geojson", _as_regions(geometry), slide.frame)
    return folder


def _as_regions(geometry: BaseGeometry) -> Regions:
    return Regions([Region("IDC", as_multipolygon(geometry), "drawn")])


def test_where_the_tumour_cells_are_not_is_refused_and_who_insists_gets_the_number_and_the_doubt(
    ki67: Run, section: Path, tmp_path: Path
) -> None:
    region, case = section / "elsewhere.geojson", tmp_path / "case"
    words = ("count", section / "ki67.tif", "--regions", region, "--out", case, "--quiet")

    refused = ki67(*words)

    assert refused.code == 1
    assert f"{region}: the region does not fit the slide: the region holds" in refused.stderr
    assert "tumour cells per mm² of tissue, the tissue outside" in refused.stderr
    assert "--use-doubtful-region" in refused.stderr
    assert not (case / "score.json").exists()

    # The cells that were counted before it was refused are there still.
    insisted = ki67(*words, "--use-doubtful-region")

    assert insisted.code == 0, insisted.stderr
    score = json.loads((case / "score.json").read_text())
    check = score["domain"]["checks"]["region_density"]
    assert score["index_percent"] is not None
    assert (check["verdict"], check["insisted"]) == ("unusable", True)
    assert check["text"] in score["warnings"]
    assert 'role="alert">This index was insisted upon' in (case / "report.html").read_text("utf-8")


def test_a_region_beside_the_tissue_is_refused_before_anything_is_counted(
    ki67: Run, section: Path, tmp_path: Path
) -> None:
    region = section / "glass.geojson"

    outcome = ki67("count", section / "ki67.tif", "--regions", region, "--out", tmp_path / "case", "--quiet")

    assert outcome.code == 1
    assert "of the region lies beside the tissue, expected at most 40%" in outcome.stderr
    assert not (tmp_path / "case" / "cells.parquet").exists()


def test_an_outline_of_the_carcinoma_is_usual(ki67: Run, section: Path, tmp_path: Path) -> None:
    region = section / "loose.geojson"

    outcome = ki67(
        "count", section / "ki67.tif", "--regions", region, "--out", tmp_path / "case", "--json", "--quiet"
    )

    checks = outcome.json["domain"]["checks"]
    assert outcome.code == 0
    assert checks["region_on_tissue"]["verdict"] == checks["region_density"]["verdict"] == "usual"
