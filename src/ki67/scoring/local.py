"""Where in the region the index is high and where it is low: tumour cells by place, hexagons, round fields."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from ki67.vocabulary import POSITIVE, TUMOUR_CLASSES

LOCAL_COLUMNS: Final = ("x_um", "y_um", "label", "in_region")
"""What local figures need of the cell table."""

HEXAGON_SIDE_UM: Final = 200.0
"""Side of the hexagons of the index map: 0.104 mm², some 100 to 400 tumour cells of a carcinoma."""

HEXAGON_CELLS: Final = 30
"""Fewest tumour cells of a hexagon whose index is used: with fewer, chance moves it by up to 9 points (one SD)."""

FIELD_DIAMETER_UM: Final = 550.0
"""Diameter of a high-power field: ×40 objective, field number 22. Microscopes differ, so it is an option."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class TumourCells:
    """Counted tumour cells by place: positions (N, 2) in µm of the slide, and which are positive (N,)."""

    points_um: Points
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, table: pa.Table) -> TumourCells:
        """Tumour cells in the region of a cell table with :data:`LOCAL_COLUMNS`."""
        inside = table.select(LOCAL_COLUMNS).filter(table["in_region"])
        tumour = inside.filter(pc.is_in(inside["label"], pa.array(TUMOUR_CLASSES)))
        points = np.column_stack([np.asarray(tumour["x_um"], np.float64), np.asarray(tumour["y_um"], np.float64)])
        return cls(points, np.asarray(pc.equal(tumour["label"], POSITIVE.label)))

    def __len__(self) -> int:
        return len(self.points_um)

    @cached_property
    def tree(self) -> cKDTree:
        """Tree over the positions; made at the first use."""
        return cKDTree(self.points_um)

    def part(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> TumourCells:
        """Return the chosen cells."""
        return TumourCells(self.points_um[chosen], self.positive[chosen])

    def index_percent(self) -> float | None:
        """Positive cells in percent of all; None where there is none."""
        return 100.0 * float(self.positive.mean()) if len(self) else None


@dataclass(frozen=True)
class HexagonMap:
    """Tumour cells counted in a grid of hexagons that covers the region.

    Parameters
    ----------
    side_um
        Side of a hexagon.
    column, row
        Axial coordinates of each hexagon, (M,) int64; neighbours differ by one step (:data:`NEIGHBOURS`).
    centres_um
        Their middles, (M, 2).
    area_um2
        Area of each inside the region, (M,).
    positive, cells
        Positive and all tumour cells of each, (M,) int64.
    """

    side_um: float
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    centres_um: Points
    area_um2: NDArray[np.float64]
    positive: NDArray[np.int64]
    cells: NDArray[np.int64]

    @property
    def index_percent(self) -> NDArray[np.float64]:
        """Index of each hexagon in percent; NaN without a cell."""
        with np.errstate(invalid="ignore"):
            return 100.0 * self.positive / self.cells

    def find(self, points_um: Points) -> NDArray[np.int64]:
        """Place of the hexagon that each point (N, 2) lies in, -1 where that is none of these, (N,)."""
        place = {key: number for number, key in enumerate(zip(self.column.tolist(), self.row.tolist(), strict=True))}
        column, row = _hexagon_of(points_um, self.side_um)
        keys = zip(column.tolist(), row.tolist(), strict=True)
        return np.fromiter((place.get(key, -1) for key in keys), np.int64, len(column))

    def judged(self, minimum: int = HEXAGON_CELLS) -> HexagonMap:
        """Return the hexagons with at least ``minimum`` tumour cells."""
        enough = self.cells >= minimum
        names = ("column", "row", "centres_um", "area_um2", "positive", "cells")
        return replace(self, **{name: getattr(self, name)[enough] for name in names})


NEIGHBOURS: Final = ((1, 0), (0, 1), (-1, 1))
"""Steps (column, row) to half of a hexagon's six neighbours; the other half is theirs."""


def hexagon_map(cells: TumourCells, region: BaseGeometry, side_um: float = HEXAGON_SIDE_UM) -> HexagonMap:
    """Count tumour cells in hexagons over the region.

    Pointy-topped hexagons in axial coordinates, the middle of hexagon (0, 0) at the origin of the slide, so that the
    grid does not depend on the region.

    Parameters
    ----------
    cells
        Tumour cells.
    region
        Counted region in µm of the slide.
    side_um
        Side of a hexagon.
    """
    column, row = _hexagon_of(cells.points_um, side_um)
    covered = _covering(region, side_um)
    areas = _areas(region, covered, side_um)
    keep = areas > 0
    covered, areas = covered[keep], areas[keep]
    place = _place_of(np.column_stack([column, row]), covered)
    known = place >= 0
    return HexagonMap(
        side_um,
        covered[:, 0],
        covered[:, 1],
        _middles(covered, side_um),
        areas,
        np.bincount(place[known & cells.positive], minlength=len(covered)).astype(np.int64),
        np.bincount(place[known], minlength=len(covered)).astype(np.int64),
    )


def _place_of(hexagons: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each hexagon (N, 2) among known ones (M, 2), all different; -1 where it is none of them."""
    if not len(known):
        return np.full(len(hexagons), -1, np.int64)
    low, high = known.min(axis=0), known.max(axis=0)
    width = int(high[0] - low[0]) + 1
    inside = ((hexagons >= low) & (hexagons <= high)).all(axis=1)
    table = np.full(width * (int(high[1] - low[1]) + 1), -1, np.int64)
    table[(known[:, 0] - low[0]) + width * (known[:, 1] - low[1])] = np.arange(len(known))
    place = np.full(len(hexagons), -1, np.int64)
    place[inside] = table[(hexagons[inside, 0] - low[0]) + width * (hexagons[inside, 1] - low[1])]
    return place


def _hexagon_of(points_um: Points, side_um: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Axial coordinates of the hexagon that each point lies in, by rounding in cube coordinates."""
    x, y = points_um.T / side_um
    q, r = math.sqrt(3) / 3 * x - y / 3, 2 / 3 * y
    cube = np.stack([q, r, -q - r])
    whole = np.rint(cube)
    off = np.abs(whole - cube)
    worst = off.argmax(axis=0)
    q_whole = np.where(worst == 0, -whole[1] - whole[2], whole[0])
    r_whole = np.where(worst == 1, -whole[0] - whole[2], whole[1])
    return q_whole.astype(np.int64), r_whole.astype(np.int64)


def _middles(hexagons: NDArray[np.int64], side_um: float) -> Points:
    q, r = hexagons.T
    return np.column_stack([side_um * math.sqrt(3) * (q + r / 2), side_um * 1.5 * r])


def _covering(region: BaseGeometry, side_um: float) -> NDArray[np.int64]:
    """Hexagons (M, 2) whose circles may touch the region."""
    left, top, right, bottom = region.bounds
    rows = np.arange(math.floor(top / (1.5 * side_um)) - 1, math.ceil(bottom / (1.5 * side_um)) + 2)
    width = side_um * math.sqrt(3)
    found = []
    for r in rows.tolist():
        first, last = math.floor(left / width - r / 2) - 1, math.ceil(right / width - r / 2) + 1
        found.append(np.column_stack([np.arange(first, last + 1), np.full(last - first + 1, r)]))
    hexagons: NDArray[np.int64] = np.concatenate(found).astype(np.int64)
    shapely.prepare(region)
    near = np.asarray(shapely.dwithin(region, shapely.points(_middles(hexagons, side_um)), side_um), bool)
    return np.asarray(hexagons[near])


def _areas(region: BaseGeometry, hexagons: NDArray[np.int64], side_um: float) -> NDArray[np.float64]:
    shapes = shapely.polygons(hexagon_corners(_middles(hexagons, side_um), side_um))
    shapely.prepare(region)
    areas = shapely.area(shapes)
    cut = ~shapely.contains(region, shapes)
    areas[cut] = shapely.area(shapely.intersection(shapes[cut], region))
    return np.asarray(areas, np.float64)


def hexagon_corners(centres_um: Points, side_um: float) -> NDArray[np.float64]:
    """Corners (M, 6, 2) of pointy-topped hexagons around their middles (M, 2)."""
    angles = np.deg2rad(np.arange(30, 390, 60))
    corners: NDArray[np.float64] = side_um * np.column_stack([np.cos(angles), np.sin(angles)])
    return np.asarray(centres_um)[:, None, :] + corners


def cover_points(region: BaseGeometry, step_um: float) -> Points:
    """Points (M, 2) of a square grid inside the region; the grid begins at the slide's origin, not the region's."""
    left, top, right, bottom = region.bounds
    columns = np.arange(math.ceil(left / step_um), math.floor(right / step_um) + 1) * step_um
    rows = np.arange(math.ceil(top / step_um), math.floor(bottom / step_um) + 1) * step_um
    x, y = np.meshgrid(columns, rows)
    shapely.prepare(region)
    inside = np.asarray(shapely.contains_xy(region, x.ravel(), y.ravel()), bool)
    return np.asarray(np.column_stack([x.ravel(), y.ravel()])[inside])
