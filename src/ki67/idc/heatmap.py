"""Probability of invasive carcinoma over a slide's tissue, and its file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.errors import CaseError
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
    way_out = "Run the same command again after removing the file."
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            pixels = page.asarray()
            horizontal = page.tags["XResolution"].value
            unit = int(page.tags["ResolutionUnit"].value)
    # A cut file can fail anywhere: in the directory (struct), in the decoder (RuntimeError) or in between.
    except (OSError, tifffile.TiffFileError, KeyError, ValueError, RuntimeError, struct.error) as error:
        raise CaseError(path, f"cannot be read as a heat map ({error})", way_out) from error
    if pixels.ndim != 2 or pixels.dtype != np.float32 or unit != CENTIMETRE or not horizontal[0]:
        found = f"{pixels.dtype} {pixels.shape}, resolution unit {unit}"
        raise CaseError(path, f"is no heat map: it holds {found}, expected float32 (H, W) in pixels per cm", way_out)
    return HeatMap(pixels, UM_PER_CM * horizontal[1] / horizontal[0])
