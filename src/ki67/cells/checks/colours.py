"""Whether the colours of a picture are those of a stained section in bright field, and which mistake explains them.

A pixel's hue is where the direction of its optical densities lies in the plane across grey. Haematoxylin is on the
blue side, DAB on the brown one, eosin is pink; nothing in an H&E or a DAB section is green. DAB covers its nuclei
densely, haematoxylin and the ground are pale: where that is the other way round, red and blue are exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.light import optical_density

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]

_MOST_PIXELS = 60_000
"""Pixels that are judged: shares of them are then known to a fifth of a percent."""

# The lightest pixels stand for what is not stained; pure white is left out, scanners fill unscanned parts with it.
_LIGHTEST_SHARE = 0.03
# Mean density (OD): below the first hue is noise, above the last of any channel the camera sees black.
_STAINED_OD, _SATURATED_OD = 0.08, 1.2
# Hue: blue and brown sides, pink and green (see :meth:`Colours.hue`); bounds stand clear of what lies between.
_SIDE, _PINK, _GREEN = 0.1, 0.3, -0.25
# Mean density up to which haematoxylin and the ground reach, and from which only DAB does.
_PALE_OD, _DENSE_OD = 0.4, 0.6
# Radii (µm) of the band in which nuclei stand out from what surrounds them.
_INNER_UM, _OUTER_UM = 1.0, 4.0

_DARK = 50.0
"""Median of the brightest channel: 136 and more on all bright-field pictures at hand, about 20 on fluorescence."""

_BRIGHT_NUCLEI = 0.3
"""Skewness of the light in that band: -5.2 to -0.55 on Ki-67 fields, 0.55 to 5.2 on the same fields inverted."""

_RED_TO_BLUE, _GREEN_TO_OTHERS = 0.35, 0.25
_SOME_RED_TO_BLUE, _SOME_GREEN = 0.15, 0.08
"""Colour of what is not stained (decadic logarithms of ratios of light): -0.04 to 0.07 and -0.04 to 0.03 on pictures
with glass at hand, and -0.12 for green where an H&E fills the picture. YCbCr read as RGB has 0.3 and at once -0.1 to
-0.17, RGB read as YCbCr -0.3 for green."""

_HUE_OF_GREY = 0.08
"""Distance from grey of the most coloured pixels: 0.13 and more, and 0 to 0.03 on grey and tinted grey pictures."""

_CONTRAST_PERCENTILE, _LEAST_CONTRAST = 99.5, 0.16
"""Mean density of the densest pixels (OD): 0.19 and more on 82 Ki-67 fields, 0.26 on 225 H&E pictures; at most 0.12
where a quarter of the contrast is left, which hides positive nuclei and shows an index of 0."""

_LEAST_STAINED = 0.002
"""Share of the pixels below which what is stained is dust, whose hue says nothing."""

_GREEN_SHARE = 0.04
"""Share of green pixels: 0.009 at most; mostly 0.1 and more where green and another channel are exchanged."""

_DENSE_GREEN_SHARE = 0.3
"""The same among the pixels as dense as DAB."""

_DENSE_BLUE = 0.02
"""Share of pixels as dense as DAB that are blue: 0.008 at most, where a counterstain is strong or folded."""

_BROWN_GROUND, _BLUE_REST, _BLUE_TO_BROWN = 0.3, 0.15, 0.25
"""Pale pixels that are brown, that are blue, and of the two: with so many of the ones and so few of the others there
is no counterstain to see; what DAB is there must then be dense (:data:`_DENSE_BROWN`), or it is no DAB."""

_DENSE_BROWN, _DAB_OD = 0.02, 0.3
"""Share of pixels as dense as DAB that are brown, and density that half of all brown pixels have where all of them
are nuclei: the brown of a haematoxylin with red and blue exchanged is pale, 0.1 to 0.2."""

_PALE_BLUE, _TURN, _PALE_SURELY_BLUE = 0.03, -0.02, 0.15
"""Side of the palest third of an H&E's pixels, from which the densest must be still farther on the blue side, and
which it never has: eosin is paler and redder than nuclei. On patches of 218 patients at most -0.02, on the bluest H&E
at hand 0.10; with red and blue exchanged 0.02 to 0.32, and the densest less."""

_REDDISH = 0.13
"""Mean pinkness of dense brown pixels: 0.09 at most for DAB; AEC and Fast Red have 0.17 and more."""


@dataclass(frozen=True)
class Colours:
    """What is asked of the colours of sampled blocks (H, W, 3) at ``mpp``."""

    blocks: Sequence[Pixels]
    mpp: float

    @cached_property
    def pixels(self) -> Pixels:
        """Evenly spread pixels, (N, 3)."""
        every = np.concatenate([block.reshape(-1, 3) for block in self.blocks])
        return np.ascontiguousarray(every[:: max(1, len(every) // _MOST_PIXELS)])

    @cached_property
    def lightest(self) -> tuple[float, float, float]:
        """Colour of what is not stained, 1 to 255."""
        light = self.pixels.sum(axis=1, dtype=np.int64)
        scanned = light < 3 * 255
        if np.count_nonzero(scanned) < len(light) * _LIGHTEST_SHARE:
            return (255.0, 255.0, 255.0)
        limit = np.quantile(light[scanned], 1.0 - _LIGHTEST_SHARE)
        red, green, blue = np.maximum(np.median(self.pixels[scanned & (light >= limit)], axis=0), 1.0)
        return float(red), float(green), float(blue)

    @cached_property
    def brightness(self) -> float:
        """Median of the pixels' brightest channel."""
        return float(np.median(self.pixels.max(axis=1)))

    @cached_property
    def tint(self) -> tuple[float, float]:
        """Light of what is not stained: logarithm of red to blue, and of green to the mean of both."""
        red, green, blue = np.log10(self.lightest)
        return float(red - blue), float(green - (red + blue) / 2)

    @cached_property
    def hue(self) -> tuple[Values, Values, Values]:
        """Of the stained pixels: side (blue above 0, brown below), pinkness (green below 0), and mean density."""
        od = self._od
        density = od.mean(axis=1)
        stained = (density > _STAINED_OD) & (od.max(axis=1) < _SATURATED_OD)
        red, green, blue = (od[stained] / np.linalg.norm(od[stained], axis=1, keepdims=True)).T
        return (red - blue) / np.sqrt(2), (2 * green - red - blue) / np.sqrt(6), density[stained]

    @property
    def contrast(self) -> float:
        """Mean density of the densest half percent of the pixels, against what is not stained."""
        return float(np.percentile(self._od.mean(axis=1), _CONTRAST_PERCENTILE))

    @cached_property
    def _od(self) -> Values:
        """Optical densities of the pixels against what is not stained, (N, 3)."""
        return optical_density(self.pixels, self.lightest).astype(np.float64)

    @cached_property
    def skewness(self) -> float:
        """Skewness of the light in the band of nuclei: negative where they are darker than their surroundings."""
        values = []
        for block in self.blocks:
            light = block.astype(np.float32).mean(axis=2)
            inner, outer = (cv2.GaussianBlur(light, (0, 0), radius / self.mpp) for radius in (_INNER_UM, _OUTER_UM))
            values.append((inner - outer).ravel())
        band = np.concatenate(values).astype(np.float64)
        band -= band.mean()
        spread = float(np.mean(band**2))
        return float(np.mean(band**3)) / spread**1.5 if spread > 0 else 0.0

    @property
    def chroma(self) -> float:
        """Distance from grey of the most coloured tenth of the stained pixels."""
        side, pinkness, _ = self.hue
        return float(np.percentile(np.hypot(side, pinkness), 90)) if len(side) else 0.0

    @property
    def pink_share(self) -> float:
        """Share of the stained pixels that are pink."""
        return _share(self.hue[1] > _PINK)

    @property
    def green_share(self) -> float:
        """Share of the stained pixels that are green."""
        return _share(self.hue[1] < _GREEN)

    @property
    def dense_green_share(self) -> float:
        """Share of the dense pixels that are green; 0 where few are dense."""
        dense = self.hue[2] > _PALE_OD
        return _share(self.hue[1][dense] < _GREEN) if _share(dense) > _DENSE_BROWN else 0.0

    @property
    def ground(self) -> tuple[float, float]:
        """Of the pale pixels, the shares that are blue and brown."""
        side, _, density = self.hue
        pale = side[density < _PALE_OD]
        return _share(pale > _SIDE), _share(pale < -_SIDE)

    @property
    def dense(self) -> tuple[float, float]:
        """Of all stained pixels, the shares that are dense and blue, dense and brown."""
        side, _, density = self.hue
        return _share((density > _DENSE_OD) & (side > _SIDE)), _share((density > _DENSE_OD) & (side < -_SIDE))

    @property
    def brown_density(self) -> float:
        """Median density of the brown pixels, 0 where there is none."""
        side, _, density = self.hue
        brown = density[side < -_SIDE]
        return float(np.median(brown)) if len(brown) else 0.0

    @property
    def turn(self) -> tuple[float, float]:
        """Side of the palest third of the stained pixels, and how much farther on the blue side the densest are."""
        side, _, density = self.hue
        if not len(side):
            return 0.0, 0.0
        low, high = np.percentile(density, (30.0, 80.0))
        pale = float(np.median(side[density <= low]))
        return pale, float(np.median(side[density >= high])) - pale

    @property
    def redness(self) -> float:
        """Mean pinkness of what is dense and brown; 0 where little is."""
        side, pinkness, density = self.hue
        brown = (side < -_SIDE) & (density > _PALE_OD / 2)
        return float(pinkness[brown].mean()) if _share(brown) > _DENSE_BROWN else 0.0


def fault_of_light(colours: Colours) -> str:
    """What is wrong with the colours whatever the stain, in a clause; empty where nothing is."""
    if colours.brightness < _DARK:
        return "the picture is mostly black: it is inverted or fluorescence, not a bright-field scan"
    red_to_blue, green_to_others = colours.tint
    both = abs(red_to_blue) > _SOME_RED_TO_BLUE and abs(green_to_others) > _SOME_GREEN
    if abs(red_to_blue) > _RED_TO_BLUE or abs(green_to_others) > _GREEN_TO_OTHERS or both:
        levels = ", ".join(f"{level:.0f}" for level in colours.lightest)
        return (
            f"what is not stained is strongly coloured (red, green, blue {levels}), where glass is nearly white: the "
            "picture seems to be saved as YCbCr and read as RGB, or the other way round"
        )
    if colours.contrast < _LEAST_CONTRAST:
        return (
            f"it has hardly any contrast: its darkest half percent absorbs {colours.contrast:.2f} OD, and at least "
            f"{_LEAST_CONTRAST} are needed. The stain has faded, or exposure or contrast were changed"
        )
    if len(colours.hue[0]) < _LEAST_STAINED * len(colours.pixels):
        return ""
    if colours.chroma < _HUE_OF_GREY:
        return "the picture is grey: it has no colour by which stains are told apart"
    if colours.green_share > _GREEN_SHARE or colours.dense_green_share > _DENSE_GREEN_SHARE:
        return "much of the tissue is green, which neither H&E nor DAB is: its colour channels seem to be exchanged"
    return ""


def fault_of_ki67(colours: Colours, light: str = "") -> str:
    """What is wrong with the colours of a Ki-67 stain, ``light`` besides, in a clause; empty where nothing is."""
    if colours.skewness > _BRIGHT_NUCLEI:
        return "nuclei are brighter than what surrounds them: the picture seems to be inverted, or fluorescence"
    if light:
        return light
    (blue_ground, brown_ground), (dense_blue, dense_brown) = colours.ground, colours.dense
    if dense_blue > max(_DENSE_BLUE, dense_brown):
        return "red and blue seem to be swapped: most of the tissue is brown, its nuclei blue"
    no_blue = brown_ground > _BROWN_GROUND and blue_ground < min(_BLUE_REST, _BLUE_TO_BROWN * brown_ground)
    red = colours.redness > _REDDISH and brown_ground > blue_ground
    faint = dense_brown < max(_DENSE_BROWN, dense_blue) and colours.brown_density < _DAB_OD
    if (no_blue and faint) or red:
        return (
            f"the tissue is {'red' if red else 'pale brown'} and hardly anything is blue: red and blue seem to be "
            "swapped, or there is no counterstain"
        )
    return ""


def fault_of_he(colours: Colours) -> str:
    """What is wrong with the colours of an H&E in good light, in a clause; empty where nothing is."""
    pale, turn = colours.turn
    if pale > _PALE_SURELY_BLUE or (pale > _PALE_BLUE and turn < _TURN):
        return "red and blue seem to be swapped: its eosin is bluer than its nuclei"
    return ""


def oddity_of_ki67(colours: Colours) -> str:
    """What is unusual of a Ki-67 stain's colours, in a clause; empty where nothing is."""
    if colours.redness > _REDDISH:
        return (
            "positive nuclei look red rather than brown: the program was validated on DAB, not on AEC, Fast Red or "
            "other chromogens"
        )
    return ""


def _share(chosen: NDArray[np.bool_]) -> float:
    return float(np.mean(chosen)) if chosen.size else 0.0
