"""Stain separation: background and stain vectors of one slide, and optical densities of its pixels.

Everything here is estimated once per slide, from sampled tissue, and then used for every tile, so that a nucleus
gets the same numbers whichever tile it falls into. Optical density is decadic: ``-log10(I / I0)`` with the slide's
own background ``I0`` (Beer-Lambert; Ruifrok & Johnston, Anal Quant Cytol Histol 23:291, 2001).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.light import REFERENCE_DAB, REFERENCE_EOSIN, REFERENCE_HEMATOXYLIN, optical_density

FloatArray = NDArray[np.float32]

# Below this mean density a pixel's colour is mostly noise (8-bit steps and JPEG); Macenko et al. (ISBI 2009) use
# 0.15 in natural units on the norm, about this in decadic units on the mean.
_STAINED_OD = 0.10
# Above this density a channel is close to black, the ratio of the channels no longer follows Beer-Lambert.
_SATURATED_OD = 0.90
# A stain is estimated from the slide only where enough of it is there: share of the stained pixels, and pixels.
_MINIMUM_SHARE = 0.004
_MINIMUM_PIXELS = 300
# The purest part of a stain's pixels that defines its vector; robust extremes as in Macenko et al. 2009.
_PURE_SHARE = 0.30
# An estimate farther from the reference than this is not that stain (cosine of 25 degrees).
_MAXIMUM_TURN = np.cos(np.deg2rad(25.0))
# Two vectors closer than this cannot be told apart in 8-bit pixels (cosine of 12 degrees).
_MINIMUM_SEPARATION = np.cos(np.deg2rad(12.0))
# The lightest pixels that stand for glass or empty tissue, and the channel value below which there is none of it.
_BACKGROUND_SHARE = 0.03
_DARK_BACKGROUND = 120.0
# The strong end of the brown pixels' DAB is 1.7 times what the median positive nucleus has, on 40 labelled fields;
# from a third of that on a nucleus is brown to the eye. Below 0.15 OD above the ground it may be grey as well.
_BROWN_PIXEL_OD = 0.10
_STRONG_PERCENTILE = 95.0
_BROWN_SHARE = 0.18
_LEAST_BROWN_OD = 0.15
# How strong a stain is told to be: this percentile of the pixels that are mostly of it, where they are more than a
# few. Blue pixels beyond what haematoxylin reaches are black ones, whose colour is noise.
_STRENGTH_PERCENTILE = 90.0
_STRENGTH_SHARE = 0.002
_FAINT_OD, _BLACK_OD = 0.05, 0.8
# Every so many of the sampled pixels are enough for a percentile.
_EVERY = 4


@dataclass(frozen=True, slots=True)
class Stains:
    """Background and stain vectors of one slide.

    ``background_rgb`` is the light that passes where nothing is stained (0 to 255); the vectors are unit vectors of
    decadic optical density (red, green, blue). ``*_estimated`` is False where the reference vector had to be used.
    """

    background_rgb: tuple[float, float, float]
    hematoxylin: tuple[float, float, float]
    dab: tuple[float, float, float]
    hematoxylin_estimated: bool
    dab_estimated: bool
    dab_share: float
    hematoxylin_share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    @property
    def unmixing(self) -> NDArray[np.float64]:
        """Matrix (3, 2) that turns optical densities (…, 3) into amounts of haematoxylin and DAB.

        The third vector is the residual, perpendicular to both, as in Ruifrok & Johnston 2001.
        """
        rest = np.cross(self.hematoxylin, self.dab)
        basis = np.array([self.hematoxylin, self.dab, rest / np.linalg.norm(rest)])
        return np.linalg.inv(basis)[:, :2]


def stain_amounts(od: FloatArray, stains: Stains) -> FloatArray:
    """Amounts of haematoxylin and DAB, (H, W, 2), in optical density along each stain's unit vector."""
    # Not ``od @ matrix``: BLAS would share out so thin a product to threads that cost more than they save.
    red, green, blue = np.moveaxis(od, -1, 0)
    planes = [red * weights[0] + green * weights[1] + blue * weights[2]
              for weights in stains.unmixing.astype(np.float32).T]  # fmt: skip
    return np.moveaxis(np.stack(planes), 0, -1)


def brown_density(pixels: NDArray[np.uint8], stains: Stains) -> float:
    """Median DAB (OD) from which a nucleus is plainly brown on this slide, from sampled tissue pixels (N, 3).

    Slides are stained more or less strongly (positive nuclei have 0.4 OD in one labelled set, 1.5 in another), so the
    limit is a share of what the slide's own brown pixels reach above the ground, the median of all of the tissue.
    """
    amounts = stain_amounts(optical_density(pixels.reshape(-1, 3)[::_EVERY], stains.background_rgb), stains)
    hematoxylin, dab = amounts.T
    ground = max(float(np.median(dab)), 0.0)
    brown = dab[(dab > hematoxylin) & (dab > _BROWN_PIXEL_OD)]
    strong = float(np.percentile(brown, _STRONG_PERCENTILE)) if len(brown) else 0.0
    return ground + max(_LEAST_BROWN_OD, _BROWN_SHARE * (strong - ground))


@dataclass(frozen=True, slots=True)
class StainStrength:
    """Optical density of each stain where it is strong; None where there is hardly any of it."""

    hematoxylin: float | None
    dab: float | None


def stain_strength(pixels: NDArray[np.uint8], stains: Stains) -> StainStrength:
    """How strong haematoxylin and DAB are on sampled tissue pixels (N, 3)."""
    amounts = stain_amounts(optical_density(pixels.reshape(-1, 3)[::_EVERY], stains.background_rgb), stains)
    blue, brown = amounts.T
    return StainStrength(
        _strong(blue, (blue > brown) & (blue > _FAINT_OD) & (blue < _BLACK_OD)),
        _strong(brown, (brown > blue) & (brown > _BROWN_PIXEL_OD)),
    )


def _strong(amounts: FloatArray, own: NDArray[np.bool_]) -> float | None:
    return float(np.percentile(amounts[own], _STRENGTH_PERCENTILE)) if own.mean() > _STRENGTH_SHARE else None


def estimate_background(pixels: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Colour of the lightest few percent of the sampled pixels (N, 3).

    Real fields have no white background: an empty field already carries a density of 0.1 to 0.2. Pure white is
    left out where there is enough else, because scanners fill unscanned areas with it.
    """
    rgb = pixels.reshape(-1, 3)
    light = np.add(rgb[:, 0], rgb[:, 1], dtype=np.int32) + rgb[:, 2]
    scanned = light < 3 * 255
    if np.count_nonzero(scanned) < len(rgb) * _BACKGROUND_SHARE:
        return (255.0, 255.0, 255.0)
    lightest = rgb[scanned & (light >= np.quantile(light[scanned], 1.0 - _BACKGROUND_SHARE))]
    red, green, blue = np.maximum(np.median(lightest, axis=0), _DARK_BACKGROUND)
    return float(red), float(green), float(blue)


def estimate_stains(pixels: NDArray[np.uint8]) -> Stains:
    """Background and stain vectors from sampled tissue pixels (N, 3).

    The pixels are sorted by colour between the two reference vectors; each stain's vector is the median of its
    purest pixels. Where a stain is nearly absent, or its estimate is not believable, the reference vector of
    Ruifrok & Johnston stands in, and the result says so.
    """
    rgb = pixels.reshape(-1, 3)
    background = estimate_background(rgb)
    od = optical_density(rgb, background)
    red, green, blue = od.T
    highest = np.maximum(np.maximum(red, green), blue)
    dense = (np.add(red, green, dtype=np.float64) + blue) / 3 > _STAINED_OD
    usable = np.ascontiguousarray(od[dense & (highest < np.float64(_SATURATED_OD))], np.float64)
    if len(usable) < _MINIMUM_PIXELS:
        return _reference_stains(background)
    red, green, blue = usable.T
    unit = usable / np.sqrt(red * red + green * green + blue * blue)[:, None]
    references = np.array([REFERENCE_HEMATOXYLIN, REFERENCE_DAB, REFERENCE_EOSIN])
    likeness = unit @ (references / np.linalg.norm(references, axis=1, keepdims=True)).T
    nearest = likeness.argmax(axis=1)
    brownness = likeness[:, 1] - likeness[:, 0]
    hematoxylin = _pure_vector(unit, -brownness, nearest == 0, REFERENCE_HEMATOXYLIN)
    dab = _pure_vector(unit, brownness, nearest == 1, REFERENCE_DAB)
    if hematoxylin is not None and dab is not None and float(np.dot(hematoxylin, dab)) > _MINIMUM_SEPARATION:
        dab = None
    share = np.bincount(nearest, minlength=3) / len(nearest)
    return Stains(
        background,
        _as_vector(hematoxylin if hematoxylin is not None else REFERENCE_HEMATOXYLIN),
        _as_vector(dab if dab is not None else REFERENCE_DAB),
        hematoxylin is not None,
        dab is not None,
        float(share[1]),
        float(share[0]),
    )


def _reference_stains(background: tuple[float, float, float]) -> Stains:
    hematoxylin, dab = _as_vector(REFERENCE_HEMATOXYLIN), _as_vector(REFERENCE_DAB)
    return Stains(background, hematoxylin, dab, False, False, 0.0, 0.0)


def _pure_vector(
    unit: NDArray[np.float64],
    purity: NDArray[np.float64],
    members: NDArray[np.bool_],
    reference: tuple[float, float, float],
) -> NDArray[np.float64] | None:
    count = int(members.sum())
    if count < max(_MINIMUM_PIXELS, _MINIMUM_SHARE * len(unit)):
        return None
    own = purity[members]
    vector: NDArray[np.float64] = np.median(unit[members][own >= np.quantile(own, 1.0 - _PURE_SHARE)], axis=0)
    vector = vector / np.linalg.norm(vector)
    likeness = float(vector @ np.asarray(reference)) / float(np.linalg.norm(reference))
    return vector if likeness >= _MAXIMUM_TURN else None


def _as_vector(values: NDArray[np.float64] | tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = np.asarray(values, np.float64) / np.linalg.norm(values)
    return float(red), float(green), float(blue)
