"""GeoJSON coordinates to shapely geometry in pixels, checked and repaired; and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.validation import explain_validity

from ki67.geometry import as_multipolygon, polygons_of, union_of
from ki67.slides import PixelFrame

MAX_COORDINATE_PX: Final = 1e8
"""Fifty times the longest edge of any whole slide (about 2 million px); beyond, areas lose their precision."""

PIXELS_AS_UM: Final = 1.0
"""Pixel size of a frame where no slide is known: what is read in it is in pixels, and said of µm is nothing."""

COORDINATE_DECIMALS: Final = 3
"""Decimals of a pixel written to files: a thousandth of a pixel is below anything a scanner resolves."""

NOT_AREAS: Final = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString"})
"""GeoJSON geometries without an area."""

_NOTEWORTHY_CHANGE: Final = 1e-9
"""Relative change of area that a repair is reported with as "unchanged"."""

_LARGE_CHANGE: Final = 0.05
"""Relative change from which a per cent says nothing: loops in opposite senses took each other's area away before."""


LEAST_CORNERS: Final = 3
"""Different points of a ring that can have an area."""

MOST_CROSSINGS: Final = 50_000
"""Crossings of a ring with itself that are sorted out, in some seconds; a hand's outline has a few, 500 random points
have 29,000, and time goes with more than their number."""

EDGES_AT_ONCE: Final = 20_000
PAIRS_AT_ONCE: Final = 1_000_000
"""Edges asked, and pairs of edges looked at, in one step: a fraction of a second, so that Ctrl-C is heard."""


class GeometryFault(ValueError):  # noqa: N818 - a clause for the caller's AnnotationError, never shown by itself
    """Geometry that cannot be repaired; its text is a clause that follows "feature N"."""


class NoArea(GeometryFault):
    """Geometry that is well-formed but encloses nothing: it can be left out without any loss of area."""


def polygons_px(geometry: Mapping[str, Any]) -> tuple[Polygon | MultiPolygon, list[str]]:
    """Build the areal part of a GeoJSON geometry.

    Open rings are closed, a third dimension is dropped, rings that cross themselves are repaired one by one
    (:func:`shapely.make_valid` by structure), and then holes are cut out. Rings without an area are left out, and so
    are holes that lie outside their outline: they take nothing away, and never become tissue.

    Returns
    -------
    geometry, repairs
        A valid polygon or multipolygon in the file's pixels, and one clause per repair.

    Raises
    ------
    NoArea
        Where nothing with an area is there: no part, or only points and lines drawn as rings.
    GeometryFault
        Where a coordinate is no finite number, a ring crosses itself without end or the type is unknown.
    """
    rings = [polygon for part in simple_parts(geometry) for polygon in _polygons(part)]
    if not rings:
        raise NoArea("holds no area")
    repairs: list[str] = []
    valid: list[Polygon] = []
    lacking: list[str] = []
    for polygon in rings:
        try:
            valid.extend(_valid(polygon, repairs))
        except NoArea as fault:
            lacking.append(str(fault))
    if not valid:
        raise NoArea(lacking[0])
    repairs += [f"a part that {fault}: left out" for fault in lacking]
    if len(valid) == 1:
        return valid[0], _counted(repairs)
    merged = MultiPolygon(valid)
    if not shapely.is_valid(merged):
        merged = union_of(valid)
        repairs.append("overlapping parts, merged")
    return (merged.geoms[0] if len(merged.geoms) == 1 else merged), _counted(repairs)


def _valid(rings: _Rings, repairs: list[str]) -> list[Polygon]:
    """Polygons of one outline without its holes; what was mended joins ``repairs``."""
    if min(map(len, (rings.outline, *rings.holes))) >= LEAST_CORNERS:
        whole = Polygon(rings.outline, rings.holes)
        if shapely.is_valid(whole) and whole.area > 0:
            return [whole]
    distinct = len(np.unique(rings.outline, axis=0))
    if distinct < LEAST_CORNERS:
        raise NoArea(f"needs three different points in the outline of the {rings.what}, found {distinct}")
    holes = []
    for number, hole in enumerate(rings.holes, 1):
        if len(np.unique(hole, axis=0)) < LEAST_CORNERS:
            repairs.append(f"hole {number} of the {rings.what} has no area: left out")
        else:
            holes.append(hole)
    whole = Polygon(rings.outline, holes)
    if shapely.is_valid(whole) and whole.area > 0:
        return [whole]
    reason = explain_validity(whole).split("[")[0].lower()
    outline = _mended(rings.outline, f"the outline of the {rings.what}")
    if outline.is_empty:
        raise NoArea("has no area")
    mended = _without_holes(outline, [_mended(hole, "a hole") for hole in holes], repairs)
    if mended.is_empty:
        raise NoArea("has no area: its holes take all of it away")
    repairs.append(f"{reason}, repaired{_area_change(whole, mended)}")
    return list(polygons_of(mended))


def _without_holes(outline: MultiPolygon, holes: list[MultiPolygon], repairs: list[str]) -> MultiPolygon:
    if not holes:
        return outline
    shapely.prepare(outline)
    empty = shapely.is_empty(holes)
    within = shapely.intersects(outline, holes) & ~shapely.touches(outline, holes)
    repairs += ["a hole without an area: left out"] * int(empty.sum())
    repairs += ["a hole outside its outline: left out"] * int((~within & ~empty).sum())
    cut = shapely.union_all(np.array(holes, dtype=object)[within])
    return as_multipolygon(shapely.difference(outline, cut))


def _mended(ring: NDArray[np.float64], what: str) -> MultiPolygon:
    """What a ring encloses, however it crosses itself; empty where it encloses nothing."""
    polygon = Polygon(ring)
    if shapely.is_valid(polygon):
        return as_multipolygon(polygon) if polygon.area > 0 else MultiPolygon()
    if _crosses_itself_more_than(MOST_CROSSINGS, shapely.get_coordinates(polygon)):
        raise GeometryFault(
            f"has more than {MOST_CROSSINGS:,} crossings of {what} with itself: a scribble, no outline"
        )
    return as_multipolygon(shapely.make_valid(polygon, method="structure", keep_collapsed=False))


def _crosses_itself_more_than(most: int, ring: NDArray[np.float64]) -> bool:
    """Count crossings of a closed ring's edges (N + 1, 2), as far as needed."""
    edges = shapely.linestrings(np.stack([ring[:-1], ring[1:]], axis=1))
    tree = shapely.STRtree(edges)
    most_pairs = 2 * most
    start, found, step = 0, 0, 1
    while start < len(edges):
        asking, met = tree.query(edges[start : start + step])
        first, second = asking + start, met
        apart = (first - second) % len(edges)
        candidates = (apart > 1) & (apart < len(edges) - 1)
        found += int(_cross(ring, first[candidates], second[candidates]).sum())
        if found > most_pairs:
            return True
        start += step
        # Edges of a scribble meet all others, those of an outline a few: what is asked at once follows from it.
        step = max(1, min(EDGES_AT_ONCE, PAIRS_AT_ONCE * step // max(1, len(first))))
    return False


def _cross(ring: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether edges whose boxes meet have a point in common."""
    a, b, c, d = ring[first], ring[first + 1], ring[second], ring[second + 1]

    def side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
        turn = (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])
        return np.asarray(np.sign(turn))

    return np.asarray((side(a, b, c) * side(a, b, d) <= 0) & (side(c, d, a) * side(c, d, b) <= 0))


def _counted(clauses: list[str]) -> list[str]:
    """Each clause once, with how often it holds."""
    return [clause if count == 1 else f"{clause} ({count} times)" for clause, count in Counter(clauses).items()]


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


def rounded_px(geometry: Polygon | MultiPolygon, frame: PixelFrame) -> Polygon | MultiPolygon:
    """Geometry in a frame's pixels of one in µm, rounded to :data:`COORDINATE_DECIMALS` and valid as it stands.

    What vanishes when it is rounded is left out: all of it may.
    """
    rounded = shapely.transform(geometry, lambda xy: np.round(frame.to_px(xy), COORDINATE_DECIMALS))
    if not shapely.is_valid(rounded):
        exact = shapely.transform(geometry, lambda xy: frame.to_px(xy))
        snapped = as_multipolygon(shapely.set_precision(exact, 10.0**-COORDINATE_DECIMALS))
        # The grid's points are multiples of its step but for the last bits.
        snapped = shapely.transform(snapped, lambda xy: np.round(xy, COORDINATE_DECIMALS))
        rounded = snapped.geoms[0] if len(snapped.geoms) == 1 else snapped
    return rounded


def rings_of(geometry: Polygon | MultiPolygon) -> list[Any]:
    """GeoJSON coordinates of a geometry."""
    if isinstance(geometry, MultiPolygon):
        return [rings_of(part) for part in geometry.geoms]
    return [shapely.get_coordinates(ring).tolist() for ring in (geometry.exterior, *geometry.interiors)]


@dataclass(frozen=True)
class _Rings:
    """An outline and its holes as the file has them, (N, 2) each; ``what`` names them in messages."""

    outline: NDArray[np.float64]
    holes: list[NDArray[np.float64]]
    what: str


def _polygons(geometry: Mapping[str, Any]) -> list[_Rings]:
    kind = geometry.get("type")
    coordinates = geometry.get("coordinates")
    if kind == "Polygon":
        return _polygon(coordinates, "geometry")
    if kind == "MultiPolygon":
        parts = _sequence(coordinates, "the geometry")
        return [rings for number, part in enumerate(parts, 1) for rings in _polygon(part, f"part {number}")]
    if isinstance(kind, str) and kind in NOT_AREAS:
        return []
    raise GeometryFault(f"has a geometry of type {short(kind)}, expected Polygon or MultiPolygon")


def _polygon(coordinates: Any, what: str) -> list[_Rings]:
    rings = _sequence(coordinates, f"the {what}")
    if not rings:
        return []
    outline = _line(rings[0], f"the outline of the {what}")
    holes = [_line(ring, f"hole {number} of the {what}") for number, ring in enumerate(rings[1:], 1)]
    return [_Rings(outline, holes, what)]


def _line(coordinates: Any, what: str) -> NDArray[np.float64]:
    """Positions as (N, 2) float64, each checked to be finite numbers of a possible size."""
    positions = _sequence(coordinates, what)
    if not _all_positions(positions):
        _name_the_fault(positions, what)
    return np.array([position[:2] for position in positions], dtype=np.float64).reshape(-1, 2)


def _all_positions(positions: Sequence[Any]) -> bool:
    """Whether all are lists of two numbers or more, of a possible size; without a loop, for there are millions."""
    if not set(map(type, positions)) <= {list} or min(map(len, positions), default=2) < 2:
        return False
    if not set(map(type, chain.from_iterable(positions))) <= {int, float}:
        return False
    # NaN fails these comparisons too.
    return all(-MAX_COORDINATE_PX <= x <= MAX_COORDINATE_PX for x in chain.from_iterable(positions))


def _name_the_fault(positions: Sequence[Any], what: str) -> None:
    """Raise the fault of the first position that is none; heights may be anything."""
    for number, position in enumerate(positions, 1):
        if not isinstance(position, list) or len(position) < 2:
            raise GeometryFault(f"has no [x, y] at point {number} of {what} but {short(position)}")
        for value in position[:2]:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise GeometryFault(f"has no number at point {number} of {what} but {short(value)}")
            if not abs(value) <= MAX_COORDINATE_PX:
                raise GeometryFault(f"has the impossible coordinate {short(value)} at point {number} of {what}")


def _sequence(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise GeometryFault(f"has no list of coordinates for {what} but {short(value)}")
    return value


def short(value: Any) -> str:
    """Show a value from the file in a message, cut to 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _area_change(before: Polygon, after: MultiPolygon) -> str:
    """What a repair did to the area; before it that is the shoelace sum, in which the lobes of a bow-tie cancel."""
    change = float(after.area / before.area) - 1.0 if before.area > 0 else float("inf")
    if abs(change) < _NOTEWORTHY_CHANGE:
        return " (area unchanged)"
    if abs(change) < _LARGE_CHANGE:
        return f" (area {100 * change:+.1f} %)"
    return f" (what all its loops enclose is taken: {after.area:,.0f} px²)"
