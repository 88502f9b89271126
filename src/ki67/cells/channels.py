"""The images a tile is searched and measured in, as whole numbers.

Optical densities are kept in fixed point (:data:`DENSITY_SCALE` steps per unit): sums, means and OpenCV's Gaussian
are then exact, so a nucleus gets the same numbers, to the last bit, whichever tile it falls into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.cells.stains import Stains
from ki67.errors import PixelSizeError

WORKING_MPP = 0.5
"""Resolution in µm per pixel at which nuclei are found and measured."""

COARSEST_MPP = 1.0
"""Coarsest pixels in µm of a picture in which nuclei are looked for: a nucleus of 6 µm is then six pixels wide."""

DENSITY_SCALE = 4096
"""Fixed-point steps per unit of decadic optical density."""

CONTEXT_STEP = 4
"""Pixels of the working resolution per cell of the coarse grid; tile origins lie on this grid."""

Map = NDArray[np.uint16]

# Denser than this is black to an 8-bit camera (intensity about 7 of 255); beyond it only noise differs.
_MAXIMUM_OD = 1.5
# The red channel's density is compressed by a square root up to here, so that pale nuclei (0.1) and near-black ones
# stand out alike against their surroundings.
_COMPRESSED_OD = 0.8
# Blue minus brown, kept positive in an unsigned map; beyond these bounds a pixel is as blue or as brown as it gets.
BLUENESS_OFFSET = DENSITY_SCALE * 3 // 2
_BLUENESS_BOUNDS = (-0.2, 0.3)
# Band pass: nuclei are 5 to 20 µm wide, so the inner Gaussian (0.75 µm) removes grain and chromatin and the outer one
# (3 µm) the surroundings; their difference turns from positive to negative near the border of a nucleus.
_INNER_SIGMA_PX = 1.5
_OUTER_SIGMA_PX = 6.0
_OUTER_REACH_PX = 18
_INNER_REACH_PX = 5
# Local background of the density sum: what an opening wider than any nucleus leaves (26 µm), smoothed.
_BACKGROUND_WINDOW = 13
# Windows of the surroundings: 16 µm and 48 µm wide, about the next neighbours and the nest around a nucleus.
CONTEXT_WINDOWS_UM = (16.0, 48.0)

SUPPORT_PX = 96
"""No value at a pixel depends on pixels farther away than this (background: 24 + 24 + 4 + smoothing and rounding)."""


# Enough to take the grain off, too little to move an edge.
_GRAIN_SIGMA_PX, GRAIN_REACH_PX = 1.0, 3


def check_resolution(path: str | Path, mpp: float) -> float:
    """Return a picture's pixel size in µm where nuclei can be told apart at it.

    Raises
    ------
    PixelSizeError
        Where pixels are larger than :data:`COARSEST_MPP`.
    """
    if mpp > COARSEST_MPP:
        raise PixelSizeError(
            path,
            f"has pixels of {mpp:g} µm, too large for nuclei; at most {COARSEST_MPP:g} µm can be used",
            "Scan or export it at 20x or more (0.5 µm), or correct the pixel size with --mpp (--ki67-mpp).",
        )
    return mpp


@dataclass(frozen=True)
class TilePixels:
    """Pixels (H, W, 3) of a tile at the working resolution, and the slide's stains."""

    rgb: NDArray[np.uint8]
    stains: Stains

    @cached_property
    def smooth_density(self) -> Map:
        """Sum of the densities of red, green and blue (H, W), :data:`DENSITY_SCALE` per unit, without grain."""
        return _smooth(_total(self.densities), _GRAIN_SIGMA_PX, GRAIN_REACH_PX)

    @cached_property
    def edge(self) -> Map:
        """Gradient magnitude of the smooth density (H, W)."""
        return _gradient(self.smooth_density)

    @cached_property
    def densities(self) -> list[Map]:
        """Densities of red, green and blue, each (H, W)."""
        values = np.maximum(np.arange(256, dtype=np.float64), 1.0)
        tables = [-np.log10(values / light) for light in self.stains.background_rgb]
        steps = [np.round(np.clip(table, 0.0, _MAXIMUM_OD) * DENSITY_SCALE).astype(np.uint16) for table in tables]
        return [np.asarray(cv2.LUT(plane, step)) for plane, step in zip(cv2.split(self.rgb), steps, strict=True)]


@dataclass(frozen=True)
class Channels:
    """Fixed-point maps of one tile, all (H, W) unless said otherwise.

    ``od`` (H, W, 3) optical density of red, green, blue; ``density`` their sum; ``blueness`` red minus blue plus
    :data:`BLUENESS_OFFSET`; ``raised`` the density sum above the local background, smoothed; ``red_band`` and
    ``blue_band`` band passes of the compressed red density and of blueness; ``edge`` and ``blue_edge`` gradient
    magnitudes of density sum and blueness; ``texture`` local roughness of the density sum; ``context`` on the
    coarse grid, for each window the means of the channels named in :data:`CONTEXT_NAMES`, in OD.
    """

    od: Map
    density: Map
    blueness: Map
    raised: NDArray[np.int32]
    red_band: NDArray[np.int32]
    blue_band: NDArray[np.int32]
    edge: Map
    blue_edge: Map
    texture: Map
    context: NDArray[np.float32]


CONTEXT_NAMES = ("red", "green", "blue", "blueness", "nuclei", "edge", "contrast")


def make_channels(tile: TilePixels) -> Channels:
    """Turn the pixels of a tile into the maps of :class:`Channels`.

    H and W must be multiples of :data:`CONTEXT_STEP`.
    """
    densities = red, _, blue = tile.densities
    density = _total(densities)
    blueness: Map = red + np.uint16(BLUENESS_OFFSET) - blue
    compressed = _compress(red)
    low, high = (int(BLUENESS_OFFSET + bound * DENSITY_SCALE) for bound in _BLUENESS_BOUNDS)
    red_band = _band_pass(compressed)
    smooth = tile.smooth_density
    rough: Map = cv2.absdiff(density, smooth)
    return Channels(
        od=np.asarray(cv2.merge(densities)),
        density=density,
        blueness=blueness,
        raised=smooth.astype(np.int32) - _local_background(density),
        red_band=red_band,
        blue_band=_band_pass(np.clip(blueness, low, high)),
        edge=tile.edge,
        blue_edge=_gradient(_smooth(blueness, _GRAIN_SIGMA_PX, GRAIN_REACH_PX)),
        texture=_smooth(rough, 2.0, 6),
        context=_context(densities, density, blueness, red_band, tile.edge),
    )


def _total(densities: Sequence[Map]) -> Map:
    red, green, blue = densities
    return np.asarray(red + green + blue, np.uint16)


def _compress(density: Map) -> Map:
    steps = np.arange(int(_MAXIMUM_OD * DENSITY_SCALE) + 1) / DENSITY_SCALE
    table = np.round(np.sqrt(np.minimum(steps, _COMPRESSED_OD)) * DENSITY_SCALE).astype(np.uint16)
    return np.asarray(table[density], np.uint16)


def _smooth(image: Map, sigma_px: float, reach_px: int) -> Map:
    size = 2 * reach_px + 1
    return np.asarray(cv2.GaussianBlur(image, (size, size), sigma_px), np.uint16)


def _band_pass(image: Map) -> NDArray[np.int32]:
    inner = _smooth(image, _INNER_SIGMA_PX, _INNER_REACH_PX).astype(np.int32)
    return inner - _smooth(image, _OUTER_SIGMA_PX, _OUTER_REACH_PX)


def _gradient(image: Map) -> Map:
    across = cv2.Sobel(image.astype(np.float32), cv2.CV_32F, 1, 0)
    down = cv2.Sobel(image.astype(np.float32), cv2.CV_32F, 0, 1)
    # Sobel weighs by 8; whole numbers in and out, and a correctly rounded square root, keep this exact.
    return np.asarray(np.round(np.sqrt(across * across + down * down) / 8.0), np.uint16)


def _shrink(image: Map) -> Map:
    height, width = image.shape[:2]
    size = (width // CONTEXT_STEP, height // CONTEXT_STEP)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint16)


def _local_background(density: Map) -> NDArray[np.int32]:
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_BACKGROUND_WINDOW, _BACKGROUND_WINDOW))
    coarse = cv2.morphologyEx(_shrink(density), cv2.MORPH_OPEN, window)
    coarse = _smooth(np.asarray(coarse, np.uint16), 2.0, 5)
    fine = coarse.repeat(CONTEXT_STEP, axis=0).repeat(CONTEXT_STEP, axis=1)
    return _smooth(fine, 2.0, 5).astype(np.int32)


def _context(
    densities: Sequence[Map], density: Map, blueness: Map, red_band: NDArray[np.int32], edge: Map
) -> NDArray[np.float32]:
    coarse = [_shrink(plane) for plane in densities]
    coarse += [_shrink(blueness), _shrink(np.maximum(red_band, 0).astype(np.uint16)), _shrink(edge)]
    sum_coarse = _shrink(density).astype(np.float64)
    result = []
    for window_um in CONTEXT_WINDOWS_UM:
        size = int(window_um / WORKING_MPP / CONTEXT_STEP) | 1
        result += [cv2.boxFilter(image, cv2.CV_32F, (size, size), normalize=False) / size**2 for image in coarse]
        mean = cv2.boxFilter(sum_coarse, cv2.CV_64F, (size, size), normalize=False) / size**2
        square = cv2.boxFilter(sum_coarse * sum_coarse, cv2.CV_64F, (size, size), normalize=False) / size**2
        result.append(np.sqrt(np.maximum(square - mean * mean, 0.0)))
    return np.stack(result, axis=-1).astype(np.float32) / np.float32(DENSITY_SCALE)
