"""Where on a slide there is tissue.

Stained tissue absorbs the three colours unequally, while dust, coverslip edges and shadows are grey: the mask is made
from the spread of optical density between the colours, not from darkness. Gaps as wide as fat cells are then closed,
thin lines opened, and specks dropped. Collagen with a breath of counterstain is nearly grey too: it counts where it
hangs together with tissue that is surely stained. A small picture that has structure nearly everywhere shows no
glass: there all of it that has structure is tissue, however pale. Pen marks are told by colours that no stain has and
by their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67.errors import NoTissueError, TissueError
from ki67.geometry import UM2_PER_MM2, RectUm
from ki67.light import USUAL_GLASS, RgbImage, even_glass_colour, extremes, glass_colour, optical_density
from ki67.slides.mask_polygons import outline_um
from ki67.slides.pen import pen_marks
from ki67.slides.slide import Slide

DEFAULT_MPP: Final = 8.0
Mask = NDArray[np.bool_]

# Spread of optical density between colours, after smoothing. Pale fat walls have 0.03 to 0.06, the palest
# counterstain seen 0.02, JPEG noise on glass 0.005.
SMOOTHING_UM: Final = 10.0
LEAST_SPREAD: Final = 0.018
PALE_SPREAD: Final = 0.009  # of tissue beside what is surely stained
LARGEST_THRESHOLD: Final = 0.045
NOISE_FACTOR: Final = 5.0
LARGEST_NOISE: Final = 0.003  # what spreads more around its mode is not empty glass

# Structure: the light's contrast in the band of nuclei and fibres, root mean square in a window (OD). Glass has
# 0.0002 to 0.0015, with noise of 5 grey levels 0.0025; 95 % of a field without glass 0.005 and more, however pale.
STRUCTURE_MPP: Final = 2.0
STRUCTURE_BAND_UM: Final = (1.5, 8.0)
STRUCTURE_WINDOW_UM: Final = 20.0
LEAST_STRUCTURE: Final = 0.003
FILLED_SHARE: Final = 0.9  # of a picture from which no glass is seen in it
FILLED_LARGEST_MM2: Final = 25.0  # larger pictures are slides, with glass around the tissue

# Median of each pixel's brightest channel: 170 and more on stained sections, about 20 on fluorescence slides.
DARKEST_BRIGHT_FIELD: Final = 50

CLOSING_UM: Final = 56.0  # radius: fat cells are up to 100 µm across
OPENING_UM: Final = 24.0  # radius: lines thinner than about 50 µm are edges, fibres, scratches
SMALLEST_PIECE_MM2: Final = 0.02
SMALLEST_PIECE_SHARE: Final = 0.02  # of a field so small that SMALLEST_PIECE_MM2 would be too much
LARGEST_FILLED_HOLE_MM2: Final = 0.05  # vessels, ducts, tears
STRIP_LENGTH_TO_WIDTH: Final = 20.0
STRIP_WIDTH_UM: Final = 400.0
MUCH_PEN: Final = 0.05


@dataclass(frozen=True)
class TissueMask:
    """Tissue of a slide.

    Attributes
    ----------
    mask
        (H, W) bool; pixel (r, c) covers ``[c * mpp, (c + 1) * mpp]`` x ``[r * mpp, (r + 1) * mpp]`` µm.
    mpp
        µm per pixel of the mask.
    warnings
        What the user should know, one sentence each.
    pen
        (H, W) bool, where there is pen; None where that was not looked for.
    glass
        Colour of the empty glass; None where too little of it is seen.
    """

    mask: Mask
    mpp: float
    warnings: tuple[str, ...] = ()
    pen: Mask | None = None
    glass: tuple[float, float, float] | None = None

    @cached_property
    def geometry(self) -> MultiPolygon:
        """Outline with holes, in µm in the slide's frame."""
        return outline_um(self.mask, self.mpp)

    @property
    def area_mm2(self) -> float:
        """Area of the tissue."""
        return float(self.mask.sum()) * self.mpp**2 / UM2_PER_MM2

    def fraction(self, rect: RectUm) -> float:
        """Part of a rectangle that is tissue, 0 to 1; beyond the slide there is none."""
        rows = _overlaps(rect.y_um / self.mpp, rect.bottom_um / self.mpp, self.mask.shape[0])
        columns = _overlaps(rect.x_um / self.mpp, rect.right_um / self.mpp, self.mask.shape[1])
        if rows is None or columns is None:
            return 0.0
        part = self.mask[rows[0] : rows[0] + len(rows[1]), columns[0] : columns[0] + len(columns[1])]
        area_px = rect.width_um * rect.height_um / self.mpp**2
        return min(1.0, float(rows[1] @ part @ columns[1]) / area_px)

    def fractions(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64], edge_um: float) -> NDArray[np.float64]:
        """Part of each square of a grid that is tissue, as :meth:`fraction` gives it for one.

        Parameters
        ----------
        x_um, y_um
            Left edges of the columns and upper edges of the rows, on the slide, each ascending.
        edge_um
            Edge of a square.

        Returns
        -------
        NDArray
            (rows, columns), 0 to 1.
        """
        first = max(0, int(y_um[0] // self.mpp))
        part = self.mask[first : int((y_um[-1] + edge_um) // self.mpp) + 1].astype(np.float64)
        edge = edge_um / self.mpp
        down = _sums(part, y_um / self.mpp - first, edge)
        across = _sums(down.T, x_um / self.mpp, edge).T
        return np.minimum(1.0, across / edge**2)


def tissue_mask(slide: Slide, mpp: float = DEFAULT_MPP) -> TissueMask:
    """Find the tissue on a slide.

    Parameters
    ----------
    slide
        H&E, or immunohistochemistry with a blue counterstain.
    mpp
        µm per pixel of the mask; not finer than the slide's own.

    Raises
    ------
    TissueError
        Where there is none, or the slide was not scanned in bright field.
    """
    mpp = max(mpp, slide.mpp)
    pixels = slide.thumbnail(mpp)
    if np.median(pixels.max(axis=2)) < DARKEST_BRIGHT_FIELD:
        found = "is mostly black, expected light where nothing is stained"
        raise TissueError(slide.path, found, "Only bright-field scans can be used, not fluorescence")
    tissue = _find(pixels, mpp, _structure_of_filled(slide, pixels.shape[:2]))
    if not tissue.mask.any():
        found = "has no tissue on it" + (f" ({'; '.join(tissue.warnings)})" if tissue.warnings else "")
        look = "Check that it is the right slide, in focus, and not a JPEG so coarse that it lost its colours"
        raise NoTissueError(slide.path, found, look)
    return tissue


def find_tissue(pixels: RgbImage, mpp: float) -> tuple[Mask, tuple[str, ...]]:
    """Tissue on an overview picture.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    mpp
        µm per pixel, about 8.

    Returns
    -------
    tuple
        (H, W) bool, and warnings.
    """
    found = _find(pixels, mpp)
    return found.mask, found.warnings


def find_pen(pixels: RgbImage, mpp: float) -> Mask:
    """Pen marks on an overview picture (H, W, 3), (H, W) bool."""
    density = optical_density(pixels, np.asarray(glass_colour(pixels) or USUAL_GLASS))
    return pen_marks(density, mpp)[0]


def mask_of(regions: BaseGeometry, slide: Slide, mpp: float = DEFAULT_MPP) -> TissueMask:
    """Take what a person drew for tissue, where none can be told from glass: geometry in µm to a mask."""
    mpp = max(mpp, slide.mpp)
    bounds = slide.bounds_um
    height, width = (max(1, round(side / mpp)) for side in (bounds.height_um, bounds.width_um))
    y_um, x_um = ((np.arange(count) + 0.5) * mpp for count in (height, width))
    shapely.prepare(regions)
    mask = np.stack([shapely.contains_xy(regions, x_um, np.full(width, y)) for y in y_um])
    warning = "no tissue can be told from empty glass: the regions given were taken for tissue"
    return TissueMask(mask, mpp, (warning,))


def _structure_of_filled(slide: Slide, shape: tuple[int, ...]) -> Mask | None:
    """Where a small picture has structure, on the mask's pixels, if it has nearly everywhere; otherwise None."""
    bounds = slide.bounds_um
    if bounds.width_um * bounds.height_um > FILLED_LARGEST_MM2 * UM2_PER_MM2 or slide.mpp > STRUCTURE_MPP:
        return None
    light = np.log10(np.maximum(slide.thumbnail(STRUCTURE_MPP).mean(axis=2, dtype=np.float32), 1.0))
    fine, coarse = (cv2.GaussianBlur(light, (0, 0), size / STRUCTURE_MPP) for size in STRUCTURE_BAND_UM)
    contrast = np.sqrt(cv2.GaussianBlur((fine - coarse) ** 2, (0, 0), STRUCTURE_WINDOW_UM / STRUCTURE_MPP))
    if np.mean(contrast > LEAST_STRUCTURE) < FILLED_SHARE:
        return None
    return np.asarray(cv2.resize(contrast, shape[::-1], interpolation=cv2.INTER_AREA) > LEAST_STRUCTURE, np.bool_)


def _find(pixels: RgbImage, mpp: float, structure: Mask | None = None) -> TissueMask:
    warnings = []
    glass = glass_colour(pixels)
    if glass is None and structure is None:
        glass = even_glass_colour(pixels)
    density = optical_density(pixels, np.asarray(glass or USUAL_GLASS))
    pen, inks = pen_marks(density, mpp)
    spread = _smoothed_spread(density, mpp)
    sure, pale = (_whole(spread > _threshold(spread, least), pen, mpp) for least in (LEAST_SPREAD, PALE_SPREAD))
    mask = _cleaned(sure | ndimage.binary_propagation(sure, mask=pale), mpp)
    if structure is not None:
        mask |= _whole(structure, pen, mpp)
    if pen.any():
        area = float(pen.sum()) * mpp**2 / UM2_PER_MM2
        warnings.append(f"pen marks ({', '.join(inks)}) found and left out: {area:.2f} mm²")
        if pen.mean() > MUCH_PEN:
            warnings.append(f"pen covers {100 * pen.mean():.0f} % of the slide")
    if glass is None and mask.any():
        warnings.append("no empty glass found: the usual white was taken as background")
    return TissueMask(mask, mpp, tuple(warnings), pen, glass)


def _smoothed_spread(density: NDArray[np.float32], mpp: float) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(density, (0, 0), max(SMOOTHING_UM / mpp, 0.5))
    low, high = extremes(smooth)
    return np.asarray(high - low, dtype=np.float32)


def _whole(stained: Mask, pen: Mask, mpp: float) -> Mask:
    """Stained pixels to pieces of tissue."""
    return _cleaned(_without_lines(_closed(stained & ~pen, CLOSING_UM / mpp), OPENING_UM / mpp) & ~pen, mpp)


def _threshold(spread: NDArray[np.float32], least: float) -> float:
    """Above the noise of the glass: its half below the mode is mirrored, so that tissue does not count.

    Where pale tissue is most of the picture the mode is the tissue's, and so is its spread: noise has a limit.
    """
    quiet = spread[spread < LARGEST_THRESHOLD]
    if quiet.size == 0:
        return least
    counts, edges = np.histogram(quiet, bins=45)
    mode = float(edges[int(np.argmax(counts))])
    below = quiet[quiet <= mode]
    noise = float(np.sqrt(np.mean((below - mode) ** 2))) if below.size else 0.0
    if mode >= PALE_SPREAD:
        return least
    return float(np.clip(mode + NOISE_FACTOR * min(noise, LARGEST_NOISE), least, LARGEST_THRESHOLD))


def _disc(radius_px: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def _closed(mask: Mask, radius_px: float) -> Mask:
    """Close gaps; the picture is continued by mirroring, so that tissue that fills a field reaches its edge."""
    margin = int(np.ceil(radius_px)) + 1
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REFLECT)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(radius_px))
    return np.asarray(closed[margin:-margin, margin:-margin], dtype=np.bool_)


def _without_lines(mask: Mask, radius_px: float) -> Mask:
    margin = int(np.ceil(radius_px)) + 1
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, _disc(radius_px))
    return np.asarray(opened[margin:-margin, margin:-margin], dtype=np.bool_)


def _cleaned(mask: Mask, mpp: float) -> Mask:
    px_per_mm2 = UM2_PER_MM2 / mpp**2
    smallest = min(SMALLEST_PIECE_MM2 * px_per_mm2, SMALLEST_PIECE_SHARE * mask.size)
    pieces, count = ndimage.label(mask)
    kept = np.zeros(count + 1, dtype=bool)
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    for index, place in enumerate(ndimage.find_objects(pieces), start=1):
        kept[index] = areas[index] >= smallest and not _is_strip(pieces[place] == index, mpp)
    mask = kept[pieces]
    holes, hole_count = ndimage.label(~mask)
    hole_areas = np.bincount(holes.ravel(), minlength=hole_count + 1)
    filled = hole_areas <= LARGEST_FILLED_HOLE_MM2 * px_per_mm2
    filled[0] = False
    for border in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        filled[border] = False
    return np.asarray(mask | filled[holes], dtype=np.bool_)


def _is_strip(piece: Mask, mpp: float) -> bool:
    """Long, straight and narrow: the edge of a coverslip or of the slide."""
    if max(piece.shape) * mpp < STRIP_LENGTH_TO_WIDTH * OPENING_UM:
        return False
    # The ends of the rows have the same hull as all pixels, of which there are millions.
    rows = np.flatnonzero(piece.any(axis=1))
    first = piece[rows].argmax(axis=1)
    last = piece.shape[1] - 1 - piece[rows, ::-1].argmax(axis=1)
    points = np.column_stack([np.concatenate([first, last]), np.tile(rows, 2)]).astype(np.int32)
    _, (width, length), _ = cv2.minAreaRect(points)
    narrow, long = sorted((width + 1, length + 1))
    return bool(narrow * mpp < STRIP_WIDTH_UM and long > STRIP_LENGTH_TO_WIDTH * narrow)


def _sums(values: NDArray[np.float64], begin: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Sums of a length of rows from each begin on, parts of rows included, (len(begin), W)."""
    before = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])

    def up_to(place: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = np.clip(place, 0, len(values))
        row = np.minimum(whole.astype(int), len(values) - 1)
        return np.asarray(before[row] + (whole - row)[:, None] * values[row])

    return up_to(begin + length) - up_to(begin)


def _overlaps(begin: float, end: float, count: int) -> tuple[int, NDArray[np.float64]] | None:
    first, last = max(0, int(np.floor(begin))), min(count, int(np.ceil(end)))
    if last <= first:
        return None
    index = np.arange(first, last)
    return first, np.minimum(index + 1, end) - np.maximum(index, begin)
