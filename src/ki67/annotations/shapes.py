"""Shapes as other programs' files have them, and the regions and cells that they stand for.

Every reader but QuPath's makes :class:`Shape` objects; what is an area, what is cut out of it, what is mended and
what is left out is decided here, once.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from ki67.annotations.coordinates import NOT_AREAS, GeometryFault, NoArea, points_of, polygons_px
from ki67.annotations.regions import UNCLASSIFIED, Region, Regions, Rgb
from ki67.errors import AnnotationError
from ki67.geometry import as_multipolygon
from ki67.slides import PixelFrame

LARGEST_NUCLEUS_UM2: Final = 400.0
"""A larger area drawn by hand is a region; QuPath's cell detection takes nothing larger for a nucleus by default."""

ELLIPSE_CORNERS: Final = 128
"""Of the polygon that stands for an ellipse, at most 0.06 % of its radius from it, and of the same area."""

_INSIDE_SHARE: Final = 0.99
_ROUNDING: Final = 1e-9
_NAMED: Final = 3
"""Shapes without an area that a message names; of more it tells the number."""

_GIVEN_BY_PROGRAMS: Final = re.compile(r"(layer|annotation|region) ?\d*|default|none|null", re.IGNORECASE)
"""Names that programs give of themselves: they say nothing of the tissue."""


@dataclass(frozen=True)
class Shape:
    """One shape of a file.

    Parameters
    ----------
    number
        Its place in the file, from 1.
    geometry
        GeoJSON geometry in pixels from the top left of level 0.
    label, name, identifier, color
        As of a :class:`~ki67.annotations.Region`; empty where the file does not say.
    negative
        Whether it is cut out of the shapes of its layer.
    layer
        Which layer it lies in, by number.
    """

    number: int
    geometry: Mapping[str, Any]
    label: str = UNCLASSIFIED
    name: str = ""
    identifier: str = ""
    color: Rgb | None = None
    negative: bool = False
    layer: int = 0


@dataclass(frozen=True)
class Shapes:
    """The shapes of a file, the program's name for messages, and what the reader has to say of them."""

    program: str
    shapes: list[Shape]
    notes: list[str] = field(default_factory=list)


def class_name(*candidates: str | None) -> str:
    """The first name that says something of the tissue; :data:`UNCLASSIFIED` where none does."""
    for text in candidates:
        name = (text or "").strip()
        if name and not _GIVEN_BY_PROGRAMS.fullmatch(name):
            return name
    return UNCLASSIFIED


def bgr(value: str | None) -> Rgb | None:
    """Colour of a Windows number 0xBBGGRR; None where it is none."""
    try:
        number = int(value or "")
    except ValueError:
        return None
    return (number & 255, number >> 8 & 255, number >> 16 & 255) if 0 <= number < 1 << 24 else None


def hex_rgb(value: Any) -> Rgb | None:
    """Colour of ``#rrggbb``; None where it is none."""
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return None
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def ellipse(centre: Sequence[float], radii: Sequence[float], angle_rad: float = 0.0) -> list[list[float]]:
    """Corners of the polygon that stands for an ellipse, with the ellipse's area."""
    step = 2 * math.pi / ELLIPSE_CORNERS
    widened = math.sqrt(step / math.sin(step))
    at = np.arange(ELLIPSE_CORNERS) * step
    x, y = widened * radii[0] * np.cos(at), widened * radii[1] * np.sin(at)
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    corners = np.stack([centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y], axis=1)
    return [[float(one) for one in corner] for corner in corners]


def ellipse_of(points: Sequence[Sequence[float]]) -> list[list[float]] | None:
    """Ellipse in a box given by two corners or four, or by its four extremes; None of anything else."""
    if len(points) not in (2, 4):
        return None
    left, top = (min(point[axis] for point in points) for axis in (0, 1))
    right, bottom = (max(point[axis] for point in points) for axis in (0, 1))
    return ellipse(((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2))


def rectangle_of(points: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Corners of a rectangle given by all its corners, or by two that lie across."""
    if len(points) != 2:
        return list(points)
    (left, top), (right, bottom) = points
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def polygon(points: Sequence[Sequence[float]], holes: Iterable[Sequence[Sequence[float]]] = ()) -> dict[str, Any]:
    """GeoJSON Polygon of an outline, closed or not, and its holes."""
    return {"type": "Polygon", "coordinates": [list(map(list, points)), *(list(map(list, hole)) for hole in holes)]}


def line(points: Sequence[Sequence[float]]) -> dict[str, Any]:
    """GeoJSON LineString: a line, an arrow, a ruler; no area."""
    return {"type": "LineString", "coordinates": list(map(list, points))}


def dots(points: Sequence[Sequence[float]]) -> dict[str, Any]:
    """GeoJSON MultiPoint."""
    return {"type": "MultiPoint", "coordinates": list(map(list, points))}


def regions_of(path: Path, found: Shapes, frame: PixelFrame) -> Regions:
    """Regions that a file's shapes stand for, in µm in the slide's frame.

    Negative shapes are cut out of those of their layer, but not out of one that was drawn inside them: of two nested
    areas the inner one holds, as in QuPath. Points and lines are no regions and left out with a note.

    Raises
    ------
    AnnotationError
        Where there are shapes but none is a region with an area, or one cannot be repaired.
    """
    notes = list(found.notes)
    areas = [shape for shape in found.shapes if shape.geometry.get("type") not in NOT_AREAS]
    others = len(found.shapes) - len(areas)
    if found.shapes and not any(not shape.negative for shape in areas):
        what = "only points, lines or negative regions" if areas else "only points or lines"
        raise AnnotationError(path, f"holds no areas, {what} ({len(found.shapes)})", "Draw the regions as polygons.")
    if others:
        notes.append(f"{others} shapes of {path.name} are points or lines, no areas: left out")
    drawn: list[tuple[Shape, Polygon | MultiPolygon]] = []
    lacking: list[str] = []
    mended: list[str] = []
    for shape in areas:
        try:
            geometry, repairs = _areas_px(path, shape, found.program)
        except NoArea as reason:
            lacking.append(f"annotation {shape.number} {reason}")
            continue
        drawn.append((shape, geometry))
        if repairs:
            mended.append(f"annotation {shape.number} of {path.name}: {'; '.join(repairs)}")
    notes += mended[:_NAMED]
    if len(mended) > _NAMED:
        notes.append(f"{len(mended) - _NAMED} more annotations of {path.name} were repaired")
    kept = _without_negatives(path, drawn, notes)
    if lacking:
        named = "; ".join(lacking[:_NAMED])
        named += f"; and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        if not kept:
            raise AnnotationError(path, f"holds no region with an area: {named}", "Draw the regions again.")
        notes.append(f"{path.name}: {named}: left out")
    if found.shapes and not kept:
        raise AnnotationError(path, "holds no region that is not wholly negative", "Draw the regions again.")
    return Regions(_named(kept, frame.from_corner), notes=notes, source=path)


def _named(drawn: list[tuple[Shape, Polygon | MultiPolygon]], frame: PixelFrame) -> list[Region]:
    """Regions in µm, each with an id of its own."""
    taken: set[str] = set()
    regions = []
    for shape, geometry in drawn:
        identifier = shape.identifier
        if not identifier or identifier in taken:
            identifier = f"region-{shape.number}"
        while identifier in taken:
            identifier += "-copy"
        taken.add(identifier)
        regions.append(
            Region(shape.label, shapely.transform(geometry, frame.to_um), identifier, shape.name, shape.color)
        )
    return regions


def _areas_px(path: Path, shape: Shape, program: str) -> tuple[Polygon | MultiPolygon, list[str]]:
    try:
        return polygons_px(shape.geometry)
    except NoArea:
        raise
    except GeometryFault as reason:
        way_out = f"Mend or delete it in {program} and export again."
        raise AnnotationError(path, f"annotation {shape.number} {reason}", way_out) from reason


def _without_negatives(
    path: Path, drawn: list[tuple[Shape, Polygon | MultiPolygon]], notes: list[str]
) -> list[tuple[Shape, Polygon | MultiPolygon]]:
    """Positive shapes without what the negative ones of their layer take away; what is to be said joins ``notes``."""
    kept: list[tuple[Shape, Polygon | MultiPolygon]] = []
    negatives: dict[int, list[Any]] = {}
    for shape, geometry in drawn:
        if shape.negative:
            negatives.setdefault(shape.layer, []).append(geometry)
    trees = {layer: shapely.STRtree(geometries) for layer, geometries in negatives.items()}
    used: set[tuple[int, int]] = set()
    said: Counter[str] = Counter()
    for shape, geometry in drawn:
        if shape.negative:
            continue
        met = trees[shape.layer].query(geometry, predicate="intersects") if shape.layer in trees else ()
        left = geometry
        for index in sorted(int(one) for one in met):
            negative = negatives[shape.layer][index]
            used.add((shape.layer, index))
            larger = negative.area > geometry.area
            if larger and shapely.intersection(negative, geometry).area >= _INSIDE_SHARE * geometry.area:
                said["counted all the same, being inside a negative one"] += 1
                continue
            left = as_multipolygon(shapely.difference(left, negative))
        if left.area <= _ROUNDING * geometry.area:
            said["left out, wholly under negative ones"] += 1
            continue
        if isinstance(left, MultiPolygon) and len(left.geoms) == 1:
            left = left.geoms[0]
        kept.append((shape, left))
    unused = sum(map(len, negatives.values())) - len(used)
    notes += [f"{path.name}: {count} region(s) {what}" for what, count in said.items()]
    if unused:
        notes.append(f"{path.name}: {unused} negative region(s) lie over no region of their layer: left out")
    return kept


def cells_of(path: Path, found: Shapes, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Centres of the cells of a file's shapes, by class name, (N, 2) in µm: points, and areas as small as a nucleus.

    Raises
    ------
    AnnotationError
        Where there are shapes but no cell, or a shape cannot be repaired.
    """
    centres: dict[str, list[NDArray[np.float64]]] = {}
    own = frame.from_corner
    for shape in found.shapes:
        way_out = f"Mend or delete it in {found.program} and export again."
        try:
            points = points_of(shape.geometry)
        except GeometryFault as reason:
            raise AnnotationError(path, f"annotation {shape.number} {reason}", way_out) from reason
        if shape.geometry.get("type") not in NOT_AREAS and not shape.negative:
            try:
                outline, _ = _areas_px(path, shape, found.program)
            except NoArea:
                continue
            if outline.area * own.mpp**2 <= LARGEST_NUCLEUS_UM2:
                points = np.array([[outline.centroid.x, outline.centroid.y]])
        if len(points):
            centres.setdefault(shape.label, []).append(own.to_um(points))
    if found.shapes and not centres:
        raise AnnotationError(
            path,
            f"holds no cells: its {len(found.shapes)} shapes are lines, or areas above {LARGEST_NUCLEUS_UM2:g} µm²",
            "Label cells by points or small outlines; check the pixel size.",
        )
    return {label: np.concatenate(parts) for label, parts in centres.items()}
