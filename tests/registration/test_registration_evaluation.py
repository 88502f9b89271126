"""Registration measured at landmarks: real serial sections, and landmark files as they come."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ki67.errors import DataSetError
from ki67.evaluation.registration import evaluate_registration, read_landmarks

DATA = Path(os.environ.get("KI67_DATA", Path(__file__).parents[2] / "../shared/data")) / "registration"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the registration data are not here (KI67_DATA)")


@needs_data
@pytest.mark.parametrize(
    ("folder", "fixed", "moving", "mpp", "worst_px"),
    [
        ("les1", "He-les1", "proSPC-4-les1", 3.5, 6.5),
        ("les1", "He-les1", "Cc10-5-les1", 3.5, 8.0),
        ("rat_kidney", "Rat-Kidney_HE", "Rat-Kidney_PanCytokeratin", 3.5, 4.5),
    ],
)
def test_real_serial_sections_are_registered_and_accepted(
    folder: str, fixed: str, moving: str, mpp: float, worst_px: float
) -> None:
    base = DATA / folder
    files = [base / f"{fixed}.jpg", base / f"{moving}.jpg", base / f"{fixed}.csv", base / f"{moving}.csv"]
    result = evaluate_registration(*files, fixed_mpp=mpp, moving_mpp=mpp, mode="affine")
    assert result["median_tre_px"] < worst_px
    assert result["accepted"], result["reasons"]
    assert result["median_rtre"] < result["median_rtre_before"]


def test_landmarks_are_read_whatever_the_first_column_is_called(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeff ,X,Y\n1,10.5,20\n2,3,4\n3,5,6\n\n", encoding="utf-8")
    assert np.array_equal(read_landmarks(path), [[10.5, 20], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1"),
        ("a,b\n1,2\n", "line 1"),
        (",X,Y\n1,2\n", "line 2: 2 values"),
        (",X,Y\n1,2,3\n2,x,3\n", "line 3"),
        (",X,Y\n1,nan,3\n", "line 2: the position is not finite"),
        (",X,Y\n1,2,3\n", "holds 1 landmarks"),
    ],
)
def test_a_malformed_landmark_file_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text(text)
    with pytest.raises(DataSetError, match=said):
        read_landmarks(path)


def test_a_missing_landmark_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"none\.csv"):
        read_landmarks(tmp_path / "none.csv")
