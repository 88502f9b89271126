import cv2
import pytest

from ki67.evaluation.cell_figures import draw_cell_figures

NAMES = ("mae_points", "icc", "bias_points", "lower_points", "upper_points")
BINS = [{"from": 0.8, "cells": 40, "probability": 0.85, "right": 0.9}]
FIELDS = [{"gold_percent": 20.0, "index_percent": 24.0}, {"gold_percent": 50.0, "index_percent": None}]


@pytest.mark.parametrize("bins", [BINS, []], ids=["cells found", "no cell found"])
@pytest.mark.parametrize(
    "fields", [FIELDS, [{"gold_percent": None, "index_percent": 3.0}]], ids=["two", "unlabelled"]
)
def test_every_figure_is_drawn_whatever_was_found(tmp_path, bins, fields):
    known = 1.0 if fields is FIELDS else None
    result = {"reliability": {"expected_calibration_error": 0.05, "bins": bins}, "per_image": fields}
    draw_cell_figures(tmp_path, result | {f"index_{name}": known for name in NAMES})
    for name in ("reliability", "index", "bland_altman"):
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        assert picture.std() > 5
