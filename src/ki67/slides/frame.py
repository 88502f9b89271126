"""A slide's frame and what other programs call it: their pixels to this program's micrometres, and back.

Inside the program a place is in µm from the top left of level 0. QuPath shows some slides cropped to the part that
was scanned (``openslide.bounds-*``: Leica SCN, MIRAX, Ventana BIF, TIFFs with missing tiles, …) and counts pixels
from that part's corner. Every file that another program wrote, or shall read, goes through :class:`PixelFrame`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import openslide
from numpy.typing import ArrayLike, NDArray

Px = tuple[float, float]

CORNER: Final[Px] = (0.0, 0.0)
"""The top left of level 0, from which other programs count where a slide is shown whole."""

_BOUNDS: Final = (
    openslide.PROPERTY_NAME_BOUNDS_X,
    openslide.PROPERTY_NAME_BOUNDS_Y,
    openslide.PROPERTY_NAME_BOUNDS_WIDTH,
    openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
)


@dataclass(frozen=True, slots=True)
class PixelFrame:
    """How other programs count pixels on a slide.

    Parameters
    ----------
    mpp
        µm per pixel of level 0.
    origin_px
        Where their (0, 0) lies, in pixels of level 0 from its top left.
    shown_px
        Width and height of what they show; None: all of level 0.
    """

    mpp: float
    origin_px: Px = CORNER
    shown_px: Px | None = None

    def to_um(self, xy_px: ArrayLike) -> NDArray[np.float64]:
        """Places (..., 2) in another program's pixels, in µm in the slide's own frame."""
        return (np.asarray(xy_px, np.float64) + self.origin_px) * self.mpp

    def to_px(self, xy_um: ArrayLike) -> NDArray[np.float64]:
        """Places (..., 2) in µm in the slide's own frame, in another program's pixels."""
        return np.asarray(xy_um, np.float64) / self.mpp - self.origin_px


def foreign_frame(path: Path, size_px: tuple[int, int], mpp: float) -> PixelFrame:
    """How QuPath counts pixels on a slide.

    Parameters
    ----------
    path
        The slide's file, whatever reads its pixels here: QuPath asks OpenSlide.
    size_px
        Width and height of level 0 as read here. Where OpenSlide sees another level 0 its bounds say nothing of ours.
    mpp
        µm per pixel of level 0.

    Returns
    -------
    PixelFrame
        From the top left of level 0 where OpenSlide does not read the file or states no bounds.
    """
    whole = PixelFrame(mpp)
    try:
        if openslide.OpenSlide.detect_format(path) is None:
            return whole
        with openslide.OpenSlide(path) as handle:
            shown = shown_part(handle.properties)
            if shown is None or tuple(handle.dimensions) != tuple(size_px):
                return whole
    except openslide.OpenSlideError:
        return whole
    left, top, width, height = shown
    return PixelFrame(mpp, (left, top), (width, height))


def shown_part(properties: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    """Left, top, width and height of the scanned part by OpenSlide's properties, in pixels of level 0.

    QuPath crops only where all four bounds are there and whole numbers (``OpenslideImageServer``, unless a slide was
    imported with ``--no-crop``); None where it does not.
    """
    try:
        left, top, width, height = (float(int(properties[name])) for name in _BOUNDS)
    except (KeyError, ValueError):
        return None
    return (left, top, width, height) if width > 0 and height > 0 else None
