"""Any other program's answers are judged as the program's own are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shapely.geometry import Point, box, mapping

Run = Callable[..., Any]
POSITIVE, NEGATIVE = [(60, 60), (120, 60), (60, 200)], [(200, 200), (260, 120)]


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    folder = tmp_path / "fields"
    folder.mkdir()
    for name in ("a_1", "b_1"):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((320, 320, 3), 240, np.uint8))
        rows = [f"{x},{y},positive" for x, y in POSITIVE] + [f"{x},{y},negative" for x, y in NEGATIVE]
        (folder / f"{name}.csv").write_text("\n".join(["x,y,label", *rows]), encoding="utf-8")
    return folder


def judge(ki67: Run, fields: Path, predictions: Path) -> Any:
    words = ("--layout", "points", "--mpp", 0.25, "--predictions", predictions, "--json", "--quiet")
    return ki67("evaluate", "cells", fields, *words)


def test_a_table_of_points_is_judged(ki67: Run, fields: Path, tmp_path: Path) -> None:
    table = tmp_path / "theirs.csv"
    rows = [
        "a_1.png,62,61,positive,0.9",
        "a_1,120,60,positive,0.8",
        "a_1,60,200,negative,0.6",
        "a_1,200,200,negative,1",
    ]
    table.write_text("\n".join(["image,x,y,label,probability", *rows]), encoding="utf-8")

    done = judge(ki67, fields, table)

    assert done.code == 0, done.stderr
    classes = done.json["classes"]
    assert (classes["positive"]["tp"], classes["positive"]["fp"], classes["positive"]["fn"]) == (2, 0, 4)
    assert (classes["negative"]["tp"], classes["negative"]["fp"], classes["negative"]["fn"]) == (1, 1, 3)
    assert done.json["per_image"][0]["index_percent"] == 50
    assert done.json["engine"] is None
    assert any("says nothing of 1 fields (b_1)" in line for line in done.json["warnings"])


def test_polygons_of_a_folder_are_judged_by_their_middle(ki67: Run, fields: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("a_1", "b_1"):
        features = [
            {
                "type": "Feature",
                "geometry": mapping(Point(x + 0.5, y + 0.5).buffer(14)),
                "properties": {"objectType": "detection", "classification": {"name": kind}},
            }
            for kind, places in (("Positive", POSITIVE), ("Negative", NEGATIVE))
            for x, y in places
        ]
        (folder / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))

    done = judge(ki67, fields, folder)

    assert [done.json["classes"][name]["f1"] for name in ("positive", "negative")] == [1.0, 1.0]
    assert done.json["index_mae_points"] == 0
    assert done.json["warnings"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,x,y\na_1,1,1", "lacks the column 'label'"),
        ("image,x,y,label\nz_9,1,1,positive", "names the field 'z_9'"),
        ("image,x,y,label\na_1,1,1,red", "has the label 'red'"),
        ("image,x,y,label\na_1,nan,1,positive", "has the x 'nan'"),
        ("image,x,y,label,probability\na_1,1,1,positive,2", "has the probability '2'"),
        ("image,x,y,label", "holds nothing of these fields"),
        ("\x00\xff", ""),
    ],
)
def test_answers_that_make_no_sense_are_said(ki67: Run, fields: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "theirs.csv").write_text(text, encoding="latin-1")
    done = judge(ki67, fields, tmp_path / "theirs.csv")
    assert done.code == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_empty_folder_and_two_files_of_one_field_are_said(ki67: Run, fields: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    assert "holds nothing of these fields" in judge(ki67, fields, folder).stderr
    for suffix in (".csv", ".geojson"):
        (folder / f"a_1{suffix}").write_text("x,y,label\n")
    assert "both of the field a_1" in judge(ki67, fields, folder).stderr


def test_a_model_and_answers_together_are_wrong_usage(ki67: Run, fields: Path, tmp_path: Path) -> None:
    words = ("--layout", "points", "--predictions", tmp_path, "--model", tmp_path / "m.onnx")
    assert ki67("evaluate", "cells", fields, *words).code == 2


def test_indices_of_another_program_may_be_named(ki67: Run, tmp_path: Path) -> None:
    for name, shift in (("gold", 0), ("theirs", 2)):
        rows = [f"{case},{10 * case + shift}" for case in range(1, 6)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["case,index_percent", *rows]))
    gold, theirs = tmp_path / "gold.csv", tmp_path / "theirs.csv"
    named = ki67("evaluate", "index", gold, "--predictions", theirs, "--json")
    assert named.json == ki67("evaluate", "index", gold, theirs, "--json").json
    assert named.json["mae_points"] == 2
    assert ki67("evaluate", "index", gold).code == 2
    assert ki67("evaluate", "index", gold, theirs, "--predictions", theirs).code == 2


def test_a_region_of_another_program_may_be_named(ki67: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(150, 255, (400, 400, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "he.png"), pixels)
    for name, side in (("truth", 200), ("theirs", 100)):
        feature = {
            "type": "Feature",
            "geometry": mapping(box(100, 100, 100 + side, 300)),
            "properties": {"classification": {"name": "IDC"}},
        }
        (tmp_path / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    he, truth, theirs = tmp_path / "he.png", tmp_path / "truth.geojson", tmp_path / "theirs.geojson"
    words = ("--mpp", 0.5, "--json", "--quiet")
    named = ki67("evaluate", "idc-region", he, truth, "--predictions", theirs, *words)
    assert named.code == 0, named.stderr
    assert named.json["dice"] == pytest.approx(2 / 3)
    assert named.json == ki67("evaluate", "idc-region", he, theirs, truth, *words).json
    assert ki67("evaluate", "idc-region", he, truth, *words).code == 2
