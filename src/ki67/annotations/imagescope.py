"""Aperio ImageScope XML and HALO annotations, which have one layout: layers of regions, pixels from the top left.

A layer's name is the class of its regions, or else the region's text, or the layer's description; names that the
programs give of themselves ("Layer 1") say nothing. Regions marked negative are holes in those of their layer. Files
with ``GeoShape``, which other programs write, say there what a region is, and use ``Type`` for other things.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from ki67.annotations.coordinates import PIXELS_AS_UM
from ki67.annotations.parts import Loss, label_text, polygons_of_regions
from ki67.annotations.regions import Region, Regions
from ki67.annotations.shapes import (
    Shape,
    Shapes,
    bgr,
    cells_of,
    class_name,
    dots,
    ellipse_of,
    line,
    polygon,
    rectangle_of,
    regions_of,
)
from ki67.annotations.xml_files import escaped, number, pieces
from ki67.errors import AnnotationError
from ki67.files import atomic_path
from ki67.slides import PixelFrame

WAY_OUT: Final = "Save the annotations again from ImageScope or HALO."

_AREA, _RECTANGLE, _ELLIPSE, _LINE, _DOTS = "area", "rectangle", "ellipse", "line", "dots"
_KINDS: Final = {
    # ImageScope's numbers of its tools.
    "0": _AREA, "1": _RECTANGLE, "2": _ELLIPSE, "3": _LINE, "4": _LINE, "5": _DOTS,
    # HALO's words, and those of GeoShape.
    "polygon": _AREA, "area": _AREA, "freehand": _AREA, "rectangle": _RECTANGLE, "ellipse": _ELLIPSE,
    "ruler": _LINE, "arrow": _LINE, "line": _LINE, "polyline": _LINE, "pin": _DOTS, "point": _DOTS, "points": _DOTS,
}  # fmt: skip

_OTHER_PIXEL_SIZE: Final = 0.02
"""A stated pixel size further from the slide's than this is worth a word: it may be another slide."""


def read_regions(path: Path, frame: PixelFrame) -> Regions:
    """Read the areas of an ImageScope or HALO file; see :func:`ki67.annotations.read_regions`."""
    return regions_of(path, _shapes(path, frame), frame)


def read_cells(path: Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the cells of an ImageScope or HALO file; see :func:`ki67.annotations.read_cells`."""
    return cells_of(path, _shapes(path, frame), frame)


def _shapes(path: Path, frame: PixelFrame) -> Shapes:
    shapes: list[Shape] = []
    notes: list[str] = []
    ellipses = 0
    unknown: dict[str, int] = {}
    layers: dict[int, int] = {}
    for count, (element, around) in enumerate(pieces(path, "Region", WAY_OUT), 1):
        layer = next((one for one in reversed(around) if one.tag == "Annotation"), element)
        if count == 1:
            notes += _pixel_size_note(path, around[0].get("MicronsPerPixel") if around else None, frame.mpp)
        word = element.get("GeoShape") or element.get("Type") or "0"
        kind = _KINDS.get(word.strip().casefold())
        if kind is None:
            unknown[word] = unknown.get(word, 0) + 1
            continue
        ellipses += kind == _ELLIPSE
        text = element.get("Text") or ""
        label = class_name(layer.get("Name"), text, _description(layer))
        shapes.append(
            Shape(
                number=count,
                geometry=_geometry(path, count, kind, _points(path, count, element)),
                label=label,
                name=text.strip() if class_name(text) not in (label, "Unclassified") else "",
                color=bgr(layer.get("LineColor")),
                negative=(element.get("NegativeROA") or "").strip() == "1",
                layer=layers.setdefault(id(layer), len(layers)),
            )
        )
    if ellipses:
        notes.append(f"{ellipses} ellipses of {path.name} are taken as polygons of the same area")
    notes += [
        f"{count} shapes of {path.name} are of an unknown kind ({word[:40]!r}): left out"
        for word, count in unknown.items()
    ]
    if unknown and not shapes:
        raise AnnotationError(path, f"holds only shapes of an unknown kind ({next(iter(unknown))[:40]!r})", WAY_OUT)
    return Shapes("ImageScope or HALO", shapes, notes)


def _pixel_size_note(path: Path, stated: str | None, mpp: float) -> list[str]:
    try:
        found = float(stated or "")
    except ValueError:
        return []
    if mpp == PIXELS_AS_UM or not found > 0 or abs(found / mpp - 1) <= _OTHER_PIXEL_SIZE:
        return []
    return [
        f"{path.name} was drawn on a slide of {found:g} µm per pixel, this one has {mpp:g}: perhaps another slide"
    ]


def _description(layer: Any) -> str | None:
    for attribute in layer.iterfind("Attributes/Attribute"):
        if attribute.get("Name", "").casefold() == "description":
            value: str | None = attribute.get("Value")
            return value
    return None


def _points(path: Path, count: int, element: Any) -> list[list[float]]:
    corners = [one for one in element.iter() if one.tag in ("Vertex", "V")]
    return [
        [number(path, corner.get(axis), f"annotation {count}, corner {place},", WAY_OUT) for axis in "XY"]
        for place, corner in enumerate(corners, 1)
    ]


def _geometry(path: Path, count: int, kind: str, points: list[list[float]]) -> dict[str, Any]:
    if kind == _LINE:
        return line(points)
    if kind == _DOTS:
        return dots(points)
    if kind == _RECTANGLE:
        return polygon(rectangle_of(points))
    if kind == _ELLIPSE:
        corners = ellipse_of(points)
        if corners is None:
            found = (
                f"annotation {count} is an ellipse of {len(points)} points, expected the 2 or 4 corners of its box"
            )
            raise AnnotationError(path, found, WAY_OUT)
        return polygon(corners)
    return polygon(points)


def write_imagescope(path: Path, regions: Regions, frame: PixelFrame) -> list[str]:
    """Write regions for ImageScope, a layer for each label; see :func:`ki67.annotations.write_regions`."""
    return _write(path, regions, frame, halo=False)


def write_halo(path: Path, regions: Regions, frame: PixelFrame) -> list[str]:
    """Write regions for HALO, a layer for each label; see :func:`ki67.annotations.write_regions`."""
    return _write(path, regions, frame, halo=True)


def _write(path: Path, regions: Regions, frame: PixelFrame, *, halo: bool) -> list[str]:
    loss = Loss(ids=len(regions))
    drawn = list(polygons_of_regions(regions, frame.from_corner, loss, holes=True))
    nameless = sum(bool(region.name) and (halo or not label_text(region)) for region in regions)
    if nameless:
        loss.other.append(f"the names of {nameless} region(s)")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        known = not halo and frame.mpp != PIXELS_AS_UM
        stream.write(f'<Annotations MicronsPerPixel="{frame.mpp:.6f}">\n' if known else "<Annotations>\n")
        for layer, polygons in enumerate(_layers(drawn), 1):
            stream.writelines(_halo_layer(layer, polygons) if halo else _imagescope_layer(layer, polygons))
        stream.write("</Annotations>\n")
    return loss.told()


def _layers(drawn: list[tuple[Region, Polygon]]) -> list[list[tuple[Region, Polygon]]]:
    """Polygons by layer: one for each label and colour, and one for each whose holes lie over others of the label."""
    shared: dict[tuple[str, tuple[int, int, int]], list[tuple[Region, Polygon]]] = {}
    for region, polygon_ in drawn:
        shared.setdefault((region.label, region.display_color), []).append((region, polygon_))
    layers: list[list[tuple[Region, Polygon]]] = []
    for together in shared.values():
        tree = shapely.STRtree([polygon_ for _, polygon_ in together])
        apart = {
            index
            for index, (_, polygon_) in enumerate(together)
            for hole in polygon_.interiors
            if len(tree.query(Polygon(hole), predicate="intersects")) > 1
        }
        layers.append([one for index, one in enumerate(together) if index not in apart])
        layers.extend([together[index]] for index in sorted(apart))
    return [layer for layer in layers if layer]


def _rings(polygon_: Polygon) -> Iterator[tuple[bool, list[list[float]]]]:
    for negative, ring in ((False, polygon_.exterior), *((True, hole) for hole in polygon_.interiors)):
        yield negative, shapely.get_coordinates(ring).tolist()


def _colour(region: Region) -> int:
    red, green, blue = region.display_color
    return red | green << 8 | blue << 16


def _imagescope_layer(number_: int, polygons: list[tuple[Region, Polygon]]) -> Iterator[str]:
    first = polygons[0][0]
    yield (
        f'<Annotation Id="{number_}" Name="{escaped(label_text(first))}" ReadOnly="0" NameReadOnly="0" '
        f'LineColorReadOnly="0" Incremental="0" Type="4" LineColor="{_colour(first)}" Visible="1" Selected="0" '
        'MarkupImagePath="" MacroName="">\n<Attributes />\n<Regions>\n'
    )
    identifier = 0
    for region, polygon_ in polygons:
        for negative, corners in _rings(polygon_):
            identifier += 1
            # Of a layer without a name the text would be read as the class.
            text = "" if negative or not label_text(region) else escaped(region.name)
            yield (
                f'<Region Id="{identifier}" Type="0" Zoom="1" Selected="0" ImageLocation="" ImageFocus="-1" '
                f'Text="{text}" NegativeROA="{int(negative)}" InputRegionId="0" Analyze="1" '
                f'DisplayId="{identifier}">\n<Attributes />\n<Vertices>\n'
            )
            yield from (f'<Vertex X="{x!r}" Y="{y!r}" Z="0" />\n' for x, y in corners[:-1])
            yield "</Vertices>\n</Region>\n"
    yield "</Regions>\n<Plots />\n</Annotation>\n"


def _halo_layer(number_: int, polygons: list[tuple[Region, Polygon]]) -> Iterator[str]:
    first = polygons[0][0]
    name = label_text(first) or f"Layer {number_}"
    yield f'<Annotation LineColor="{_colour(first)}" Name="{escaped(name)}" Visible="True">\n<Regions>\n'
    for _, polygon_ in polygons:
        for negative, corners in _rings(polygon_):
            yield f'<Region Type="Polygon" HasEndcaps="0" NegativeROA="{int(negative)}">\n<Vertices>\n'
            yield from (f'<V X="{x!r}" Y="{y!r}" />\n' for x, y in corners)
            yield "</Vertices>\n</Region>\n"
    yield "</Regions>\n</Annotation>\n"
