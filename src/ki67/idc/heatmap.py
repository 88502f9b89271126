"""Probability of invasive carcinoma, and of what else a model knows, over a slide's tissue, and its files."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.errors import CaseError
from ki67.files import atomic_path
from ki67.slides import write_pyramid

UM_PER_CM = 1e4
CENTIMETRE = 3
"""TIFF's code for a resolution in pixels per centimetre."""

TILE_PX = 256
BAND_ROWS = 256


@dataclass(frozen=True)
class HeatMap:
    """Probability of invasive carcinoma in the slide's frame (origin at the slide's top left).

    Parameters
    ----------
    probability
        float32 (H, W); NaN outside tissue. Pixel (r, c) covers [c * mpp, (c + 1) * mpp] µm in x, likewise r in y.
    mpp
        µm per pixel.
    """

    probability: NDArray[np.float32]
    mpp: float

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.probability.shape
        return width, height

    @property
    def tissue(self) -> NDArray[np.bool_]:
        """Where there is a probability, bool (H, W)."""
        return ~np.isnan(self.probability)


def write_heatmap(path: str | Path, heatmap: HeatMap) -> None:
    """Write a heat map as a pyramidal float32 TIFF with its pixel size; NaN outside tissue.

    Raises
    ------
    WriteError
        Where the disk is full or the folder cannot be written to.
    """
    write_pyramid(
        path, _bands(heatmap.probability), heatmap.size_px, heatmap.mpp, tile_px=TILE_PX, compression="deflate"
    )


def write_heatmaps(path: str | Path, heatmaps: Mapping[str, HeatMap]) -> None:
    """Write heat maps as the pages of one float32 TIFF, each with its pixel size and its name as the description.

    Raises
    ------
    WriteError
        Where the disk is full or the folder cannot be written to.
    """
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary) as writer:
        for name, heatmap in heatmaps.items():
            per_cm = UM_PER_CM / heatmap.mpp
            writer.write(
                heatmap.probability,
                tile=(TILE_PX, TILE_PX),
                compression="deflate",
                resolution=(per_cm, per_cm),
                resolutionunit=CENTIMETRE,
                description=name.encode(),
                metadata=None,
            )


def _bands(pixels: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for row in range(0, len(pixels), BAND_ROWS):
        yield pixels[row : row + BAND_ROWS]


def read_heatmap(path: str | Path) -> HeatMap:
    """Read a heat map written by :func:`write_heatmap`.

    Raises
    ------
    CaseError
        Where the file is missing, damaged or no heat map.
    """
    return next(iter(_pages(path, 1).values()))


def read_heatmaps(path: str | Path) -> dict[str, HeatMap]:
    """Read heat maps written by :func:`write_heatmaps`, by their names; errors are those of :func:`read_heatmap`."""
    return _pages(path)


def _pages(path: str | Path, most: int | None = None) -> dict[str, HeatMap]:
    """Heat maps of the first pages, by what describes them."""
    way_out = "Run the same command again after removing the file."
    found = []
    try:
        with tifffile.TiffFile(path) as file:
            for number in range(len(file.pages) if most is None else most):
                page = file.pages[number]
                horizontal, unit = page.tags["XResolution"].value, int(page.tags["ResolutionUnit"].value)
                found.append((page.description, page.asarray(), horizontal, unit))
    # A cut file can fail anywhere: in the directory (struct), in the decoder (RuntimeError) or in between.
    except (OSError, tifffile.TiffFileError, IndexError, KeyError, ValueError, RuntimeError, struct.error) as error:
        raise CaseError(path, f"cannot be read as a heat map ({error})", way_out) from error
    for _, pixels, horizontal, unit in found:
        if pixels.ndim != 2 or pixels.dtype != np.float32 or unit != CENTIMETRE or not horizontal[0]:
            held = f"{pixels.dtype} {pixels.shape}, resolution unit {unit}"
            told = f"is no heat map: it holds {held}, expected float32 (H, W) in pixels per cm"
            raise CaseError(path, told, way_out)
    return {name: HeatMap(pixels, UM_PER_CM * horizontal[1] / horizontal[0]) for name, pixels, horizontal, _ in found}
