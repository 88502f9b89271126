"""Evaluation of labelled fields: perfect on what was drawn, and it says where the model has seen the fields."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

import synthetic
from ki67.cells import load_engine
from ki67.errors import DataSetError, TissueError
from ki67.evaluation.cells import evaluate_cells


@pytest.fixture
def labelled(tmp_path, save):
    """A drawn field with a CSV of its nuclei, the first pixel's centre at 0."""
    picture, centres, positive = synthetic.field()
    rows = [
        f"{x - 0.5},{y - 0.5},{'positive' if brown else 'negative'}"
        for (x, y), brown in zip(centres, positive, strict=True)
    ]
    (tmp_path / "field.csv").write_text("\n".join(["x,y,label", *rows]))
    save(picture)
    return tmp_path


def test_drawn_nuclei_are_found_and_the_index_is_right(labelled):
    result = evaluate_cells(labelled, "points", 0.25)
    assert min(row["f1"] for row in result["classes"].values()) > 0.95
    assert result["index_mae_points"] < 2
    assert min(result["positive_rate_accuracy_percent"], result["cells_rightly_classed_percent"]) > 95
    assert result["warnings"] == []
    json.dumps(result, allow_nan=False)


def trained_on(name):
    engine = load_engine("network")
    card = dataclasses.replace(engine.card, details=dict(engine.card.details) | {"fields": [name]})
    return dataclasses.replace(engine, model=dataclasses.replace(engine.model, card=card))


def test_fields_that_the_model_was_trained_on_are_named(labelled):
    assert evaluate_cells(labelled, "points", 0.25, engine=trained_on("qupath/field"))["warnings"] == []
    (said,) = evaluate_cells(labelled, "points", 0.25, engine=trained_on("points/field"))["warnings"]
    assert said.startswith("1 of 1 fields")
    assert "(points/field, …)" in said


def test_the_command_draws_each_field_and_the_figures(labelled, tmp_path, ki67):
    out = tmp_path / "figures"
    outcome = ki67("evaluate", "cells", labelled, "--layout", "points", "--mpp", 0.25, "--figures", out, "--quiet")
    assert outcome.code == 0, outcome.stderr
    assert sorted(path.name for path in out.glob("*.png")) == ["bland_altman.png", "index.png", "reliability.png"]
    drawn, field = cv2.imread(str(out / "fields" / "field.png")), cv2.imread(str(labelled / "field.png"))
    assert drawn.shape[1] == field.shape[1]
    assert (drawn[: len(field)] != field).any()


def test_classes_taken_for_one_another_show_in_the_confusion_alone(labelled):
    text = (labelled / "field.csv").read_text()
    swapped = text.replace("positive", "brown").replace("negative", "positive").replace("brown", "negative")
    (labelled / "field.csv").write_text(swapped)
    result = evaluate_cells(labelled, "points", 0.25)
    assert [row["f1"] for row in result["classes"].values()] == [0, 0]
    assert result["detection"]["f1"] > 0.95
    confusion = result["confusion"]
    assert confusion["positive"]["positive"] == confusion["negative"]["negative"] == 0
    assert confusion["positive"]["negative"] + confusion["negative"]["positive"] == result["detection"]["tp"]


@pytest.fixture
def blank(tmp_path, save):
    """A blank picture on which nothing is labelled."""
    save(np.full((200, 200, 3), 240, np.uint8), "blank/empty.png")
    (tmp_path / "blank" / "empty.csv").write_text("x,y,label\n")
    return tmp_path / "blank"


def test_what_has_nothing_to_divide_by_is_undefined(blank, ki67):
    words = ["evaluate", "cells", blank, "--layout", "points", "--mpp", 0.25, "--quiet"]
    result = ki67(*words, "--json").json
    for row in (*result["classes"].values(), result["detection"]):
        assert [row[name] for name in ("precision", "recall", "f1", "f1_ci95")] == [None] * 4
    assert "positive         –         –         –" in ki67(*words).stdout


def test_a_blank_picture_among_others_counts_as_nothing_found(labelled, blank):
    for path in blank.iterdir():
        path.rename(labelled / path.name)
    result = evaluate_cells(labelled, "points", 0.25)
    assert result["images"] == 2
    assert result["classes"]["positive"]["f1"] > 0.95


def test_a_blank_picture_with_labels_is_refused(blank):
    (blank / "empty.csv").write_text("x,y,label\n5,5,positive\n")
    with pytest.raises(TissueError, match=r"empty\.png"):
        evaluate_cells(blank, "points", 0.25)


@pytest.mark.parametrize("radius", [float("nan"), 0.0, -1.0, float("inf")])
def test_a_radius_that_is_none_is_refused(labelled, radius):
    with pytest.raises(DataSetError, match="--radius-um"):
        evaluate_cells(labelled, "points", 0.25, radius)


def test_the_text_tells_radius_agreement_and_confusion(labelled, ki67):
    outcome = ki67("evaluate", "cells", labelled, "--layout", "points", "--mpp", 0.25, "--quiet")
    for words in ("matched within 2.5 µm", "any", "labelled, called", "RMSE", "ICC", "limits of agreement"):
        assert words in outcome.stdout
