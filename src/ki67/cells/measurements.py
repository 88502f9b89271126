"""ImageJ's measurements of the nuclei that are kept: shape once, intensities per stain and colour channel.

Names and definitions are ImageJ's (Analyze > Set Measurements): Area, Perim., Circ., AR, Round, Solidity, Feret,
MinFeret; Mean, StdDev, Min, Max, Median, Skew, Kurt, IntDen. Lengths in µm, areas in µm², stains in decadic optical
density, colour channels in 8-bit intensity.

The numbers are those of ImageJ 1.53t to six digits, but for two things. Skew and Kurt are 0, not NaN or infinite, in
a nucleus without any spread. AR and Round are exact where a nucleus spreads equally along x and y; there its guard
against a division by zero turns the ellipse by a little and changes the ratio by up to 0.0002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import WORKING_MPP
from ki67.cells.masks import Masks
from ki67.cells.nuclear_shapes import Shapes, drawn_outlines, shapes_of
from ki67.cells.stains import Stains, stain_amounts
from ki67.light import optical_density

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


def column(measurements: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """One column (N,) of what :func:`measure` gives."""
    return measurements[:, list(MEASUREMENT_UNITS).index(name)]


# Nuclei whose intensities are worked on at once: their pixels stay within a core's own cache.
_BATCH = 128


def measure(
    rgb: NDArray[np.uint8], stains: Stains, masks: Masks
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Measure nuclei of a tile (H, W, 3) at the working resolution.

    Returns
    -------
    tuple
        Measurements (N, ``len(MEASUREMENT_UNITS)``), and for each nucleus its outline (K, 2) in pixels of the tile.
    """
    stack = masks.pixels
    if not len(stack):
        return np.empty((0, len(MEASUREMENT_UNITS)), np.float32), []
    counts = np.count_nonzero(stack, axis=(1, 2))
    _, height, width = stack.shape
    owner = np.repeat(np.arange(len(stack)), counts)
    y, x = np.divmod(np.flatnonzero(stack) - owner * (height * width), width)
    shapes = shapes_of(stack)
    shape = _shape_columns(shapes, counts, _aspect(x, y, counts))
    first = (masks.top - 1) * rgb.shape[1] + masks.left - 1
    place = y * rgb.shape[1] + x + np.repeat(first, counts)
    pixels = np.take(rgb.reshape(-1, 3), place, axis=0)
    columns = np.column_stack([shape, _intensities(pixels, stains, counts, shape[:, 0])])
    corners = np.column_stack([masks.left, masks.top]).astype(np.float64)
    return columns.astype(np.float32), drawn_outlines(shapes.outlines, corners)


def _shape_columns(shapes: Shapes, counts: NDArray[np.intp], aspect: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of :data:`SHAPE_UNITS`."""
    return np.column_stack(
        [
            counts * WORKING_MPP**2,
            shapes.perimeter * WORKING_MPP,
            np.minimum(1.0, 4 * np.pi * counts / shapes.perimeter**2),
            aspect,
            1 / aspect,
            counts / shapes.convex_area,
            shapes.feret * WORKING_MPP,
            shapes.min_feret * WORKING_MPP,
        ]
    )


def _aspect(x: NDArray[np.int64], y: NDArray[np.int64], counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Major over minor axis of the ellipse with the same second moments (ImageJ's ``EllipseFitter``)."""
    starts = np.cumsum(counts) - counts

    def spread(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
        product, one, other = (np.add.reduceat(values, starts) for values in (first * second, first, second))
        return np.asarray((counts * product - one * other) / counts**2, np.float64)

    # A pixel is a square, not a point: 1/12 is its own second moment.
    xx, yy, xy = spread(x, x) + 1 / 12, spread(y, y) + 1 / 12, spread(x, y)
    half, turn = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.asarray(np.sqrt((half + turn) / np.maximum(half - turn, 1 / 12)), np.float64)


def _intensities(
    pixels: NDArray[np.uint8], stains: Stains, counts: NDArray[np.intp], area_um2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Columns of :data:`STATISTICS` for each of :data:`CHANNEL_UNITS`."""
    result = np.empty((len(counts), len(CHANNEL_UNITS) * len(STATISTICS)))
    ends = np.cumsum(counts)
    for first in range(0, len(counts), _BATCH):
        own = slice(first, first + _BATCH)
        part = pixels[ends[first] - counts[first] : ends[own][-1]]
        stain = stain_amounts(optical_density(part, stains.background_rgb), stains)
        for number, plane in enumerate((*stain.T, *np.ascontiguousarray(part.T))):
            columns = slice(number * len(STATISTICS), (number + 1) * len(STATISTICS))
            result[own, columns] = statistics(plane, counts[own], area_um2[own])
    return result


def statistics(
    pixels: NDArray[np.float32] | NDArray[np.uint8],
    counts: NDArray[np.intp],
    area_um2: NDArray[np.float64],
) -> NDArray[np.float64]:
    """ImageJ's statistics (N, 8), in the order of :data:`STATISTICS`, of N groups of values that follow one another.

    StdDev has n - 1 in its denominator; Skew and Kurt (excess) use n, as in ImageJ's ``FloatStatistics``. A group
    without any spread has Skew and Kurt 0. Of an even number of values the median is the mean of the middle two, but
    the upper one of them where the values are whole, since ImageJ takes it from the histogram then.
    """
    values = pixels.astype(np.float64)
    starts = np.cumsum(counts) - counts
    mean = np.add.reduceat(values, starts) / counts
    centred = values - np.repeat(mean, counts)
    square = centred * centred
    moments = (square, square * centred, square * square)
    second, third, fourth = (np.add.reduceat(moment, starts) / counts for moment in moments)
    places = np.stack([starts, starts + counts - 1, starts + (counts - 1) // 2, starts + counts // 2])
    low, high, lower, upper = _ordered(pixels, counts, places).astype(np.float64)
    median = upper if pixels.dtype == np.uint8 else (lower + upper) / 2
    spread = np.sqrt(second * counts / np.maximum(counts - 1, 1))
    # A mean may miss equal values by the last bit: the spread is then noise, not zero.
    safe = np.where(high > low, second, 1.0)
    skew = np.where(high > low, third / safe**1.5, 0.0)
    kurt = np.where(high > low, fourth / safe**2 - 3.0, 0.0)
    return np.column_stack([mean, spread, low, high, median, skew, kurt, mean * area_um2])


def _ordered(
    values: NDArray[np.float32] | NDArray[np.uint8], counts: NDArray[np.intp], places: NDArray[np.intp]
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """What stands at some places where the values are sorted within each group.

    One sort of whole numbers, of which the group is the higher part.
    """
    if values.dtype == np.uint8:
        whole = np.uint16 if len(counts) <= 1 << 8 else np.uint32
        group = np.repeat(np.arange(0, len(counts) << 8, 1 << 8).astype(whole), counts)
        return np.sort(group | values)[places].astype(np.uint8)
    group = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    bits = _in_order(np.ascontiguousarray(values, np.float32).view(np.int32))
    joined = np.sort((group << 32) + (bits.astype(np.int64) + 2**31))[places]
    return _in_order(((joined & 0xFFFFFFFF) - 2**31).astype(np.int32)).view(np.float32)


def _in_order(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Bits of floats as whole numbers in the order of the floats, negative ones turned round; and back again."""
    return np.asarray(bits ^ ((bits >> 31) & 0x7FFFFFFF), np.int32)
