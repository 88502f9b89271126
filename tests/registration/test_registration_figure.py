"""The figure of a registration shows both sections and says how far the landmarks lie apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from registration_scene import HE, IHC, MPP, draw_tissue, known_matrix, moved, stain

from ki67.evaluation.registration import evaluate_registration
from ki67.registration import Transform


def write_landmarks(path: Path, points_um: np.ndarray) -> Path:
    rows = [f"{number},{x / MPP},{y / MPP}" for number, (x, y) in enumerate(points_um)]
    path.write_text("\n".join([",X,Y", *rows]), encoding="utf-8")
    return path


def test_an_evaluation_draws_the_landmarks_where_asked(tmp_path: Path) -> None:
    # Half a turn about: a landmark counted from another corner than the pixels would be more than a pixel off.
    truth = known_matrix(170.0, mirrored=False, shift_um=(60.0, 0.0))
    tissue = draw_tissue(1)
    for name, picture in (("he", stain(tissue, HE, 10)), ("ki67", stain(moved(tissue, truth), IHC, 11))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture[..., ::-1])
    points_um = np.array([[900.0, 1000.0], [1900.0, 1100.0], [1500.0, 1900.0], [1100.0, 1700.0]])
    result = evaluate_registration(
        tmp_path / "he.png",
        tmp_path / "ki67.png",
        write_landmarks(tmp_path / "he.csv", points_um),
        write_landmarks(tmp_path / "ki67.csv", Transform(truth).map_points(points_um)),
        fixed_mpp=MPP,
        moving_mpp=MPP,
        mode="rigid",
        figures=tmp_path / "figures",
    )
    assert result["median_tre_um"] == pytest.approx(0.0, abs=MPP / 2)
    picture = cv2.imread(str(tmp_path / "figures" / "landmarks.png"))
    assert picture is not None
    assert picture.std() > 10
