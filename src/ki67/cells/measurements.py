"""ImageJ's measurements of the nuclei that are kept: shape once, intensities per stain and colour channel.

Names and definitions are ImageJ's (Analyze > Set Measurements): Area, Perim., Circ., AR, Round, Solidity, Feret,
MinFeret; Mean, StdDev, Min, Max, Median, Skew, Kurt, IntDen. Lengths in µm, areas in µm², stains in decadic optical
density, colour channels in 8-bit intensity.

The numbers are those of ImageJ 1.53t to six digits, but for two things. Skew and Kurt are 0, not NaN or infinite, in
a nucleus without any spread. AR and Round are exact where a nucleus spreads equally along x and y; there its guard
against a division by zero turns the ellipse by a little and changes the ratio by up to 0.0002.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import WORKING_MPP
from ki67.cells.masks import Mask
from ki67.cells.outlines import drawn_outline, shape_of
from ki67.cells.stains import Stains, optical_density, stain_amounts

SHAPE_UNITS = {
    "Area": "um2", "Perim.": "um", "Circ.": "1", "AR": "1", "Round": "1", "Solidity": "1", "Feret": "um",
    "MinFeret": "um",
}  # fmt: skip
CHANNEL_UNITS = {"Hematoxylin": "OD", "DAB": "OD", "Red": "8-bit", "Green": "8-bit", "Blue": "8-bit"}
STATISTICS = ("Mean", "StdDev", "Min", "Max", "Median", "Skew", "Kurt", "IntDen")

MEASUREMENT_UNITS: dict[str, str] = SHAPE_UNITS | {
    f"{statistic}_{channel}": (
        "1" if statistic in {"Skew", "Kurt"} else unit + ("*um2" if statistic == "IntDen" else "")
    )
    for channel, unit in CHANNEL_UNITS.items()
    for statistic in STATISTICS
}
"""Columns of :func:`measure`, in order, with their units."""


def measure(
    rgb: NDArray[np.uint8], stains: Stains, masks: Sequence[Mask]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Measure nuclei of a tile (H, W, 3) at the working resolution.

    Returns
    -------
    tuple
        Measurements (N, ``len(MEASUREMENT_UNITS)``), and for each nucleus its outline (K, 2) in pixels of the tile.
    """
    if not masks:
        return np.empty((0, len(MEASUREMENT_UNITS)), np.float32), []
    shapes, outlines = _shapes(masks)
    return np.column_stack([shapes, _intensities(rgb, stains, masks, shapes[:, 0])]).astype(np.float32), outlines


def _shapes(masks: Sequence[Mask]) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
    rows, outlines = [], []
    for mask in masks:
        shape = shape_of(mask.pixels)
        area = float(np.count_nonzero(mask.pixels))
        aspect = _aspect(mask.pixels)
        rows.append(
            (
                area * WORKING_MPP**2,
                shape.perimeter * WORKING_MPP,
                min(1.0, 4 * np.pi * area / shape.perimeter**2),
                aspect,
                1 / aspect,
                area / shape.convex_area,
                shape.feret * WORKING_MPP,
                shape.min_feret * WORKING_MPP,
            )
        )
        outlines.append(drawn_outline(shape.corners) + np.array([mask.left, mask.top], np.float32))
    return np.array(rows), outlines


def _aspect(pixels: NDArray[np.bool_]) -> float:
    """Major over minor axis of the ellipse with the same second moments (ImageJ's ``EllipseFitter``)."""
    y, x = np.nonzero(pixels)
    xx, yy = float(x.var()) + 1 / 12, float(y.var()) + 1 / 12
    xy = float(((x - x.mean()) * (y - y.mean())).mean())
    half, turn = (xx + yy) / 2, float(np.hypot((xx - yy) / 2, xy))
    return float(np.sqrt((half + turn) / max(half - turn, 1 / 12)))


def _intensities(
    rgb: NDArray[np.uint8], stains: Stains, masks: Sequence[Mask], area_um2: NDArray[np.float64]
) -> NDArray[np.float64]:
    width = rgb.shape[1]
    places = []
    for mask in masks:
        y, x = np.nonzero(mask.pixels)
        places.append((y + mask.top) * width + (x + mask.left))
    counts = np.array([len(place) for place in places])
    pixels = rgb.reshape(-1, 3)[np.concatenate(places)]
    stain = stain_amounts(optical_density(pixels, stains.background_rgb), stains)
    planes = (*stain.T, *pixels.T)
    return np.column_stack([statistics(plane, counts, area_um2) for plane in planes])


def statistics(
    pixels: NDArray[np.float32] | NDArray[np.float64] | NDArray[np.uint8],
    counts: NDArray[np.intp],
    area_um2: NDArray[np.float64],
) -> NDArray[np.float64]:
    """ImageJ's statistics (N, 8), in the order of :data:`STATISTICS`, of N groups of values that follow one another.

    StdDev has n - 1 in its denominator; Skew and Kurt (excess) use n, as in ImageJ's ``FloatStatistics``. A group
    without any spread has Skew and Kurt 0. Of an even number of values the median is the mean of the middle two, but
    the upper one of them where the values are whole, since ImageJ takes it from the histogram then.
    """
    values = pixels.astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    mean = np.add.reduceat(values, starts) / counts
    centred = values - np.repeat(mean, counts)
    second, third, fourth = (np.add.reduceat(centred**power, starts) / counts for power in (2, 3, 4))
    order = np.lexsort((values, np.repeat(np.arange(len(counts)), counts)))
    ordered = values[order]
    upper = ordered[starts + counts // 2]
    median = upper if pixels.dtype == np.uint8 else (ordered[starts + (counts - 1) // 2] + upper) / 2
    low, high = ordered[starts], ordered[starts + counts - 1]
    spread = np.sqrt(second * counts / np.maximum(counts - 1, 1))
    # A mean may miss equal values by the last bit: the spread is then noise, not zero.
    safe = np.where(high > low, second, 1.0)
    skew = np.where(high > low, third / safe**1.5, 0.0)
    kurt = np.where(high > low, fourth / safe**2 - 3.0, 0.0)
    return np.column_stack([mean, spread, low, high, median, skew, kurt, mean * area_um2])
