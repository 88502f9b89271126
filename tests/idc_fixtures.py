"""Patches and slides that several files of tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from idc_scene import MPP, PATCH_PX, PINK, PURPLE, speckled, write_green_model
from ki67.idc import IdcModel, load_model
from ki67.slides import write_pyramid


@pytest.fixture
def green_model(tmp_path: Path) -> IdcModel:
    return load_model(write_green_model(tmp_path))


@pytest.fixture
def write_slide(tmp_path: Path) -> Callable[..., Path]:
    def write(pixels: NDArray[np.uint8], mpp: float = MPP, name: str = "slide.tif") -> Path:
        path = tmp_path / name
        write_pyramid(path, iter([pixels]), (pixels.shape[1], pixels.shape[0]), mpp, compression="deflate")
        return path

    return write


@pytest.fixture
def patch_folder(tmp_path: Path) -> Path:
    """Four patients with three patches of each class, in the published layout, purple being invasive."""
    folder = tmp_path / "patches"
    lines = ["patient,label,file,split"]
    for number, patient in enumerate(("101", "102", "103", "104")):
        for label, color in ((0, PINK), (1, PURPLE)):
            for place, pixels in enumerate(speckled(color, 3, PATCH_PX, 10 * number + label)):
                name = f"{patient}/{label}/{patient}_idx5_x{place * PATCH_PX + 1}_y1_class{label}.png"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / name)
                lines.append(f"{patient},{label},{name},{'val' if number > 2 else 'train'}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
