"""QuPath GeoJSON, read and written: pixels as QuPath counts them in the file, micrometres in the program.

The layout is QuPath's own (``exportObjectsToGeoJson``), from 0.2 (colours packed into one integer, the object's type
in ``id``) to 0.6 (colours as lists, derived classes as ``names``). A file is a FeatureCollection, one Feature, one
bare geometry, a GeometryCollection, or a list of any of these.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.annotations.coordinates import (
    NOT_AREAS,
    GeometryFault,
    points_of,
    polygons_px,
    rings_px,
    short,
    simple_parts,
)
from ki67.annotations.regions import UNCLASSIFIED, Region, Regions, Rgb
from ki67.errors import AnnotationError
from ki67.files import atomic_path
from ki67.slides import PixelFrame

_WAY_OUT: Final = "Export the regions again from QuPath with File > Export objects as GeoJSON."
_GEOMETRIES: Final = NOT_AREAS | {"Polygon", "MultiPolygon", "GeometryCollection"}
_CELL_TYPES: Final = frozenset({"detection", "cell", "tile"})
_QUPATH_02_TYPES: Final = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
}
_CELLS: Final = _CELL_TYPES - {"tile"}
_LARGEST_NUCLEUS_UM2: Final = 400.0
"""A larger annotation is a region; QuPath's own cell detection takes nothing larger for a nucleus by default."""

_REGION_ID_KEY: Final = "region_id"
_ID_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_OID, "ki67 region")


@dataclass(frozen=True)
class _Feature:
    """One feature as the file has it; ``number`` counts from 1."""

    number: int
    geometry: Mapping[str, Any]
    nucleus: Mapping[str, Any] | None
    identifier: str
    object_type: str
    label: str
    name: str
    color: Rgb | None


def read_regions(path: Path, frame: PixelFrame) -> Regions:
    """Read the areas of a QuPath GeoJSON file; see :func:`ki67.annotations.read_regions`.

    Annotations are regions. Detections and cells are left out (with a note) where the file has annotations beside
    them, and are the regions where it has nothing else. Points and lines are no areas and are left out with a note;
    a file that holds nothing else is refused. A file without any feature gives no regions.
    """
    features = list(_features(path))
    notes: list[str] = []
    areas = [feature for feature in features if _has_area(path, feature)]
    if features and not areas:
        raise AnnotationError(
            path,
            f"holds no areas, only points or lines ({len(features)} features, from feature {features[0].number} on)",
            "Draw the regions as polygons.",
        )
    if len(areas) < len(features):
        notes.append(f"{len(features) - len(areas)} features of {path.name} are points or lines, no areas: left out")
    drawn = [feature for feature in areas if feature.object_type not in _CELL_TYPES]
    if drawn and len(drawn) < len(areas):
        notes.append(f"{len(areas) - len(drawn)} detections or cells of {path.name} are no regions: left out")
    elif areas and not drawn:
        notes.append(f"{path.name} holds no annotations; its {len(areas)} detections are taken as regions")
    regions: list[Region] = []
    taken: set[str] = set()
    for feature in drawn or areas:
        region, repairs = _region(path, feature, frame, taken)
        regions.append(region)
        notes.extend(repairs)
    return Regions(regions, notes=notes, source=path)


def read_cells(path: Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the cells of a QuPath GeoJSON file; see :func:`ki67.annotations.read_cells`."""
    features = list(_features(path))
    outlined_by_hand = not any(feature.object_type in _CELLS for feature in features)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for feature in features:
        centres = _cell_centres(path, feature, frame, outlined_by_hand=outlined_by_hand)
        if len(centres):
            found.setdefault(feature.label, []).append(centres)
    if features and not found:
        raise AnnotationError(
            path,
            f"holds no cells: its {len(features)} features are lines, or areas above {_LARGEST_NUCLEUS_UM2:g} µm²",
            "Label cells by points or detections; check the pixel size.",
        )
    return {label: np.concatenate(parts) for label, parts in found.items()}


def _cell_centres(path: Path, feature: _Feature, frame: PixelFrame, *, outlined_by_hand: bool) -> NDArray[np.float64]:
    try:
        points = points_of(feature.geometry)
        if len(points) or not _has_area(path, feature):
            return frame.to_um(points)
        outline, _ = polygons_px(feature.nucleus or feature.geometry)
    except GeometryFault as fault:
        raise _fault(path, feature.number, str(fault)) from fault
    small = outline.area * frame.mpp**2 <= _LARGEST_NUCLEUS_UM2
    if feature.object_type in _CELLS or (outlined_by_hand and feature.object_type == "annotation" and small):
        return frame.to_um([[outline.centroid.x, outline.centroid.y]])
    return np.empty((0, 2))


def write_regions(path: Path, regions: Regions, frame: PixelFrame) -> None:
    """Write regions as a QuPath FeatureCollection of annotations; see :func:`ki67.annotations.write_regions`."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('{"type":"FeatureCollection","features":[')
        for number, region in enumerate(regions):
            stream.write("\n" if number == 0 else ",\n")
            json.dump(_feature_of(region, frame), stream, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        stream.write("\n]}\n")


def _feature_of(region: Region, frame: PixelFrame) -> dict[str, Any]:
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
        properties["metadata"] = {_REGION_ID_KEY: identifier}
        identifier = str(uuid.uuid5(_ID_NAMESPACE, identifier))
    return {
        "type": "Feature",
        "id": identifier,
        "geometry": {"type": region.geometry.geom_type, "coordinates": rings_px(region.geometry, frame)},
        "properties": properties,
    }


def _region(path: Path, feature: _Feature, frame: PixelFrame, taken: set[str]) -> tuple[Region, list[str]]:
    try:
        geometry_px, repairs = polygons_px(feature.geometry)
    except GeometryFault as fault:
        raise _fault(path, feature.number, str(fault)) from fault
    geometry = shapely.transform(geometry_px, frame.to_um)
    identifier = feature.identifier
    if not identifier or identifier in taken:
        identifier = f"region-{feature.number}"
    while identifier in taken:
        identifier += "-copy"
    taken.add(identifier)
    region = Region(feature.label, geometry, identifier, feature.name, feature.color)
    return region, [f"feature {feature.number} of {path.name}: {repair}" for repair in repairs]


def _features(path: Path) -> Iterator[_Feature]:
    document = _load(path)
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
        if not isinstance(document, list):
            raise AnnotationError(path, "is a FeatureCollection without a list of features", _WAY_OUT)
    elements = document if isinstance(document, list) else [document]
    number = 0
    for element in elements:
        nested = element.get("features") if isinstance(element, dict) else None
        for one in nested if isinstance(nested, list) else [element]:
            number += 1
            yield _feature(path, number, one)


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise AnnotationError(path, "does not exist", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(path, f"is not UTF-8 text (byte {error.start}), so no GeoJSON", _WAY_OUT) from error
    except OSError as error:
        raise AnnotationError(
            path, f"cannot be read ({error.strerror})", "Check the path and permissions."
        ) from error
    if not text.strip():
        raise AnnotationError(path, "is empty", _WAY_OUT)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        at_the_end = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        cut = " (the file seems to be cut off)" if at_the_end else ""
        raise AnnotationError(path, f"is not valid JSON: {error.msg} at {where}{cut}", _WAY_OUT) from error
    except (RecursionError, ValueError) as error:
        raise AnnotationError(
            path, "is not sensible JSON (nested too deep or a number too long)", _WAY_OUT
        ) from error


def _feature(path: Path, number: int, element: Any) -> _Feature:
    if not isinstance(element, dict):
        raise _fault(path, number, f"is no GeoJSON object but {type(element).__name__}")
    kind = element.get("type")
    if isinstance(kind, str) and kind in _GEOMETRIES:
        element = {"geometry": element}
    elif kind != "Feature":
        raise _fault(path, number, f"has the type {short(kind)}, expected Feature or a geometry")
    geometry = element.get("geometry")
    if not isinstance(geometry, dict):
        raise _fault(path, number, "has no geometry")
    properties = element.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        raise _fault(path, number, f"has properties that are no object but {type(properties).__name__}")
    identifier = element.get("id")
    identifier = identifier if isinstance(identifier, str) else ""
    old_type = _QUPATH_02_TYPES.get(identifier)
    metadata = properties.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get(_REGION_ID_KEY), str):
        identifier = metadata[_REGION_ID_KEY]
    object_type = properties.get("objectType", properties.get("object_type", old_type or "annotation"))
    name, nucleus = properties.get("name"), element.get("nucleusGeometry")
    return _Feature(
        number=number,
        geometry=geometry,
        nucleus=nucleus if isinstance(nucleus, dict) else None,
        identifier="" if old_type else identifier,
        object_type=str(object_type),
        label=_label(properties.get("classification")),
        name=name if isinstance(name, str) else "",
        color=_color(properties),
    )


def _label(classification: Any) -> str:
    if isinstance(classification, str):
        return classification.strip() or UNCLASSIFIED
    if isinstance(classification, dict):
        names = classification.get("names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names) and names:
            return ": ".join(names)
        name = classification.get("name")
        if isinstance(name, str):
            return name.strip() or UNCLASSIFIED
    return UNCLASSIFIED


def _color(properties: Mapping[str, Any]) -> Rgb | None:
    """Colour of the class, or else of the object; a colour that cannot be understood is as good as none."""
    classification = properties.get("classification")
    for holder in (classification, properties):
        if isinstance(holder, dict):
            for key in ("color", "colorRGB"):
                color = _rgb(holder.get(key))
                if color is not None:
                    return color
    return None


def _rgb(value: Any) -> Rgb | None:
    """RGB from a list of three, or from QuPath 0.2's signed integer 0xAARRGGBB."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value >> 16) & 255, (value >> 8) & 255, value & 255
    if isinstance(value, list) and len(value) >= 3:
        parts = value[:3]
        if all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in parts):
            return parts[0], parts[1], parts[2]
    return None


def _has_area(path: Path, feature: _Feature) -> bool:
    """Whether a feature is, or claims to be, an area; unknown types count, so that they are refused by number."""
    try:
        kinds = [part.get("type") for part in simple_parts(feature.geometry)]
    except GeometryFault as fault:
        raise _fault(path, feature.number, str(fault)) from fault
    return any(not isinstance(kind, str) or kind not in NOT_AREAS for kind in kinds)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _fault(path: Path, number: int, found: str) -> AnnotationError:
    return AnnotationError(
        path, f"feature {number} {found}", "Mend or delete that feature in QuPath and export again."
    )
