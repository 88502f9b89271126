"""GeoJSON coordinates to shapely geometry in pixels, checked and repaired; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.validation import explain_validity

from ki67.geometry import as_multipolygon, polygons_of
from ki67.slides import PixelFrame

MAX_COORDINATE_PX: Final = 1e8
"""Fifty times the longest edge of any whole slide (about 2 million px); beyond, areas lose their precision."""

COORDINATE_DECIMALS: Final = 3
"""Decimals of a pixel written to files: a thousandth of a pixel is below anything a scanner resolves."""

NOT_AREAS: Final = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString"})
"""GeoJSON geometries without an area."""

_NOTEWORTHY_CHANGE: Final = 1e-9
"""Relative change of area that a repair is reported with as "unchanged"."""


class GeometryFault(ValueError):  # noqa: N818 - a clause for the caller's AnnotationError, never shown by itself
    """Geometry that cannot be repaired; its text is a clause that follows "feature N"."""


def polygons_px(geometry: Mapping[str, Any]) -> tuple[Polygon | MultiPolygon, list[str]]:
    """Build the areal part of a GeoJSON geometry.

    Open rings are closed, a third dimension is dropped, self-intersections (bow-ties, holes that cross the shell) are
    repaired with :func:`shapely.make_valid` by structure: every ring is made valid, then holes are cut out.

    Returns
    -------
    geometry, repairs
        A valid polygon or multipolygon in the file's pixels, and one clause per repair.

    Raises
    ------
    GeometryFault
        Where a coordinate is no finite number, a ring has fewer than three different points, the area is zero or
        the type is unknown.
    """
    raw = [area for part in simple_parts(geometry) for area in _areas(part)]
    if not raw:
        raise GeometryFault("holds no area")
    repairs: list[str] = []
    valid: list[Polygon] = []
    for polygon in raw:
        if shapely.is_valid(polygon):
            valid.append(polygon)
            continue
        reason = explain_validity(polygon).split("[")[0].lower()
        mended = as_multipolygon(shapely.make_valid(polygon, method="structure", keep_collapsed=False))
        repairs.append(f"{reason}, repaired{_area_change(polygon, mended)}")
        valid.extend(polygons_of(mended))
    merged = MultiPolygon(valid)
    if not shapely.is_valid(merged):
        merged = as_multipolygon(shapely.union_all(valid))
        repairs.append("overlapping parts, merged")
    if not merged.area > 0:
        raise GeometryFault("has no area")
    return (merged.geoms[0] if len(merged.geoms) == 1 else merged), repairs


def points_of(geometry: Mapping[str, Any]) -> NDArray[np.float64]:
    """Points of a GeoJSON Point, MultiPoint or collection as (N, 2) pixels; (0, 2) for any other geometry."""
    found = [np.empty((0, 2))]
    for part in simple_parts(geometry):
        if part.get("type") == "Point":
            found.append(_line([part.get("coordinates")], "the point"))
        elif part.get("type") == "MultiPoint":
            found.append(_line(part.get("coordinates"), "the points"))
    return np.concatenate(found)


def simple_parts(geometry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Take GeometryCollections apart, however deep they are nested; any other geometry is its own only part."""
    simple: list[Mapping[str, Any]] = []
    waiting = [geometry]
    while waiting:
        part = waiting.pop()
        if part.get("type") != "GeometryCollection":
            simple.append(part)
            continue
        parts = part.get("geometries")
        if not isinstance(parts, list) or not all(isinstance(one, dict) for one in parts):
            raise GeometryFault("is a GeometryCollection without a list of geometries")
        waiting.extend(reversed(parts))
    return simple


def rings_px(geometry: Polygon | MultiPolygon, frame: PixelFrame) -> list[Any]:
    """GeoJSON coordinates in a frame's pixels of a geometry in µm, rounded to :data:`COORDINATE_DECIMALS`."""
    if isinstance(geometry, MultiPolygon):
        return [rings_px(part, frame) for part in geometry.geoms]
    return [_ring_px(ring.coords, frame) for ring in (geometry.exterior, *geometry.interiors)]


def _ring_px(coords: Any, frame: PixelFrame) -> list[list[float]]:
    xy_px: list[list[float]] = np.round(frame.to_px(np.asarray(coords)[:, :2]), COORDINATE_DECIMALS).tolist()
    return xy_px


def _areas(geometry: Mapping[str, Any]) -> list[Polygon]:
    kind = geometry.get("type")
    coordinates = geometry.get("coordinates")
    if kind == "Polygon":
        return _polygon(coordinates, "geometry")
    if kind == "MultiPolygon":
        parts = _sequence(coordinates, "the geometry")
        return [area for number, part in enumerate(parts, 1) for area in _polygon(part, f"part {number}")]
    if isinstance(kind, str) and kind in NOT_AREAS:
        return []
    raise GeometryFault(f"has a geometry of type {short(kind)}, expected Polygon or MultiPolygon")


def _polygon(coordinates: Any, what: str) -> list[Polygon]:
    rings = _sequence(coordinates, f"the {what}")
    if not rings:
        return []
    shell = _ring(rings[0], f"the outline of the {what}")
    holes = [_ring(ring, f"hole {number} of the {what}") for number, ring in enumerate(rings[1:], 1)]
    return [Polygon(shell, holes)]


def _ring(coordinates: Any, what: str) -> NDArray[np.float64]:
    ring = _line(coordinates, what)
    distinct = len(np.unique(ring, axis=0))
    if distinct < 3:
        raise GeometryFault(f"needs three different points in {what}, found {distinct}")
    return ring


def _line(coordinates: Any, what: str) -> NDArray[np.float64]:
    """Positions as (N, 2) float64, each checked to be finite numbers of a possible size."""
    positions = _sequence(coordinates, what)
    for number, position in enumerate(positions, 1):
        if not isinstance(position, list) or len(position) < 2:
            raise GeometryFault(f"has no [x, y] at point {number} of {what} but {short(position)}")
        for value in position[:2]:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise GeometryFault(f"has no number at point {number} of {what} but {short(value)}")
            # NaN fails this comparison too.
            if not abs(value) <= MAX_COORDINATE_PX:
                raise GeometryFault(f"has the impossible coordinate {short(value)} at point {number} of {what}")
    return np.array([position[:2] for position in positions], dtype=np.float64).reshape(-1, 2)


def _sequence(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise GeometryFault(f"has no list of coordinates for {what} but {short(value)}")
    return value


def short(value: Any) -> str:
    """Show a value from the file in a message, cut to 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _area_change(before: Polygon, after: MultiPolygon) -> str:
    """Area before the repair is the shoelace sum, in which the lobes of a bow-tie cancel."""
    if not before.area > 0:
        return f" (area now {after.area:.0f} px²)"
    change = float(after.area / before.area) - 1.0
    return " (area unchanged)" if abs(change) < _NOTEWORTHY_CHANGE else f" (area {100 * change:+.1f} %)"
