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
from ki67.cells.masks import Mask

REACH_UM = 9.0
"""No nucleus reaches farther from its centre: those of a grade 3 carcinoma are some 9 to 14 µm across."""

LEAST_RADIUS_UM = 1.5
"""What lies this near to the centre is nucleus in any case: half the radius of a lymphocyte."""

STEPS_PER_PX = 1024
"""Centres are kept in such steps, so that they are equal to the last bit in every tile."""

_REACH_PX = round(REACH_UM / WORKING_MPP)
_WINDOW = 2 * _REACH_PX + 1
_LEAST_RADIUS_PX = LEAST_RADIUS_UM / WORKING_MPP
_CORE_REACH_PX = int(_LEAST_RADIUS_PX + 1)
# The surroundings' density: so much of the window is darker, since in a dense nest most of it is nuclei.
_BACKGROUND_PERCENTILE = 15.0
_HALF_WAY = 0.45
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# Nuclei worked on at once: their windows stay within a core's own cache.
_BATCH = 128


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
        Smoothed sum of the optical densities (H, W), :data:`~ki67.cells.channels.DENSITY_SCALE` per unit.
    x_px, y_px
        Centres of all nuclei, (N,), on the grid of :data:`STEPS_PER_PX`.
    wanted
        Those whose masks are asked for, indices into the centres.
    """
    if len(wanted) == 0:
        return []
    # Nothing farther away has a say in the wanted ones' windows: no centre beyond twice the reach is nearest in them.
    left, right = _around(x_px[wanted], density.shape[1])
    top, bottom = _around(y_px[wanted], density.shape[0])
    there = (x_px >= left) & (x_px <= right) & (y_px >= top) & (y_px <= bottom)
    part = density[top:bottom, left:right]
    owner = _nearest(part.shape, x_px[there] - left, y_px[there] - top)
    density_around, owner_around = (
        cv2.copyMakeBorder(plane, _REACH_PX, _REACH_PX, _REACH_PX, _REACH_PX, cv2.BORDER_CONSTANT, value=0)
        for plane in (part, owner)
    )
    maps = _Maps(np.asarray(density_around, np.uint16), np.asarray(owner_around, np.int32))
    masks = []
    for first in range(0, len(wanted), _BATCH):
        batch = wanted[first : first + _BATCH]
        masks += _masks(maps, x_px[batch] - left, y_px[batch] - top)
    return [Mask(mask.pixels, mask.left + left, mask.top + top) for mask in masks]


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
    """Density and owner of each pixel, with a margin as wide as a nucleus may reach, owned by none (0)."""

    density: NDArray[np.uint16]
    owner: NDArray[np.int32]


def _masks(maps: _Maps, x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Mask]:
    """Masks of some nuclei at once: one window (``_WINDOW`` px wide) for each, centre in the middle."""
    height, width = (side - 2 * _REACH_PX for side in maps.owner.shape)
    column, row = np.minimum(x.astype(int), width - 1), np.minimum(y.astype(int), height - 1)
    density, owner = (
        sliding_window_view(plane, (_WINDOW, _WINDOW))[row, column] for plane in (maps.density, maps.owner)
    )
    across, down = _squares(column, x), _squares(row, y)
    squared = down[:, :, None] + across[:, None, :]
    inside = owner > 0
    core = (squared <= int((_LEAST_RADIUS_PX * STEPS_PER_PX) ** 2)) & inside
    level = _half_way(density, core, inside)
    own = (owner == owner[:, _REACH_PX, _REACH_PX, None, None]) & (squared <= (_REACH_PX * STEPS_PER_PX) ** 2)
    dense = _opened(((density >= level[:, None, None]) | core) & own, inside) | (core & own)
    dense[:, _REACH_PX, _REACH_PX] = True
    return _cut(_filled(_middle_part(dense)), column - _REACH_PX, row - _REACH_PX)


def _squares(middle: NDArray[np.intp], centre: NDArray[np.float64]) -> NDArray[np.int32]:
    """Squared distance along one axis, (N, W), of each pixel of a window from the centre; in steps, hence exact."""
    first = np.round((middle + 0.5 - centre) * STEPS_PER_PX).astype(np.int32)
    away = first[:, None] + np.arange(-_REACH_PX, _REACH_PX + 1, dtype=np.int32) * STEPS_PER_PX
    return np.asarray(away * away)


def _half_way(density: NDArray[np.uint16], core: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Density at each nucleus's border, (N,), from windows (N, W, W) of which ``inside`` lies on the tile."""
    near = slice(_REACH_PX - _CORE_REACH_PX, _REACH_PX + _CORE_REACH_PX + 1)
    nucleus = _percentile(density[:, near, near], core[:, near, near], 50.0)
    outside = _percentile(density, inside, _BACKGROUND_PERCENTILE)
    return np.ceil((outside + _HALF_WAY * (nucleus - outside)).astype(np.float32)).astype(np.uint16)


def _percentile(windows: NDArray[np.uint16], members: NDArray[np.bool_], percent: float) -> NDArray[np.float64]:
    """Percentile, between neighbours linear, of those pixels of each window (N, H, W) that are members."""
    ordered = np.sort(np.where(members, windows, np.uint16(2**16 - 1)).reshape(len(windows), -1), axis=1)
    last, number = np.count_nonzero(members, axis=(1, 2)) - 1, np.arange(len(windows))
    place = last * (percent / 100.0)
    below = place.astype(np.intp)
    low, high = (ordered[number, at].astype(np.float64) for at in (below, np.minimum(below + 1, last)))
    # Rounded to single precision, as measurements are.
    return np.asarray(low + (high - low) * (place - below), np.float32).astype(np.float64)


def _opened(masks: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Opening of each mask (N, W, W) by a cross of five pixels; what lies beyond a window does not erode."""
    picture = _picture(masks | ~inside, beyond=True)
    eroded = cv2.erode(picture, _CROSS).reshape(-1, _WINDOW + 2, _WINDOW + 2)[:, 1:-1, 1:-1]
    grown = cv2.dilate(_picture(eroded.view(np.bool_) & inside, beyond=False), _CROSS)
    return np.asarray(grown.reshape(-1, _WINDOW + 2, _WINDOW + 2)[:, 1:-1, 1:-1].view(np.bool_) & inside)


def _picture(masks: NDArray[np.bool_], *, beyond: bool) -> NDArray[np.uint8]:
    """All masks (N, W, W) in one picture (N * (W + 2), W + 2), with what is beyond around each."""
    picture = np.full((len(masks), _WINDOW + 2, _WINDOW + 2), beyond, np.uint8)
    picture[:, 1:-1, 1:-1] = masks
    return picture.reshape(-1, _WINDOW + 2)


def _parts(masks: NDArray[np.bool_], *, beyond: bool) -> NDArray[np.int32]:
    """Numbers of the 4-connected parts of all masks (N, W, W) and what is beyond them, (N, W + 2, W + 2)."""
    _, numbers = cv2.connectedComponents(_picture(masks, beyond=beyond), connectivity=4)
    return np.asarray(numbers, np.int32).reshape(-1, _WINDOW + 2, _WINDOW + 2)


def _middle_part(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part in which the middle of the window lies."""
    numbers = _parts(masks, beyond=False)[:, 1:-1, 1:-1]
    return np.asarray(numbers == numbers[:, _REACH_PX, _REACH_PX, None, None])


def _filled(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without holes: what is not reached from outside belongs to the nucleus."""
    numbers = _parts(~masks, beyond=True)
    return np.asarray(numbers[:, 1:-1, 1:-1] != numbers[0, 0, 0])


def _cut(masks: NDArray[np.bool_], left: NDArray[np.intp], top: NDArray[np.intp]) -> list[Mask]:
    """Each mask in its bounding box; ``left``, ``top`` are the windows' first pixels."""
    rows, columns = np.asarray(masks.any(axis=2)), np.asarray(masks.any(axis=1))
    top_row, left_column = rows.argmax(axis=1), columns.argmax(axis=1)
    ends = zip(
        top_row.tolist(), (_WINDOW - rows[:, ::-1].argmax(axis=1)).tolist(),
        left_column.tolist(), (_WINDOW - columns[:, ::-1].argmax(axis=1)).tolist(), strict=True,
    )  # fmt: skip
    places = zip((left + left_column).tolist(), (top + top_row).tolist(), strict=True)
    return [
        Mask(mask[r0:r1, c0:c1].copy(), x, y)
        for mask, (r0, r1, c0, c1), (x, y) in zip(masks, ends, places, strict=True)
    ]
