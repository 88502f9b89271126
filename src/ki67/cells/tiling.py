"""Cutting a slide into tiles on one pixel grid, with enough overlap that no nucleus depends on the cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67.cells.channels import CONTEXT_STEP, WORKING_MPP
from ki67.geometry import RectUm

CORE_PX = 1024
"""Edge of a tile's core in pixels of the working resolution: 0.51 mm; memory goes with its square."""

GRID_PX = 16
"""Tiles begin at multiples of this, so that every engine's coarsest grid falls alike in each of them."""


STRIP_TILES = 4
"""Tiles side by side in a strip: what two rows share is then still decoded when the second one is read."""


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the working resolution; right and bottom not included."""


@dataclass(frozen=True)
class Core:
    """The part of a tile that owns nuclei, in pixels of the tile: left and top included, right and bottom not."""

    left: int
    top: int
    right: int
    bottom: int

    def owns(self, x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether centres lie in the core."""
        return (x_px >= self.left) & (x_px < self.right) & (y_px >= self.top) & (y_px < self.bottom)


@dataclass(frozen=True)
class Tile:
    """What is read, (``rect``), its first pixel on the slide's working grid, and the core within it.

    ``row_px`` is the top of its row of the grid, in pixels of the slide; rows have nothing in common from top to
    bottom.
    """

    rect: RectUm
    left_px: int
    top_px: int
    core: Core
    row_px: int


def plan_tiles(bounds_um: RectUm, wanted: BaseGeometry | None, halo_px: int, core_px: int = CORE_PX) -> list[Tile]:
    """Tiles whose cores cover what is wanted of a slide, row by row in strips.

    Cores lie within the cells of a fixed grid from the slide's origin, each as large as what is wanted of its cell
    asks for; a tile reaches ``halo_px`` beyond its core, but not beyond the slide.

    Parameters
    ----------
    bounds_um
        The slide.
    wanted
        Geometry in µm that the cores must cover; None for the whole slide.
    halo_px
        Overlap in pixels of the working resolution, a multiple of :data:`GRID_PX`.
    core_px
        Edge of the grid's cells, a multiple of :data:`GRID_PX`.
    """
    if halo_px % GRID_PX or core_px % GRID_PX:
        msg = f"halo and core must be multiples of {GRID_PX} px, got {halo_px} and {core_px}"
        raise ValueError(msg)
    width = _whole_cells(bounds_um.width_um)
    height = _whole_cells(bounds_um.height_um)
    strip_px = STRIP_TILES * core_px
    corners = [
        (left, top)
        for first in range(0, width, strip_px)
        for top in range(0, height, core_px)
        for left in range(first, min(first + strip_px, width), core_px)
    ]
    cells = [(left, top, min(left + core_px, width), min(top + core_px, height)) for left, top in corners]
    cores = [(cell, cell) for cell in cells] if wanted is None else _cut(cells, wanted)
    return [_tile(core, cell[1], width, height, halo_px) for cell, core in cores]


def _cut(cells: Sequence[Box], wanted: BaseGeometry) -> list[tuple[Box, Box]]:
    """Cells of the grid that hold something of what is wanted in µm, and the least box in steps around that."""
    edges = np.array(cells, np.float64) * WORKING_MPP
    shapely.prepare(wanted)
    hit = np.flatnonzero(shapely.intersects(wanted, shapely.box(*edges.T)))
    # Cut into rows first: what is wanted may have a million corners, and a row has few of them.
    rows = {
        (top, bottom): shapely.intersection(wanted, shapely.box(edges[:, 0].min(), top, edges[:, 2].max(), bottom))
        for top, bottom in np.unique(edges[hit][:, [1, 3]], axis=0).tolist()
    }
    found = []
    for cell, edge in ((cells[number], edges[number].tolist()) for number in hit.tolist()):
        bounds = np.array(shapely.bounds(shapely.intersection(rows[edge[1], edge[3]], shapely.box(*edge))))
        # The outermost points belong to it, hence the box that begins after them.
        left, top, right, bottom = (
            (np.floor(bounds / WORKING_MPP / GRID_PX + (0, 0, 1, 1)) * GRID_PX).astype(int).tolist()
        )
        found.append((cell, (max(cell[0], left), max(cell[1], top), min(cell[2], right), min(cell[3], bottom))))
    return [(cell, core) for cell, core in found if core[0] < core[2] and core[1] < core[3]]


def _whole_cells(length_um: float) -> int:
    """Pixels of the working resolution, filled up to whole cells of the coarse grid."""
    return max(1, int(np.ceil(round(length_um / WORKING_MPP / CONTEXT_STEP, 6)))) * CONTEXT_STEP


def _tile(core: Box, row_px: int, width: int, height: int, halo_px: int) -> Tile:
    left, top, right, bottom = core
    x0, y0 = max(left - halo_px, 0), max(top - halo_px, 0)
    x1, y1 = min(right + halo_px, width), min(bottom + halo_px, height)
    rect = RectUm(x0 * WORKING_MPP, y0 * WORKING_MPP, (x1 - x0) * WORKING_MPP, (y1 - y0) * WORKING_MPP)
    return Tile(rect, x0, y0, Core(left - x0, top - y0, right - x0, bottom - y0), row_px)
