"""A slide's frame and what other programs call it: their pixels to this program's micrometres, and back.

Inside the program a place is in µm from the top left of level 0. QuPath shows some slides cropped to the part that
was scanned (``openslide.bounds-*``: Leica SCN, MIRAX, Ventana BIF, TIFFs with missing tiles, …) and counts pixels
from that part's corner. Every file that another program wrote, or shall read, goes through :class:`PixelFrame`.
"""

from __future__ import annotations

import math
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

_GLASS: Final = (
    "hamamatsu.XOffsetFromSlideCentre",
    "hamamatsu.YOffsetFromSlideCentre",
    openslide.PROPERTY_NAME_MPP_X,
    openslide.PROPERTY_NAME_MPP_Y,
)


@dataclass(frozen=True, slots=True)
class GlassPlace:
    """Where the picture of a Hamamatsu slide lies on its glass, by which NDP.view counts (its NDPA files).

    Parameters
    ----------
    offset_nm
        Of the picture's centre from the glass's, x right, y down.
    mpp
        µm per pixel of level 0 along x and y, as the file states it, whatever ``--mpp`` says.
    size_px
        Width and height of level 0.
    """

    offset_nm: Px
    mpp: Px
    size_px: Px

    def to_px(self, xy_nm: ArrayLike) -> NDArray[np.float64]:
        """Places (..., 2) in nm from the centre of the glass, in pixels from the top left of level 0."""
        from_centre = np.asarray(xy_nm, np.float64) - self.offset_nm
        return from_centre / (1000.0 * np.asarray(self.mpp)) + np.asarray(self.size_px) / 2.0

    def to_nm(self, xy_px: ArrayLike) -> NDArray[np.float64]:
        """Places (..., 2) in pixels from the top left of level 0, in nm from the centre of the glass."""
        from_centre = np.asarray(xy_px, np.float64) - np.asarray(self.size_px) / 2.0
        return from_centre * (1000.0 * np.asarray(self.mpp)) + self.offset_nm


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
    glass
        Where the picture lies on the glass; None where the file does not say (all but Hamamatsu's).
    """

    mpp: float
    origin_px: Px = CORNER
    shown_px: Px | None = None
    glass: GlassPlace | None = None

    @property
    def from_corner(self) -> PixelFrame:
        """The same slide for programs that show all of it and count from the top left of level 0."""
        return PixelFrame(self.mpp)

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
            if tuple(handle.dimensions) != tuple(size_px):
                return whole
            glass = glass_place(handle.properties, size_px)
            shown = shown_part(handle.properties)
            if shown is None:
                return PixelFrame(mpp, glass=glass)
    except openslide.OpenSlideError:
        return whole
    left, top, width, height = shown
    return PixelFrame(mpp, (left, top), (width, height), glass)


def glass_place(properties: Mapping[str, str], size_px: tuple[int, int]) -> GlassPlace | None:
    """Where a picture lies on its glass by OpenSlide's properties; None where they do not say."""
    try:
        offset_x, offset_y, mpp_x, mpp_y = (float(properties[name]) for name in _GLASS)
    except (KeyError, ValueError):
        return None
    sound = math.isfinite(offset_x + offset_y + mpp_x + mpp_y) and min(mpp_x, mpp_y) > 0
    return GlassPlace((offset_x, offset_y), (mpp_x, mpp_y), size_px) if sound else None


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
