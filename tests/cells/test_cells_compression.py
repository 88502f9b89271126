"""The quality of a JPEG is read from its pixels, whatever file they are in, and a coarse one is told or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shapely.geometry import box

import synthetic
from ki67.cells.checks.compression import NAME, SIDE, jpeg_quality, judge_compression
from ki67.cells.checks.staining import judge_ki67
from ki67.cells.sampling import own_pixels
from ki67.domain import Verdict
from ki67.slides import open_slide
from ki67.slides.tissue import mask_of


def field(side: int = 512, seed: int = 5) -> NDArray[np.uint8]:
    """Blurred nuclei on a noisy ground."""
    rng = np.random.default_rng(seed)
    blue, brown = np.full((side, side), 0.03), np.zeros((side, side))
    for number in range(400):
        centre = (int(rng.integers(side)), int(rng.integers(side)))
        cv2.circle(
            brown if number % 3 == 0 else blue, centre, int(rng.integers(5, 11)), float(rng.uniform(0.2, 0.7)), -1
        )
    picture = cv2.GaussianBlur(synthetic.render(blue, brown), (0, 0), 1.2)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


@pytest.mark.parametrize("quality", [70, 40, 20, 10, 5])
@pytest.mark.parametrize("corner", [(0, 0), (3, 5)])
def test_the_quality_is_read_wherever_the_squares_begin(quality: int, corner: tuple[int, int]) -> None:
    pixels = compressed(field(), quality)[corner[0] :, corner[1] :]
    assert jpeg_quality([pixels]) == pytest.approx(quality, rel=0.05, abs=0.5)


@pytest.mark.parametrize("made", ["untouched", "fine", "resampled", "flat", "tiny"])
def test_where_there_are_no_steps_none_are_claimed(made: str) -> None:
    pictures = {
        "untouched": field(),
        "fine": compressed(field(), 92),
        "resampled": cv2.resize(compressed(field(), 20), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
        "flat": np.full((512, 512, 3), 235, np.uint8),
        "tiny": field()[:5, :5],
    }
    check = judge_compression([pictures[made]], 0.25)
    assert (check.verdict, check.value) == (Verdict.usual, None)
    assert "not measured" in check.text


@pytest.mark.parametrize(
    ("quality", "mpp", "verdict"),
    [
        (8, 0.25, "unusable"),
        (8, 0.5, "unusable"),
        (15, 0.25, "unusual"),
        (30, 0.25, "usual"),
        (30, 0.5, "unusual"),
        (40, 0.5, "usual"),
    ],
)
def test_how_coarse_it_may_be_depends_on_the_pixel_size(quality: int, mpp: float, verdict: str) -> None:
    check = judge_compression([compressed(field(), quality)], mpp)
    assert check.verdict == verdict
    assert (f"quality about {quality}" in check.text) == (verdict != "usual")


def write(path: Path, pixels: NDArray[np.uint8], **how: Any) -> Path:
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", resolution=(40000, 40000), resolutionunit=3, **how
    )
    return path


@pytest.mark.parametrize("saved_again", [False, True])
def test_a_slides_own_pixels_are_looked_at_whatever_the_file_says(tmp_path: Path, saved_again: bool) -> None:
    ground = np.full((6144, 6144, 3), 240, np.uint8)
    ground[1000:5096, 1000:5096] = np.tile(field(1024), (4, 4, 1))
    slide_file = (
        write(tmp_path / "slide.tif", compressed(ground, 15), compression="deflate")
        if saved_again
        else write(tmp_path / "slide.tif", ground, compression="jpeg", compressionargs={"level": 15})
    )
    with open_slide(slide_file) as slide:
        tissue = mask_of(box(300, 300, 1200, 1200), slide)
        blocks = own_pixels(slide, tissue, 12, SIDE)
        assert 1 < len(blocks) <= 12
        assert jpeg_quality(blocks) == pytest.approx(15, abs=1)
        assert {check.name: check.verdict for check in judge_ki67(slide, tissue)}[NAME] is Verdict.unusual
