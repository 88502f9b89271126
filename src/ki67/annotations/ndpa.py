"""Hamamatsu NDP.view's NDPA, read and written: nanometres from the centre of the glass.

Where the picture lies on the glass only Hamamatsu's own slides say (``Slide.frame.glass``); on any other slide such a
file is refused, for there is no telling where its regions belong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from ki67.annotations.parts import Loss, label_text, polygons_of_regions
from ki67.annotations.regions import Regions
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
from ki67.annotations.xml_files import escaped, number, pieces
from ki67.errors import AnnotationError
from ki67.files import atomic_path
from ki67.slides import GlassPlace, PixelFrame

WAY_OUT: Final = "Save the annotations again from NDP.view."

_LENS: Final = 10
"""Magnification at which NDP.view shows an annotation that is chosen from its list."""


def read_regions(path: Path, frame: PixelFrame) -> Regions:
    """Read the areas of an NDPA file; the title is the class. See :func:`ki67.annotations.read_regions`."""
    return regions_of(path, _shapes(path, frame), frame)


def read_cells(path: Path, frame: PixelFrame) -> dict[str, NDArray[np.float64]]:
    """Read the cells of an NDPA file; see :func:`ki67.annotations.read_cells`."""
    return cells_of(path, _shapes(path, frame), frame)


def _glass(path: Path, frame: PixelFrame) -> GlassPlace:
    if frame.glass is None:
        raise AnnotationError(
            path,
            "counts from the centre of the glass, and the slide does not say where that is: only NDPI files do",
            "Make a GeoJSON of it with the NDPI that was annotated: ki67 annotations convert IN OUT --slide NDPI.",
        )
    return frame.glass


def _shapes(path: Path, frame: PixelFrame) -> Shapes:
    glass = _glass(path, frame)
    shapes: list[Shape] = []
    unknown = 0
    for count, (element, _) in enumerate(pieces(path, "ndpviewstate", WAY_OUT), 1):
        drawn = element.find("annotation")
        geometry = None if drawn is None else _geometry(path, count, drawn, glass)
        if drawn is None or geometry is None:
            unknown += 1
            continue
        title = (element.findtext("title") or "").strip()
        shapes.append(
            Shape(
                number=count,
                geometry=geometry,
                label=class_name(title),
                name=(element.findtext("details") or "").strip(),
                color=hex_rgb(drawn.get("color")),
            )
        )
    notes = [f"{unknown} entries of {path.name} hold no shape that is known: left out"] if unknown else []
    if unknown and not shapes:
        raise AnnotationError(path, "holds no shape that is known", WAY_OUT)
    return Shapes("NDP.view", shapes, notes)


def _geometry(path: Path, count: int, drawn: Any, glass: GlassPlace) -> dict[str, Any] | None:
    """Shape in pixels of level 0; None of what is no shape."""
    where = f"annotation {count}"

    def stated(holder: Any, x: str = "x", y: str = "y") -> list[float]:
        return [number(path, holder.findtext(name), f"{where} ({name})", WAY_OUT) for name in (x, y)]

    def places(*at_nm: list[float]) -> list[list[float]]:
        px = glass.to_px(np.array(at_nm).reshape(-1, 2))
        return [[float(one) for one in point] for point in px]

    kind = (drawn.get("type") or "").strip().casefold()
    if kind == "freehand":
        points = places(*(stated(point) for point in drawn.iterfind("pointlist/point")))
        return polygon(points) if (drawn.findtext("closed") or "1").strip() != "0" else line(points)
    if kind == "circle":
        radius_px = number(path, drawn.findtext("radius"), f"{where} (radius)", WAY_OUT) / (
            1000.0 * np.asarray(glass.mpp)
        )
        return polygon(ellipse(places(stated(drawn))[0], [abs(float(one)) for one in radius_px]))
    if kind in ("pin", "pointer") and drawn.find("x") is not None:
        return dots(places(stated(drawn)))
    if kind in ("linearmeasure", "pointer"):
        return line(places(stated(drawn, "x1", "y1"), stated(drawn, "x2", "y2")))
    return None


def write_regions(path: Path, regions: Regions, frame: PixelFrame) -> list[str]:
    """Write regions as closed freehand areas, the label as the title; see :func:`ki67.annotations.write_regions`.

    Raises
    ------
    AnnotationError
        Where the slide does not say where it lies on its glass.
    """
    glass = _glass(path, frame)
    loss = Loss(ids=len(regions))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n<annotations>\n')
        stream.writelines(_states(regions, frame.from_corner, glass, loss))
        stream.write("</annotations>\n")
    return loss.told()


def _states(regions: Regions, frame: PixelFrame, glass: GlassPlace, loss: Loss) -> Iterator[str]:
    drawn = polygons_of_regions(regions, frame, loss, holes=False)
    for index, (region, outline) in enumerate(drawn, 1):
        corners = np.rint(glass.to_nm(shapely.get_coordinates(outline.exterior)[:-1])).astype(np.int64)
        x, y = np.rint(glass.to_nm(outline.centroid.coords[0])).astype(np.int64).tolist()
        color = "#{:02x}{:02x}{:02x}".format(*region.display_color)
        yield (
            f'<ndpviewstate id="{index}">\n<title>{escaped(label_text(region))}</title>\n'
            f"<details>{escaped(region.name)}</details>\n<coordformat>nanometers</coordformat>\n"
            f"<lens>{_LENS}</lens>\n<x>{x}</x>\n<y>{y}</y>\n<z>0</z>\n<showtitle>0</showtitle>\n"
            "<showhistogram>0</showhistogram>\n<showlineprofile>0</showlineprofile>\n"
            f'<annotation type="freehand" displayname="AnnotateFreehand" color="{color}">\n'
            "<measuretype>0</measuretype>\n<closed>1</closed>\n<pointlist>\n"
        )
        yield from (f"<point><x>{x}</x><y>{y}</y></point>\n" for x, y in corners.tolist())
        yield "</pointlist>\n</annotation>\n</ndpviewstate>\n"
