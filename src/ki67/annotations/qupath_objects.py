"""The objects of a QuPath GeoJSON file, flat and in its order, whatever they are nested in.

The layout is QuPath's own (``exportObjectsToGeoJson`` and its hierarchy), from 0.1 (a class as a plain name) and 0.2
(colours packed into one integer, the object's type in ``id``) to 0.6 (colours as lists, derived classes as
``names``). A file is a FeatureCollection, one Feature, one bare geometry, a GeometryCollection, a hierarchy
(``root``), or a list of any of these. With its hierarchy exported, an object holds those drawn inside it in
``childObjects`` (``children`` is read too), at any depth; the outermost, the root, stands for the slide and has no
geometry.
"""

from __future__ import annotations

import gzip
import json
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ki67.annotations.coordinates import NOT_AREAS, short
from ki67.annotations.regions import UNCLASSIFIED, Rgb
from ki67.errors import AnnotationError
from ki67.files import parse_json

WAY_OUT: Final = "Export the regions again from QuPath with File > Export objects as GeoJSON."

MAX_BYTES: Final = 160 * 2**20
"""Of a file, unpacked: JSON takes up to 22 times its length in memory. A million corners have 20 MB."""

CELL_TYPES: Final = frozenset({"detection", "cell", "tile"})
"""Types of objects that programs make, not people."""

ROOT: Final = "root"
TMA_CORE: Final = "tmaCore"

_GEOMETRIES: Final = NOT_AREAS | {"Polygon", "MultiPolygon", "GeometryCollection"}
_OTHER_NAMES: Final = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": TMA_CORE,
    "tma_core": TMA_CORE,
    "PathRootObject": ROOT,
}
"""What QuPath 0.2 wrote into ``id``, and second names that QuPath reads."""

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
REGION_ID_KEY: Final = "region_id"
"""Key of the metadata in which our own ids travel: QuPath keeps only UUIDs as ids."""


@dataclass(frozen=True)
class QuPathObject:
    """One object as the file has it; ``number`` counts from 1, parents before their children."""

    number: int
    geometry: Mapping[str, Any] | None
    nucleus: Mapping[str, Any] | None
    identifier: str
    object_type: str
    label: str
    name: str
    color: Rgb | None


def read_objects(path: Path) -> list[QuPathObject]:
    """Read all objects of a file but the root.

    Raises
    ------
    AnnotationError
        Where the file is missing, unreadable or malformed; names the feature.
    """
    document = _load(path)
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
        if not isinstance(document, list):
            raise AnnotationError(path, "is a FeatureCollection without a list of features", WAY_OUT)
    elements = _elements(path, document)
    objects = [_object(path, number, element) for number, element in enumerate(elements, 1)]
    return [one for one in objects if one.object_type != ROOT]


def fault(path: Path, number: int, found: str) -> AnnotationError:
    """Error about one feature of a file."""
    return AnnotationError(
        path, f"feature {number} {found}", "Mend or delete that feature in QuPath and export again."
    )


def _elements(path: Path, document: Any) -> Iterator[Any]:
    """Features and bare geometries in the file's order, parents first; whatever else is there comes as it is."""
    waiting = [document]
    number = 0
    while waiting:
        element = waiting.pop()
        if isinstance(element, list):
            waiting.extend(reversed(element))
            continue
        if isinstance(element, dict):
            if isinstance(element.get("features"), list):
                waiting.extend(reversed(element["features"]))
                continue
            if "type" not in element and isinstance(element.get("root"), dict):
                waiting.append(element["root"])
                continue
            waiting.extend(reversed(_children(path, number + 1, element)))
        number += 1
        yield element


def _children(path: Path, number: int, element: Mapping[str, Any]) -> list[Any]:
    properties = element.get("properties")
    if not isinstance(properties, dict):
        return []
    children = properties.get("childObjects", properties.get("children"))
    if children is None:
        return []
    if not isinstance(children, list):
        raise fault(path, number, f"has childObjects that are no list but {type(children).__name__}")
    return children


def _load(path: Path) -> Any:
    data = read_bytes(path, WAY_OUT)
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise AnnotationError(path, f"is not UTF-8 text (byte {error.start}), so no GeoJSON", WAY_OUT) from error
    return parse_json(text, path, AnnotationError, WAY_OUT, strict=False)


def read_bytes(path: Path, way_out: str) -> bytes:
    """Content of a file, unpacked where it is packed with gzip.

    Raises
    ------
    AnnotationError
        Where it is missing, no regular file, damaged or larger than :data:`MAX_BYTES`.
    """
    try:
        found = path.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise AnnotationError(path, "is no regular file", "Check the path.")
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise AnnotationError(path, "does not exist", "Check the path.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AnnotationError(path, f"is damaged ({error})", way_out) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(path, f"cannot be read ({reason})", "Check the path and permissions.") from error
    if len(data) > MAX_BYTES:
        raise AnnotationError(
            path,
            f"holds more than {MAX_BYTES // 2**20} MB of text",
            "Export the annotations only, without detections and their measurements.",
        )
    return data


def _object(path: Path, number: int, element: Any) -> QuPathObject:
    if not isinstance(element, dict):
        raise fault(path, number, f"is no GeoJSON object but {type(element).__name__}")
    kind = element.get("type")
    if isinstance(kind, str) and kind in _GEOMETRIES:
        element = {"geometry": element}
    elif kind != "Feature":
        raise fault(path, number, f"has the type {short(kind)}, expected Feature or a geometry")
    geometry = element.get("geometry")
    if geometry is not None and not isinstance(geometry, dict):
        raise fault(path, number, f"has a geometry that is no object but {type(geometry).__name__}")
    properties = element.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        raise fault(path, number, f"has properties that are no object but {type(properties).__name__}")
    name, nucleus = properties.get("name"), element.get("nucleusGeometry")
    return QuPathObject(
        number=number,
        geometry=geometry,
        nucleus=nucleus if isinstance(nucleus, dict) else None,
        identifier=_identifier(element.get("id"), properties),
        object_type=_object_type(element.get("id"), properties),
        label=_label(properties.get("classification")),
        name=_text(name) if isinstance(name, str) else "",
        color=_color(properties),
    )


def _identifier(identifier: Any, properties: Mapping[str, Any]) -> str:
    metadata = properties.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get(REGION_ID_KEY), str):
        return _text(metadata[REGION_ID_KEY])
    return _text(identifier) if isinstance(identifier, str) and identifier not in _OTHER_NAMES else ""


def _object_type(identifier: Any, properties: Mapping[str, Any]) -> str:
    """Type of an object; one that is not said, or not known, is an annotation, as QuPath takes it."""
    for key in ("objectType", "object_type", "type"):
        if key in properties:
            found = str(properties[key])
            break
    else:
        found = identifier if isinstance(identifier, str) else ""
    known = _OTHER_NAMES.get(found, found)
    return known if known in CELL_TYPES | {ROOT, TMA_CORE} else "annotation"


def _text(text: str) -> str:
    """Text that can be encoded: JSON may hold halves of a character, which no file and no table takes."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def _label(classification: Any) -> str:
    if isinstance(classification, str):
        return _text(classification.strip()) or UNCLASSIFIED
    if isinstance(classification, dict):
        names = classification.get("names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names) and names:
            return _text(": ".join(names))
        name = classification.get("name")
        if isinstance(name, str):
            return _text(name.strip()) or UNCLASSIFIED
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
