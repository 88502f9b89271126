"""What a report holds, in the words of its language: figures, tables and sentences, for page and PDF alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ki67 import __version__
from ki67.domain import Check, Verdict, checks_of
from ki67.errors import Ki67Error
from ki67.report import facts
from ki67.report.corrections import CorrectionsShown, shown_corrections
from ki67.report.data import ReportData
from ki67.report.figures import (
    Color,
    FieldFigures,
    Figure,
    field_figures,
    heatmap_figure,
    index_figure,
    region_legend,
    registration_figures,
    slide_figures,
)
from ki67.report.index_map import index_hexagons
from ki67.report.templating import told_time
from ki67.report.words import Words, words_of
from ki67.vocabulary import MINIMUM_CELLS

_REGIONS_LISTED: Final = 25
"""Regions with the most tumour cells that fill a table of half a page; an outline can fall into hundreds."""


@dataclass(frozen=True)
class Number:
    """The index and the counts, in words; ``index`` is empty where there is none, and ``interval`` says why."""

    index: str
    interval: str
    note: tuple[str, ...]
    counts: list[tuple[str, str]]
    glance: list[tuple[str, str]]
    causes: list[tuple[str, str, str]]


@dataclass(frozen=True)
class ByPlace:
    """What the index is where on the section."""

    figure: Figure | None
    scale_end: str
    guideline: list[tuple[str, str, str]]
    hot_spots: list[tuple[str, ...]]
    fewer_cells: Sequence[Mapping[str, Any]]
    index_percent: float
    cut_offs: list[dict[str, str]]
    heterogeneity: list[tuple[str, str]]


@dataclass(frozen=True)
class RegistrationShown:
    """How the sections were registered; ``accepted`` is None where nobody judged it."""

    figures: list[Figure]
    fault: str
    accepted: bool | None
    reasons: list[str]
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Content:
    """All that a report shows, by section; what a command did not make is empty or None."""

    words: Words
    title: str
    made: str
    version: str
    details: list[tuple[str, str]]
    banners: list[str]
    number: Number | None
    corrections: CorrectionsShown | None
    warnings: list[str]
    slides: list[Figure]
    legend: list[tuple[str, Color]]
    checks: list[facts.CheckRow]
    regions: list[tuple[str, ...]]
    regions_left_out: int
    by_place: ByPlace | None
    fields: list[FieldFigures]
    heatmap: Figure | None
    registration: RegistrationShown | None
    inputs: list[tuple[str, list[tuple[str, str]]]]
    models: list[tuple[str, list[tuple[str, str]]]]
    stages: list[facts.StageRow]
    versions: list[tuple[str, str]]


def content_of(data: ReportData, now: datetime | None = None) -> Content:
    """Draw the figures and put everything into words; ``now`` is the time it says it was made at.

    Raises
    ------
    SlideError
        Where a slide cannot be read.
    """
    words = words_of(data.language)
    regions = sorted((data.score or {}).get("regions", ()), key=lambda region: -region["cells"])
    listed = regions[:_REGIONS_LISTED] if len(regions) > 1 else []
    return Content(
        words=words,
        title=data.title,
        made=told_time(now),
        version=__version__,
        details=[(words(f"details.{name}"), value) for name, value in data.details.told()],
        banners=_banners(data, words),
        number=_number(data, words),
        corrections=None if data.corrected is None else shown_corrections(data.corrected, words),
        warnings=[words.recorded(line) for line in _warnings(data)],
        slides=slide_figures(data, words),
        legend=region_legend(data, words),
        checks=facts.check_rows(_checks(data), words),
        regions=[_region_row(region, words) for region in listed],
        regions_left_out=len(regions) - len(listed) if listed else 0,
        by_place=_by_place(data, words),
        fields=field_figures(data, words),
        heatmap=heatmap_figure(data, words),
        registration=_registration(data, words),
        inputs=[(str(name), facts.input_rows(entry)) for name, entry in data.run.get("inputs", {}).items()],
        models=_models(data),
        stages=facts.stage_rows(data.run),
        versions=facts.version_rows(data.run),
    )


def _number(data: ReportData, words: Words) -> Number | None:
    score = data.score
    if score is None:
        return None
    index = score.get("index_percent")
    if index is None:
        said = words("score.none" if score["cells"] else "score.no_cell")
        return Number("", said, (), _counts(score, words), [], [])
    low, high = (words.number(end, ".1f") for end in score["ci95_percent"])
    corrected = score.get("index_corrected_percent")
    rests = words("note.least") if corrected is None else words("note.true", corrected=words.number(corrected, ".1f"))
    return Number(
        index=f"{words.number(index, '.1f')} %",
        interval=words("score.interval", low=low, high=high),
        note=(words("note.what"), rests),
        counts=_counts(score, words),
        glance=_glance(score, words),
        causes=facts.cause_rows(score.get("intervals"), words, score.get("own_validation")),
    )


def _counts(score: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    area = float(score["area_mm2"])
    names = ("positive", "negative", "cells", "other")
    rows = [(words(f"counts.{name}"), words.number(int(score[name]), ",")) for name in names]
    rows.append((words("counts.area"), f"{words.number(area, '.3g')} mm²"))
    rows += [
        (words("counts.lost", kind=words(f"exclusion.{kind}")), f"{words.number(float(lost), '.3g')} mm²")
        for kind, lost in score.get("area_lost_mm2", {}).items()
        if lost
    ]
    if area:
        rows.append((words("counts.density"), words.number(score["cells"] / area, ",.0f")))
    return rows


def _glance(score: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Hottest spot and class at each cut-off, a line each."""
    rows = []
    if score.get("hot_spots"):
        hottest = score["hot_spots"][0]
        rows.append((words("glance.hot_spot", cells=hottest["cells"]), words.percent(hottest["index_percent"])))
    for one in score.get("cut_offs") or ():
        kind = words.known(one["class"])
        name = words("glance.cut_off", values=_values(one, words), id=one["id"])
        rows.append((name, words("glance.equivocal", kind=kind) if one["equivocal"] else kind))
    return rows


def _values(cut_off: Mapping[str, Any], words: Words) -> str:
    return ", ".join(words.number(value, "g") for value in cut_off["values_percent"])


def _region_row(region: Mapping[str, Any], words: Words) -> tuple[str, ...]:
    counts = (words.number(region[name], ",") for name in ("positive", "negative", "other"))
    index, ends = words.percent(region["index_percent"]), facts.interval(region["ci95_percent"], words)
    return str(region["region_id"]), index, ends, *counts


def _banners(data: ReportData, words: Words) -> list[str]:
    """What must be seen before the number is used."""
    banners = [
        words("banner.insisted" if check.insisted else "banner.no_index", text=words.recorded(check.text))
        for check in _checks(data)
        if check.verdict is Verdict.unusable
    ]
    banners += [
        words(
            "banner.mpp",
            name=Path(str(entry["path"])).name,
            given=words.number(entry["mpp"], "g"),
            own=entry["mpp_of_file"],
        )
        for entry in data.run.get("inputs", {}).values()
        if entry.get("mpp_contradicts_file")
    ]
    if data.quality is not None and not data.quality.get("accepted", True):
        reasons = "; ".join(words.recorded(str(reason)) for reason in data.quality.get("reasons", ()))
        banners.append(words("banner.registration", reasons=reasons))
    if data.score is not None and data.score["cells"] == 0:
        banners.append(words("banner.no_cell"))
    elif data.score is not None and data.score["cells"] < MINIMUM_CELLS:
        banners.append(words("banner.few", cells=data.score["cells"]))
    return banners


def _checks(data: ReportData) -> tuple[Check, ...]:
    return checks_of((data.score or {}).get("domain", {}).get("checks", {}))


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


def _registration(data: ReportData, words: Words) -> RegistrationShown | None:
    if data.quality is None and data.transform is None:
        return None
    figures: list[Figure] = []
    fault = ""
    try:
        figures = registration_figures(data, words)
    except Ki67Error as error:
        # The rest of the report is worth having; why this figure is missing is said in its place.
        fault = words("registration.fault", error=error)
    quality = data.quality or {}
    reasons = [words.recorded(str(reason)) for reason in quality.get("reasons", ())]
    return RegistrationShown(figures, fault, quality.get("accepted"), reasons, facts.quality_rows(quality, words))


def _by_place(data: ReportData, words: Words) -> ByPlace | None:
    """What the index is where on the section; None where no index is given."""
    score = data.score or {}
    if data.ki67 is None or data.cells is None or not score.get("guideline") or score.get("index_percent") is None:
        return None
    figure, end = index_figure(data, index_hexagons(data.cells, data.ki67, data.regions_ki67), words) or (None, "")
    guideline = facts.guideline_rows(score["guideline"], score["hot_spots"], words)
    return ByPlace(
        figure=figure,
        scale_end=end,
        guideline=guideline + facts.edge_rows(score["invasive_edge"], words),
        hot_spots=[_spot_row(rank, spot, words) for rank, spot in enumerate(score["hot_spots"], start=1)],
        fewer_cells=score.get("fewer_cells") or (),
        index_percent=score["index_percent"],
        cut_offs=[_cut_off_row(row, words) for row in score["cut_offs"]],
        heterogeneity=[
            *facts.heterogeneity_rows(score["heterogeneity"], words),
            *facts.intensity_rows(score.get("intensity"), words),
        ],
    )


def _spot_row(rank: int, spot: Mapping[str, Any], words: Words) -> tuple[str, ...]:
    tissue = words.number(spot["tissue_index_percent"], ".1f")
    low, high = (words.number(end, ".1f") for end in spot["tissue_ci95_percent"])
    place = f"{spot['x_um']:.0f}, {spot['y_um']:.0f}"
    index, radius = words.percent(spot["index_percent"]), f"{spot['radius_um']:.0f}"
    return str(rank), index, str(spot["cells"]), f"{tissue} ({low}–{high}) %", place, radius


def _cut_off_row(row: Mapping[str, Any], words: Words) -> dict[str, str]:
    kind = words.known(row["class"])
    return {
        "values": f"{_values(row, words)} %",
        "id": row["id"],
        "kind": kind,
        "doubt": words("cut_offs.equivocal_how", kind=kind) if row["equivocal"] else "",
        "source": row["source"],
        "population": words.known(row["population"]),
    }


def _models(data: ReportData) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (str(name), [("sha256", str(sha256)), *facts.card_rows(data.model_cards.get(name, {}))])
        for name, sha256 in data.run.get("models", {}).items()
    ]
