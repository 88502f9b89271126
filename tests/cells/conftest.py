"""Fixtures of the cells tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture as PNG and return its path."""

    def write(picture: np.ndarray, name: str = "field.png") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)
        return path

    return write


@pytest.fixture(scope="session")
def cell_data() -> Path:
    """Folder of the labelled cell sets."""
    folder = Path(os.environ.get("KI67_DATA", ROOT / ".." / "shared" / "data"))
    if not (folder / "ki67_cells").is_dir():
        pytest.skip("the labelled data are not here (set KI67_DATA)")
    return folder
