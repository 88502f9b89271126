"""Slides opened in one job hold no more decoded tiles together than it allows, and read the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ki67.jobs import current, job
from ki67.slides import open_slide, write_pyramid
from ki67.slides.tile_cache import TileCache

SIDE_PX, MPP = 1024, 0.5
TILE_BYTES = 256 * 256 * 3


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("room")
    random = np.random.default_rng(0)
    paths = [folder / f"{name}.tif" for name in "abc"]
    for path in paths:
        pixels = random.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
        write_pyramid(path, [pixels], (SIDE_PX, SIDE_PX), MPP, tile_px=256, compression="deflate")
    return paths


def test_slides_keep_within_one_room_and_read_the_same(paths: list[Path]) -> None:
    for path in paths:
        with open_slide(path) as alone, job(tile_cache_mb=2 * 8 * TILE_BYTES / 1e6):
            cache = current().tiles.cache(TileCache)
            with open_slide(path) as sharing, open_slide(paths[0]) as other:
                for _ in range(2):
                    assert (sharing.thumbnail(MPP) == alone.thumbnail(MPP)).all()
                    other.thumbnail(MPP)
                    assert 0 < cache._bytes <= 8 * TILE_BYTES
            assert cache._bytes == 0
            assert not cache._tiles


def test_one_slides_tiles_are_not_anothers(paths: list[Path]) -> None:
    slides = [open_slide(path) for path in paths]
    pictures = [slide.thumbnail(MPP) for slide in slides]
    slides[0].close()
    assert (slides[1].thumbnail(MPP) == pictures[1]).all()
    assert len({picture.tobytes() for picture in pictures}) == 3
    for slide in slides[1:]:
        slide.close()
