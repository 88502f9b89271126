"""Annotations of the Digital Slide Archive and HistomicsUI (JSON of large_image), read and written.

Pixels from the top left of level 0, with a third coordinate. The group of an element is its class, or else its label.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from ki67.annotations.parts import Loss, label_text, polygons_of_regions
from ki67.annotations.qupath_objects import REGION_ID_KEY, read_bytes
from ki67.annotations.regions import Region, Regions, Rgb
from ki67.annotations.shapes import (
    Shape,
    Shapes,
    cells_of,
    class_name,
    dots,
    ellipse,
    hex_rgb,
    line,
    polygon,
    regions_of,
)
from ki67.errors import AnnotationError
from ki67.files import atomic_path, parse_json, printable
from ki67.slides import PixelFrame

WAY_OUT: Final = "Download the annotation again from the Digital Slide Archive."
NAME: Final = "ki67 regions"

_NO_SHAPES: Final = frozenset({"heatmap", "griddata", "image", "pixelmap"})
_LINE_WIDTH_PX: Final = 2


def read_regions(path: Path, frame: PixelFrame) -> Regions:
    """Read the areas of a DSA annotation; see :func:`ki67.annotations.read_regions`."""
    return regions_of(path, _shapes(path), frame)


def read_cells(path: Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the cells of a DSA annotation; see :func:`ki67.annotations.read_cells`."""
    return cells_of(path, _shapes(path), frame)


def _shapes(path: Path) -> Shapes:
    shapes: list[Shape] = []
    rasters = 0
    for count, (layer, element) in enumerate(_elements(path), 1):
        if not isinstance(element, dict):
            raise AnnotationError(path, f"annotation {count} is no object but {type(element).__name__}", WAY_OUT)
        if element.get("type") in _NO_SHAPES:
            rasters += 1
            continue
        label = element.get("label")
        text = label.get("value") if isinstance(label, dict) else None
        group = element.get("group")
        texts = [printable(one) if isinstance(one, str) else None for one in (group, text)]
        user = element.get("user")
        user = user if isinstance(user, dict) else {}
        own = {key: user[key] for key in (REGION_ID_KEY, "name") if isinstance(user.get(key), str)}
        shapes.append(
            Shape(
                number=count,
                geometry=_geometry(path, count, element),
                label=class_name(*texts),
                name=printable(own.get("name", "")) or _name(*texts),
                identifier=printable(own.get(REGION_ID_KEY, "")),
                color=_color(element.get("lineColor")),
                layer=layer,
            )
        )
    notes = [f"{rasters} maps and pictures of {path.name} are no regions: left out"] if rasters else []
    if rasters and not shapes:
        raise AnnotationError(path, "holds only maps and pictures, no regions", WAY_OUT)
    return Shapes("HistomicsUI", shapes, notes)


def _elements(path: Path) -> Iterator[tuple[int, Any]]:
    """Elements of all annotations of a file, which may be one, one as the server wraps it, or a list of either."""
    data = read_bytes(path, WAY_OUT)
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise AnnotationError(path, f"is not UTF-8 text (byte {error.start})", WAY_OUT) from error
    document = parse_json(text, path, AnnotationError, WAY_OUT, strict=False)
    for layer, holder in enumerate(document if isinstance(document, list) else [document]):
        inner = holder.get("annotation", holder) if isinstance(holder, dict) else None
        elements = inner.get("elements") if isinstance(inner, dict) else None
        if not isinstance(elements, list):
            raise AnnotationError(path, "is an annotation without a list of elements", WAY_OUT)
        yield from ((layer, element) for element in elements)


def _geometry(path: Path, count: int, element: dict[str, Any]) -> dict[str, Any]:
    kind = element.get("type")
    if kind == "point":
        return dots([_place(path, count, element.get("center"))])
    if kind in ("polyline", "arrow"):
        points = _places(path, count, element.get("points"))
        if kind == "arrow" or not element.get("closed"):
            return line(points)
        holes = element.get("holes") or []
        if not isinstance(holes, list):
            raise AnnotationError(path, f"annotation {count} has holes that are no list", WAY_OUT)
        return polygon(points, [_places(path, count, hole) for hole in holes])
    if kind in ("rectangle", "rectanglegrid", "ellipse", "circle"):
        centre = _place(path, count, element.get("center"))
        if kind == "circle":
            radius = _number(path, count, element, "radius")
            return polygon(ellipse(centre, (radius, radius)))
        half = [_number(path, count, element, side) / 2 for side in ("width", "height")]
        angle = _number(path, count, element, "rotation") if "rotation" in element else 0.0
        return polygon(ellipse(centre, half, angle) if kind == "ellipse" else _box(centre, half, angle))
    raise AnnotationError(path, f"annotation {count} has the unknown type {str(kind)[:40]!r}", WAY_OUT)


def _box(centre: list[float], half: list[float], angle_rad: float) -> list[list[float]]:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    corners = [(-half[0], -half[1]), (half[0], -half[1]), (half[0], half[1]), (-half[0], half[1])]
    return [[centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y] for x, y in corners]


def _places(path: Path, count: int, points: Any) -> list[list[float]]:
    if not isinstance(points, list):
        raise AnnotationError(path, f"annotation {count} has no list of points", WAY_OUT)
    return [_place(path, count, point) for point in points]


def _place(path: Path, count: int, point: Any) -> list[float]:
    if (
        not isinstance(point, list)
        or len(point) < 2
        or any(isinstance(one, bool) or not isinstance(one, int | float) for one in point[:2])
    ):
        raise AnnotationError(path, f"annotation {count} has no [x, y, z] but {str(point)[:40]!r}", WAY_OUT)
    return [point[0], point[1]]


def _number(path: Path, count: int, element: dict[str, Any], name: str) -> float:
    value = element.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise AnnotationError(path, f"annotation {count} has no number as {name} but {str(value)[:40]!r}", WAY_OUT)
    return float(value)


def _name(group: str | None, text: str | None) -> str:
    """What a label says beside the group; nothing where the label is the class."""
    return (text or "").strip() if class_name(group) != "Unclassified" and text != group else ""


def _color(value: Any) -> Rgb | None:
    """Colour of ``#rrggbb`` or ``rgb(r, g, b)``; None of anything else."""
    if isinstance(value, str) and value.startswith("rgb"):
        parts = value[value.find("(") + 1 : value.rfind(")")].split(",")[:3]
        numbers = [int(part) for part in parts if part.strip().isdecimal() and len(part.strip()) <= 3]
        if len(numbers) == 3 and max(numbers) <= 255:
            return numbers[0], numbers[1], numbers[2]
        return None
    return hex_rgb(value)


def write_regions(path: Path, regions: Regions, frame: PixelFrame) -> list[str]:
    """Write regions as one annotation of closed polylines with holes; see :func:`ki67.annotations.write_regions`."""
    loss = Loss()
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f'{{"name":{json.dumps(NAME)},"elements":[')
        before = "\n"
        for index, (region, outline) in enumerate(polygons_of_regions(regions, frame.from_corner, loss, holes=True)):
            stream.write(before + json.dumps(_element(index, region, outline), separators=(",", ":")))
            before = ",\n"
        stream.write("\n]}\n")
    return loss.told()


def _element(index: int, region: Region, outline: Polygon) -> dict[str, Any]:
    rings = [
        [[x, y, 0] for x, y in shapely.get_coordinates(ring)[:-1].tolist()]
        for ring in (outline.exterior, *outline.interiors)
    ]
    label = label_text(region)
    identifier = hashlib.sha256(f"{index} {region.region_id}".encode()).hexdigest()[:24]
    return {
        "type": "polyline",
        "id": identifier,
        "closed": True,
        "points": rings[0],
        **({"holes": rings[1:]} if len(rings) > 1 else {}),
        **({"group": label} if label else {}),
        **({"label": {"value": region.name or label}} if label else {}),
        "lineColor": "rgb({},{},{})".format(*region.display_color),
        "lineWidth": _LINE_WIDTH_PX,
        "user": {REGION_ID_KEY: region.region_id, "name": region.name},
    }
