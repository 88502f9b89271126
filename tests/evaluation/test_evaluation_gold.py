"""Gold standards from labelled cells, and two labellers of the same cells."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ki67.errors import DataSetError, PixelSizeError
from ki67.evaluation.compete import compete
from ki67.evaluation.gold import make_gold
from ki67.evaluation.index import evaluate_index
from ki67.evaluation.rules import SlideOf

MPP = 0.5
SIDE = 400


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((SIDE, SIDE, 3), 230, np.uint8))
    return path


def points(positive: int, negative: int, shift: float = 0.0) -> str:
    """A CSV of points 12 pixels apart, in rows of 30."""
    labels = ["positive"] * positive + ["negative"] * negative
    rows = [f"{10 + 12 * (n % 30) + shift},{10 + 12 * (n // 30)},{label}" for n, label in enumerate(labels)]
    return "\n".join(["x,y,label", *rows])


def roi(folder: Path, name: str, positive: int, negative: int, shift: float = 0.0) -> None:
    picture(folder / f"{name}.png").with_suffix(".csv").write_text(points(positive, negative, shift))


def table(result: dict) -> dict[str, tuple[int, int]]:
    return {slide["slide"]: (slide["positive"], slide["negative"]) for slide in result["slides"]}


COUNTS = "slide,positive,negative\na,100,900\nb,300,300\n"


def test_counts_give_both_averages_and_the_two_whole_percents(tmp_path):
    (tmp_path / "counts.csv").write_text(COUNTS)

    result = make_gold(tmp_path / "counts.csv")

    assert (result["pooled_percent"], result["mean_of_slides_percent"]) == (25, 30)
    assert [slide["standard"] for slide in result["slides"]] == [(10, 10), (50, 50)]
    assert result["sum"] == {"positive": 400, "negative": 1200, "cells": 1600}
    assert result["average"]["cells"] == 800
    assert result["warnings"] == []


def test_rois_are_summed_by_slide_and_short_ones_are_named(tmp_path):
    roi(tmp_path, "s_1_1", 30, 70)
    roi(tmp_path, "s_1_2", 10, 20)
    roi(tmp_path, "t", 0, 120)

    result = make_gold(tmp_path, layout="points", mpp=MPP)

    assert table(result) == {"s_1": (40, 90), "t": (0, 120)}
    assert [slide["rois"] for slide in result["slides"]] == [2, 1]
    assert result["warnings"] == [
        "2 slides with fewer ROIs than the 10 of the paper's standard: s_1 (2), t (1)",
        "1 ROIs with fewer than the paper's 100 tumour cells: s_1_2 (30)",
        "2 slides with fewer than 500 tumour cells, so no reliable index: s_1 (130), t (120)",
    ]


def test_a_subfolder_or_a_csv_says_whose_a_roi_is(tmp_path):
    for slide in "ab":
        roi(tmp_path / "rois" / slide, "1", 5, 10)
    assert table(make_gold(tmp_path / "rois", layout="points", slide_of=SlideOf.folder, mpp=MPP)) == {
        "a": (5, 10),
        "b": (5, 10),
    }

    roi(tmp_path / "flat", "1", 5, 10)
    roi(tmp_path / "flat", "2", 1, 1)
    told = tmp_path / "slides.csv"
    told.write_text("roi,slide\n1,x\n2,x\n")
    assert table(make_gold(tmp_path / "flat", layout="points", slide_of=told, mpp=MPP)) == {"x": (6, 11)}
    told.write_text("roi,slide\n1,x\n")
    with pytest.raises(DataSetError, match="names no slide for the ROI '2'"):
        make_gold(tmp_path / "flat", layout="points", slide_of=told, mpp=MPP)


def test_label_files_of_whole_slides_need_no_picture(tmp_path):
    (tmp_path / "a.csv").write_text(points(3, 9))
    (tmp_path / "note.txt").write_text("not a label file")
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPoint", "coordinates": [[10.0 * n, 5.0] for n in range(number)]},
            "properties": {"classification": {"name": name}},
        }
        for name, number in (("Tumor: Positive", 2), ("Tumor: Negative", 6), ("Immune cells", 4))
    ]
    (tmp_path / "b.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))

    result = make_gold(tmp_path, whole_slides=True, mpp=MPP)

    assert table(result) == {"a": (3, 9), "b": (2, 6)}
    assert result["slides"][0]["rois"] is None
    with pytest.raises(PixelSizeError, match="--mpp"):
        make_gold(tmp_path, whole_slides=True)
    (tmp_path / "b.csv").write_text(points(1, 1))
    with pytest.raises(DataSetError, match=r"b\.geojson: has the name of b\.csv"):
        make_gold(tmp_path, whole_slides=True, mpp=MPP)


def test_the_file_is_a_standard_for_the_competition_and_for_indices(tmp_path):
    (tmp_path / "counts.csv").write_text(COUNTS + "c,1,2\n")
    gold = tmp_path / "gold.csv"
    make_gold(tmp_path / "counts.csv", gold)
    (tmp_path / "answers.csv").write_text("slide,reader,index_percent\na,x,10\nb,x,50\nc,x,33\n")

    ranking = compete(gold, tmp_path / "answers.csv")
    agreement = evaluate_index(gold, tmp_path / "answers.csv")

    assert ranking["warnings"] == []
    assert ranking["average_score"] == 100
    assert agreement["mae_points"] == pytest.approx((100 / 3 - 33) / 3, abs=1e-4)


def test_two_labellers_who_agree_have_perfect_figures(tmp_path):
    for labeller, shift in (("one", 0.0), ("two", 2.0)):
        for name in ("a_1", "a_2", "b_1"):
            roi(tmp_path / labeller, name, 40, 80, shift)

    agreement = make_gold(tmp_path / "one", layout="points", mpp=MPP, second=tmp_path / "two")["agreement"]

    assert (agreement["slides"], agreement["kappa"], agreement["same_class_percent"]) == (2, 1, 100)
    assert {own["f1"] for own in agreement["classes"].values()} == {1}
    assert agreement["index_difference_points"] == 0
    assert agreement["kappa_ci95"] == [1, 1]


def test_the_second_labeller_is_compared_with_the_first(tmp_path):
    roi(tmp_path / "one", "a_1", 40, 60)
    roi(tmp_path / "one", "b_1", 40, 60)
    # The same hundred nuclei, ten of the first's positive ones called negative.
    roi(tmp_path / "two", "a_1", 30, 70)
    roi(tmp_path / "two", "b_1", 40, 60)

    result = make_gold(tmp_path / "one", layout="points", mpp=MPP, second=tmp_path / "two")
    agreement = result["agreement"]

    assert table(result) == {"a": (40, 60), "b": (40, 60)}
    assert agreement["confusion"] == {
        "positive": {"positive": 70, "negative": 10},
        "negative": {"positive": 0, "negative": 120},
    }
    assert agreement["classes"]["positive"]["f1"] == pytest.approx(2 * 70 / (80 + 70))
    assert agreement["detection"]["f1"] == 1
    # Observed agreement 0.95, expected 0.4 * 0.35 + 0.6 * 0.65.
    assert agreement["kappa"] == pytest.approx((0.95 - 0.53) / (1 - 0.53))
    assert (agreement["index_difference_points"], agreement["index_mae_points"]) == (-5, 5)
    assert agreement["index_difference_ci95_points"] == [-10, 0]


def test_one_slide_has_no_interval_over_slides(tmp_path):
    for labeller in ("one", "two"):
        roi(tmp_path / labeller, "a_1", 4, 8)

    agreement = make_gold(tmp_path / "one", layout="points", mpp=MPP, second=tmp_path / "two")["agreement"]

    assert agreement["classes"]["positive"]["f1_ci95"] is None
    assert agreement["kappa_ci95"] is agreement["index_difference_ci95_points"] is None


def test_where_only_one_has_labelled_the_other_is_not_asked(tmp_path):
    roi(tmp_path / "one", "a_1", 0, 120)
    roi(tmp_path / "two", "a_1", 0, 30)
    area = np.zeros((SIDE, SIDE), np.uint8)
    area[:15] = 255  # the first row of points
    assert cv2.imwrite(str(tmp_path / "two" / "a_1_labelled.png"), area)

    agreement = make_gold(tmp_path / "one", layout="points", mpp=MPP, second=tmp_path / "two")["agreement"]

    assert agreement["classes"]["negative"]["f1"] == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("slide,positive,negative\na,0,0\n", "line 2 counts 0 cells"),
        ("slide,positive,negative\na,1.5,2\n", "line 2 has the positive '1.5', expected a whole number"),
        ("slide,index_percent\na,10\n", "has no counts of positive and negative cells of the slide 'a'"),
        ("slide,positive,negative\na,1,2\na,1,2\n", "line 3 names the slide 'a' again"),
    ],
)
def test_counts_that_make_no_sense_are_refused(tmp_path, text, what):
    (tmp_path / "counts.csv").write_text(text)
    with pytest.raises(DataSetError, match=what):
        make_gold(tmp_path / "counts.csv")


def test_what_cannot_be_compared_or_told_apart_is_refused(tmp_path):
    roi(tmp_path / "one", "a_1", 4, 8)
    roi(tmp_path / "one", "a_2", 4, 8)
    roi(tmp_path / "two", "a_1", 4, 8)
    options = {"layout": "points", "mpp": MPP}
    with pytest.raises(DataSetError, match="two: lacks labels that the other labeller has: a_2"):
        make_gold(tmp_path / "one", second=tmp_path / "two", **options)
    with pytest.raises(DataSetError, match="positive --radius-um"):
        make_gold(tmp_path / "one", second=tmp_path / "one", radius_um=0, **options)
    with pytest.raises(DataSetError, match="--layout for labelled ROIs, or --whole-slides"):
        make_gold(tmp_path / "one")
    with pytest.raises(DataSetError, match="has no subfolder"):
        make_gold(tmp_path / "one", slide_of=SlideOf.folder, **options)
    roi(tmp_path / "empty", "a_1", 0, 0)
    with pytest.raises(DataSetError, match="no tumour cell on the slide 'a'"):
        make_gold(tmp_path / "empty", **options)


def test_the_command_prints_table_3_or_one_object(tmp_path, ki67):
    for labeller in ("one", "two"):
        roi(tmp_path / labeller, "a_1", 40, 80)
    words = ("gold", "make", tmp_path / "one", "--layout", "points", "--mpp", MPP, "--second", tmp_path / "two")

    told = ki67(*words, "--out", tmp_path / "gold.csv")
    result = ki67(*words, "--json").json

    assert "a               40         80        120    33.33  33 or 34" in told.stdout
    assert "positive: F1 1.000" in told.stdout
    assert (tmp_path / "gold.csv").read_text().splitlines()[1] == "a,40,80,120,33.3333"
    assert result["pooled_percent"] == pytest.approx(100 / 3)
    assert ki67("gold", "make", tmp_path / "one", "--layout", "points", "--whole-slides").code == 2
