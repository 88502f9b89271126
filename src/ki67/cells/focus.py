"""Where a slide is out of focus, judged on the pixels the nuclei are counted in.

A blur takes the fine detail first: the Laplacian of the density falls faster than its gradient. Their ratio depends
on how sharp the edges are and hardly on how strong, so pale and dark nuclei are judged alike. Both are summed over
cells of a fixed grid as whole numbers, so that the verdict does not depend on how the slide is tiled.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import DENSITY_SCALE, GRAIN_REACH_PX, WORKING_MPP, Map, TilePixels
from ki67.cells.sampling import Sample
from ki67.cells.stains import Stains
from ki67.cells.tiling import GRID_PX

CELL_UM: Final = GRID_PX * WORKING_MPP
"""Side of a cell of the grid: 8 µm, about a nucleus. Tiles begin and end on it."""

WINDOW_CELLS: Final = 7
"""Side of the window that is judged as a whole: 56 µm, wide enough for a dozen nuclei of tumour."""

_AGREEING = 3
"""Windows in a square of so many must all be out of focus: 72 µm together, so that no single soft nucleus decides."""

# Derivatives are taken at every second pixel, which is what the smoothing leaves room for, from the pixels beside it.
_STRIDE_PX = 2
_DIFFERENCE_PX = 2.0
_CELL_STEPS = GRID_PX // _STRIDE_PX

REACH_PX: Final = (WINDOW_CELLS + _AGREEING - 2) * GRID_PX + GRAIN_REACH_PX + 1
"""A cell's verdict depends on pixels up to this far away: all windows of a square of which one holds it, smoothing,
and the derivative."""

_LEAST_EDGE_OD: Final = 0.004
"""Root mean square gradient (OD per pixel) below which a window holds nothing that could be sharp: fat, lumen, empty
stroma. About the palest hundredth of the windows of 51 Ki-67 fields lies below it."""

_SHARPNESS_LIMIT: Final = 0.28
"""Sharpness below which a window is out of focus on any slide. The softest window has 0.50 in BCData, 0.49 in
DeepLIIF, 0.45 in glioma, 0.38 on the NanoZoomer field. SHIDC's pictures are softer throughout; 0.4 % of its area, the
corner of one field, lies below. After a blur of 2 µm (sigma) and a camera's noise 82 to 99 % of all five sets do."""

_RELATIVE_LIMIT: Final = 0.54
"""... and this share of the slide's own sharpness, which tells a blur of 1.5 µm beside sharp parts on about nine
tenths of the same fields' area; at 0.6 fields in focus begin to lose area."""

_REFERENCE_PERCENTILE: Final = 75.0
"""A slide's own sharpness is that of its better parts: a patch out of focus must not lower what is expected."""


def sharpness(smooth: Map, left_out: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Sharpness of the window around each cell of the grid, NaN where there is nothing to judge by.

    Parameters
    ----------
    smooth
        Smoothed density (H, W) of a tile (:class:`~ki67.cells.channels.TilePixels`), whose first pixel is the first
        of a cell.
    left_out
        (rows, columns) of the cells by which nothing is judged, such as those under pen, whose edge is soft.

    Returns
    -------
    NDArray
        (rows, columns) of the cells, those cut by the lower and right edge included: root of the Laplacian's over the
        gradient's energy, per pixel.
    """
    padded = cv2.copyMakeBorder(smooth, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    height, width = smooth.shape
    middle, up, down, left, right = (
        padded[row : row + height : _STRIDE_PX, column : column + width : _STRIDE_PX].astype(np.int32)
        for row, column in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    )
    gradient = _window_sums(_squared(right - left) + _squared(down - up), left_out) / _DIFFERENCE_PX**2
    detail = _window_sums(_squared(up + down + left + right - 4 * middle), left_out)
    pixels = _window_sums(np.ones(middle.shape), left_out)
    enough = gradient >= pixels * (_LEAST_EDGE_OD * DENSITY_SCALE) ** 2
    enough &= pixels >= (WINDOW_CELLS * _CELL_STEPS) ** 2 / 2
    return np.where(enough, np.sqrt(detail / np.maximum(gradient, 1.0)), np.nan)


def _squared(values: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.square(values, dtype=np.float64)


def _window_sums(values: NDArray[np.float64], left_out: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Sums over the window around each cell; whole numbers far below 2 ** 53, hence exact in any order."""
    rest = [(0, -side % _CELL_STEPS) for side in values.shape]
    filled = np.pad(values, rest) if any(after for _, after in rest) else values
    # Rows first: along them NumPy adds many at once.
    strips = filled.reshape(-1, _CELL_STEPS, filled.shape[1]).sum(axis=1)
    cells = strips.reshape(len(strips), -1, _CELL_STEPS).sum(axis=2)
    if left_out is not None:
        cells[left_out] = 0.0
    window = (WINDOW_CELLS, WINDOW_CELLS)
    return np.asarray(cv2.boxFilter(cells, cv2.CV_64F, window, normalize=False, borderType=cv2.BORDER_CONSTANT))


def out_of_focus(sharp: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Cells that lie in a window of any square of windows that are all below the limit: it is lost as a whole."""
    below = (np.nan_to_num(sharp, nan=np.inf) < limit).astype(np.uint8)
    # OpenCV takes what lies beyond the edge for neutral in both steps: there a square is only what there is of it.
    agreed = cv2.erode(below, np.ones((_AGREEING, _AGREEING), np.uint8))
    side = WINDOW_CELLS + _AGREEING - 1
    return np.asarray(cv2.dilate(agreed, np.ones((side, side), np.uint8)), np.bool_)


def focus_limit(sample: Sample, stains: Stains) -> float:
    """Sharpness below which a window of this slide is out of focus, from sampled blocks."""
    values = np.concatenate([_inner(sharpness(TilePixels(block, stains).smooth_density)) for block in sample.blocks])
    values = values[np.isfinite(values)]
    own = float(np.percentile(values, _REFERENCE_PERCENTILE)) if len(values) else 0.0
    return max(_SHARPNESS_LIMIT, _RELATIVE_LIMIT * own)


def _inner(sharp: NDArray[np.float64]) -> NDArray[np.float64]:
    """Windows that lie within the block, or all where it is smaller than a window."""
    half = WINDOW_CELLS // 2
    inner = sharp[half:-half, half:-half]
    return (inner if inner.size else sharp).ravel()
