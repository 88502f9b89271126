"""How large the nuclei of a slide are, all of them and without finding any one: a check of the pixel size.

Everything denser in red light than what surrounds it is nuclear, with haematoxylin as with DAB; eosin lets red pass.
How thick these patches are is measured as a sieve would: the area that is left when discs of growing radius are moved
about in them. Touching nuclei do not matter much, since the disc must fit, and neither do their classes: lymphocytes
and stroma are sieved with the tumour, so that large nuclei of a high grade are no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.domain import Check, Verdict

FINEST_MPP, COARSEST_MPP = 0.25, 1.0
"""Pixel sizes in µm that nuclei are sieved at: finer tells no more, coarser they are too few pixels wide."""

KI67_RADIUS_UM, HE_RADIUS_UM = (2.75, 5.3), (2.6, 4.5)
"""2.8 to 5.25 on 30 Ki-67 fields and slides at hand, 2.8 to 4.0 on five of H&E (``benchmarks/nuclear_size.py``); the
fields of one set, whose pixel size is an estimate that may be a third too small, have 1.9 to 2.7. At half the right
pixel size 1.6 to 3.1 and 1.7 to 2.5; at twice it 5.1 to 9.7 and 4.0 to 6.9."""

# Radii of the sieve: 15 % apart, from what is no longer grain to twice the largest nuclei.
_FIRST_UM, _STEP, _STEPS = 0.8, 1.15, 20
_RADII_UM = _FIRST_UM * _STEP ** np.arange(_STEPS)
_SHARE = 0.7
"""Of the nuclear area, what the radius leaves below it: half would be ruled by fibres and by nuclei at the edge."""
# Red light: the lightest few percent are unstained; beyond 0.9 OD black is black.
_LIGHTEST_PERCENTILE, _DARKEST, _LARGEST_OD = 97.0, 60.0, 0.9
_GRAIN_UM, _SURROUNDINGS_UM = 0.4, 15.0
_LEAST_CONTRAST = 0.03
_HOLE_UM2 = 6.0
_BINS = 128
_LEAST_AREA_UM2 = 400.0
"""Nuclear area, of some ten nuclei, below which nothing is said."""


def nuclear_radius_um(blocks: Sequence[NDArray[np.uint8]], mpp: float) -> float | None:
    """Radius in µm that three tenths of the nuclear area exceed.

    Parameters
    ----------
    blocks
        Sampled tissue, (H, W, 3) each, at ``mpp``.
    mpp
        µm per pixel, at most :data:`COARSEST_MPP`.

    Returns
    -------
    float or None
        None where there is too little nuclear area.
    """
    light = np.percentile(np.concatenate([block[..., 0].ravel() for block in blocks]), _LIGHTEST_PERCENTILE)
    contrasts = [_contrast(block, max(float(light), _DARKEST), mpp) for block in blocks]
    threshold = max(_two_classes(np.concatenate([contrast.ravel() for contrast in contrasts])), _LEAST_CONTRAST)
    left_px = np.sum([_sieved(contrast > threshold, mpp) for contrast in contrasts], axis=0)
    if left_px[0] * mpp**2 < _LEAST_AREA_UM2:
        return None
    lost = np.maximum.accumulate(1.0 - left_px / left_px[0])
    return float(np.interp(_SHARE, lost, _RADII_UM))


def judge_nuclear_size(
    blocks: Sequence[NDArray[np.uint8]], mpp: float, slide_mpp: float, name: str, usual_um: tuple[float, float]
) -> Check:
    """Judge whether nuclei have a usual size, and so whether the slide's pixel size can be right.

    Parameters
    ----------
    blocks, mpp
        As in :func:`nuclear_radius_um`.
    slide_mpp
        The slide's pixel size in µm at level 0, as it is believed.
    name, usual_um
        The check's name, and the usual radii of that stain.
    """
    if mpp > COARSEST_MPP:
        text = f"not measured: nuclei cannot be seen at {mpp:.3g} µm per pixel"
        return Check(name, Verdict.usual, text, None, usual_um, "µm")
    radius = nuclear_radius_um(blocks, mpp)
    if radius is None:
        return Check(name, Verdict.usual, "not measured: too few nuclei", None, usual_um, "µm")
    low, high = usual_um
    if low <= radius <= high:
        return Check(name, Verdict.usual, "", radius, usual_um, "µm")
    size = "small" if radius < low else "large"
    text = (
        f"nuclei are unusually {size} (typical radius {radius:.1f} µm, usual {low:.1f} to {high:.1f}): with usual "
        f"ones a pixel would be about {slide_mpp * (low + high) / 2 / radius:.2g} µm, not {slide_mpp:.3g}; check the "
        "pixel size, every number rests on it"
    )
    return Check(name, Verdict.unusual, text, radius, usual_um, "µm")


def _contrast(block: NDArray[np.uint8], light: float, mpp: float) -> NDArray[np.float32]:
    """Density of red light above that of the surroundings."""
    red = np.maximum(block[..., 0].astype(np.float32), 1.0)
    density = np.clip(-np.log10(red / light), 0.0, _LARGEST_OD)
    fine = cv2.GaussianBlur(density, (0, 0), _GRAIN_UM / mpp)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), _SURROUNDINGS_UM / mpp), np.float32)


def _two_classes(values: NDArray[np.float32]) -> float:
    """Threshold that parts values into two classes with the largest variance between them (Otsu, IEEE SMC 1979)."""
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    share = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * middles) / counts.sum()
    between = (mean[-1] * share - mean) ** 2 / np.maximum(share * (1 - share), 1e-9)
    return float(middles[int(between.argmax())])


def _sieved(nuclear: NDArray[np.bool_], mpp: float) -> NDArray[np.int64]:
    """Pixels that a disc of each radius covers while it stays within what is nuclear."""
    filled = _without_holes(nuclear.astype(np.uint8), mpp)
    inside = cv2.distanceTransform(np.pad(filled, 1), cv2.DIST_L2, 5)[1:-1, 1:-1] * mpp
    left = np.zeros(len(_RADII_UM), np.int64)
    for index, radius_um in enumerate(_RADII_UM):
        centres = inside >= radius_um
        if not centres.any():
            break
        away = cv2.distanceTransform((~centres).astype(np.uint8), cv2.DIST_L2, 5) * mpp
        left[index] = np.count_nonzero(away < radius_um)
    return left


def _without_holes(nuclear: NDArray[np.uint8], mpp: float) -> NDArray[np.uint8]:
    """Close holes as small as those of pale chromatin."""
    _, labels, facts, _ = cv2.connectedComponentsWithStats(1 - nuclear, connectivity=4)
    small = facts[:, cv2.CC_STAT_AREA] * mpp**2 < _HOLE_UM2
    small[0] = False
    nuclear[small[labels]] = 1
    return nuclear
