"""Rectangles and shapely helpers in micrometres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

UM2_PER_MM2 = 1e6


@dataclass(frozen=True, slots=True)
class RectUm:
    """Axis-parallel rectangle in µm in a slide's frame; ``x_um``, ``y_um`` is its top left corner."""

    x_um: float
    y_um: float
    width_um: float
    height_um: float

    def __post_init__(self) -> None:
        if not (self.width_um > 0 and self.height_um > 0):
            msg = f"a rectangle needs a positive size, got {self.width_um} x {self.height_um} µm"
            raise ValueError(msg)

    @classmethod
    def from_bounds(cls, left_um: float, top_um: float, right_um: float, bottom_um: float) -> RectUm:
        """Rectangle from its edges, in the order of ``geometry.bounds``."""
        return cls(left_um, top_um, right_um - left_um, bottom_um - top_um)

    @property
    def right_um(self) -> float:
        """Right edge."""
        return self.x_um + self.width_um

    @property
    def bottom_um(self) -> float:
        """Lower edge."""
        return self.y_um + self.height_um

    @property
    def bounds_um(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x_um, self.y_um, self.right_um, self.bottom_um

    @property
    def polygon(self) -> Polygon:
        """The rectangle as a shapely polygon."""
        return shapely.box(*self.bounds_um)

    def expanded(self, margin_um: float) -> RectUm:
        """Grow by a margin on all four sides (a negative margin shrinks)."""
        return RectUm.from_bounds(
            self.x_um - margin_um,
            self.y_um - margin_um,
            self.right_um + margin_um,
            self.bottom_um + margin_um,
        )

    def intersection(self, other: RectUm) -> RectUm | None:
        """Return the common part, or None where there is none."""
        left, top = max(self.x_um, other.x_um), max(self.y_um, other.y_um)
        right, bottom = min(self.right_um, other.right_um), min(self.bottom_um, other.bottom_um)
        return RectUm.from_bounds(left, top, right, bottom) if right > left and bottom > top else None


def fill_holes(polygon: Polygon, least_um2: float) -> Polygon:
    """The polygon without its holes of less than an area, in µm²."""
    holes = [ring for ring in polygon.interiors if Polygon(ring).area >= least_um2]
    return Polygon(polygon.exterior, holes)


def polygons_of(geometry: BaseGeometry) -> Iterator[Polygon]:
    """Yield the polygons of any geometry, whatever it is nested in; points and lines are left out."""
    if isinstance(geometry, Polygon):
        if not geometry.is_empty:
            yield geometry
    else:
        for part in getattr(geometry, "geoms", ()):
            yield from polygons_of(part)


def as_multipolygon(geometry: BaseGeometry) -> MultiPolygon:
    """Return the areal part of any geometry as one multipolygon (empty where there is none)."""
    return MultiPolygon(list(polygons_of(geometry)))


_MANY = 1000
_TILE_SIDES = 4.0
"""More polygons than that are first joined in tiles, this many times as wide as the polygons usually are: margins of
thousands of specks each meet hundreds of others, and the pairs would fill the memory."""


def union_of(geometries: Iterable[BaseGeometry]) -> MultiPolygon:
    """Area that polygons cover together; what overlaps counts once.

    Only those that meet are joined: that takes seconds for 100,000 polygons that lie apart, where
    :func:`shapely.union_all` takes minutes without hearing Ctrl-C.
    """
    polygons = _flat(geometries)
    if len(polygons) > _MANY:
        bounds = shapely.bounds(polygons)
        side = _TILE_SIDES * float(np.median(np.maximum(*(bounds[:, 2:] - bounds[:, :2]).T)))
        tiles = np.floor((bounds[:, :2] + bounds[:, 2:]) / (2 * side))
        polygons = _flat(_joined(polygons, np.unique(tiles, axis=0, return_inverse=True)[1].ravel()))
    if len(polygons) < 2:
        return MultiPolygon(polygons.tolist())
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    meet = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(polygons), len(polygons)))
    return MultiPolygon(_flat(_joined(polygons, connected_components(meet, directed=False)[1])).tolist())


def _flat(geometries: Iterable[BaseGeometry]) -> NDArray[np.object_]:
    return np.array([polygon for geometry in geometries for polygon in polygons_of(geometry)], dtype=object)


def _joined(polygons: NDArray[np.object_], group: NDArray[np.integer]) -> Iterator[BaseGeometry]:
    """Yield the union of each group of polygons, groups being numbered from 0."""
    order = np.argsort(group, kind="stable")
    for one in np.split(polygons[order], np.cumsum(np.bincount(group))[:-1]):
        yield one[0] if len(one) == 1 else shapely.union_all(one)


def area_mm2(geometry: BaseGeometry) -> float:
    """Area of a geometry in µm, as mm²."""
    return float(geometry.area) / UM2_PER_MM2
