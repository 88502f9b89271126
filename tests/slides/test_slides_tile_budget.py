"""Slides that share a budget hold no more decoded tiles together than it allows, and read the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ki67.slides import TileBudget, open_slide, write_pyramid

SIDE_PX, MPP = 1024, 0.5
TILE_BYTES = 256 * 256 * 3


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("budget")
    random = np.random.default_rng(0)
    paths = [folder / f"{name}.tif" for name in "abc"]
    for path in paths:
        pixels = random.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
        write_pyramid(path, [pixels], (SIDE_PX, SIDE_PX), MPP, tile_px=256, compression="deflate")
    return paths


def test_slides_keep_within_one_budget_and_read_the_same(paths: list[Path]) -> None:
    budget = TileBudget(2 * 8 * TILE_BYTES)
    for path in paths:
        with open_slide(path) as alone, open_slide(path) as sharing, open_slide(paths[0]) as other:
            for slide in (sharing, other):
                slide.share(budget)
            for _ in range(2):
                assert (sharing.thumbnail(MPP) == alone.thumbnail(MPP)).all()
                other.thumbnail(MPP)
                assert budget.decoded._bytes <= 8 * TILE_BYTES
        assert budget.decoded._bytes == 0
        assert not budget.decoded._tiles


def test_one_slides_tiles_are_not_anothers(paths: list[Path]) -> None:
    budget = TileBudget(2**26)
    slides = [open_slide(path) for path in paths]
    for slide in slides:
        slide.share(budget)
    pictures = [slide.thumbnail(MPP) for slide in slides]
    slides[0].close()
    assert (slides[1].thumbnail(MPP) == pictures[1]).all()
    assert len({picture.tobytes() for picture in pictures}) == 3
    for slide in slides[1:]:
        slide.close()
