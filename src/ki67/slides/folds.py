"""Folds on a slide: tissue that lies double, found by what it does to the lightest parts.

In a fold the stain of two layers adds up everywhere, also between the nuclei. A dense hot spot, a follicle or a
strand of tumour is dark on the average but not between its nuclei. So folds are sought in the density's floor: long
bands whose floor is higher than that on both sides. (Bautista & Yagi, J Pathol Inform 2010;1:25 and Kothari et al., J
Pathol Inform 2013;4:22 look at saturation and intensity, which dense tumour raises too.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ki67.geometry import RectUm
from ki67.jobs import Pool
from ki67.light import USUAL_GLASS, optical_density
from ki67.slides.slide import Slide
from ki67.slides.tissue import TissueMask

Mask = NDArray[np.bool_]
Floor = NDArray[np.float32]

FINE_MPP: Final = 2.0
"""Resolution at which gaps between nuclei are still seen; a pyramid's level of 1/16 of the pixels counted in."""

GRID_UM: Final = 8.0
"""Pixel of the mask; the thinnest folds that show are some 20 µm wide."""

_BAND_ROWS: Final = 128  # of the grid, read at a time
_FLOOR_WINDOW_PX: Final = 7  # 14 µm: wider than a nucleus, so that every window sees what lies beside it
_MARGIN_PX: Final = 8
_OFFSET_OD: Final = 0.04  # added before the logarithm: below it differences are noise
_LEAST_FLOOR_OD: Final = 0.08  # what is paler is taken for this: gaps in loose tissue are not what a fold is told by
_TISSUE_OD: Final = 0.06  # mean floor over some 60 µm of tissue; beside fat and glass everything is denser
_TISSUE_PX: Final = 7
_MOST_DIFFERENCE: Final = 0.2
"""Natural logarithm by which the two sides of a fold may differ: they are the same tissue, while a layered epithelium
has stroma on one side and a surface on the other. Of an H&E picture of skin, whose epidermis is no fold, 10 % is
found without this, 4 % with 0.25 and 1 % with 0.2."""

_DIRECTIONS: Final = 12
_LINE_PX: Final = 12  # 96 µm: folds bend little over this length
_LEAST_LENGTH_UM: Final = 300.0
_GROWTH_PX: Final = 1  # what the floor's window takes off a band's sides

_PART_ROWS: Final = 512  # of the grid, searched at a time: memory does not grow with the slide
_SUPPORT_PX: Final = 64
"""Nothing farther away has a say in a pixel: two lines and a half (32), the sides (12), interpolation."""


@dataclass(frozen=True)
class _Scale:
    """How far beside a band its two sides are looked at, and by how much (natural logarithm) it must exceed them.

    A band is what exceeds ``low`` and hangs together with what exceeds ``high``. Two layers give 0.4 to 0.6. Chosen
    on mosaics of real Ki-67 fields of five sets without folds (nothing found) and with drawn folds.
    """

    beside_px: int
    low: float
    high: float


_SCALES: Final = (_Scale(5, 0.18, 0.30), _Scale(12, 0.30, 0.48))  # bands up to 70 and up to 180 µm wide


def find_folds(slide: Slide, tissue: TissueMask) -> Mask:
    """Find folds; they are told by tissue on both sides, so none is found on a small picture.

    Parameters
    ----------
    slide, tissue
        The slide and its tissue.

    Returns
    -------
    NDArray
        (H, W) bool on a grid of :data:`GRID_UM` from the slide's origin.
    """
    bounds = slide.bounds_um
    shape = (int(np.ceil(bounds.height_um / GRID_UM)), int(np.ceil(bounds.width_um / GRID_UM)))
    rows, columns = np.flatnonzero(tissue.mask.any(axis=1)), np.flatnonzero(tissue.mask.any(axis=0))
    folds = np.zeros(shape, np.bool_)
    top, bottom = _span(rows, tissue.mpp, shape[0])
    left, right = _span(columns, tissue.mpp, shape[1])
    glass = tissue.glass or USUAL_GLASS
    with Pool("folds") as pool:
        bands = pool.map(
            lambda row: _floor(slide, glass, (left, right), (row, min(row + _BAND_ROWS, bottom))),
            range(top, bottom, _BAND_ROWS),
        )
        floor = np.concatenate(list(bands))
    folds[top:bottom, left:right] = fold_bands(floor)
    return folds


def _span(found: NDArray[np.intp], mpp: float, count: int) -> tuple[int, int]:
    """First and last cell of the grid (exclusive) that some rows or columns of the tissue mask cover."""
    return int(found[0] * mpp / GRID_UM), min(count, int(np.ceil((found[-1] + 1) * mpp / GRID_UM)))


def _floor(slide: Slide, glass: tuple[float, float, float], columns: tuple[int, int], rows: tuple[int, int]) -> Floor:
    """Floor of the density sum on a part of the grid."""
    margin_um = _MARGIN_PX * FINE_MPP
    left, top, right, bottom = (cell * GRID_UM for cell in (columns[0], rows[0], columns[1], rows[1]))
    pixels = slide.read(RectUm.from_bounds(left, top, right, bottom).expanded(margin_um), FINE_MPP)
    red, green, blue = np.moveaxis(optical_density(pixels, np.asarray(glass)), -1, 0)
    smooth = cv2.GaussianBlur(red + green + blue, (3, 3), 0.5)
    lowest = cv2.erode(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_FLOOR_WINDOW_PX, _FLOOR_WINDOW_PX)))
    step = round(GRID_UM / FINE_MPP)
    inner = lowest[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]
    blocks = inner.reshape(rows[1] - rows[0], step, columns[1] - columns[0], step)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def fold_bands(floor: Floor) -> Mask:
    """Bands whose floor (H, W) of density, on the grid, exceeds that on both sides over a length."""
    height = len(floor)

    def part(first: int) -> list[NDArray[np.float32]]:
        top, last = max(0, first - _SUPPORT_PX), min(first + _PART_ROWS, height)
        found = _evidence(floor[top : last + _SUPPORT_PX])
        return [plane[first - top : last - top] for plane in found]

    with Pool("folds") as pool:
        parts = list(pool.map(part, range(0, height, _PART_ROWS)))
    found = np.zeros(floor.shape, np.bool_)
    for scale, pieces in zip(_SCALES, zip(*parts, strict=True), strict=True):
        found |= _long_bands(np.concatenate(pieces), scale)
    side = 2 * _GROWTH_PX + 1
    return np.asarray(cv2.dilate(found.astype(np.uint8), np.ones((side, side), np.uint8)), np.bool_)


def _evidence(floor: Floor) -> list[NDArray[np.float32]]:
    """For each scale by how much the floor exceeds both sides along a band; needs :data:`_SUPPORT_PX` around."""
    level = np.log(np.maximum(floor, _LEAST_FLOOR_OD) + _OFFSET_OD).astype(np.float32)
    tissue = (cv2.blur(floor, (_TISSUE_PX, _TISSUE_PX)) >= _TISSUE_OD).astype(np.float32)
    angles = [np.pi * number / _DIRECTIONS for number in range(_DIRECTIONS)]
    lines = [cv2.filter2D(level, -1, _line(angle), borderType=cv2.BORDER_REFLECT) for angle in angles]
    return [
        _along(
            [_excess(line, tissue, angle, scale.beside_px) for line, angle in zip(lines, angles, strict=True)], angles
        )
        for scale in _SCALES
    ]


def _line(angle: float) -> NDArray[np.float32]:
    """Kernel that averages along a line, a Gaussian of one pixel across."""
    reach = _LINE_PX // 2 + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * across**2) * np.clip(_LINE_PX / 2 + 0.5 - np.abs(along), 0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _excess(
    line: NDArray[np.float32], tissue: NDArray[np.float32], angle: float, beside_px: int
) -> NDArray[np.float32]:
    """How much a line exceeds the denser of its two sides; 0 where they are not the same tissue."""
    dx, dy = -np.sin(angle) * beside_px, np.cos(angle) * beside_px
    one, other = _moved(line, dx, dy), _moved(line, -dx, -dy)
    same = np.abs(one - other) < _MOST_DIFFERENCE
    same &= np.minimum(_moved(tissue, dx, dy), _moved(tissue, -dx, -dy)) > 0.5
    return np.asarray(np.where(same, line - np.maximum(one, other), 0.0), np.float32)


def _moved(image: NDArray[np.float32], dx: float, dy: float) -> NDArray[np.float32]:
    """Values found at an offset from each pixel."""
    matrix = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _along(excess: list[NDArray[np.float32]], angles: list[float]) -> NDArray[np.float32]:
    """Best excess over directions that also holds on two further lines of a gently bent band.

    The two are the next ahead and behind, or, near a band's end, the next two on one side; each may turn by one
    direction a step and lie a pixel aside.
    """
    count = len(excess)
    wide = [cv2.dilate(values, np.ones((3, 3), np.uint8)) for values in excess]
    turned = [cv2.max(cv2.max(wide[number - 1], wide[number]), wide[(number + 1) % count]) for number in range(count)]
    best = np.full(excess[0].shape, -np.inf, np.float32)
    for number, angle in enumerate(angles):
        dx, dy = np.cos(angle) * _LINE_PX, np.sin(angle) * _LINE_PX
        near, far = turned[number], cv2.max(turned[number - 1], turned[(number + 1) % count])
        ahead, behind = _moved(near, dx, dy), _moved(near, -dx, -dy)
        farther, further_back = _moved(far, 2 * dx, 2 * dy), _moved(far, -2 * dx, -2 * dy)
        ends = cv2.max(cv2.min(ahead, farther), cv2.min(behind, further_back))
        support = cv2.max(cv2.min(ahead, behind), ends)
        best = cv2.max(best, cv2.min(excess[number], support))
    return best


def _long_bands(excess: NDArray[np.float32], scale: _Scale) -> Mask:
    pieces, count = ndimage.label(excess > scale.low, np.ones((3, 3)))
    kept = np.zeros(count + 1, np.bool_)
    for number, place in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[place] == number
        if excess[place][own].max() < scale.high:
            continue
        _, sides, _ = cv2.minAreaRect(cv2.findNonZero(own.astype(np.uint8)))
        kept[number] = (max(sides) + 1) * GRID_UM >= _LEAST_LENGTH_UM
    return np.asarray(kept[pieces], np.bool_)
