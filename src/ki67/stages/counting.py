"""Counting the cells of a case, and scoring them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67 import cells, idc, registration, scoring
from ki67.annotations import Region, Regions, write_regions
from ki67.case import Case, Stage, Summary
from ki67.case.artefacts import (
    CELLS,
    COUNTED,
    DISPLACEMENTS,
    EXCLUDED,
    HEATMAP,
    IDC,
    QUALITY,
    REGION_CARRIED,
    REGIONS_KI67,
    SCORE,
    SCORED,
    TRANSFORM,
)
from ki67.domain import Check, checks_part, domain_part, doubts
from ki67.files import write_json
from ki67.model_files import provider_part
from ki67.options import Options
from ki67.parquet import parquet_file
from ki67.region_doubt import DrawnByModel, Outlined, carried_over
from ki67.stages.judging import checks_so_far, warnings_of
from ki67.stages.opened import CaseSlide
from ki67.vocabulary import CLASSES, EXCLUSION_KINDS, UNREGISTERED


def count(case: Case, ki67: CaseSlide, region_file: str | None, options: Options) -> None:
    """Write the cell table of the region, or of all tissue where there is none, and what was left out of it.

    Where the carcinoma is to be found on this slide itself, its outline is written too.
    """
    nests = options.find_tumour and region_file is None
    engine = cells.load_engine(options.engine, options.cell_model, options.device)

    def work() -> Summary:
        regions = ki67.regions(case.path(region_file)) if region_file else None
        found = cells.detect_cells(
            ki67.slide,
            regions,
            case.path(CELLS),
            tissue=None if cells.is_field(ki67.slide) else ki67.tissue,
            engine=engine,
            dab_threshold=options.dab_threshold,
            keep_artefacts=options.keep_artefacts,
        )
        if nests:
            regions = cells.tumour_nests(found.read(cells.NEST_COLUMNS), ki67.slide.bounds_um)
            found = cells.keep_within(found, regions, ki67.slide.bounds_um)
            write_regions(case.path(REGIONS_KI67), regions, ki67.slide.frame)
        write_regions(case.path(EXCLUDED), excluded_regions(found.lost), ki67.slide.frame)
        agreement = cells.judge_agreement(ki67.slide, found.read(cells.AGREEMENT_COLUMNS), found.stains, engine)
        return {
            "area_mm2": found.area_mm2,
            "area_lost_mm2": found.area_lost_mm2,
            "region_ids": [region.region_id for region in regions or ()],
            "stains": found.stains.to_dict(),
            "brown_od": found.brown_od,
            "checks": checks_part([agreement]),
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
        "nests": nests,
        **provider_part(engine.card, engine.provider),
    }
    outputs = (CELLS, EXCLUDED, *((REGIONS_KI67,) if nests else ()))
    reads = (region_file,) if region_file else ()
    case.run_stage(Stage(COUNTED, 16, outputs), parameters, reads, work, engine.provider)


def excluded_regions(lost: Mapping[str, MultiPolygon]) -> Regions:
    """Return what was left out of the region as labelled regions, one for each kind that occurs."""
    return Regions(
        Region(EXCLUSION_KINDS[kind].label, geometry, kind)
        for kind, geometry in lost.items()
        if not geometry.is_empty
    )


def score(case: Case, ki67: CaseSlide, options: Options, *, zero_cells_allowed: bool = False) -> None:
    """Write index, interval, warnings and, where the region was carried over, the spread of the index."""
    counted = case.summary(COUNTED)
    area_mm2, area_lost_mm2 = counted["area_mm2"], counted["area_lost_mm2"]
    region_ids = counted["region_ids"]
    carried = case.summary(REGION_CARRIED) if REGION_CARRIED in case.used else None
    if carried:
        area_lost_mm2 = area_lost_mm2 | {UNREGISTERED.name: carried["unregistered_mm2"]}
    unknown_share = carried["unregistered_share"] if carried else 0.0
    checks = checks_so_far(case, options)
    engine = cells.load_engine(options.engine, options.cell_model)
    deviation = model_deviation(engine, options.dab_threshold, checks, options.validation)
    warnings = list(dict.fromkeys([*doubts(checks), *warnings_of(case)]))
    drawn = None
    if carried and IDC in case.used:
        drawn = DrawnByModel.of(idc.load_model(options.idc_model).card, options.outline)
    of_region = (QUALITY, TRANSFORM, *DISPLACEMENTS, *([HEATMAP] if drawn else [])) if carried else ()
    reads = tuple(name for name in (CELLS, EXCLUDED, REGIONS_KI67, *of_region) if name in case.written())

    def work() -> Summary:
        with parquet_file(case.path(CELLS)) as stream:
            table = pq.read_table(stream, columns=[*scoring.TABLE_COLUMNS])
        found = scoring.score_section(
            table,
            _counted_region(case, ki67, has_region=REGIONS_KI67 in reads),
            area_mm2,
            area_lost_mm2=area_lost_mm2,
            region_ids=region_ids,
            checks=checks,
            warnings=warnings,
            carried=_carried(case, table, ki67, unknown_share, drawn) if carried else None,
            deviation=deviation,
            allow_few=options.allow_few_cells,
            allow_none=zero_cells_allowed,
            intensity_cuts_od=options.intensity_cuts_od,
        )
        write_json(case.path(SCORE), found.to_dict())
        return {"index_percent": found.index_percent, "cells": found.cells, "warnings": []}

    parameters = {
        "area_mm2": area_mm2,
        "area_lost_mm2": area_lost_mm2,
        "region_ids": region_ids,
        "allow_few_cells": options.allow_few_cells,
        "zero_cells_allowed": zero_cells_allowed,
        "intensity_cuts_od": [*options.intensity_cuts_od],
        "unknown_share": unknown_share,
        "outline": None if drawn is None else asdict(drawn),
        "deviation": None if deviation is None else asdict(deviation),
        "warnings": warnings,
        "domain": domain_part(checks),
    }
    case.run_stage(Stage(SCORED, 11, (SCORE,), result=True), parameters, reads, work)


def model_deviation(
    engine: cells.Engine, dab_threshold: float | None, checks: Iterable[Check], validation: Path | None = None
) -> scoring.ModelDeviation | None:
    """How far the model's index is off, by a laboratory's own validation or on patients that the model had not seen.

    More where the slide is new to it by the checks; None where that is not known, as where a threshold overrules the
    model.

    Raises
    ------
    DataSetError
        Where the validation's file is none, or tells of another model.
    """
    if dab_threshold is not None:
        if validation is not None:
            raise ValueError("a validation tells of the model's own calls, which a DAB threshold overrules")
        return None
    found: scoring.ModelDeviation | None = None
    if validation is not None:
        found = scoring.read_laboratory(validation, engine.card.sha256)
    elif (known := engine.card.deviation) is not None:
        found = scoring.ModelDeviation(known.bias, known.between, known.per_cell, known.patients)
    return found and replace(found, between=max(found.between, cells.least_between(checks)))


def _counted_region(case: Case, ki67: CaseSlide, *, has_region: bool) -> BaseGeometry:
    """Where cells were counted, in µm: the region, or all tissue or the whole field, less what was left out of it."""
    if has_region:
        region: BaseGeometry = ki67.regions(case.path(REGIONS_KI67)).union()
    elif cells.is_field(ki67.slide):
        region = ki67.slide.bounds_um.polygon
    else:
        region = ki67.tissue.geometry
    if not _anything_lost(case):
        return region
    return region.difference(ki67.regions(case.path(EXCLUDED)).union())


def _anything_lost(case: Case) -> bool:
    """Whether a part of the region was not counted; its file holds no area otherwise."""
    return any(case.summary(COUNTED)["area_lost_mm2"].values())


def _carried(
    case: Case, table: pa.Table, ki67: CaseSlide, unknown_share: float, drawn: DrawnByModel | None
) -> scoring.CarriedOver:
    return carried_over(
        table,
        ki67.regions(case.path(REGIONS_KI67)).union(),
        registration.read_transform(case.path(TRANSFORM)),
        error_um=case.read_json(QUALITY)["estimated_error_um"],
        unknown_share=unknown_share,
        outlined=None if drawn is None else Outlined(idc.read_heatmap(case.path(HEATMAP)), drawn),
    )
