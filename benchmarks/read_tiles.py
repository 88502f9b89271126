"""How much faster tiles are decoded straight than with OpenSlide's read_region, in the same run.

    python benchmarks/read_tiles.py [SLIDE]

Without a slide, a JPEG pyramid of 8192 x 8192 px is written to a temporary folder. Both read the same 1024 px fields
of level 0 with one thread and empty caches; the median of three rounds counts, the two taking turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import openslide

from ki67.geometry import RectUm
from ki67.slides import open_slide, write_pyramid

SIDE_PX = 8192
FIELD_PX = 1024
FIELDS = 40
ROUNDS = 3
ANY_MPP = 0.25  # no pixel size is needed to measure speed


def make_slide(path: Path) -> None:
    """Write a pyramid with texture at several scales, so that the JPEG tiles are as full as those of tissue."""
    rng = np.random.default_rng(0)
    picture = np.zeros((SIDE_PX // 4, SIDE_PX, 3), np.float32)
    for cell_px, strength in ((8, 12), (32, 25), (256, 30)):
        shape = (picture.shape[0] // cell_px, SIDE_PX // cell_px, 3)
        coarse = rng.normal(0, strength, shape).astype(np.float32)
        picture += cv2.resize(coarse, (SIDE_PX, picture.shape[0]), interpolation=cv2.INTER_CUBIC)
    band = np.clip(190 + picture, 0, 255).astype(np.uint8)
    write_pyramid(path, [band] * 4, (SIDE_PX, SIDE_PX), ANY_MPP, tile_px=256)


def corners(size_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Fields side by side, as many as fit, at most ``FIELDS``."""
    columns, rows = (max(1, side // FIELD_PX) for side in size_px)
    return [(c * FIELD_PX, r * FIELD_PX) for r in range(rows) for c in range(columns)][:FIELDS]


def direct(path: Path, places: list[tuple[int, int]]) -> float:
    """Seconds with the package's reader."""
    with open_slide(path, ANY_MPP) as slide:
        start = time.perf_counter()
        for x, y in places:
            side = FIELD_PX * ANY_MPP
            slide.read(RectUm(x * ANY_MPP, y * ANY_MPP, side, side), ANY_MPP)
        return time.perf_counter() - start


def through_openslide(path: Path, places: list[tuple[int, int]]) -> float:
    """Seconds with read_region, turned into an RGB array as any program must."""
    with openslide.OpenSlide(path) as slide:
        start = time.perf_counter()
        for place in places:
            np.asarray(slide.read_region(place, 0, (FIELD_PX, FIELD_PX)).convert("RGB"))
        return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", nargs="?", type=Path)
    given: Path | None = parser.parse_args().slide
    with tempfile.TemporaryDirectory() as folder:
        path = given or Path(folder) / "slide.tif"
        if given is None:
            make_slide(path)
        with open_slide(path, ANY_MPP) as slide:
            places, reader = corners(slide.size_px), slide.reader
        readers: dict[str, Callable[[Path, list[tuple[int, int]]], float]] = {
            f"ki67 ({reader})": direct,
            "openslide": through_openslide,
        }
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, read in readers.items():
                seconds[name].append(read(path, places))
    medians = [statistics.median(times) for times in seconds.values()]
    for name, median in zip(seconds, medians, strict=True):
        print(f"{name}: {len(places) * FIELD_PX**2 / 1e6 / median:.0f} Mpx/s")
    print(f"ratio: {medians[1] / medians[0]:.1f}")


if __name__ == "__main__":
    main()
