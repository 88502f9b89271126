"""The report's page: figures and tables put together into one HTML file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ki67 import __version__
from ki67.annotations import Region, Regions
from ki67.domain import Check, Verdict, checks_of
from ki67.errors import Ki67Error
from ki67.files import write_text
from ki67.html import jpeg_uri
from ki67.report import facts
from ki67.report.data import ReportData, SlideLike
from ki67.report.drawing import Picture, css_gradient
from ki67.report.fewer_cells_chart import fewer_cells_chart
from ki67.report.fields import OUTLINE_COLORS, Cells, Field, choose_fields, field_pictures
from ki67.report.index_map import index_hexagons, index_picture, scale_end
from ki67.report.overview import (
    LARGEST_ERROR_UM,
    checkerboard_picture,
    detail_rect,
    error_picture,
    heatmap_picture,
    slide_picture,
)
from ki67.report.templating import DISCLAIMER, environment, told_time
from ki67.scoring.local import HEXAGON_CELLS
from ki67.vocabulary import EXCLUSION_KINDS, MINIMUM_CELLS, UNREGISTERED

_REGIONS_LISTED: Final = 25
"""Regions with the most tumour cells that fill a table of half a page; an outline can fall into hundreds."""


@dataclass(frozen=True)
class Figure:
    """One picture of the page."""

    uri: str
    alt: str
    caption: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class FieldFigures:
    """A field without and with its cells outlined."""

    field: Field
    plain: Figure
    outlined: Figure


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the report as one self-contained HTML file: no script, no font and no picture from elsewhere.

    Parameters
    ----------
    path
        The HTML file; it appears whole or not at all.
    data
        What to show; sections without data are left out.

    Raises
    ------
    SlideError
        Where a slide cannot be read.
    WriteError
        Where the file cannot be written.
    """
    write_text(path, render_report(data))


def render_report(data: ReportData, now: datetime | None = None) -> str:
    """Return the report's HTML; ``now`` is the time it says it was made at, the present one by default."""
    templates = environment()
    templates.filters["text"] = facts.text_of
    regions = sorted((data.score or {}).get("regions", ()), key=lambda region: -region["cells"])
    return templates.get_template("report.html").render(
        title=data.title,
        made=told_time(now),
        version=__version__,
        disclaimer=DISCLAIMER,
        score=_score(data),
        banners=_banners(data),
        warnings=_warnings(data),
        checks=facts.check_rows(_checks(data)),
        slides=_slide_figures(data),
        heatmap=_heatmap_figure(data),
        gradient=css_gradient(),
        registration=_registration(data),
        fields=_field_figures(data),
        by_place=_by_place(data),
        colors={label: _css(color) for label, color in OUTLINE_COLORS.items()},
        legend=_legend(data),
        exclusions={name: kind.sentence for name, kind in EXCLUSION_KINDS.items()},
        inputs={name: facts.input_rows(entry) for name, entry in data.run.get("inputs", {}).items()},
        models=_models(data),
        stages=facts.stage_rows(data.run),
        versions=facts.version_rows(data.run),
        regions=regions[:_REGIONS_LISTED],
        regions_left_out=len(regions[_REGIONS_LISTED:]),
    )


def _score(data: ReportData) -> dict[str, Any] | None:
    if data.score is None:
        return None
    return {
        "index_percent": data.score.get("index_percent"),
        "ci95_percent": data.score.get("ci95_percent"),
        "corrected_percent": data.score.get("index_corrected_percent"),
        "causes": facts.cause_rows(data.score.get("intervals")),
        **{key: int(data.score[key]) for key in ("positive", "negative", "other", "cells")},
        "area_mm2": float(data.score["area_mm2"]),
        "area_lost_mm2": [(kind, float(area)) for kind, area in data.score.get("area_lost_mm2", {}).items() if area],
        "cells_per_mm2": data.score["cells"] / data.score["area_mm2"] if data.score["area_mm2"] else None,
    }


def _banners(data: ReportData) -> list[str]:
    """What must be seen before the number is used."""
    banners = [_unusable_banner(check) for check in _checks(data) if check.verdict is Verdict.unusable]
    banners += [
        f"The pixel size of {Path(str(entry['path'])).name} was given as {entry['mpp']:g} µm, against the file's own "
        f"{entry['mpp_of_file']}. Every area, distance and cell rests on the size given."
        for entry in data.run.get("inputs", {}).values()
        if entry.get("mpp_contradicts_file")
    ]
    if data.quality is not None and not data.quality.get("accepted", True):
        reasons = "; ".join(str(reason) for reason in data.quality.get("reasons", ()))
        banners.append(f"The registration is not believable ({reasons}). The region may lie on the wrong tissue.")
    if data.score is not None and data.score["cells"] == 0:
        banners.append("No tumour cell was found: there is no index.")
    elif data.score is not None and data.score["cells"] < MINIMUM_CELLS:
        banners.append(f"Only {data.score['cells']} tumour cells were counted: this index is not reliable.")
    return banners


def _checks(data: ReportData) -> tuple[Check, ...]:
    return checks_of((data.score or {}).get("domain", {}).get("checks", {}))


def _unusable_banner(check: Check) -> str:
    if check.insisted:
        return f"This index was insisted upon. It must not be trusted: {check.text}."
    return f"No index is given: {check.text}."


def _warnings(data: ReportData) -> list[str]:
    of_stages = [
        str(line)
        for record in data.run.get("stages", {}).values()
        if record.get("state") == "done"
        for line in record.get("summary", {}).get("warnings", ())
    ]
    of_others = [str(line) for source in (data.score, data.quality) for line in (source or {}).get("warnings", ())]
    in_banners = {check.text for check in _checks(data) if check.verdict is Verdict.unusable}
    return [line for line in dict.fromkeys([*of_others, *of_stages]) if line not in in_banners]


def _slide_figures(data: ReportData) -> list[Figure]:
    figures = []
    for stain, slide, regions in (("H&E", data.he, data.regions_he), ("Ki-67", data.ki67, data.regions_ki67)):
        if slide is not None:
            outlined = _outlined(regions, counted=slide is data.ki67 and data.score is not None)
            name = slide.path.name
            caption = f"{stain}: {name} ({_size_mm(slide)}; {outlined})"
            alt = f"Whole {stain} slide {name} with {outlined}"
            left_out = data.excluded if slide is data.ki67 else data.unregistered
            figures.append(_figure(slide_picture(slide, regions, left_out), alt, caption))
    return figures


def _outlined(regions: Regions | None, *, counted: bool) -> str:
    if regions is None:
        return "no region given, all tissue counted" if counted else "no region"
    number = "1 region" if len(regions) == 1 else f"{len(regions)} regions"
    return f"{number} outlined, {regions.area_mm2:.3g} mm²"


def _heatmap_figure(data: ReportData) -> Figure | None:
    if data.heatmap is None or data.he is None:
        return None
    alt = f"Heat map of the probability of invasive carcinoma over {data.he.path.name}"
    caption = f"Probability of invasive carcinoma, one value per {data.heatmap.mpp:.4g} µm, with the outlined region"
    return _figure(heatmap_picture(data.he, data.heatmap, data.regions_he), alt, caption)


def _registration(data: ReportData) -> dict[str, Any] | None:
    if data.quality is None and data.transform is None:
        return None
    figures: list[Figure] = []
    fault = ""
    try:
        figures = [*_checkerboards(data), *_error_figure(data)]
    except Ki67Error as error:
        # The rest of the report is worth having; why this figure is missing is said in its place.
        fault = f"The checkerboard cannot be drawn: {error}"
    quality = data.quality or {}
    return {
        "figures": figures,
        "fault": fault,
        "accepted": quality.get("accepted"),
        "reasons": [str(reason) for reason in quality.get("reasons", ())],
        "rows": facts.quality_rows(quality),
    }


def _checkerboards(data: ReportData) -> list[Figure]:
    he, ki67, transform = data.he, data.ki67, data.transform
    if he is None or ki67 is None or transform is None:
        return []
    draw: Callable[..., Picture] = checkerboard_picture
    whole = "Squares of the Ki-67 slide (top left) alternating with the H&E slide warped onto it"
    figures = [_figure(draw(he, ki67, transform, ki67.bounds_um), f"Checkerboard, whole slide. {whole}", whole)]
    detail = detail_rect(ki67, data.regions_ki67)
    if detail is not None:
        text = f"The same, {detail.width_um / 1000:g} mm wide, at x {detail.x_um:.0f}, y {detail.y_um:.0f} µm"
        figures.append(_figure(draw(he, ki67, transform, detail), f"Checkerboard, detail. {text}", text))
    return figures


def _by_place(data: ReportData) -> dict[str, Any] | None:
    """What the index is where on the section; None where no index is given."""
    score = data.score or {}
    if data.ki67 is None or data.cells is None or not score.get("guideline") or score.get("index_percent") is None:
        return None
    fewer = score.get("fewer_cells")
    hexagons = index_hexagons(data.cells, data.ki67, data.regions_ki67)
    figure = None
    if len(hexagons.cells):
        text = f"Index in hexagons of {hexagons.side_um:g} µm with at least {HEXAGON_CELLS} tumour cells"
        caption = f"{text}; red circles: hot spots by rank; black: fields of the guideline by type (N, L, M, H)"
        figure = _figure(index_picture(data.ki67, data.regions_ki67, hexagons, score), text, caption)
    return {
        "figure": figure,
        "scale_end": scale_end(hexagons) if figure else None,
        "guideline": facts.guideline_rows(score["guideline"], score["hot_spots"]),
        "hot_spots": score["hot_spots"],
        "edge": facts.edge_rows(score["invasive_edge"]),
        "heterogeneity": facts.heterogeneity_rows(score["heterogeneity"]),
        "fewer_cells": fewer_cells_chart(fewer, score["index_percent"]) if fewer else None,
        "cut_offs": score["cut_offs"],
    }


def _error_figure(data: ReportData) -> list[Figure]:
    """Estimated error place by place, with the pieces and what is not registered."""
    places = (data.quality or {}).get("places")
    if data.he is None or not places:
        return []
    pieces = [piece for piece in getattr(data.transform, "pieces", ()) if piece.he is not None]
    outlined = [Region("Piece", piece.he, str(number)) for number, piece in enumerate(pieces, start=1)]
    lost = getattr(data.transform, "unregistered", None)
    if lost is not None and not lost.is_empty:
        outlined.append(Region(UNREGISTERED.label, lost, UNREGISTERED.name))
    parts = f", in {len(pieces)} pieces" if len(pieces) > 1 else ""
    caption = (
        f"Estimated error of the registration on the H&E slide{parts}: dark 0, bright {LARGEST_ERROR_UM:.0f} µm and "
        "more, no colour where nothing is registered"
    )
    picture = error_picture(data.he, places, Regions(outlined), data.regions_he)
    return [_figure(picture, f"Map of the error. {caption}", caption)]


def _field_figures(data: ReportData) -> list[FieldFigures]:
    if data.ki67 is None or data.cells is None or data.cells_within is None:
        return []
    withheld = data.score is not None and data.score.get("index_percent") is None
    result = []
    for field in choose_fields(Cells.from_table(data.cells), data.ki67.bounds_um):
        shown = data.cells_within(field.rect_um)
        plain, outlined = field_pictures(data.ki67, field, shown, data.regions_ki67)
        rect = field.rect_um
        name = field.name if withheld else f"{field.name}: {field.index_percent:.1f} %"
        caption = (
            f"{name} ({field.positive} positive, {field.negative} negative, "
            f"{field.other} other cells) at x {rect.x_um:.0f}, y {rect.y_um:.0f} µm, {rect.width_um:.0f} µm wide"
        )
        result.append(
            FieldFigures(
                field,
                _figure(plain, f"{field.name}, the field as scanned", "As scanned"),
                _figure(outlined, f"{field.name}, the same field with every counted cell outlined", caption),
            )
        )
    return result


def _models(data: ReportData) -> list[dict[str, Any]]:
    return [
        {"name": name, "sha256": str(sha256), "card": facts.card_rows(data.model_cards.get(name, {}))}
        for name, sha256 in data.run.get("models", {}).items()
    ]


def _legend(data: ReportData) -> list[tuple[str, str]]:
    """Label and colour of every region that is drawn."""
    found: dict[str, str] = {}
    for regions in (data.regions_he, data.regions_ki67, data.excluded, data.unregistered):
        for region in regions or ():
            found.setdefault(region.label, _css(region.display_color))
    return list(found.items())


def _figure(picture: Picture, alt: str, caption: str) -> Figure:
    return Figure(jpeg_uri(picture), alt, caption, picture.shape[1], picture.shape[0])


def _size_mm(slide: SlideLike) -> str:
    return f"{slide.bounds_um.width_um / 1000:.1f} × {slide.bounds_um.height_um / 1000:.1f} mm, {slide.mpp:.4g} µm/px"


def _css(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]}, {color[1]}, {color[2]})"
