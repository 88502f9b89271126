"""QuPath GeoJSON, read and written: pixels as QuPath counts them in the file, micrometres in the program."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from ki67.annotations.coordinates import (
    NOT_AREAS,
    GeometryFault,
    NoArea,
    points_of,
    polygons_px,
    rings_of,
    rounded_px,
    simple_parts,
)
from ki67.annotations.qupath_objects import (
    CELL_TYPES,
    REGION_ID_KEY,
    TMA_CORE,
    QuPathObject,
    fault,
    read_objects,
)
from ki67.annotations.regions import UNCLASSIFIED, Region, Regions
from ki67.annotations.shapes import LARGEST_NUCLEUS_UM2
from ki67.errors import AnnotationError
from ki67.files import atomic_path
from ki67.slides import PixelFrame

_CELLS: Final = CELL_TYPES - {"tile"}
_ID_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_OID, "ki67 region")

_NAMED: Final = 3
"""Features without an area that a message names; of more it tells the number."""


def read_regions(path: Path, frame: PixelFrame) -> Regions:
    """Read the areas of a QuPath GeoJSON file; see :func:`ki67.annotations.read_regions`.

    Annotations are regions, however deep they are nested. Detections and cells are left out (with a note) where the
    file has annotations beside them, and are the regions where it has nothing else. Cores of tissue micro-arrays,
    points and lines, and what has no area are no regions and left out with a note; a file that holds nothing else is
    refused. A file without any feature gives no regions.
    """
    features = read_objects(path)
    notes: list[str] = []
    drawn = _drawn(path, features, notes)
    regions: list[Region] = []
    lacking: list[str] = []
    taken: set[str] = set()
    for feature in drawn:
        try:
            region, repairs = _region(path, feature, frame, taken)
        except NoArea as reason:
            lacking.append(f"feature {feature.number} {reason}")
            continue
        regions.append(region)
        notes.extend(repairs)
    if lacking and not regions:
        raise AnnotationError(path, f"holds no region with an area: {_first(lacking)}", "Draw the regions again.")
    if lacking:
        notes.append(f"{path.name}: {_first(lacking)}: left out")
    return Regions(regions, notes=notes, source=path)


def _drawn(path: Path, features: list[QuPathObject], notes: list[str]) -> list[QuPathObject]:
    """Features that are regions, or claim to be; what is said of the others joins ``notes``."""
    cores = sum(feature.object_type == TMA_CORE for feature in features)
    others = [feature for feature in features if feature.object_type != TMA_CORE]
    areas = [feature for feature in others if _has_area(path, feature)]
    if features and not areas:
        what = "no areas, only points or lines" if others else "no annotations, only cores of a tissue micro-array"
        found = f"holds {what} ({len(features)} features, from feature {features[0].number} on)"
        raise AnnotationError(path, found, "Draw the regions as polygons.")
    if cores:
        notes.append(f"{cores} cores of a tissue micro-array of {path.name} are no regions: left out")
    if len(areas) < len(others):
        notes.append(f"{len(others) - len(areas)} features of {path.name} are points or lines, no areas: left out")
    drawn = [feature for feature in areas if feature.object_type not in CELL_TYPES]
    if drawn and len(drawn) < len(areas):
        notes.append(f"{len(areas) - len(drawn)} detections or cells of {path.name} are no regions: left out")
    elif areas and not drawn:
        notes.append(f"{path.name} holds no annotations; its {len(areas)} detections are taken as regions")
    return drawn or areas


def _first(lacking: list[str]) -> str:
    named = "; ".join(lacking[:_NAMED])
    return named if len(lacking) <= _NAMED else f"{named}; and {len(lacking) - _NAMED} more features"


def read_cells(path: Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the cells of a QuPath GeoJSON file; see :func:`ki67.annotations.read_cells`."""
    features = read_objects(path)
    outlined_by_hand = not any(feature.object_type in _CELLS for feature in features)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for feature in features:
        if feature.geometry is None and feature.nucleus is None:
            raise fault(path, feature.number, "has no geometry")
        centres = _cell_centres(path, feature, frame, outlined_by_hand=outlined_by_hand)
        if len(centres):
            found.setdefault(feature.label, []).append(centres)
    if features and not found:
        raise AnnotationError(
            path,
            f"holds no cells: its {len(features)} features are lines, or areas above {LARGEST_NUCLEUS_UM2:g} µm²",
            "Label cells by points or detections; check the pixel size.",
        )
    return {label: np.concatenate(parts) for label, parts in found.items()}


def _cell_centres(
    path: Path, feature: QuPathObject, frame: PixelFrame, *, outlined_by_hand: bool
) -> NDArray[np.float64]:
    try:
        points = points_of(feature.geometry or {})
        if len(points) or not _has_area(path, feature):
            return frame.to_um(points)
        outline, _ = polygons_px(feature.nucleus or feature.geometry or {})
    except GeometryFault as reason:
        raise fault(path, feature.number, str(reason)) from reason
    small = outline.area * frame.mpp**2 <= LARGEST_NUCLEUS_UM2
    if feature.object_type in _CELLS or (outlined_by_hand and feature.object_type == "annotation" and small):
        return frame.to_um([[outline.centroid.x, outline.centroid.y]])
    return np.empty((0, 2))


def write_regions(path: Path, regions: Regions, frame: PixelFrame) -> list[str]:
    """Write regions as a QuPath FeatureCollection of annotations; see :func:`ki67.annotations.write_regions`."""
    vanished = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('{"type":"FeatureCollection","features":[')
        before = "\n"
        for region in regions:
            geometry_px = rounded_px(region.geometry, frame)
            if geometry_px.is_empty:
                # Less than a thousandth of a pixel across: as a region of the file it would be refused.
                vanished += 1
                continue
            feature = _feature_of(region, geometry_px)
            stream.write(before)
            stream.write(json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
            before = ",\n"
        stream.write("\n]}\n")
    return [f"{vanished} region(s) less than a thousandth of a pixel across"] if vanished else []


def _feature_of(region: Region, geometry_px: Polygon | MultiPolygon) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "annotation"}
    if region.name:
        properties["name"] = region.name
    if region.label != UNCLASSIFIED:
        properties["classification"] = {"name": region.label, "color": list(region.display_color)}
    elif region.color is not None:
        properties["color"] = list(region.color)
    identifier = region.region_id
    if not _is_uuid(identifier):
        # QuPath keeps only UUIDs as ids; its metadata survive editing and export, so ours travel there.
        properties["metadata"] = {REGION_ID_KEY: identifier}
        identifier = str(uuid.uuid5(_ID_NAMESPACE, identifier))
    return {
        "type": "Feature",
        "id": identifier,
        "geometry": {"type": geometry_px.geom_type, "coordinates": rings_of(geometry_px)},
        "properties": properties,
    }


def _region(path: Path, feature: QuPathObject, frame: PixelFrame, taken: set[str]) -> tuple[Region, list[str]]:
    if feature.geometry is None:
        raise NoArea("has no geometry")
    try:
        geometry_px, repairs = polygons_px(feature.geometry)
    except NoArea:
        raise
    except GeometryFault as reason:
        raise fault(path, feature.number, str(reason)) from reason
    geometry = shapely.transform(geometry_px, frame.to_um)
    identifier = feature.identifier
    if not identifier or identifier in taken:
        identifier = f"region-{feature.number}"
    while identifier in taken:
        identifier += "-copy"
    taken.add(identifier)
    region = Region(feature.label, geometry, identifier, feature.name, feature.color)
    return region, [f"feature {feature.number} of {path.name}: {repair}" for repair in repairs]


def _has_area(path: Path, feature: QuPathObject) -> bool:
    """Whether a feature is, or claims to be, an area.

    Unknown types do, so that they are refused by number, and so does none at all, so that it is named.
    """
    if feature.geometry is None:
        return True
    try:
        kinds = [part.get("type") for part in simple_parts(feature.geometry)]
    except GeometryFault as reason:
        raise fault(path, feature.number, str(reason)) from reason
    return any(not isinstance(kind, str) or kind not in NOT_AREAS for kind in kinds)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
