"""What the program knows to be unusable gives no index, unless the user insists; then everything says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]


def score_of(case: Path) -> dict[str, Any]:
    score: dict[str, Any] = json.loads((case / "score.json").read_text())
    return score


def test_a_count_of_an_he_slide_has_no_index_and_who_insists_gets_it_with_the_doubt(
    ki67: Run, simulated_pair: Path, tmp_path: Path
) -> None:
    case = tmp_path / "case"
    words = ("count", simulated_pair / "he.tif", "--out", case, "--quiet")

    outcome = ki67(*words)

    score = score_of(case)
    assert outcome.code == 0
    assert outcome.stdout.startswith("no index, because ")
    assert "H&E" in outcome.stdout
    assert score["cells"] > 0
    assert score["index_percent"] is None
    assert score["ci95_percent"] is None
    assert all(region["index_percent"] is None for region in score["regions"])
    assert score["domain"]["verdict"] == "unusable"
    assert 'role="alert">No index is given' in (case / "report.html").read_text(encoding="utf-8")

    insisted = ki67(*words, "--use-unusable-stain")

    score = score_of(case)
    assert insisted.stdout.startswith("Ki-67 index: ")
    assert score["index_percent"] is not None
    assert score["domain"]["verdict"] == "unusable"
    assert [check["insisted"] for check in score["domain"]["checks"].values() if check["verdict"] == "unusable"]
    assert 'role="alert">This index was insisted upon' in (case / "report.html").read_text(encoding="utf-8")


def test_a_good_ki67_slide_is_judged_usual_and_has_an_index(ki67: Run, simulated_pair: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"

    outcome = ki67("count", simulated_pair / "ki67.tif", "--out", case, "--quiet", "--json")

    assert outcome.json["index_percent"] == pytest.approx(25, abs=5)
    assert outcome.json["domain"]["checks"]["stain"]["verdict"] == "usual"
    page = (case / "report.html").read_text(encoding="utf-8")
    assert "Is this what the program was validated on?" in page
    assert 'role="alert">No index' not in page


def test_swapped_slides_are_refused_before_anything_is_searched(
    ki67: Run, simulated_pair: Path, tmp_path: Path
) -> None:
    outcome = ki67(
        "score", simulated_pair / "ki67.tif", simulated_pair / "he.tif", "--out", tmp_path / "case", "--quiet"
    )

    assert outcome.code == 1
    assert len(outcome.stderr.strip().splitlines()) == 1
    assert "--use-unusable-stain" in outcome.stderr
    assert not (tmp_path / "case" / "score.json").exists()
    assert not (tmp_path / "case" / "idc").exists()


def test_one_slide_given_twice_is_refused(ki67: Run, simulated_pair: Path, tmp_path: Path) -> None:
    outcome = ki67(
        "score", simulated_pair / "he.tif", simulated_pair / "he.tif", "--out", tmp_path / "case", "--quiet"
    )

    assert outcome.code == 1
    assert "one and the same" in outcome.stderr


def test_regions_are_counted_in_where_no_tissue_can_be_told_from_glass(ki67: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(238, 1.5, (1100, 1200, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(tmp_path / "pale.png")
    square = [[100, 100], [500, 100], [500, 500], [100, 500], [100, 100]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [square]}}
    (tmp_path / "drawn.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    words = ("count", tmp_path / "pale.png", "--mpp", 1.0, "--quiet", "--out")

    refused = ki67(*words, tmp_path / "all")
    counted = ki67(*words, tmp_path / "drawn", "--regions", tmp_path / "drawn.geojson")

    assert (refused.code, counted.code) == (1, 0)
    assert "no tissue" in refused.stderr
    assert counted.stdout.startswith("no index, because")
