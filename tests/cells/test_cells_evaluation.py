"""Evaluation of labelled fields: perfect on what was drawn, and it says where the model has seen the fields."""

import dataclasses
import json

import cv2
import pytest
import synthetic

from ki67.cells import load_engine
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
