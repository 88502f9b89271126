"""The region: found or drawn, carried over, and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from ki67 import cells, idc, registration, vocabulary
from ki67.annotations import Regions, check_inside, choose_regions, read_regions, write_regions
from ki67.case import Case, Stage, Summary
from ki67.case.artefacts import (
    CELLS,
    COUNTED,
    DISPLACEMENTS,
    HEATMAP,
    IDC,
    JUDGED,
    OTHER_CLASSES,
    QUALITY,
    REGION_CARRIED,
    REGION_JUDGED,
    REGIONS_HE,
    REGIONS_KI67,
    REGIONS_TAKEN,
    TRANSFORM,
    UNREGISTERED,
)
from ki67.domain import Check, Verdict, checks_of, checks_part
from ki67.errors import RegionError, StainError
from ki67.files import atomic_path, sha256_of
from ki67.model_files import provider_part
from ki67.options import Options
from ki67.progress import message
from ki67.stages.counting import excluded_regions
from ki67.stages.judging import require_fitting_region
from ki67.stages.opened import CaseSlide, judge_region
from ki67.vocabulary import Device


@dataclass(frozen=True)
class FoundCarcinoma:
    """What a model sees on an H&E slide.

    Parameters
    ----------
    heatmap, regions
        Probability over the tissue, and the outline; empty where nothing reaches the threshold.
    others
        Heat maps of what else the model tells apart, by name; none where it knows but one other class.
    checks
        Whether the model knows slides that look like this one; none where nobody measured what it knows.
    """

    heatmap: idc.HeatMap
    others: Mapping[str, idc.HeatMap]
    regions: Regions
    checks: tuple[Check, ...]


def look_for_carcinoma(
    he: CaseSlide,
    model: idc.IdcModel,
    outline: idc.OutlineOptions = idc.DEFAULT_OUTLINE,
    stride_px: int | None = None,
) -> FoundCarcinoma:
    """Look for invasive carcinoma on an H&E slide."""
    appearance = model.card.appearance
    seen = idc.FeatureMean() if model.knows_its_slides else None
    others = idc.predict_classes(he.slide, he.tissue, model, stride_px=stride_px, seen=seen)
    heatmap = others.pop(idc.TUMOUR_CLASS)
    checks = (appearance.check(seen),) if appearance and seen else ()
    return FoundCarcinoma(heatmap, others, idc.outline(heatmap, model, outline), checks)


def require_carcinoma(path: Path, polygons: int, checks: Sequence[Check], *, insisted: bool) -> None:
    """Stop where none was outlined, or where the model does not know such slides.

    Raises
    ------
    StainError
        Where the slide looks so unlike what the model knows that nothing can be made of what it says, unless the user
        insists.
    RegionError
        Where none was outlined; not that there is none, where the model does not know such slides well.
    """
    for check in checks:
        if check.verdict is Verdict.unusable and not insisted:
            raise StainError(path, check.text, "Insist with --use-doubtful-region where none of these is possible")
        if check.verdict is not Verdict.usual and polygons == 0:
            raise RegionError(f"{path}: nothing was outlined, which says little: {check.text}")
    if polygons == 0:
        raise RegionError(
            f"{path}: no invasive carcinoma was found. Outline it by hand (QuPath, saved as GeoJSON, "
            f"classified IDC) and give the file with --regions"
        )


def find_region(case: Case, he: CaseSlide, options: Options) -> None:
    """Find the invasive carcinoma on the H&E slide; the errors are those of :func:`require_carcinoma`."""
    summary = predict_idc(case, he, options.idc_model, outline=options.outline, device=options.device)
    checks = checks_of(summary["checks"])
    require_carcinoma(he.slide.path, summary["polygons"], checks, insisted=options.use_doubtful_region)


def predict_idc(
    case: Case,
    he: CaseSlide,
    model_path: str | Path | None = None,
    stride_px: int | None = None,
    outline: idc.OutlineOptions = idc.DEFAULT_OUTLINE,
    device: Device | None = None,
) -> Summary:
    """Write the heat maps and the outline of the invasive carcinoma; an outline may be empty."""
    model = idc.load_model(model_path, device=device)

    def work() -> Summary:
        found = look_for_carcinoma(he, model, outline, stride_px)
        with atomic_path(case.path(HEATMAP)) as path:
            idc.write_heatmap(path, found.heatmap)
        write_regions(case.path(REGIONS_HE), found.regions, he.slide.frame)
        told: Summary = {}
        if found.others:
            idc.write_heatmaps(case.path(OTHER_CLASSES), found.others)
            areas_mm2 = idc.areas_beside_mm2(found.others, found.regions, he.tissue)
            told = {"other_classes": [{"name": name, "area_mm2": area} for name, area in areas_mm2.items()]}
        return {
            "area_mm2": found.regions.area_mm2,
            "tissue_mm2": he.tissue.area_mm2,
            "polygons": len(found.regions),
            "outline": asdict(outline) | {"threshold": outline.threshold or model.card.threshold},
            "checks": checks_part(found.checks),
            "warnings": list(he.tissue.warnings),
            **told,
        }

    card = model.card
    around = None if card.surroundings is None else asdict(card.surroundings)
    parameters = {"he": he.identity, "model": model.sha256, "threshold": card.threshold, "surroundings": around}
    parameters |= {"core_px": card.core_px} if card.core_px != card.patch_px else {}
    parameters |= {"classes": list(card.classes)} if len(card.classes) > 2 else {}
    parameters |= {"stride_px": stride_px} if stride_px else {}
    parameters |= {"outline": asdict(outline)} if outline != idc.DEFAULT_OUTLINE else {}
    parameters |= provider_part(card, model.provider)
    files = (HEATMAP, REGIONS_HE) if len(card.classes) == 2 else (HEATMAP, REGIONS_HE, OTHER_CLASSES)
    return case.run_stage(Stage(IDC, 4, files), parameters, (), work, model.provider)


def take_regions(case: Case, section: CaseSlide, options: Options, target: str) -> None:
    """Write the chosen regions of the user's file, clipped to the slide, to ``target``."""
    path = options.regions
    if path is None:
        raise ValueError("no region file was given")
    regions = read_regions(path, section.slide.frame)
    label_of = {"path": str(path), "sha256": sha256_of(path), "label": options.label}

    def work() -> Summary:
        chosen, warnings = choose_regions(regions, options.label, path)
        inside, clipped = check_inside(chosen, section.slide.shown_um, section.slide.mpp)
        write_regions(case.path(target), inside, section.slide.frame)
        return {
            "area_mm2": inside.area_mm2,
            "polygons": len(inside),
            "checks": checks_part(judge_region(inside, section)),
            "warnings": [*warnings, *clipped],
        }

    parameters = {"slide": section.identity, "regions": label_of}
    case.run_stage(Stage(REGIONS_TAKEN, 3, (target,)), parameters, (), work)
    section.drawn = case.path(target)
    require_fitting_region(case, section, options)


def judge_region_density(case: Case, ki67: CaseSlide, region_file: str, options: Options) -> None:
    """Judge whether the region that was counted is where the tumour cells are; on a usable stain only.

    Raises
    ------
    RegionError
        Where they plainly are elsewhere, unless the user wants this region.
    """
    judged = checks_of(case.summary(JUDGED)["checks"])
    if any(check.verdict is Verdict.unusable for check in judged):
        return
    counted_mm2 = case.summary(COUNTED)["area_mm2"]
    engine = cells.load_engine(options.engine, options.cell_model, options.device)

    def work() -> Summary:
        message("judging whether the region is where the tumour cells are")
        check = cells.judge_density(
            ki67.slide,
            ki67.regions(case.path(region_file)),
            pq.read_table(case.path(CELLS), columns=[*cells.DENSITY_COLUMNS]),
            counted_mm2,
            None if cells.is_field(ki67.slide) else ki67.tissue,
            engine,
        )
        return {"checks": checks_part((check,)), "warnings": []}

    parameters = {"ki67": ki67.identity, "model": engine.card.sha256, "area_mm2": counted_mm2}
    parameters |= provider_part(engine.card, engine.provider)
    case.run_stage(Stage(REGION_JUDGED, 1, ()), parameters, (CELLS, region_file), work, engine.provider)
    require_fitting_region(case, ki67, options)


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
        regions = he.regions(case.path(REGIONS_HE))
        carried = registration.carry_over(regions, transform, belief, insist=options.use_unaccepted_registration)
        inside, clipped = check_inside(carried.regions, ki67.slide.shown_um)
        write_regions(case.path(REGIONS_KI67), inside, ki67.slide.frame)
        left_out = excluded_regions({vocabulary.UNREGISTERED.name: carried.left_out})
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
    case.run_stage(Stage(REGION_CARRIED, 2, (REGIONS_KI67, UNREGISTERED)), parameters, reads, work)
