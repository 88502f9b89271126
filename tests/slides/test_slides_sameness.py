"""One picture saved twice is known again; two sections of one block are not one picture."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ki67.slides import open_slide, same_picture


def section(shift_px: int = 0) -> NDArray[np.uint8]:
    """Blobs of tissue on glass, some of them elsewhere on the next section."""
    generator = np.random.default_rng(4)
    picture = np.full((300, 420, 3), 244, np.uint8)
    for number in range(60):
        x, y = (int(generator.integers(30, side - 30)) for side in (420, 300))
        moved = x + (shift_px if number % 2 else 0)
        cv2.circle(picture, (moved, y), 18, tuple(int(c) for c in generator.integers(90, 220, 3)), -1)
    return picture


def same(tmp_path: Path, one: NDArray[np.uint8], other: NDArray[np.uint8], name: str = "other.png") -> bool:
    paths = tmp_path / "one.png", tmp_path / name
    for path, pixels in zip(paths, (one, other), strict=True):
        Image.fromarray(pixels).save(path)
    with open_slide(paths[0], 2.0) as first, open_slide(paths[1], 1.0) as second:
        return same_picture(first, second)


def test_a_picture_is_known_again_compressed_scaled_turned_and_mirrored(tmp_path: Path) -> None:
    picture = section()
    half = np.asarray(Image.fromarray(picture).resize((210, 150), Image.Resampling.BOX))

    assert same(tmp_path, picture, picture, "other.jpg")
    assert same(tmp_path, picture, half)
    assert same(tmp_path, picture, np.ascontiguousarray(np.rot90(picture)[:, ::-1]))


def test_the_next_section_is_another_picture(tmp_path: Path) -> None:
    assert not same(tmp_path, section(), section(shift_px=12))
