"""The report's pictures, with the words beside them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from ki67.annotations import Region, Regions
from ki67.html import jpeg_bytes
from ki67.report.data import ReportData, SlideLike
from ki67.report.drawing import Picture
from ki67.report.fields import Cells, choose_fields, field_pictures
from ki67.report.index_map import index_picture, scale_end
from ki67.report.overview import (
    LARGEST_ERROR_UM,
    checkerboard_picture,
    detail_rect,
    error_picture,
    heatmap_picture,
    slide_picture,
)
from ki67.report.words import Words
from ki67.scoring.local import HEXAGON_CELLS, HexagonMap
from ki67.vocabulary import UNREGISTERED

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Figure:
    """One picture: a JPEG file, what stands in its place, and what stands below it."""

    jpeg: bytes
    alt: str
    caption: str
    width_px: int
    height_px: int

    @cached_property
    def uri(self) -> str:
        """The file as a data URI."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


@dataclass(frozen=True)
class FieldFigures:
    """A field without and with its cells outlined."""

    plain: Figure
    outlined: Figure


def slide_figures(data: ReportData, words: Words) -> list[Figure]:
    """Whole slides with their regions."""
    figures = []
    for role, slide, regions in (("he", data.he, data.regions_he), ("ki67", data.ki67, data.regions_ki67)):
        if slide is None:
            continue
        counted = slide is data.ki67 and data.score is not None
        told = {
            "stain": words(f"stain.{role}"),
            "name": slide.path.name,
            "outlined": _outlined(regions, words, counted=counted),
        }
        caption = words("slides.caption", **told, size=_size_mm(slide, words))
        left_out = data.excluded if slide is data.ki67 else data.unregistered
        figures.append(_figure(slide_picture(slide, regions, left_out), words("slides.alt", **told), caption))
    return figures


def _outlined(regions: Regions | None, words: Words, *, counted: bool) -> str:
    if regions is None:
        return words("slides.all_tissue" if counted else "slides.no_region")
    area = words.number(regions.area_mm2, ".3g")
    return words("slides.region" if len(regions) == 1 else "slides.regions", count=len(regions), area=area)


def _size_mm(slide: SlideLike, words: Words) -> str:
    sides_um = (slide.bounds_um.width_um, slide.bounds_um.height_um)
    width, height = (words.number(side / 1000, ".1f") for side in sides_um)
    return f"{width} × {height} mm, {words.number(slide.mpp, '.4g')} µm/px"


def region_legend(data: ReportData, words: Words) -> list[tuple[str, Color]]:
    """Label and colour of every region that is drawn."""
    found: dict[str, Color] = {}
    for regions in (data.regions_he, data.regions_ki67, data.excluded, data.unregistered):
        for region in regions or ():
            found.setdefault(words.known(region.label), region.display_color)
    return list(found.items())


def heatmap_figure(data: ReportData, words: Words) -> Figure | None:
    """Probability of carcinoma over the H&E slide."""
    if data.heatmap is None or data.he is None:
        return None
    alt = words("heatmap.alt", name=data.he.path.name)
    caption = words("heatmap.caption", mpp=words.number(data.heatmap.mpp, ".4g"))
    others = data.run.get("stages", {}).get("idc", {}).get("summary", {}).get("other_classes")
    if others:
        areas = (f"{other['name']} {words.number(other['area_mm2'], '.3g')} mm²" for other in others)
        caption += words("heatmap.others", areas="; ".join(areas))
    return _figure(heatmap_picture(data.he, data.heatmap, data.regions_he), alt, caption)


def registration_figures(data: ReportData, words: Words) -> list[Figure]:
    """Checkerboards of the registered slides, and its error place by place.

    Raises
    ------
    Ki67Error
        Where the registration cannot be inverted, or a slide cannot be read.
    """
    return [*_checkerboards(data, words), *_error_figure(data, words)]


def _checkerboards(data: ReportData, words: Words) -> list[Figure]:
    he, ki67, transform = data.he, data.ki67, data.transform
    if he is None or ki67 is None or transform is None:
        return []
    draw: Callable[..., Picture] = checkerboard_picture
    whole = words("checkerboard.whole")
    alt = words("checkerboard.whole_alt", text=whole)
    figures = [_figure(draw(he, ki67, transform, ki67.bounds_um), alt, whole)]
    detail = detail_rect(ki67, data.regions_ki67)
    if detail is not None:
        width = words.number(detail.width_um / 1000, "g")
        text = words("checkerboard.detail", width=width, x=f"{detail.x_um:.0f}", y=f"{detail.y_um:.0f}")
        figures.append(_figure(draw(he, ki67, transform, detail), words("checkerboard.detail_alt", text=text), text))
    return figures


def _error_figure(data: ReportData, words: Words) -> list[Figure]:
    """Estimated error place by place, with the pieces and what is not registered."""
    places = (data.quality or {}).get("places")
    if data.he is None or not places:
        return []
    pieces = [piece for piece in getattr(data.transform, "pieces", ()) if piece.he is not None]
    outlined = [Region("Piece", piece.he, str(number)) for number, piece in enumerate(pieces, start=1)]
    lost = getattr(data.transform, "unregistered", None)
    if lost is not None and not lost.is_empty:
        outlined.append(Region(UNREGISTERED.label, lost, UNREGISTERED.name))
    parts = words("error_map.parts", count=len(pieces)) if len(pieces) > 1 else ""
    caption = words("error_map", parts=parts, largest=f"{LARGEST_ERROR_UM:.0f}")
    picture = error_picture(data.he, places, Regions(outlined), data.regions_he)
    return [_figure(picture, words("error_map.alt", text=caption), caption)]


def index_figure(data: ReportData, hexagons: HexagonMap, words: Words) -> tuple[Figure, str] | None:
    """Index map over the Ki-67 slide and the end of its colour scale in percent; None where no hexagon is filled."""
    if data.ki67 is None or data.score is None or not len(hexagons.cells):
        return None
    text = words("place.figure", side=words.number(hexagons.side_um, "g"), cells=HEXAGON_CELLS)
    picture = index_picture(data.ki67, data.regions_ki67, hexagons, data.score)
    figure = _figure(picture, text, words("place.caption", figure=text))
    return figure, words.number(scale_end(hexagons), "g")


def field_figures(data: ReportData, words: Words) -> list[FieldFigures]:
    """Fields with the highest, the median and the lowest index and with most cells, plain and outlined."""
    if data.ki67 is None or data.cells is None or data.cells_within is None:
        return []
    withheld = data.score is not None and data.score.get("index_percent") is None
    result = []
    for field in choose_fields(Cells.from_table(data.cells), data.ki67.bounds_um):
        plain, outlined = field_pictures(data.ki67, field, data.cells_within(field.rect_um), data.regions_ki67)
        rect, name = field.rect_um, words.known(field.name)
        index = words.number(field.index_percent, ".1f")
        caption = words(
            "fields.caption",
            name=name if withheld else words("fields.index", name=name, index=index),
            positive=field.positive,
            negative=field.negative,
            other=field.other,
            x=f"{rect.x_um:.0f}",
            y=f"{rect.y_um:.0f}",
            width=f"{rect.width_um:.0f}",
        )
        result.append(
            FieldFigures(
                _figure(plain, words("fields.plain_alt", name=name), words("fields.plain")),
                _figure(outlined, words("fields.outlined_alt", name=name), caption),
            )
        )
    return result


def _figure(picture: Picture, alt: str, caption: str) -> Figure:
    return Figure(jpeg_bytes(picture), alt, caption, picture.shape[1], picture.shape[0])
