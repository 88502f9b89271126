"""Pictures and regions without what may name a patient: pixels, pixel size, classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.annotations import Region, Regions
from ki67.geometry import RectUm
from ki67.slides import Slide
from ki67.slides.pyramid import write_pyramid

JPEG_QUALITY: Final = 95
"""Of slides, which were mostly compressed before: the second time must not be seen."""

_BAND_PX: Final = 512


def write_pixels(slide: Slide, path: Path, *, lossless: bool = False) -> None:
    """Write level 0 of a slide as a pyramidal TIFF with its pixel size, and nothing else of its file.

    Raises
    ------
    SlideError, WriteError
        Where the slide cannot be read, or the file cannot be written.
    """
    how: dict[str, Any] = {"compression": "deflate"} if lossless else {"quality": JPEG_QUALITY}
    write_pyramid(path, _bands(slide), slide.size_px, slide.mpp, **how)


def unnamed(regions: Regions) -> Regions:
    """Return regions named by class and number: a region's own name may be anybody's."""
    return Regions(Region(one.label, one.geometry, f"{one.label}-{n}") for n, one in enumerate(regions, start=1))


def _bands(slide: Slide) -> Iterator[NDArray[np.uint8]]:
    """All of level 0 in bands of rows."""
    width, height = slide.size_px
    for top in range(0, height, _BAND_PX):
        rows = min(_BAND_PX, height - top)
        yield slide.read(RectUm(0, top * slide.mpp, width * slide.mpp, rows * slide.mpp), slide.mpp)
