"""The region in which cells are counted, and the margin around it in which they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Regions
from ki67.errors import RegionError
from ki67.geometry import RectUm, area_mm2, polygons_of, union_of

# Segments per quarter circle of the margin's round corners: it only decides which extra cells are kept.
_MARGIN_SEGMENTS = 4

# An outline of more corners is drawn finer than a margin needs; simplified by a share of it, it still lies within.
_MANY_CORNERS = 20_000
_MARGIN_TOLERANCE = 0.02


@dataclass(frozen=True)
class CountedRegion:
    """Polygons in µm within the slide, their names, and the wider geometry in which cells are kept."""

    polygons: tuple[Polygon, ...]
    region_ids: tuple[str, ...]
    kept: BaseGeometry

    @cached_property
    def whole(self) -> MultiPolygon:
        """Area in which cells are counted."""
        return union_of(self.polygons)

    @property
    def area_mm2(self) -> float:
        """Size of it."""
        return area_mm2(self.whole)

    def locate(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.int32]:
        """Index of the first polygon that contains each point, -1 outside all."""
        index = np.full(len(x_um), len(self.polygons), np.int64)
        points, owners = self._tree.query(shapely.points(x_um, y_um))
        within = shapely.contains_xy(self._tree.geometries[owners], x_um[points], y_um[points])
        np.minimum.at(index, points[within], owners[within])
        return np.where(index < len(self.polygons), index, -1).astype(np.int32)

    @cached_property
    def _tree(self) -> shapely.STRtree:
        """The polygons by where they lie, each prepared for many questions."""
        shapely.prepare(self.polygons)
        return shapely.STRtree(self.polygons)

    def keeps(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points lie in the region or its margin."""
        shapely.prepare(self.kept)
        return np.asarray(shapely.contains_xy(self.kept, x_um, y_um), np.bool_)


def _widened(part: Polygon, margin_um: float) -> BaseGeometry:
    if shapely.get_num_coordinates(part) > _MANY_CORNERS:
        simpler = shapely.simplify(part, _MARGIN_TOLERANCE * margin_um, preserve_topology=False)
        part = part if simpler.is_empty else simpler
    return part.buffer(margin_um, quad_segs=_MARGIN_SEGMENTS)


def counted_region(region: BaseGeometry | Regions, bounds_um: RectUm, margin_um: float) -> CountedRegion:
    """Clip a region to the slide; regions keep their ids, polygons of a geometry are numbered from 1.

    Raises
    ------
    RegionError
        Where the region has no area or lies outside the slide.
    """
    if isinstance(region, Regions):
        drawn = [(polygon, one.region_id) for one in region for polygon in polygons_of(one.geometry)]
    else:
        drawn = [(polygon, str(number)) for number, polygon in enumerate(polygons_of(region), start=1)]
    if sum(polygon.area for polygon, _ in drawn) <= 0:
        msg = "the region to count in is empty: it holds no polygon with an area. Draw it again"
        raise RegionError(msg)
    frame = bounds_um.polygon
    named = [
        (part, name)
        for polygon, name in drawn
        for part in polygons_of(shapely.make_valid(polygon).intersection(frame))
    ]
    if not named:
        edges = shapely.total_bounds([polygon for polygon, _ in drawn]).tolist()
        found = ", ".join(f"{value:.0f}" for value in edges)
        msg = (
            f"the region lies outside the slide: its edges are at {found} µm (left, top, right, bottom), the slide "
            f"is {bounds_um.width_um:.0f} x {bounds_um.height_um:.0f} µm. Check the region's file and the pixel size"
        )
        raise RegionError(msg)
    polygons = tuple(polygon for polygon, _ in named)
    # Part by part, then together: of all at once, thousands of parts take more memory than there is.
    kept = union_of(_widened(polygon, margin_um) if margin_um > 0 else polygon for polygon in polygons)
    counted = CountedRegion(polygons, tuple(name for _, name in named), kept.intersection(frame.buffer(1.0)))
    # GEOS indexes a geometry at the first question about it: asked here, before several threads ask at once.
    x_um, y_um = shapely.get_coordinates(shapely.point_on_surface(polygons)).T
    counted.locate(x_um, y_um)
    counted.keeps(x_um, y_um)
    return counted
