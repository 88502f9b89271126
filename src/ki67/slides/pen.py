"""Pen marks on an overview: colours that no stain has, in strokes wider than any nucleus.

Ratios of optical density tell the inks from the stains (vectors of Ruifrok & Johnston 2001, red : green : blue):
haematoxylin 0.65 : 0.70 : 0.29, eosin 0.07 : 0.99 : 0.11, DAB 0.27 : 0.57 : 0.78. Green ink absorbs green least,
which none of them does; red ink absorbs hardly any red and blue as much as green; blue ink absorbs red far more than
green, and strongly; black ink absorbs everything alike.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

STROKE_UM: Final = 40.0  # radius of an opening that pen strokes (0.3 mm and more) survive and nuclei do not
SMALLEST_MARK_UM2: Final = 40_000.0
HALO_UM: Final = 120.0  # the pale rim of a stroke is grown into, so far
MARGIN_UM: Final = 24.0


def pen_marks(density: NDArray[np.float32], mpp: float) -> tuple[Mask, tuple[str, ...]]:
    """Find pen marks.

    Parameters
    ----------
    density
        (H, W, 3) optical density at about 8 µm per pixel.
    mpp
        µm per pixel.

    Returns
    -------
    tuple
        (H, W) bool, and the names of the inks.
    """
    smooth = cv2.GaussianBlur(density, (0, 0), 1.0)
    whole = np.zeros(density.shape[:2], dtype=bool)
    inks = []
    for name, (core, rim) in _candidates(smooth).items():
        mark = _strokes(core, rim, mpp)
        if mark.any():
            inks.append(name)
            whole |= mark
    if whole.any():
        whole = _dilated(whole, MARGIN_UM / mpp)
    return whole, tuple(inks)


def _candidates(density: NDArray[np.float32]) -> dict[str, tuple[Mask, Mask]]:
    """For each ink its core and its pale rim."""
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return {
        "green": (
            (red > 0.30) & (green < 0.70 * red) & (green < 0.80 * blue),
            (red > 0.05) & (green < 0.80 * red) & (green < 0.95 * blue),
        ),
        "red": (
            (green > 0.40) & (red < 0.20 * green) & (blue > 0.70 * green) & (blue < 1.6 * green),
            (green > 0.05) & (red < 0.30 * green) & (blue > 0.60 * green),
        ),
        "blue": (
            (red > 0.55) & (green < 0.72 * red) & (blue < 0.50 * red),
            (red > 0.05) & (green < 0.85 * red) & (blue < 0.60 * red),
        ),
        "black": (
            (least > 0.60) & (most - least < 0.20 * most),
            (least > 0.08) & (most - least < 0.30 * most),
        ),
    }


def _strokes(core: Mask, rim: Mask, mpp: float) -> Mask:
    seeds = cv2.morphologyEx(core.astype(np.uint8), cv2.MORPH_OPEN, _disc(STROKE_UM / mpp))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(seeds)
    large = stats[:, cv2.CC_STAT_AREA] * mpp**2 >= SMALLEST_MARK_UM2
    large[0] = False
    if count < 2 or not large.any():
        return np.zeros(core.shape, dtype=bool)
    mark = large[labels]
    reach = _dilated(mark, HALO_UM / mpp) & (rim | core)
    grown, previous = mark, None
    for _ in range(round(HALO_UM / mpp)):
        previous, grown = grown, (_dilated(grown, 1) & reach) | grown
        if grown.sum() == previous.sum():
            break
    return np.asarray(grown, dtype=np.bool_)


def _dilated(mask: Mask, radius_px: float) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius_px)), dtype=np.bool_)


def _disc(radius_px: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
