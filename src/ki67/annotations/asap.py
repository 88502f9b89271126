"""ASAP XML (Computation Pathology Group, Nijmegen), read and written: pixels from the top left of level 0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.annotations.parts import Loss, label_text, polygons_of_regions
from ki67.annotations.regions import Regions
from ki67.annotations.shapes import Shape, Shapes, cells_of, class_name, dots, hex_rgb, line, polygon, regions_of
from ki67.annotations.xml_files import escaped, number, pieces
from ki67.files import atomic_path
from ki67.slides import PixelFrame

WAY_OUT: Final = "Save the annotations again from ASAP."

_AREAS: Final = frozenset({"Polygon", "Spline", "Rectangle"})
_DOTS: Final = frozenset({"Dot", "PointSet"})


def read_regions(path: Path, frame: PixelFrame) -> Regions:
    """Read the areas of an ASAP file; the group is the class. See :func:`ki67.annotations.read_regions`."""
    return regions_of(path, _shapes(path), frame)


def read_cells(path: Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the cells of an ASAP file; see :func:`ki67.annotations.read_cells`."""
    return cells_of(path, _shapes(path), frame)


def _shapes(path: Path) -> Shapes:
    shapes: list[Shape] = []
    splines = 0
    for count, (element, _) in enumerate(pieces(path, "Annotation", WAY_OUT), 1):
        kind = element.get("Type", "Polygon")
        points = _points(path, count, element)
        geometry = polygon(points) if kind in _AREAS else dots(points) if kind in _DOTS else line(points)
        splines += kind == "Spline"
        name = element.get("Name", "")
        shapes.append(
            Shape(
                number=count,
                geometry=geometry,
                label=class_name(element.get("PartOfGroup")),
                name="" if class_name(name) != name.strip() else name.strip(),
                color=hex_rgb(element.get("Color")),
            )
        )
    notes = [f"{splines} splines of {path.name} are taken as straight from corner to corner"] if splines else []
    return Shapes("ASAP", shapes, notes)


def _points(path: Path, count: int, element: Any) -> list[list[float]]:
    """Corners in the order that the file states, which need not be the order of its lines."""
    ordered = []
    for place, corner in enumerate(element.iter("Coordinate")):
        where = f"annotation {count}, corner {place + 1},"
        order = number(path, corner.get("Order", str(place)), where, WAY_OUT)
        ordered.append((order, [number(path, corner.get(axis), where, WAY_OUT) for axis in "XY"]))
    return [point for _, point in sorted(ordered, key=lambda one: one[0])]


def write_regions(path: Path, regions: Regions, frame: PixelFrame) -> list[str]:
    """Write regions as ASAP polygons, the label as the group; see :func:`ki67.annotations.write_regions`."""
    loss = Loss(ids=len(regions))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<ASAP_Annotations>\n\t<Annotations>\n')
        for text in _annotations(regions, frame.from_corner, loss):
            stream.write(text)
        stream.write("\t</Annotations>\n\t<AnnotationGroups>\n")
        colors = {label_text(region): region.display_color for region in reversed(regions) if label_text(region)}
        for label in (name for name in regions.labels if name in colors):
            stream.write(f'\t\t<Group Name="{escaped(label)}" PartOfGroup="None" Color="{_hex(colors[label])}">\n')
            stream.write("\t\t\t<Attributes />\n\t\t</Group>\n")
        stream.write("\t</AnnotationGroups>\n</ASAP_Annotations>\n")
    return loss.told()


def _annotations(regions: Regions, frame: PixelFrame, loss: Loss) -> Iterator[str]:
    for index, (region, outline) in enumerate(polygons_of_regions(regions, frame, loss, holes=False)):
        name = region.name or f"Annotation {index}"
        group, color = label_text(region) or "None", _hex(region.display_color)
        yield (
            f'\t\t<Annotation Name="{escaped(name)}" Type="Polygon" PartOfGroup="{escaped(group)}" Color="{color}">\n'
            "\t\t\t<Coordinates>\n"
        )
        for order, (x, y) in enumerate(shapely.get_coordinates(outline.exterior)[:-1].tolist()):
            yield f'\t\t\t\t<Coordinate Order="{order}" X="{x!r}" Y="{y!r}" />\n'
        yield "\t\t\t</Coordinates>\n\t\t</Annotation>\n"


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
