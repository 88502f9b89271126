"""The magic outline: what looks like the place that was clicked, and refusals where nothing stands out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
from PIL import Image

from ki67.errors import RefusedError
from ki67.labelling.wand import magic_outline
from ki67.slides import Slide, open_slide
from ki67.slides.resampling import Axis
from ki67.slides.slide import BLOCK_PX

MPP = 2.0


@pytest.fixture(scope="module")
def nest(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    """Glass, a round section of stroma, and in it a nest of 200 µm radius with its middle at (900, 700) µm."""
    random = np.random.default_rng(3)
    pixels = np.full((800, 900, 3), 240.0)
    cv2.circle(pixels, (450, 400), 330, (225, 170, 205), -1)
    cv2.circle(pixels, (450, 350), 100, (150, 95, 165), -1)
    pixels += random.normal(0, 8, pixels.shape)
    path = tmp_path_factory.mktemp("wand") / "nest.png"
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return open_slide(path, MPP)


@pytest.mark.parametrize("um_per_px", [2.0, 4.0])
def test_the_nest_under_the_pointer_is_outlined_and_nothing_else(nest: Slide, um_per_px: float) -> None:
    found = magic_outline(nest, 880.0, 740.0, um_per_px)

    wanted = shapely.Point(900, 700).buffer(200)
    assert found.is_valid
    assert found.symmetric_difference(wanted).area < 0.08 * wanted.area


def test_the_stroma_around_has_the_nest_as_a_hole(nest: Slide) -> None:
    found = magic_outline(nest, 500.0, 1000.0, 4.0)

    assert len(found.interiors) == 1
    assert found.area == pytest.approx(np.pi * (660**2 - 200**2), rel=0.1)


def test_a_larger_reach_takes_more(nest: Slide) -> None:
    assert magic_outline(nest, 900.0, 700.0, 4.0, 2.5).area > 1.5 * magic_outline(nest, 900.0, 700.0, 4.0, 1.0).area


@pytest.mark.parametrize(("place", "said"), [((-5.0, 10.0), "beside the slide"), ((900.0, 700.0), "zoom out")])
def test_what_cannot_be_outlined_is_said(nest: Slide, place: tuple[float, float], said: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((1700, 1900, 3), 190, np.uint8)).save(tmp_path / "plain.png")
    slide = nest if "beside" in said else open_slide(tmp_path / "plain.png", 1.0)

    with pytest.raises(RefusedError, match=said):
        magic_outline(slide, *place, 1.0)


def test_an_outline_ends_with_the_slide_though_what_lies_around_it_is_as_white(nest: Slide) -> None:
    found = magic_outline(nest, 30.0, 30.0, 8.0)

    assert shapely.box(0, 0, 1800, 1600).covers(found)
    assert found.covers(shapely.Point(30, 30))
    assert found.area == pytest.approx(1800 * 1600 - np.pi * 660**2, rel=0.15)


@pytest.mark.parametrize("place", [(900.0, 700.0), (0.0, 0.0), (1799.9, 1599.9), (1799.9, 5.0)])
def test_however_far_the_view_is_zoomed_out_hardly_more_than_the_slide_is_read(
    nest: Slide, place: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    averaged, areas_px = Slide._averaged, []

    def seen(slide: Slide, level: int, rows: Axis, columns: Axis) -> Any:
        (top, bottom), (left, right) = rows.source_range, columns.source_range
        areas_px.append((bottom - top) * (right - left))
        return averaged(slide, level, rows, columns)

    monkeypatch.setattr(Slide, "_averaged", seen)
    with contextlib.suppress(RefusedError):
        magic_outline(nest, *place, 100.0)

    width, height = nest.levels[0].size_px
    assert 0 < sum(areas_px) <= 4 * max(BLOCK_PX, width * height)
