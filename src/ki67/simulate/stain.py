"""Stains as optical densities: amounts in, light out (Beer-Lambert)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ki67.light import LN10
from ki67.simulate.textures import Floats

STRAY_LIGHT = 0.012  # of the lamp's light reaches the sensor past the tissue: real blacks are not 0
# above this amount DAB scatters and looks black rather than brown
DAB_BLACKENS_ABOVE = 0.7
DAB_BLACKENING = 0.22


@dataclass(frozen=True)
class StainSet:
    """Unit optical-density vectors (R, G, B) of a section's stains, and the light without tissue.

    ``haematoxylin``, ``second`` (eosin or DAB) and ``ground`` (what the tissue itself takes away). ``strength``
    multiplies the amounts of the first two: laboratories stain for longer or shorter.
    """

    haematoxylin: tuple[float, float, float]
    second: tuple[float, float, float]
    ground: tuple[float, float, float]
    glass: tuple[float, float, float]
    strength: tuple[float, float]


def _unit(*vector: float) -> tuple[float, float, float]:
    length = float(np.linalg.norm(vector))
    return vector[0] / length, vector[1] / length, vector[2] / length


# H&E: between the vectors that Macenko's method finds on labelled patches of 100 patients
# (0.55 0.70 0.45; 0.09 0.83 0.55) and Ruifrok & Johnston's (0.65 0.70 0.29; 0.07 0.99 0.11).
HE_HAEMATOXYLIN = (0.62, 0.70, 0.36)
EOSIN = (0.10, 0.82, 0.56)
# Ki-67: within the range that the same method finds on three laboratories' fields
# (0.80 0.52 0.32, 0.72 0.57 0.40, 0.61 0.73 0.31 at nuclei; 0.36 0.57 0.74, 0.09 0.54 0.84, 0.20 0.57 0.79).
IHC_HAEMATOXYLIN = (0.72, 0.61, 0.32)
DAB = (0.30, 0.57, 0.76)
# tissue without a nucleus on Ki-67 sections is grey with a breath of the counterstain
IHC_GROUND = _unit(0.64, 0.55, 0.54)
STRENGTH_SPREAD = 0.12  # the patients' median patch colours differ by this much and more
STAIN_SPREAD = 0.02  # laboratories' vectors differ by about this much in each channel


def draw_stains(rng: np.random.Generator, stain: str, white_balance: float) -> StainSet:
    """Draw a laboratory's stain vectors and a scanner's white."""

    def near(vector: tuple[float, float, float]) -> tuple[float, float, float]:
        return _unit(*(float(v) for v in np.maximum(vector + rng.normal(0, STAIN_SPREAD, 3), 0.02)))

    gain = 1 + rng.uniform(-white_balance, white_balance, 3)
    if stain == "he":
        lamp = np.array([243.0, 242.0, 244.0])
        vectors = near(HE_HAEMATOXYLIN), near(EOSIN), _unit(0.5, 0.6, 0.6)
    else:
        lamp = np.array([235.0, 233.0, 229.0])
        vectors = near(IHC_HAEMATOXYLIN), near(DAB), IHC_GROUND
    glass = np.minimum(lamp * gain, 252.0)
    strength = np.exp(rng.normal(0, STRENGTH_SPREAD, 2).clip(-2 * STRENGTH_SPREAD, 2 * STRENGTH_SPREAD))
    return StainSet(
        *vectors,
        glass=(float(glass[0]), float(glass[1]), float(glass[2])),
        strength=(float(strength[0]), float(strength[1])),
    )


def light(stains: StainSet, haematoxylin: Floats, second: Floats, ground: Floats, *, dab: bool) -> Floats:
    """Light that passes the section: (H, W, 3) float32 grey levels.

    Parameters
    ----------
    stains
        Vectors and the light without tissue.
    haematoxylin, second, ground
        (H, W) amounts: optical density along the unit vectors.
    dab
        Whether the second stain is DAB, which turns black where it is dense.
    """
    # cv2.merge and cv2.exp: several times faster than the same in numpy
    black = DAB_BLACKENING * np.maximum(second - DAB_BLACKENS_ABOVE, 0) if dab else None
    channels = []
    for channel in range(3):
        density = haematoxylin * np.float32(stains.strength[0] * stains.haematoxylin[channel])
        density += second * np.float32(stains.strength[1] * stains.second[channel])
        density += ground * np.float32(stains.ground[channel])
        if black is not None:
            density += black
        passed = cv2.exp(density * np.float32(-LN10))
        lamp = stains.glass[channel]
        channels.append(passed * np.float32(lamp * (1 - STRAY_LIGHT)) + np.float32(lamp * STRAY_LIGHT))
    return np.asarray(cv2.merge(channels))
