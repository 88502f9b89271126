"""Fixtures of the tests of cells: pictures, drawn fields, the labelled sets."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import synthetic

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture as PNG and return its path."""

    def write(picture: np.ndarray, name: str = "field.png") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)
        return path

    return write


@pytest.fixture
def fields(tmp_path: Path, save: Callable[..., Path]) -> Path:
    """Folder of three drawn fields, each of another patient, in the layout ``points``."""
    for seed in (1, 2, 3):
        picture, centres, positive = synthetic.field(seed=seed)
        path = save(picture, f"fields/p{seed}_1.png")
        with path.with_suffix(".csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["x", "y", "label"])
            for (x, y), brown in zip(centres, positive, strict=True):
                writer.writerow([x - 0.5, y - 0.5, "positive" if brown else "negative"])
    return tmp_path / "fields"


@pytest.fixture(scope="session")
def cell_data() -> Path:
    """Folder of the labelled cell sets."""
    folder = Path(os.environ.get("KI67_DATA", ROOT / ".." / "shared" / "data"))
    if not (folder / "ki67_cells").is_dir():
        pytest.skip("the labelled data are not here (set KI67_DATA)")
    return folder
