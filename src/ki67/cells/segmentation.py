"""The outline of a nucleus whose centre is known: pixels nearer to it than to any other, and dense like it.

The level is nearly half way between the surroundings and the nucleus, as a width at half maximum; neighbours that
touch are parted where their centres are equally far.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.cells.channels import DENSITY_SCALE, WORKING_MPP
from ki67.cells.masks import Mask

REACH_UM = 9.0
"""No nucleus reaches farther from its centre: those of a grade 3 carcinoma are some 9 to 14 µm across."""

LEAST_RADIUS_UM = 1.5
"""What lies this near to the centre is nucleus in any case: half the radius of a lymphocyte."""

_REACH_PX = round(REACH_UM / WORKING_MPP)
_LEAST_RADIUS_PX = LEAST_RADIUS_UM / WORKING_MPP
# The surroundings' density: so much of the window is darker, since in a dense nest most of it is nuclei.
_BACKGROUND_PERCENTILE = 15.0
_HALF_WAY = 0.45
_SMOOTHING_PX, _SMOOTHING_SIZE = 1.0, 7
_OPENING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


def segment(
    density: NDArray[np.uint16],
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
    wanted: NDArray[np.intp],
) -> list[Mask]:
    """Masks of some of the nuclei of a tile.

    Parameters
    ----------
    density
        Sum of the optical densities (H, W), :data:`~ki67.cells.channels.DENSITY_SCALE` per unit.
    x_px, y_px
        Centres of all nuclei, (N,).
    wanted
        Those whose masks are asked for, indices into the centres.
    """
    if len(wanted) == 0:
        return []
    smooth = cv2.GaussianBlur(density, (_SMOOTHING_SIZE, _SMOOTHING_SIZE), _SMOOTHING_PX)
    smooth = smooth.astype(np.float32) / DENSITY_SCALE
    owner = _nearest(density.shape, x_px, y_px)
    return [_mask(smooth, owner, x_px[index], y_px[index], _pixel(owner, x_px, y_px, index)) for index in wanted]


def _nearest(shape: tuple[int, ...], x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.int32]:
    """For each pixel the number of the nearest centre; centres in the same pixel share a number."""
    seeds = np.ones(shape, np.uint8)
    height, width = shape
    seeds[np.clip(y_px.astype(int), 0, height - 1), np.clip(x_px.astype(int), 0, width - 1)] = 0
    _, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    return np.asarray(owner, np.int32)


def _pixel(owner: NDArray[np.int32], x_px: NDArray[np.float64], y_px: NDArray[np.float64], index: int) -> int:
    height, width = owner.shape
    return int(owner[min(int(y_px[index]), height - 1), min(int(x_px[index]), width - 1)])


def _mask(density: NDArray[np.float32], owner: NDArray[np.int32], x: float, y: float, own: int) -> Mask:
    height, width = density.shape
    column, row = min(int(x), width - 1), min(int(y), height - 1)
    left, top = max(0, column - _REACH_PX), max(0, row - _REACH_PX)
    right, bottom = min(width, column + _REACH_PX + 1), min(height, row + _REACH_PX + 1)
    window = density[top:bottom, left:right]
    distance = np.hypot(np.arange(top, bottom)[:, None] + 0.5 - y, np.arange(left, right)[None] + 0.5 - x)
    core = distance <= _LEAST_RADIUS_PX
    inside = float(np.median(window[core])) if core.any() else float(density[row, column])
    outside = float(np.percentile(window, _BACKGROUND_PERCENTILE))
    level = outside + _HALF_WAY * (inside - outside)
    own_part = (owner[top:bottom, left:right] == own) & (distance <= _REACH_PX)
    dense = (((window >= level) | core) & own_part).astype(np.uint8)
    dense = cv2.morphologyEx(dense, cv2.MORPH_OPEN, _OPENING) | (core & own_part).astype(np.uint8)
    dense[row - top, column - left] = 1
    _, parts = cv2.connectedComponents(dense, connectivity=4)
    nucleus = _filled(parts == parts[row - top, column - left])
    rows, columns = np.flatnonzero(nucleus.any(axis=1)), np.flatnonzero(nucleus.any(axis=0))
    box = nucleus[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Mask(box, left + int(columns[0]), top + int(rows[0]))


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without holes: what is not reached from outside belongs to the nucleus."""
    ground = np.pad(mask, 1).astype(np.uint8)
    cv2.floodFill(ground, None, (0, 0), 2)
    return np.asarray(ground[1:-1, 1:-1] != 2)
