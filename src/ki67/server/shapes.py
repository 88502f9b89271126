"""Areas as GeoJSON in µm of their slide: to the page, and, looked at closely, from it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, mapping, shape
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Regions
from ki67.case.corrections import Counted
from ki67.errors import CorrectionError
from ki67.geometry import RectUm, area_mm2, as_multipolygon
from ki67.vocabulary import EXCLUSION_KINDS

MOST_CORNERS: Final = 50_000
"""Of an area that a page sends; a hand draws some thousands."""

DECIMALS: Final = 2
"""Hundredths of a µm: below a tenth of a pixel."""

CIRCLE_CORNERS: Final = 64


def collection(features: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """GeoJSON of features."""
    return {"type": "FeatureCollection", "features": list(features)}


def feature(geometry: BaseGeometry, **properties: Any) -> dict[str, Any]:
    """GeoJSON of an area in µm, with its size."""
    rounded = shapely.set_precision(geometry, 10.0**-DECIMALS, mode="pointwise")
    return {
        "type": "Feature",
        "geometry": mapping(rounded),
        "properties": {"area_mm2": area_mm2(geometry), **properties},
    }


def of_regions(regions: Regions | None) -> dict[str, Any] | None:
    """GeoJSON of regions in µm; None where there are none."""
    if regions is None:
        return None
    return collection(
        feature(one.geometry, id=one.region_id, label=one.label, name=one.name, color=list(one.display_color))
        for one in regions
    )


def of_left_out(counted: Counted) -> list[dict[str, Any]]:
    """What was left out of a count, by kind, with the reason."""
    return [
        feature(
            geometry,
            kind=kind,
            reason=EXCLUSION_KINDS[kind].sentence,
            label=EXCLUSION_KINDS[kind].label,
            color=list(EXCLUSION_KINDS[kind].color_rgb),
        )
        for kind, geometry in counted.left_out.items()
        if not geometry.is_empty
    ]


def circle(x_um: float, y_um: float, radius_um: float) -> list[list[float]]:
    """Corners of a circle."""
    turns = [2 * math.pi * step / CIRCLE_CORNERS for step in range(CIRCLE_CORNERS)]
    return [[x_um + radius_um * math.cos(turn), y_um + radius_um * math.sin(turn)] for turn in turns]


def area_from(given: dict[str, Any], bounds: RectUm) -> MultiPolygon:
    """Area in µm that a page sent, cut to its slide.

    Raises
    ------
    CorrectionError
        Where it is no area of the slide, or has more than :data:`MOST_CORNERS` corners.
    """
    if given.get("type") == "Feature" and isinstance(given.get("geometry"), dict):
        given = given["geometry"]
    if given.get("type") not in {"Polygon", "MultiPolygon"}:
        raise CorrectionError("an area is a GeoJSON Polygon or MultiPolygon in µm of the slide")
    try:
        geometry = shape(given)
        corners = shapely.get_coordinates(geometry)
    except Exception as error:  # what shapely raises on what is no geometry has no end
        raise CorrectionError("the area is no GeoJSON geometry") from error
    if len(corners) > MOST_CORNERS:
        raise CorrectionError(f"the area has {len(corners):,} corners, at most {MOST_CORNERS:,} are taken")
    if not len(corners) or not np.isfinite(corners).all():
        raise CorrectionError("the area has no corners, or corners that are no numbers")
    found = as_multipolygon(shapely.make_valid(shapely.force_2d(geometry)) & bounds.polygon)
    if found.is_empty:
        raise CorrectionError("the area lies beside the slide, or has no size")
    return found
