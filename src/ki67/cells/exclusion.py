"""Parts of a slide in which cells are not counted: under pen, in folds, out of focus."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67.cells.channels import Map
from ki67.cells.focus import CELL_UM, out_of_focus, sharpness
from ki67.cells.tiling import GRID_PX, Tile
from ki67.geometry import area_mm2, as_multipolygon
from ki67.slides import Slide, TissueMask
from ki67.slides.folds import GRID_UM, find_folds
from ki67.slides.mask_polygons import outline_um
from ki67.slides.tissue import find_pen
from ki67.vocabulary import EXCLUSION_KINDS, FOCUS, FOLD, PEN

EXCLUSIONS: Final = ("", PEN.name, FOLD.name, FOCUS.name)
"""Values of the column ``excluded``: none, and why a cell does not count; the first that holds is named."""

_PEN, _FOLD, _FOCUS = range(1, len(EXCLUSIONS))

NOTHING_LOST: Final = {name: MultiPolygon() for name in EXCLUSIONS if name}
"""What is left out where nothing is."""

_ROUNDING: Final = 1e-9
"""Share of a region that is rounding of its parts' areas, not an area."""

_MUCH_LOST: Final = 0.03
"""Share of the region from which a loss is warned of: below it an index moves by less than its interval."""


class Exclusion:
    """Which cells of a fixed grid of 8 µm are left out, and why: indices into :data:`EXCLUSIONS`.

    Pen and folds are known from the start; focus is filled in tile by tile (:meth:`judge_focus`) while the tile's
    pixels are there. Every tile writes the cells of its own core only, so tiles may be judged in parallel.
    """

    def __init__(self, kinds: NDArray[np.uint8], sharpness_limit: float) -> None:
        self._kinds = kinds
        self._limit = sharpness_limit

    def judge_focus(self, smooth: Map, tile: Tile) -> None:
        """Mark what is out of focus in the core of a tile, by its smoothed density (H, W)."""
        core = tile.core
        rows, columns = (-(-side // GRID_PX) for side in smooth.shape)
        top, left = tile.top_px // GRID_PX, tile.left_px // GRID_PX
        seen = self._kinds[top : top + rows, left : left + columns]
        blurred = out_of_focus(sharpness(smooth, seen == _PEN), self._limit)
        own = (
            slice(core.top // GRID_PX, -(-core.bottom // GRID_PX)),
            slice(core.left // GRID_PX, -(-core.right // GRID_PX)),
        )
        seen[own][blurred[own] & (seen[own] == 0)] = _FOCUS

    def at(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Index into :data:`EXCLUSIONS` at positions in µm."""
        rows, columns = self._kinds.shape
        row = np.clip((y_um / CELL_UM).astype(np.int64), 0, rows - 1)
        column = np.clip((x_um / CELL_UM).astype(np.int64), 0, columns - 1)
        return self._kinds[row, column]

    def lost(self, region: BaseGeometry) -> dict[str, MultiPolygon]:
        """Parts of a region, in µm, that are left out, by kind; they do not overlap."""
        return {
            name: as_multipolygon(shapely.intersection(outline_um(self._kinds == index, CELL_UM), region))
            for index, name in enumerate(EXCLUSIONS)
            if name
        }


def pen_and_folds(slide: Slide, tissue: TissueMask | None) -> NDArray[np.uint8]:
    """Find pen and folds: an index into :data:`EXCLUSIONS` for each cell of the grid.

    On a field (no tissue mask) there is no room for the sides by which a fold is told: only pen is sought.
    """
    bounds = slide.bounds_um
    # Tiles are filled up to whole pixels of the working resolution and may reach a cell farther than the slide.
    shape = tuple(int(np.ceil(side / CELL_UM)) + 1 for side in (bounds.height_um, bounds.width_um))
    kinds = np.zeros(shape, np.uint8)
    if tissue is None:
        mpp = max(CELL_UM, slide.mpp)
        pen = find_pen(slide.thumbnail(mpp), mpp)
    else:
        kinds[_on_grid(find_folds(slide, tissue), GRID_UM, kinds.shape)] = _FOLD
        mpp = tissue.mpp
        pen = tissue.pen if tissue.pen is not None else np.zeros_like(tissue.mask)
    kinds[_on_grid(pen, mpp, kinds.shape)] = _PEN
    return kinds


def _on_grid(mask: NDArray[np.bool_], mpp: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mask at the centres of the grid's cells; beyond the mask there is nothing."""
    places = [((np.arange(count) + 0.5) * CELL_UM / mpp).astype(np.int64) for count in shape]
    inside = [place < size for place, size in zip(places, mask.shape, strict=True)]
    values = mask[np.ix_(*(np.minimum(place, size - 1) for place, size in zip(places, mask.shape, strict=True)))]
    return np.asarray(values & inside[0][:, None] & inside[1][None, :], np.bool_)


def usable_mm2(lost: dict[str, MultiPolygon], region_mm2: float) -> float:
    """Area of a region that is left to count in; 0 where all of it is lost."""
    left = region_mm2 - sum(map(area_mm2, lost.values()))
    return left if left > _ROUNDING * region_mm2 else 0.0


def loss_warnings(lost: dict[str, MultiPolygon], region_mm2: float) -> tuple[str, ...]:
    """A sentence on what was left out of a region, where that is much."""
    areas = {name: area_mm2(geometry) for name, geometry in lost.items()}
    total = sum(areas.values())
    if total < _MUCH_LOST * region_mm2:
        return ()
    parts = ", ".join(f"{EXCLUSION_KINDS[name].sentence} {area:.2f}" for name, area in areas.items() if area > 0)
    lost_share = f"{total / region_mm2:.0%} of the region was not counted ({parts} mm²)"
    return (f"{lost_share}; --keep-artefacts counts it all the same",)
