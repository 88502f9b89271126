"""What two stains have in common: how much light the tissue takes, and where its structures are.

Haematoxylin is in both sections, eosin only in one and DAB only in the other, and one laboratory's counterstain may
be a tenth of another's. The images made here keep the structure and drop the stain: optical density averaged over
the colours, scaled to the section's own range, zero on bare glass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.geometry import RectUm
from ki67.light import LN10, density_table

# Share of an image's rim that may hold tissue while the section still counts as lying free on the glass. A
# hundredth is a fibre or a speck.
FREE_RIM_SHARE = 0.01
# Light of bare glass: a high percentile of each channel, so that a few saturated specks do not matter.
BACKGROUND_PERCENTILE = 99.0
# Densities are scaled by this percentile of the tissue: pigment and folds above it are clipped.
DENSITY_PERCENTILE = 99.0
# A soft rim around the tissue keeps its own edge.
RIM_UM = 15.0
# A slide is read again for a part where that gives this many times finer pixels.
WORTH_READING = 1.25
# Fewer pixels a side are no part to be registered.
LEAST_PART_PX = 16
# Optical density that counts as tissue where no mask is given, above the glass (a tenth of full range).
TISSUE_DENSITY = 0.06

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Detail = Callable[[RectUm, float], NDArray[np.uint8]]


@dataclass(frozen=True)
class Section:
    """One section, ready to be compared.

    Parameters
    ----------
    density
        float32 (H, W), 0 to 1: optical density in units of the section's own dark tissue; 0 on bare glass.
    tissue
        bool (H, W).
    mpp
        µm per pixel of both.
    size_um
        Width and height of the slide.
    name
        For messages.
    colours
        float32 (H, W, 3), 0 to 1: as ``density``, but of red, green and blue light apart; None where only the density
        is known.
    detail
        Reads a rectangle of the slide at any resolution; None where there is no more than these pixels.
    """

    density: Image
    tissue: Mask
    mpp: float
    size_um: tuple[float, float]
    name: str
    colours: Image | None = None
    detail: Detail | None = field(default=None, compare=False, repr=False)

    @cached_property
    def tissue_share(self) -> Image:
        """The tissue as float32 (H, W), 0 or 1, to interpolate in."""
        return self.tissue.astype(np.float32)

    @cached_property
    def free(self) -> bool:
        """Whether the section lies free on the glass, so that all around the image is bare glass too."""
        rim = np.concatenate([self.tissue[0], self.tissue[-1], self.tissue[:, 0], self.tissue[:, -1]])
        return bool(rim.mean() <= FREE_RIM_SHARE)

    def at(self, mpp: float) -> Section:
        """The section at a coarser resolution, averaged over the area."""
        factor = self.mpp / mpp
        if factor >= 1:
            return self
        height, width = self.density.shape
        size = (max(8, round(width * factor)), max(8, round(height * factor)))
        # Averaging to a whole number of pixels moves the far edge by less than a pixel; the pixel size says so.
        share = cv2.resize(self.tissue.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        density = cv2.resize(self.density, size, interpolation=cv2.INTER_AREA)
        colours = None if self.colours is None else cv2.resize(self.colours, size, interpolation=cv2.INTER_AREA)
        return Section(density, share >= 0.5, mpp, self.size_um, self.name, colours)

    def part(self, mask: Mask, rect_um: RectUm, mpp: float) -> Section:
        """A rectangle of the section with no tissue but what a mask holds.

        Parameters
        ----------
        mask
            bool (H, W), as ``tissue``.
        rect_um
            The rectangle; the part's frame begins at its corner (see :meth:`snapped`).
        mpp
            Wanted resolution: where the slide can be read again, and that is finer than what is here.
        """
        left, top, right, bottom = (round(edge / self.mpp) for edge in rect_um.bounds_um)
        here = (slice(top, bottom), slice(left, right))
        tissue = np.ascontiguousarray(mask[here])
        if self.detail is not None and mpp < self.mpp / WORTH_READING:
            pixels = self.detail(rect_um, mpp)
            size_um = pixels.shape[1] * mpp, pixels.shape[0] * mpp
            return section_from_rgb(pixels, mpp, size_um, tissue, self.name)
        near = cv2.GaussianBlur(tissue.astype(np.float32), (0, 0), max(1.0, RIM_UM / self.mpp))
        density = np.asarray(self.density[here] * np.clip(4 * near, 0, 1), np.float32)
        size_um = tissue.shape[1] * self.mpp, tissue.shape[0] * self.mpp
        return Section(density, tissue, self.mpp, size_um, self.name)

    def snapped(self, left_um: float, top_um: float, right_um: float, bottom_um: float) -> RectUm | None:
        """The rectangle of whole pixels around these edges, within the section; None where nothing of it is."""
        height, width = self.density.shape
        left, top = max(0, math.floor(left_um / self.mpp)), max(0, math.floor(top_um / self.mpp))
        right, bottom = min(width, math.ceil(right_um / self.mpp)), min(height, math.ceil(bottom_um / self.mpp))
        if right - left < LEAST_PART_PX or bottom - top < LEAST_PART_PX:
            return None
        return RectUm.from_bounds(*(edge * self.mpp for edge in (left, top, right, bottom)))


def absorbance(rgb: NDArray[np.uint8]) -> Image:
    """Natural absorbance ``-ln(I / I0)`` of each colour, float32 (H, W, 3), against the image's brightest part."""
    glass = np.maximum(np.percentile(rgb.reshape(-1, 3), BACKGROUND_PERCENTILE, axis=0), 1.0)
    table = (LN10 * density_table(glass)).astype(np.float32)
    return np.stack([table[rgb[..., channel], channel] for channel in range(3)], axis=-1)


def section_from_rgb(
    rgb: NDArray[np.uint8],
    mpp: float,
    size_um: tuple[float, float],
    tissue: Mask | None = None,
    name: str = "section",
) -> Section:
    """Make a section from pixels.

    Parameters
    ----------
    rgb
        uint8 (H, W, 3).
    mpp
        µm per pixel.
    size_um
        Width and height of the slide.
    tissue
        bool of any size covering the same area, or None to take everything that is darker than the glass.
    name
        For messages.
    """
    colours = absorbance(rgb)
    density = np.asarray(colours.sum(axis=-1) / 3.0, np.float32)
    height, width = density.shape
    if tissue is None:
        mask = _dark(density, mpp)
    else:
        scaled = cv2.resize(tissue.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        mask = scaled >= 0.5
    if mask.any():
        top = float(np.percentile(density[mask], DENSITY_PERCENTILE))
        density = np.clip(density / max(top, 1e-3), 0, 1)
        colours = np.clip(colours / np.maximum(np.percentile(colours[mask], DENSITY_PERCENTILE, axis=0), 1e-3), 0, 1)
    # Pen, dust and coverslip edges lie outside the mask; a soft rim keeps the tissue's own edge.
    rim_px = max(1.0, RIM_UM / mpp)
    near = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rim_px)
    rim = np.clip(4 * near, 0, 1)
    density, colours = density * rim, colours * rim[..., None]
    return Section(density.astype(np.float32), mask, mpp, size_um, name, colours.astype(np.float32))


def _dark(density: Image, mpp: float) -> Mask:
    """Tissue as what is darker than the glass, holes up to about 100 µm filled."""
    blurred = cv2.GaussianBlur(density, (0, 0), max(1.0, 10.0 / mpp))
    size = max(3, 2 * round(50.0 / mpp) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = (blurred > TISSUE_DENSITY).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel) > 0)


def structure(density: Image, weight: Image, sigma_px: float, smooth_px: float = 1.0) -> Image:
    """Local contrast: density minus its surroundings, in units of the local spread; 0 where ``weight`` is 0.

    Parameters
    ----------
    density
        float32 (H, W).
    weight
        float32 (H, W), 1 where the density counts, 0 where there is no tissue or no image.
    sigma_px
        Size of the surroundings (standard deviation of a Gaussian).
    smooth_px
        Smoothing before, against noise and against nuclei that only one section has.
    """
    weight = weight.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), sigma_px) + 1e-6
    image = cv2.GaussianBlur(density, (0, 0), smooth_px) if smooth_px > 0 else density
    mean = cv2.GaussianBlur(image * weight, (0, 0), sigma_px) / total
    deviation = (image - mean) * weight
    variance = cv2.GaussianBlur(deviation * deviation, (0, 0), sigma_px) / total
    inside = weight > 0
    # The floor keeps empty glass and flat fat from being blown up to the contrast of tissue.
    floor = 0.3 * float(np.sqrt(variance[inside].mean())) if inside.any() else 1.0
    contrast = deviation / np.sqrt(variance + max(floor, 1e-4) ** 2)
    return np.asarray(np.clip(contrast, -4, 4), dtype=np.float32)
