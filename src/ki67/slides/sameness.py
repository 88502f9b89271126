"""Whether two slides show one picture: the same scan saved twice, in whatever format, size or orientation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from ki67.light import RgbImage
from ki67.slides.slide import Slide

# Both are compared this many pixels long, so that scale does not matter.
_SIDE_PX: Final = 256
# Pixels darker than this in any channel are not glass.
_GLASS: Final = 230
# Mean difference of what is not glass, in grey levels: 2 where a picture was compressed anew, 20 and more between
# serial sections of one stain.
_SAME_LEVELS: Final = 8.0
_SHAPE_TOLERANCE: Final = 0.03


def same_picture(first: Slide, second: Slide) -> bool:
    """Whether two slides show the same picture, perhaps turned by quarters, mirrored or scaled."""
    one, other = _small(first), _small(second)
    return any(_alike(one, turned) for turned in _orientations(other))


def _small(slide: Slide) -> RgbImage:
    bounds = slide.bounds_um
    return slide.thumbnail(max(bounds.width_um, bounds.height_um) / _SIDE_PX)


def _orientations(picture: RgbImage) -> Iterator[RgbImage]:
    for mirrored in (picture, picture[:, ::-1]):
        for quarters in range(4):
            yield np.rot90(mirrored, quarters)


def _alike(one: RgbImage, other: RgbImage) -> bool:
    (height, width), (other_height, other_width) = one.shape[:2], other.shape[:2]
    if abs(height / width * other_width / other_height - 1) > _SHAPE_TOLERANCE:
        return False
    fitted = cv2.resize(np.ascontiguousarray(other), (width, height), interpolation=cv2.INTER_AREA)
    seen = (one.min(axis=2) < _GLASS) | (fitted.min(axis=2) < _GLASS)
    if not seen.any():
        return False
    return float(np.mean(np.abs(one[seen].astype(np.float32) - fitted[seen]))) < _SAME_LEVELS
