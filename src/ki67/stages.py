"""The stages of a case, each resumable: what it reads, what decides its result, what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67 import cells, idc, registration, report, scoring
from ki67.annotations import (
    Region,
    Regions,
    check_inside,
    choose_regions,
    judge_on_tissue,
    read_regions,
    write_regions,
)
from ki67.case import Case, Stage, Summary
from ki67.domain import Check, Verdict, checks_of, checks_part, domain_part, doubts, insist
from ki67.errors import NoTissueError, RegionError, RegistrationError, StainError, TissueError
from ki67.files import atomic_path, printable, sha256_of, write_json
from ki67.geometry import RectUm
from ki67.options import Adjustment, Options
from ki67.parquet import parquet_file
from ki67.progress import message
from ki67.slides import READING_VERSION, Slide, TissueMask, same_picture, tissue_mask
from ki67.slides.frame import CORNER
from ki67.slides.pixel_size import size_text
from ki67.slides.tissue import mask_of
from ki67.vocabulary import CLASSES, EXCLUSION_KINDS, RegistrationMode

HEATMAP = "idc/heatmap.tif"
REGIONS_HE = "idc/regions.geojson"
TRANSFORM = "registration/transform.json"
DISPLACEMENTS = tuple(f"registration/{name}" for name in registration.FIELD_NAMES)
QUALITY = "registration/quality.json"
REGIONS_KI67 = "regions_ki67.geojson"
CELLS = "cells.parquet"
EXCLUDED = "excluded.geojson"
UNREGISTERED = "unregistered.geojson"
SCORE = "score.json"
REPORT = "report.html"

JUDGED = "domain"
"""Stage that judges the slides themselves."""

REGIONS_TAKEN, REGION_JUDGED = "regions", "region_density"
"""Stages that judge the region: whether it lies on tissue, and whether the tumour cells are in it."""

REGION_CHECKS = frozenset({"region_on_tissue", "region_density"})
"""Checks on the region."""

FILES = (
    HEATMAP,
    REGIONS_HE,
    TRANSFORM,
    *DISPLACEMENTS,
    QUALITY,
    REGIONS_KI67,
    CELLS,
    UNREGISTERED,
    EXCLUDED,
    SCORE,
    REPORT,
)
"""All that is written into a case's folder, beside its manifest."""


@dataclass
class CaseSlide:
    """One open slide of a case, with its tissue found once and only when it is needed."""

    slide: Slide
    drawn: Path | None = None
    """File of the regions that a person drew on it: where no tissue can be told from glass, they are the tissue."""

    @cached_property
    def tissue(self) -> TissueMask:
        """Tissue mask; found at the first use."""
        message(f"finding the tissue on {self.slide.path.name}")
        try:
            return tissue_mask(self.slide)
        except NoTissueError:
            if self.drawn is None:
                raise
            return mask_of(read_regions(self.drawn, self.slide.frame).union(), self.slide)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the manifest tells of the slide."""
        own = self.slide.pixel_size.own
        return {
            "path": printable(str(self.slide.path.resolve())),
            "reader": self.slide.reader,
            "size_px": list(self.slide.size_px),
            "mpp": self.slide.mpp,
            "mpp_source": self.slide.mpp_source,
            "mpp_contradicts_file": self.slide.pixel_size.contradicts,
            "mpp_of_file": None if own is None else size_text(own),
            "origin_px": list(self.slide.frame.origin_px),
            "fingerprint": self.slide.fingerprint(),
            "warnings": list(self.slide.named_warnings),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What of the slide decides a stage's result; the origin of other programs where it is not the corner."""
        known = {"fingerprint": self.facts["fingerprint"], "mpp": self.slide.mpp, "reading": READING_VERSION}
        origin_px = self.slide.frame.origin_px
        return known if origin_px == CORNER else known | {"origin_px": list(origin_px)}


def judge_slides(ki67: CaseSlide | None, he: CaseSlide | None = None) -> tuple[Check, ...]:
    """Judge whether slides are what the program was validated on: what a score rests on, and what ``check`` says.

    Raises
    ------
    TissueError
        Where one shows no tissue.
    """
    checks: tuple[Check, ...] = ()
    if ki67:
        checks += cells.judge_ki67(ki67.slide, None if cells.is_field(ki67.slide) else ki67.tissue)
    if he:
        checks += cells.judge_he(he.slide, None if cells.is_field(he.slide) else he.tissue)
    return (_judge_pair(ki67, he, checks), *checks) if ki67 and he else checks


def _judge_pair(ki67: CaseSlide, he: CaseSlide, checks: tuple[Check, ...]) -> Check:
    text = ""
    if ki67.facts["fingerprint"] == he.facts["fingerprint"]:
        text = "the H&E and the Ki-67 slide are one and the same: the file given twice, or a copy of it"
    elif same_picture(ki67.slide, he.slide):
        text = "the H&E and the Ki-67 slide show the same picture, saved twice"
    elif cells.wrong_order(checks):
        text = "the slides seem to be swapped: the one given as H&E looks like Ki-67, the other like H&E"
    return Check("two_slides", Verdict.unusable if text else Verdict.usual, text)


def refusal(checks: Iterable[Check], path: Path) -> StainError | None:
    """Why there must be no index of a slide, with what to do; None where no check forbids one."""
    reasons = [check.text for check in checks if check.forbids]
    if not reasons:
        return None
    return StainError(
        path,
        f"gives no index, because {'; '.join(reasons)}",
        "Check that both are the right slides, the H&E first, exported in their true colours; or insist with "
        "--use-unusable-stain",
    )


def judge(case: Case, ki67: CaseSlide, he: CaseSlide | None = None) -> None:
    """Judge whether the slides are what the program was validated on; :func:`require_usable` acts on it."""

    def work() -> Summary:
        message("judging stain and colours")
        return {"checks": checks_part(judge_slides(ki67, he)), "warnings": []}

    drawn = [sha256_of(section.drawn) if section and section.drawn else None for section in (he, ki67)]
    parameters = {"he": he.identity if he else None, "ki67": ki67.identity, "drawn": drawn}
    case.run_stage(Stage(JUDGED, 4, ()), parameters, (), work)


def require_usable(case: Case, ki67: CaseSlide, options: Options) -> None:
    """Stop at slides whose stain or colours cannot give an index, unless the user wants one.

    Raises
    ------
    StainError
        With what was found, and what to do.
    """
    error = refusal(_checks(case, options), ki67.slide.path)
    if error is not None:
        raise error


def find_region(case: Case, he: CaseSlide) -> None:
    """Find the invasive carcinoma on the H&E slide.

    Raises
    ------
    RegionError
        Where none is found.
    """
    summary = predict_idc(case, he)
    if summary["polygons"] == 0:
        msg = (
            f"{he.slide.path}: no invasive carcinoma was found. Outline it by hand (QuPath, saved as GeoJSON, "
            f"classified IDC) and give the file with --regions"
        )
        raise RegionError(msg)


def predict_idc(
    case: Case, he: CaseSlide, model_path: str | Path | None = None, stride_px: int | None = None
) -> Summary:
    """Write the heat map and the outline of the invasive carcinoma; an outline may be empty."""
    model = idc.load_model(model_path)

    def work() -> Summary:
        heatmap = idc.predict(he.slide, he.tissue, model, stride_px=stride_px)
        regions = idc.outline(heatmap, model)
        with atomic_path(case.path(HEATMAP)) as path:
            idc.write_heatmap(path, heatmap)
        write_regions(case.path(REGIONS_HE), regions, he.slide.frame)
        return {
            "area_mm2": regions.area_mm2,
            "tissue_mm2": he.tissue.area_mm2,
            "polygons": len(regions),
            "warnings": list(he.tissue.warnings),
        }

    card = model.card
    around = None if card.surroundings is None else asdict(card.surroundings)
    parameters = {"he": he.identity, "model": model.sha256, "threshold": card.threshold, "surroundings": around}
    parameters |= {"stride_px": stride_px} if stride_px else {}
    return case.run_stage(Stage("idc", 3, (HEATMAP, REGIONS_HE)), parameters, (), work)


def take_regions(case: Case, section: CaseSlide, options: Options, target: str) -> None:
    """Write the chosen regions of the user's file, clipped to the slide, to ``target``."""
    path = options.regions
    if path is None:
        raise ValueError("no region file was given")
    regions = read_regions(path, section.slide.frame)
    label_of = {"path": str(path), "sha256": sha256_of(path), "label": options.label}

    def work() -> Summary:
        chosen, warnings = choose_regions(regions, options.label, path)
        inside, clipped = check_inside(chosen, section.slide.shown_um)
        write_regions(case.path(target), inside, section.slide.frame)
        return {
            "area_mm2": inside.area_mm2,
            "polygons": len(inside),
            "checks": checks_part(_judge_region(inside, section)),
            "warnings": [*warnings, *clipped],
        }

    parameters = {"slide": section.identity, "regions": label_of}
    case.run_stage(Stage(REGIONS_TAKEN, 3, (target,)), parameters, (), work)
    section.drawn = case.path(target)
    require_fitting_region(case, section, options)


def _judge_region(regions: Regions, section: CaseSlide) -> tuple[Check, ...]:
    """Judge whether a user's regions lie on the tissue; not where none is found, for then they know better."""
    if cells.is_field(section.slide):
        return ()
    try:
        tissue = section.tissue
    except TissueError:
        return ()
    return (judge_on_tissue(regions.union(), tissue, section.slide.frame),)


def judge_region_density(case: Case, ki67: CaseSlide, region_file: str, options: Options) -> None:
    """Judge whether the region that was counted is where the tumour cells are; on a usable stain only.

    Raises
    ------
    RegionError
        Where they plainly are elsewhere, unless the user wants this region.
    """
    judged = checks_of(case.manifest["stages"][JUDGED]["summary"]["checks"])
    if any(check.verdict is Verdict.unusable for check in judged):
        return
    counted_mm2 = case.manifest["stages"]["cells"]["summary"]["area_mm2"]
    engine = cells.load_engine(options.engine, options.cell_model)

    def work() -> Summary:
        message("judging whether the region is where the tumour cells are")
        check = cells.judge_density(
            ki67.slide,
            read_regions(case.path(region_file), ki67.slide.frame),
            pq.read_table(case.path(CELLS), columns=[*cells.DENSITY_COLUMNS]),
            counted_mm2,
            None if cells.is_field(ki67.slide) else ki67.tissue,
            engine,
        )
        return {"checks": checks_part((check,)), "warnings": []}

    parameters = {"ki67": ki67.identity, "model": engine.card.sha256, "area_mm2": counted_mm2}
    case.run_stage(Stage(REGION_JUDGED, 1, ()), parameters, (CELLS, region_file), work)
    require_fitting_region(case, ki67, options)


def require_fitting_region(case: Case, section: CaseSlide, options: Options) -> None:
    """Stop at a region that plainly belongs elsewhere, unless the user wants it.

    Raises
    ------
    RegionError
        With what was found, and what to do.
    """
    checks = [check for check in _checks(case, options) if check.name in REGION_CHECKS and check.forbids]
    if not checks:
        return
    msg = (
        f"{options.regions or section.slide.path}: the region does not fit the slide: "
        f"{'; '.join(check.text for check in checks)}. Check that it was drawn on this very slide (the H&E for "
        "'score', the Ki-67 slide for 'count') and that its coordinates are pixels of level 0; or insist with "
        "--use-doubtful-region"
    )
    raise RegionError(msg)


def register(
    case: Case, he: CaseSlide, ki67: CaseSlide, mode: RegistrationMode, adjustment: Adjustment | None
) -> Summary:
    """Write the transform and its quality, believable or not."""
    by_hand = adjustment.read(he.slide, ki67.slide) if adjustment else None

    def work() -> Summary:
        message("registering the two sections")
        transform, quality = registration.register(
            he.slide, ki67.slide, he.tissue, ki67.tissue, mode=mode, by_hand=by_hand
        )
        registration.write_transform(case.path(TRANSFORM), transform)
        write_json(case.path(QUALITY), quality.to_dict())
        return {"accepted": quality.accepted, "ncc": quality.ncc, "warnings": list(quality.warnings)}

    parameters = {"he": he.identity, "ki67": ki67.identity, "mode": mode}
    if adjustment:
        parameters["adjustment"] = adjustment.identity
    return case.run_stage(Stage("registration", 6, (TRANSFORM, QUALITY), DISPLACEMENTS), parameters, (), work)


def require_believable(case: Case, options: Options) -> None:
    """Stop at a registration that was not accepted, unless the user wants it.

    Raises
    ------
    RegistrationError
        With the reasons, and what to do.
    """
    quality = case.read_json(QUALITY)
    if quality["accepted"] or options.use_unaccepted_registration:
        return
    msg = (
        f"the registration is not believable: {'; '.join(quality['reasons'])}. Check that the slides are serial "
        "sections of one block; then help with pairs of places seen on both (--landmarks FILE), or outline the "
        "region on the Ki-67 slide and use 'ki67 count --regions', or accept this registration with "
        "--use-unaccepted-registration"
    )
    raise RegistrationError(msg)


def map_region(case: Case, he: CaseSlide, ki67: CaseSlide, options: Options) -> None:
    """Carry the H&E slide's region over to the Ki-67 slide, without what is not registered.

    Raises
    ------
    RegistrationError
        Where too much of the region is not registered, unless the user insists.
    """

    def work() -> Summary:
        transform = registration.read_transform(case.path(TRANSFORM))
        belief = registration.LocalBelief.from_dict(case.read_json(QUALITY)["places"])
        regions = read_regions(case.path(REGIONS_HE), he.slide.frame)
        carried = registration.carry_over(regions, transform, belief, insist=options.use_unaccepted_registration)
        inside, clipped = check_inside(carried.regions, ki67.slide.shown_um)
        write_regions(case.path(REGIONS_KI67), inside, ki67.slide.frame)
        left_out = excluded_regions({"unregistered": carried.left_out})
        write_regions(case.path(UNREGISTERED), left_out, he.slide.frame)
        return {
            "area_mm2": inside.area_mm2,
            "polygons": len(inside),
            "unregistered_mm2": carried.left_out_mm2,
            "unregistered_share": carried.left_out_share,
            "parts": list(carried.parts),
            "checks": checks_part([carried.check()]),
            "warnings": clipped,
        }

    parameters = {"he_mpp": he.slide.mpp, "ki67": ki67.identity, "insist": options.use_unaccepted_registration}
    reads = [name for name in (TRANSFORM, *DISPLACEMENTS, QUALITY, REGIONS_HE) if case.path(name).is_file()]
    case.run_stage(Stage("regions_ki67", 2, (REGIONS_KI67, UNREGISTERED)), parameters, reads, work)


def count(case: Case, ki67: CaseSlide, region_file: str | None, options: Options) -> None:
    """Write the cell table of the region, or of all tissue where there is none, and what was left out of it."""
    engine = cells.load_engine(options.engine, options.cell_model)

    def work() -> Summary:
        regions = read_regions(case.path(region_file), ki67.slide.frame) if region_file else None
        found = cells.detect_cells(
            ki67.slide,
            regions,
            case.path(CELLS),
            tissue=None if cells.is_field(ki67.slide) else ki67.tissue,
            engine=engine,
            dab_threshold=options.dab_threshold,
            keep_artefacts=options.keep_artefacts,
        )
        write_regions(case.path(EXCLUDED), excluded_regions(found.lost), ki67.slide.frame)
        return {
            "area_mm2": found.area_mm2,
            "area_lost_mm2": found.area_lost_mm2,
            "region_ids": [region.region_id for region in regions or ()],
            "stains": found.stains.to_dict(),
            "brown_od": found.brown_od,
            "warnings": list(found.warnings),
        }

    parameters = {
        "ki67": ki67.identity,
        "model": engine.card.sha256,
        # The graph alone does not say how its scores are read.
        "thresholds": [engine.card.positive_threshold, engine.card.negative_threshold],
        "curves": {CLASSES[label]: curve for label, curve in engine.card.curves.items()},
        "dab_threshold": options.dab_threshold,
        "keep_artefacts": options.keep_artefacts,
        "region": region_file,
    }
    reads = (region_file,) if region_file else ()
    case.run_stage(Stage("cells", 12, (CELLS, EXCLUDED)), parameters, reads, work)


def excluded_regions(lost: Mapping[str, MultiPolygon]) -> Regions:
    """Return what was left out of the region as labelled regions, one for each kind that occurs."""
    return Regions(
        Region(EXCLUSION_KINDS[kind].label, geometry, kind)
        for kind, geometry in lost.items()
        if not geometry.is_empty
    )


def score(case: Case, ki67: CaseSlide, options: Options, *, zero_cells_allowed: bool = False) -> None:
    """Write index, interval, warnings and, where the region was carried over, the spread of the index."""
    counted = case.manifest["stages"]["cells"]["summary"]
    area_mm2, area_lost_mm2 = counted["area_mm2"], counted["area_lost_mm2"]
    region_ids = counted["region_ids"]
    carried = case.manifest["stages"]["regions_ki67"]["summary"] if "regions_ki67" in case.used else None
    if carried:
        area_lost_mm2 = area_lost_mm2 | {"unregistered": carried["unregistered_mm2"]}
    unknown_share = carried["unregistered_share"] if carried else 0.0
    checks = _checks(case, options)
    warnings = list(dict.fromkeys([*doubts(checks), *warnings_of(case)]))
    reads = tuple(name for name in (CELLS, EXCLUDED, QUALITY, REGIONS_KI67) if name in case.written())

    def work() -> Summary:
        found, told = checks, warnings
        columns = {*scoring.SCORE_COLUMNS, *scoring.SPREAD_COLUMNS, *scoring.LOCAL_COLUMNS}
        table = _cells(case.path(CELLS), sorted(columns))
        score = scoring.score_cells(
            table,
            area_mm2,
            area_lost_mm2=area_lost_mm2,
            region_ids=region_ids,
            allow_few=options.allow_few_cells,
            allow_none=zero_cells_allowed,
        )
        facts = score.model_dump(mode="json")
        if QUALITY in reads:
            facts["registration_spread_percent"] = scoring.widened(_spread(case, table, ki67), unknown_share)
        region = _counted_region(case, ki67, has_region=REGIONS_KI67 in reads)
        if carried and not unknown_share:
            # Beside what was cut off the region lies the rest of it.
            seen = scoring.surroundings_checks(table, region, cells.MARGIN_UM)
            found, told = [*checks, *seen], list(dict.fromkeys([*doubts([*checks, *seen]), *warnings]))
        by_place = scoring.section_scores(table, region)
        facts |= by_place.model_dump(mode="json", exclude={"clustered_percent", "warnings"})
        facts["intervals"] = {
            "wilson": facts["ci95_percent"],
            "clustered": by_place.clustered_percent,
            "registration": facts.get("registration_spread_percent"),
        }
        facts["cut_offs"] = scoring.cut_off_classes(score.index_percent, facts["intervals"].values())
        facts["domain"] = domain_part(found)
        facts["warnings"] = [*told, *score.warnings, *by_place.warnings]
        if any(check.forbids for check in checks):
            facts = _without_index(facts)
        write_json(case.path(SCORE), facts)
        return {"index_percent": facts["index_percent"], "cells": score.cells, "warnings": list(score.warnings)}

    parameters = {
        "area_mm2": area_mm2,
        "area_lost_mm2": area_lost_mm2,
        "region_ids": region_ids,
        "allow_few_cells": options.allow_few_cells,
        "zero_cells_allowed": zero_cells_allowed,
        "unknown_share": unknown_share,
        "warnings": warnings,
        "domain": domain_part(checks),
    }
    case.run_stage(Stage("score", 7, (SCORE,), result=True), parameters, reads, work)


def _counted_region(case: Case, ki67: CaseSlide, *, has_region: bool) -> BaseGeometry:
    """Where cells were counted, in µm: the region, or all tissue or the whole field, less what was left out of it."""
    if has_region:
        region: BaseGeometry = read_regions(case.path(REGIONS_KI67), ki67.slide.frame).union()
    elif cells.is_field(ki67.slide):
        region = ki67.slide.bounds_um.polygon
    else:
        region = ki67.tissue.geometry
    if not _anything_lost(case):
        return region
    return region.difference(read_regions(case.path(EXCLUDED), ki67.slide.frame).union())


def _anything_lost(case: Case) -> bool:
    """Whether a part of the region was not counted; its file holds no area otherwise."""
    return any(case.manifest["stages"]["cells"]["summary"]["area_lost_mm2"].values())


def _without_index(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``score.json`` with its counts, and null for every number that is made of them."""
    nothing = dict.fromkeys(("index_percent", "ci95_percent"))
    by_place = dict.fromkeys(("guideline", "hot_spots", "invasive_edge", "heterogeneity", "intervals", "cut_offs"))
    spread = {"registration_spread_percent": None} if "registration_spread_percent" in facts else {}
    return {
        **facts,
        **nothing,
        **by_place,
        **spread,
        "regions": [{**region, **nothing} for region in facts["regions"]],
    }


def _spread(case: Case, table: pa.Table, ki67: CaseSlide) -> tuple[float, float] | None:
    """Spread of the index over maps as far off as this registration may be; None where that is not known."""
    error_um = case.read_json(QUALITY)["estimated_error_um"]
    if error_um is None:
        return None
    region = read_regions(case.path(REGIONS_KI67), ki67.slide.frame).union()
    motions = registration.draw_motions(error_um, shapely.get_coordinates(region))
    return scoring.index_spread(table, region, motions)


def report_case(case: Case, he: CaseSlide | None, ki67: CaseSlide, options: Options) -> None:
    """Write the report of what is there; what earlier runs left and this one does not use goes before."""
    report_stage = Stage("report", 5, (REPORT,), result=True)
    case.keep_only_used(report_stage.name)
    present = case.written()
    carried = case.manifest["stages"]["regions_ki67"]["summary"] if UNREGISTERED in present else None
    has_unregistered = carried is not None and carried["unregistered_mm2"] > 0

    def work() -> Summary:
        message("writing the report")
        data = report.ReportData(
            title=ki67.slide.path.name if he is None else f"{he.slide.path.name} + {ki67.slide.path.name}",
            he=he.slide if he else None,
            ki67=ki67.slide,
            regions_he=read_regions(case.path(REGIONS_HE), he.slide.frame) if he and REGIONS_HE in present else None,
            regions_ki67=read_regions(case.path(REGIONS_KI67), ki67.slide.frame) if REGIONS_KI67 in present else None,
            heatmap=idc.read_heatmap(case.path(HEATMAP)) if HEATMAP in present else None,
            transform=registration.read_transform(case.path(TRANSFORM)) if TRANSFORM in present else None,
            quality=case.read_json(QUALITY) if QUALITY in present else None,
            excluded=read_regions(case.path(EXCLUDED), ki67.slide.frame) if _anything_lost(case) else None,
            unregistered=read_regions(case.path(UNREGISTERED), he.slide.frame) if he and has_unregistered else None,
            cells=_cells(case.path(CELLS), report.CELL_COLUMNS),
            cells_within=partial(_cells_within, case.path(CELLS)),
            score=case.read_json(SCORE),
            run=case.manifest,
            model_cards=_model_cards(case.manifest["models"], options),
        )
        report.write_report(case.path(REPORT), data)
        return {"warnings": []}

    case.run_stage(report_stage, {}, tuple(present), work)


def _cells(path: Path, columns: Sequence[str], filters: pc.Expression | None = None) -> pa.Table:
    with parquet_file(path) as stream:
        return pq.read_table(stream, columns=[*columns], filters=filters)


def _cells_within(path: Path, rect_um: RectUm) -> pa.Table:
    """Cells centred in a rectangle; the table is sorted by y, so most of it is passed over."""
    x, y = pc.field("x_um"), pc.field("y_um")
    inside = (x >= rect_um.x_um) & (x < rect_um.right_um) & (y >= rect_um.y_um) & (y < rect_um.bottom_um)
    return _cells(path, [*report.CELL_COLUMNS, report.OUTLINE], inside)


def _model_cards(models: Mapping[str, str], options: Options) -> dict[str, Mapping[str, Any]]:
    cards: dict[str, Callable[[], Any]] = {
        "idc": lambda: idc.load_model().card.details,
        "cells": lambda: cells.load_engine(options.engine, options.cell_model).card.details,
    }
    return {name: cards[name]() for name in models}


def _checks(case: Case, options: Options) -> list[Check]:
    """Return the checks of the stages that ran so far; a stain or region that the user insists on is marked."""
    found: list[Check] = []
    for name, summary in zip(case.used, case.summaries(), strict=True):
        checks = checks_of(summary.get("checks", {}))
        region = name in {REGIONS_TAKEN, REGION_JUDGED} and options.use_doubtful_region
        found += insist(checks) if region or (name == JUDGED and options.use_unusable_stain) else checks
    return found


def warnings_of(case: Case) -> list[str]:
    """Return what is to be said of the slides, then the warnings of the stages that ran so far, each once."""
    sources = [*case.manifest["inputs"].values(), *case.summaries()]
    return list(dict.fromkeys(line for source in sources for line in source["warnings"]))
