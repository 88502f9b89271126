"""Light that passes stained tissue: optical density, the colour of empty glass, reference stain vectors.

Beer-Lambert: the optical density of a stain, ``-log10(I / I0)``, is proportional to its amount. Density is decadic
wherever it is called by that name.
"""

from __future__ import annotations

import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

RgbImage = NDArray[np.uint8]

WHITE: Final = 255
"""Channel value of all the light; viewers fill with it what was not scanned."""

LN10: Final = math.log(10)
"""Natural absorbance, ``-ln(I / I0)``, of a density of 1."""

# Ruifrok & Johnston 2001, as in ImageJ's Colour Deconvolution plugin ("H DAB", "H&E"): red, green, blue.
REFERENCE_HEMATOXYLIN: Final = (0.650, 0.704, 0.286)
REFERENCE_DAB: Final = (0.268, 0.570, 0.776)
REFERENCE_EOSIN: Final = (0.072, 0.990, 0.105)

# Glass: bright and nearly grey. Where less of it is seen, the field is taken as filled and a usual white assumed.
GLASS_LEAST: Final = 190
GLASS_SPREAD: Final = 25
GLASS_SHARE: Final = 0.003
GLASS_PERCENTILE: Final = 99.0
GLASS_BAND: Final = 6.0  # grey levels around that percentile whose median is the glass
USUAL_GLASS: Final = (242.0, 242.0, 242.0)

# Glass in coloured light: even (standard deviation in 5 x 5 pixels, grey levels) and among the lightest tenth.
EVEN_LEVELS: Final = 1.5
EVEN_WINDOW_PX: Final = 5
EVEN_SHARE: Final = 0.02
EVEN_LEAST: Final = 100


def density_table(glass: NDArray[np.float64] | tuple[float, float, float]) -> NDArray[np.float64]:
    """Optical density of each channel value against the glass (3,): (256, 3), at least 0; black counts as 1."""
    levels = np.arange(WHITE + 1, dtype=np.float64)
    return np.clip(-np.log10(np.maximum(levels, 1.0)[:, None] / glass), 0.0, None)


def optical_density(pixels: RgbImage, glass: NDArray[np.float64] | tuple[float, float, float]) -> NDArray[np.float32]:
    """Optical density of pixels (..., 3) against the glass, at least 0; black counts as 1."""
    table = density_table(glass).astype(np.float32)
    # Plane by plane: NumPy is ten times as slow along an axis of three.
    planes = np.empty((3, 1, pixels.size // 3), np.float32)
    for plane, channel, densities in zip(planes, cv2.split(pixels.reshape(1, -1, 3)), table.T, strict=True):
        cv2.LUT(channel, np.ascontiguousarray(densities), dst=plane)
    return np.moveaxis(planes.reshape(3, *pixels.shape[:-1]), 0, -1)


def glass_colour(pixels: RgbImage) -> tuple[float, float, float] | None:
    """Colour of the empty glass in pixels (..., 3), None where too little of it is seen."""
    flat = pixels.reshape(-1, 3)
    low, high = extremes(flat)
    bright = (low > GLASS_LEAST) & (high.astype(np.int16) - low < GLASS_SPREAD)
    scanned = bright & (low < WHITE)  # 255 exactly is where the scanner did not look
    chosen = scanned if scanned.mean() >= GLASS_SHARE else bright
    if chosen.mean() < GLASS_SHARE:
        return None
    candidates = flat[chosen].astype(np.float32)
    light = (candidates[:, 0] + candidates[:, 1] + candidates[:, 2]) / 3
    near = np.abs(light - np.percentile(light, GLASS_PERCENTILE)) <= GLASS_BAND
    red, green, blue = np.median(candidates[near], axis=0)
    return float(red), float(green), float(blue)


def even_glass_colour(pixels: RgbImage) -> tuple[float, float, float] | None:
    """Colour of glass that is not nearly grey in a picture (H, W, 3): its lightest even area, None without one."""
    light = pixels.mean(axis=2, dtype=np.float32)
    window = (EVEN_WINDOW_PX, EVEN_WINDOW_PX)
    mean = cv2.blur(light, window)
    deviation = np.sqrt(np.maximum(cv2.blur(light * light, window) - mean * mean, 0.0))
    even = (deviation < EVEN_LEVELS) & (pixels.min(axis=2) > EVEN_LEAST) & (light < WHITE)
    even &= np.abs(light - np.percentile(light, GLASS_PERCENTILE)) <= GLASS_BAND
    if even.mean() < EVEN_SHARE:
        return None
    red, green, blue = np.median(pixels[even], axis=0)
    return float(red), float(green), float(blue)


def extremes(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Least and largest colour (..., 3) of each pixel; twenty times as fast as a reduction along so short an axis."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
