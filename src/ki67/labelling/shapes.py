"""Labels as the database keeps them, GeoJSON in µm, and as geometry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Point, Polygon

from ki67.annotations.coordinates import GeometryFault, points_of, polygons_px
from ki67.errors import RefusedError
from ki67.geometry import union_of
from ki67.labelling.law import label_kind_fits
from ki67.labelling.words import LabelKind

MOST_CORNERS: Final = 200_000
"""Of one label: a hand draws some thousands."""

FARTHEST_UM: Final = 1e6
"""A metre: beyond any slide."""

BESIDE_UM: Final = 10.0
"""A label no farther than this beside its slide is one drawn at its edge: a nucleus's width. Our own choice."""


def as_stored(geometry: Any) -> dict[str, Any]:
    """GeoJSON in µm of a polygon, or of a point (2,); coordinates to a thousandth."""
    if isinstance(geometry, Polygon | MultiPolygon):
        stored: dict[str, Any] = shapely.geometry.mapping(shapely.set_precision(geometry, 0.001))
        return {"type": stored["type"], "coordinates": _lists(stored["coordinates"])}
    x, y = (round(float(one), 3) for one in geometry)
    return {"type": "Point", "coordinates": [x, y]}


def _lists(value: Any) -> Any:
    return [_lists(one) for one in value] if isinstance(value, tuple | list) else round(value, 3)


def checked(kind: LabelKind, geometry: Any) -> dict[str, Any]:
    """Geometry that somebody sent, checked and repaired.

    Raises
    ------
    RefusedError
        Where it is no geometry of this kind of project, or cannot be repaired.
    """
    if not isinstance(geometry, Mapping) or not isinstance(geometry.get("type"), str):
        raise RefusedError("a label has no geometry")
    if not label_kind_fits(kind, geometry["type"]):
        raise RefusedError(f"a project of {kind.value} takes no {geometry['type'][:40]}")
    if _corners(geometry.get("coordinates")) > MOST_CORNERS:
        raise RefusedError(f"a label has more than {MOST_CORNERS:,} corners")
    try:
        found = Point(points_of(geometry)[0]) if kind is LabelKind.cells else polygons_px(geometry)[0]
    except GeometryFault as fault:
        raise RefusedError(f"a label {fault}") from fault
    if not all(math.isfinite(one) and abs(one) <= FARTHEST_UM for one in found.bounds):
        raise RefusedError("a label lies beyond any slide")
    stored = as_stored(found if kind is LabelKind.regions else (found.x, found.y))
    if not stored["coordinates"]:
        raise RefusedError("a label holds no area of a thousandth of a µm")
    return stored


def lies_beside(geometry: Mapping[str, Any], size_um: tuple[float, float]) -> str | None:
    """Where a label lies, in words, if no part of it is on a slide of this width and height in µm; else None."""
    width_um, height_um = size_um
    found = shapely.geometry.shape(geometry)
    if found.intersects(shapely.box(-BESIDE_UM, -BESIDE_UM, width_um + BESIDE_UM, height_um + BESIDE_UM)):
        return None
    x_um, y_um = found.representative_point().coords[0]
    return f"lies beside the slide, at ({x_um:.0f}, {y_um:.0f}) µm of {width_um:.0f} x {height_um:.0f} µm"


def _corners(value: Any) -> int:
    waiting, count = [value], 0
    while waiting and count <= MOST_CORNERS:
        one = waiting.pop()
        if isinstance(one, list):
            count += 1
            waiting.extend(one)
    return count


def areas(labels: Iterable[Mapping[str, Any]]) -> dict[str, MultiPolygon]:
    """Area of each class in µm, overlaps once."""
    found: dict[str, list[Any]] = {}
    for one in labels:
        found.setdefault(one["label"], []).append(shapely.geometry.shape(one["geometry"]))
    return {label: union_of(shapely.make_valid(part) for part in parts) for label, parts in found.items()}


def points(labels: Iterable[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """Points (N, 2) in µm of each class."""
    found: dict[str, list[list[float]]] = {}
    for one in labels:
        found.setdefault(one["label"], []).append(one["geometry"]["coordinates"])
    return {label: np.array(places, np.float64) for label, places in found.items()}
