"""Fields to label: those with most nuclei in doubt, apart from each other, written so that training takes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from shapely.geometry import box

from ki67.cells import load_engine
from ki67.cells.checks.agreement import Agreement
from ki67.errors import DataSetError
from ki67.fields import suggestion
from ki67.fields.labelled_fields import read_fields
from ki67.fields.suggestion import SuggestedField, suggest_fields, write_suggested
from ki67.geometry import RectUm
from ki67.jobs import job
from ki67.slides import open_slide, write_pyramid
from ki67.vocabulary import Layout

MPP = 0.5
SIDE_PX = 4 * 640


@pytest.fixture
def slide_path(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(150, 255, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    write_pyramid(tmp_path / "slide.tif", [pixels], (SIDE_PX, SIDE_PX), MPP)
    return tmp_path / "slide.tif"


def cells_in(*squares: tuple[int, int], each: int = 40) -> pa.Table:
    random = np.random.default_rng(1)
    places = np.concatenate([np.array(square) * 256 + random.uniform(1, 255, (each, 2)) for square in squares])
    return pa.table(
        {
            "x_um": places[:, 0],
            "y_um": places[:, 1],
            "label": np.where(np.arange(len(places)) % 4 == 0, "positive", "negative"),
            "in_region": np.ones(len(places), bool),
        }
    )


def test_fields_in_doubt_come_first_and_lie_apart(slide_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = cells_in((0, 0), (1, 0), (3, 0), (3, 3))
    found = iter([0.6, 0.7, 0.9, 0.95])
    monkeypatch.setattr(suggestion, "agreement_on", lambda *_: Agreement(100, 100, round(100 * next(found))))
    with job(threads=1), open_slide(slide_path) as slide:
        chosen = suggest_fields(slide, table, (240.0, 240.0, 240.0), load_engine(), 3)
        assert [(one.rect.x_um, one.rect.y_um) for one in chosen] == [(0, 0), (768, 0), (768, 768)]
        found = iter([0.6, 0.7, 0.9, 0.95])
        assert len(suggest_fields(slide, table, (240.0, 240.0, 240.0), load_engine(), 9)) == 4
        with pytest.raises(DataSetError, match="no field with 30 tumour cells"):
            suggest_fields(slide, cells_in((0, 0), each=10), (240.0, 240.0, 240.0), load_engine(), 3)


def test_what_is_written_can_be_labelled_and_learnt_from(slide_path: Path, tmp_path: Path) -> None:
    table = cells_in((1, 2), (0, 0))
    fields = [SuggestedField(RectUm(256, 512, 256, 256), 40, 0.5), SuggestedField(RectUm(0, 0, 256, 256), 40, 0.75)]
    with open_slide(slide_path) as slide:
        names = write_suggested(tmp_path / "out", slide, fields, table, labels=True, counted=box(0, 0, 400, 900))
        mark = str(slide.fingerprint()["sampled_sha256"])[:6]
        with pytest.raises(DataSetError, match="holds fields already"):
            write_suggested(tmp_path / "out", slide, fields, table, labels=True)
    assert names == [f"slide-{mark}_01", f"slide-{mark}_02"]
    first, second = read_fields(tmp_path / "out" / "fields", Layout.qupath)
    assert (first.name, first.mpp) == (names[0], pytest.approx(MPP))
    # Of the first square only what lies left of 400 µm was counted, so only there the labels are complete.
    assert first.can_judge(np.array([[100.0, 100.0], [200.0, 100.0]]), 4.0).tolist() == [True, False]
    assert (len(first.points["positive"]), len(first.points["negative"])) == (10, 30)
    assert second.labelled is None
    expected = np.array([table["x_um"].to_numpy()[:1] - 256, table["y_um"].to_numpy()[:1] - 512]).T
    assert np.abs(first.points["positive"] - expected).sum(axis=1).min() < 0.02
    with (tmp_path / "out" / "fields.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0] == {
        "name": names[0], "x_um": "256.0", "y_um": "512.0", "side_um": "256.0", "tumour_cells": "40",
        "found_again_percent": "50.0",
    }  # fmt: skip
    squares = json.loads((tmp_path / "out" / "fields.geojson").read_text())["features"]
    assert {one["properties"]["name"] for one in squares} == set(names)
