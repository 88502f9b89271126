"""The outline of a nucleus whose centre is known: pixels nearer to it than to any other, and dense like it.

The level is nearly half way between the surroundings and the nucleus, as a width at half maximum; neighbours that
touch are parted where their centres are equally far.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ki67.cells.channels import WORKING_MPP
from ki67.cells.masks import Masks, stacked

REACH_UM = 9.0
"""No nucleus reaches farther from its centre: those of a grade 3 carcinoma are some 9 to 14 µm across."""

LEAST_RADIUS_UM = 1.5
"""What lies this near to the centre is nucleus in any case: half the radius of a lymphocyte."""

STEPS_PER_PX = 1024
"""Centres are kept in such steps, so that they are equal to the last bit in every tile."""

_REACH_PX = round(REACH_UM / WORKING_MPP)
# A nucleus's window has an edge of one pixel that no nucleus reaches.
_MIDDLE = _REACH_PX + 1
_WINDOW = 2 * _MIDDLE + 1
_INNER = slice(1, -1)
_EDGE = np.ones((_WINDOW, _WINDOW), np.bool_)
_EDGE[_INNER, _INNER] = False
_BEYOND = np.uint16(2**16 - 1)  # denser than anything: where pixels are sorted it comes last
_LEAST_RADIUS_PX = LEAST_RADIUS_UM / WORKING_MPP
_NEAR = slice(_MIDDLE - int(_LEAST_RADIUS_PX + 1), _MIDDLE + int(_LEAST_RADIUS_PX + 1) + 1)
# The surroundings' density: so much of the window is darker, since in a dense nest most of it is nuclei.
_BACKGROUND_PERCENTILE = 15.0
_HALF_WAY = 0.45
# Nuclei worked on at once: their windows stay within a core's own cache.
_BATCH = 128


def segment(
    density: NDArray[np.uint16],
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
    wanted: NDArray[np.intp],
) -> Masks:
    """Masks of some of the nuclei of a tile.

    Parameters
    ----------
    density
        Smoothed sum of the optical densities (H, W), :data:`~ki67.cells.channels.DENSITY_SCALE` per unit.
    x_px, y_px
        Centres of all nuclei, (N,), on the grid of :data:`STEPS_PER_PX`.
    wanted
        Those whose masks are asked for, indices into the centres.
    """
    if len(wanted) == 0:
        return stacked([])
    # Nothing farther away has a say in the wanted ones' windows: no centre beyond twice the reach is nearest in them.
    left, right = _around(x_px[wanted], density.shape[1])
    top, bottom = _around(y_px[wanted], density.shape[0])
    there = (x_px >= left) & (x_px <= right) & (y_px >= top) & (y_px <= bottom)
    part = density[top:bottom, left:right]
    owner = _nearest(part.shape, x_px[there] - left, y_px[there] - top)
    density_around, owner_around = (
        cv2.copyMakeBorder(plane, _MIDDLE, _MIDDLE, _MIDDLE, _MIDDLE, cv2.BORDER_CONSTANT, value=int(beyond))
        for plane, beyond in ((part, _BEYOND), (owner, 0))
    )
    maps = _Maps(np.asarray(density_around, np.uint16), np.asarray(owner_around, np.int32))
    x, y = x_px[wanted] - left, y_px[wanted] - top
    column, row = np.minimum(x.astype(int), part.shape[1] - 1), np.minimum(y.astype(int), part.shape[0] - 1)
    masks = np.empty((len(wanted), _WINDOW, _WINDOW), np.bool_)
    for first in range(0, len(wanted), _BATCH):
        own = slice(first, first + _BATCH)
        masks[own] = _masks(maps, _Axis(column[own], x[own]), _Axis(row[own], y[own]))
    return Masks(masks, column - _REACH_PX + left, row - _REACH_PX + top)


def _around(centres: NDArray[np.float64], side: int) -> tuple[int, int]:
    """First pixel of a side around some centres, and the one after the last."""
    margin = 2 * _REACH_PX + 1
    return max(0, int(centres.min()) - margin), min(side, int(centres.max()) + margin + 1)


def _nearest(shape: tuple[int, ...], x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.int32]:
    """For each pixel the number, from 1, of the nearest centre; centres in the same pixel share a number."""
    seeds = np.ones(shape, np.uint8)
    height, width = shape
    seeds[np.clip(y_px.astype(int), 0, height - 1), np.clip(x_px.astype(int), 0, width - 1)] = 0
    _, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    return np.asarray(owner, np.int32)


@dataclass(frozen=True)
class _Maps:
    """Density and owner of each pixel; around the tile a window's half of the highest density, owned by none (0)."""

    density: NDArray[np.uint16]
    owner: NDArray[np.int32]


@dataclass(frozen=True)
class _Axis:
    """The middle pixels of some windows along one axis, and the centres of their nuclei."""

    middle: NDArray[np.intp]
    centre: NDArray[np.float64]

    @property
    def squares(self) -> NDArray[np.int32]:
        """Squared distance, (N, W), of each pixel of a window from the centre; in steps, hence exact."""
        first = np.round((self.middle + 0.5 - self.centre) * STEPS_PER_PX).astype(np.int32)
        away = first[:, None] + np.arange(-_MIDDLE, _MIDDLE + 1, dtype=np.int32) * STEPS_PER_PX
        return np.asarray(away * away)

    def inside(self, side: int) -> NDArray[np.intp]:
        """How many pixels of each window, its edge left out, lie on a tile so long."""
        return np.asarray(np.minimum(self.middle + _MIDDLE, side) - np.maximum(self.middle - _REACH_PX, 0))


def _masks(maps: _Maps, across: _Axis, down: _Axis) -> NDArray[np.bool_]:
    """Masks of some nuclei at once: one window (``_WINDOW`` px wide) for each, centre in the middle."""
    density = sliding_window_view(maps.density, (_WINDOW, _WINDOW))[down.middle, across.middle]
    owner = sliding_window_view(maps.owner, (_WINDOW, _WINDOW))[down.middle, across.middle]
    height, width = (side - 2 * _MIDDLE for side in maps.owner.shape)
    squared = down.squares[:, :, None] + across.squares[:, None, :]
    core = squared <= int((_LEAST_RADIUS_PX * STEPS_PER_PX) ** 2)
    there = core[:, _NEAR, _NEAR] & (owner[:, _NEAR, _NEAR] > 0)
    level = _half_way(density, there, down.inside(height) * across.inside(width))
    own = (owner == owner[:, _MIDDLE, _MIDDLE, None, None]) & (squared <= (_REACH_PX * STEPS_PER_PX) ** 2)
    core &= own
    dense = _opened(((density >= level[:, None, None]) & own) | core, (owner == 0) | _EDGE) | core
    dense[:, _MIDDLE, _MIDDLE] = True
    return _filled(_middle_part(dense))


def _half_way(density: NDArray[np.uint16], core: NDArray[np.bool_], inside: NDArray[np.intp]) -> NDArray[np.uint16]:
    """Density at each nucleus's border, (N,), from windows (N, W, W) of which so many pixels lie on the tile."""
    nucleus = _percentile(
        np.where(core, density[:, _NEAR, _NEAR], _BEYOND), np.count_nonzero(core, axis=(1, 2)), 50.0
    )
    outside = _percentile(density[:, _INNER, _INNER], inside, _BACKGROUND_PERCENTILE)
    return np.ceil((outside + _HALF_WAY * (nucleus - outside)).astype(np.float32)).astype(np.uint16)


def _percentile(windows: NDArray[np.uint16], count: NDArray[np.intp], percent: float) -> NDArray[np.float64]:
    """Percentile, between neighbours linear, of so many of the lowest pixels of each window (N, H, W)."""
    ordered = np.sort(windows.reshape(len(windows), -1), axis=1)
    last, number = count - 1, np.arange(len(windows))
    place = last * (percent / 100.0)
    below = place.astype(np.intp)
    low, high = (ordered[number, at].astype(np.float64) for at in (below, np.minimum(below + 1, last)))
    # Rounded to single precision, as measurements are.
    return np.asarray(low + (high - low) * (place - below), np.float32).astype(np.float64)


def _opened(masks: NDArray[np.bool_], beyond: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Opening of each mask (N, W, W) by a cross of five pixels; what lies beyond does not erode."""
    eroded = _over_cross(np.bitwise_and, masks | beyond) & ~beyond
    return _over_cross(np.bitwise_or, eroded) & ~beyond


def _over_cross(join: np.ufunc, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each pixel of masks (N, W, W) joined with its four neighbours; not to be relied on along the edges."""
    flat, joined = masks.ravel(), masks.copy()
    inner = joined.ravel()[_WINDOW:-_WINDOW]
    for step in (-_WINDOW, -1, 1, _WINDOW):
        join(inner, flat[_WINDOW + step : len(flat) - _WINDOW + step], out=inner)
    return joined


def _middle_part(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The 4-connected part of each mask (N, W, W) in which the middle of the window lies."""
    _, numbers = cv2.connectedComponents(masks.view(np.uint8).reshape(-1, _WINDOW), connectivity=4)
    numbers = np.asarray(numbers).reshape(masks.shape)
    return np.asarray(numbers == numbers[:, _MIDDLE, _MIDDLE, None, None])


def _filled(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without holes: what is not reached from the empty edges, which hang together, belongs to the nucleus."""
    picture = masks.view(np.uint8).reshape(-1, _WINDOW)
    cv2.floodFill(picture, None, (0, 0), 2, flags=4)
    return np.asarray(picture != 2).reshape(masks.shape)
