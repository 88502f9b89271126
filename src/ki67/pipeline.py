"""The chain from two slides to a report, and the parts of it that stand alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ki67 import cells, idc, registration, scoring, stages
from ki67.case import Case, Summary, open_case, read_case, reopen_case
from ki67.case.artefacts import (
    FILES,
    HEATMAP,
    OTHER_CLASSES,
    QUALITY,
    REGIONS_HE,
    REGIONS_KI67,
    REPORT,
    REPORT_PDF,
    SCORE,
    TRANSFORM,
)
from ki67.case.view import ROLES
from ki67.checking import section
from ki67.corrected import corrected_view
from ki67.domain import domain_part, doubts
from ki67.errors import CaseError
from ki67.files import printable
from ki67.options import Adjustment, Options
from ki67.slides.addresses import slide_address
from ki67.vocabulary import Device, RegistrationMode


def run_score(
    he_path: str | Path,
    ki67_path: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    he_mpp: float | None = None,
    ki67_mpp: float | None = None,
    mpp_overrides_file: bool = False,
) -> Summary:
    """Score one case: both slides in, index, cell table and report in the case folder.

    Returns
    -------
    dict
        ``index_percent``, ``positive``, ``negative``, ``cells``, ``ci95_percent``, ``registration``, ``seconds``,
        ``warnings``, ``report``.

    Raises
    ------
    Ki67Error
        Any known error of a stage; what finished before it stays in the folder and is not run again.
    """
    options = options or Options()
    with (
        section(he_path, he_mpp, overrides_file=mpp_overrides_file) as he,
        section(ki67_path, ki67_mpp, overrides_file=mpp_overrides_file) as ki67,
    ):
        cells.check_resolution(ki67.slide.path, ki67.slide.mpp)
        models = model_hashes(options, with_idc=options.regions is None)
        with _case(out, "score", {"he": he, "ki67": ki67}, models) as case:
            if options.regions is not None:
                stages.take_regions(case, he, options, REGIONS_HE)
            stages.judge(case, ki67, he)
            stages.require_usable(case, ki67, options)
            with stages.registering(case, he, ki67, options.mode, options.adjustment) as end_registration:
                if options.regions is None:
                    stages.find_region(case, he, options)
                end_registration()
            stages.require_believable(case, options)
            stages.map_region(case, he, ki67, options)
            stages.count(case, ki67, REGIONS_KI67, options)
            stages.judge_region_density(case, ki67, REGIONS_KI67, options)
            stages.score(case, ki67, options)
            stages.report_case(case, he, ki67, options)
            return _result(case)


def run_count(
    ki67_path: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    mpp: float | None = None,
    mpp_overrides_file: bool = False,
) -> Summary:
    """Count the cells of one Ki-67 slide or field, in given regions or in all its tissue.

    A count is a measurement, not a score that is signed out: few cells give a warning, not a refusal, and a stain
    that is known to be unusable gives counts without an index.

    Returns
    -------
    dict
        ``index_percent`` (None where there is no tumour cell or the stain is unusable), ``positive``, ``negative``,
        ``other``, ``area_mm2`` (counted), ``area_lost_mm2`` (``pen``, ``fold``, ``focus``), ``warnings``, ``report``.
    """
    options = options or Options()
    with section(ki67_path, mpp, overrides_file=mpp_overrides_file) as ki67:
        cells.check_resolution(ki67.slide.path, ki67.slide.mpp)
        with _case(out, "count", {"ki67": ki67}, model_hashes(options)) as case:
            return _count(case, ki67, options)


def _count(case: Case, ki67: stages.CaseSlide, options: Options) -> Summary:
    if options.regions is not None:
        stages.take_regions(case, ki67, options, REGIONS_KI67)
    stages.judge(case, ki67)
    stages.count(case, ki67, REGIONS_KI67 if options.regions is not None else None, options)
    if options.regions is not None:
        stages.judge_region_density(case, ki67, REGIONS_KI67, options)
    stages.score(case, ki67, replace(options, allow_few_cells=True), zero_cells_allowed=True)
    stages.report_case(case, None, ki67, options)
    return _result(case)


def run_report(
    folder: str | Path,
    options: Options | None = None,
    *,
    he: str | Path | None = None,
    ki67: str | Path | None = None,
) -> Summary:
    """Write the report of a finished case again: with its corrections, in another language, with more details.

    Nothing is counted or scored anew. ``he`` and ``ki67`` are places of slides that were moved since; of ``options``
    only ``language``, ``details``, and ``engine`` and ``cell_model`` for the model's card, are used.

    Returns
    -------
    dict
        ``report``, ``pdf``; ``index_percent``, with the corrections, and ``automatic_index_percent``; ``details``.

    Raises
    ------
    CaseError
        Where the case is not finished, or a slide is not where it was.
    SlideError, CorrectionError, ScoreError
        Where a slide cannot be read, or the corrections cannot be applied.
    """
    view = read_case(folder, he=he, ki67=ki67)
    view.require_finished()
    automatic = view.score
    with reopen_case(folder, "report", FILES) as case, ExitStack() as opened:
        slides = {role: opened.enter_context(view.open_slide(role)) for role in ROLES if role in view.record.inputs}
        stages.write_reports(case, slides.get("he"), slides["ki67"], options or Options())
        return {
            "index_percent": corrected_view(view).score.index_percent,
            "automatic_index_percent": automatic.index_percent,
            "details": case.manifest.get("details", {}),
            "report": str(case.path(REPORT)),
            "pdf": str(case.path(REPORT_PDF)),
        }


def run_idc(
    he_path: str | Path,
    out: str | Path,
    *,
    mpp: float | None = None,
    mpp_overrides_file: bool = False,
    model: str | Path | None = None,
    stride_px: int | None = None,
    outline: idc.OutlineOptions = idc.DEFAULT_OUTLINE,
    device: Device | None = None,
) -> Summary:
    """Find the invasive region of one H&E slide: heat map and outline.

    ``model`` takes the place of the shipped one; ``stride_px`` is the distance of patches (:func:`ki67.idc.predict`),
    ``outline`` how the region is drawn, ``device`` where the model runs.

    Returns
    -------
    dict
        ``area_mm2``, ``tissue_mm2``, ``polygons``, ``regions``, ``heatmap``, ``domain`` (what was thought of the
        slide: a heat map is written of any), ``warnings``; where the model tells more than two classes apart,
        ``other_classes``, the ``name`` of each but IDC and the ``area_mm2`` of tissue outside the outline that is
        taken for it, and ``other_classes_file``, their heat maps.
    """
    models = {"idc": idc.load_model(model).sha256}
    with (
        section(he_path, mpp, overrides_file=mpp_overrides_file) as he,
        _case(out, "idc predict", {"he": he}, models) as case,
    ):
        stages.judge(case, None, he)
        summary = stages.predict_idc(case, he, model, stride_px, outline, device)
        checks = stages.checks_so_far(case, Options())
        summary |= {"domain": domain_part(checks), "warnings": [*doubts(checks), *stages.warnings_of(case)]}
        if "other_classes" in summary:
            summary["other_classes_file"] = str(case.path(OTHER_CLASSES))
        return summary | {"regions": str(case.path(REGIONS_HE)), "heatmap": str(case.path(HEATMAP))}


def run_register(
    he_path: str | Path,
    ki67_path: str | Path,
    out: str | Path,
    others: Sequence[str | Path] = (),
    *,
    mode: RegistrationMode = RegistrationMode.deformable,
    adjustment: Adjustment | None = None,
    he_mpp: float | None = None,
    ki67_mpp: float | None = None,
    mpp_overrides_file: bool = False,
) -> Summary:
    """Register two sections, or more of one block.

    ``others`` are further sections of the block (ER, PR, HER2, …), ``ki67_mpp`` is theirs too. Then each is reached
    from the H&E by the way, through the others or not, whose estimated error is least
    (:mod:`ki67.registration.block`).

    Returns
    -------
    dict
        The quality of the second (``ncc``, ``ncc_before``, ``accepted``, ``reasons``, …) and ``transform``, the
        file's place; with others ``sections``: of each but the first ``slide``, ``through`` (slides between),
        ``accepted``, ``reasons``, ``estimated_error_um`` and ``transform``.
    """
    paths = [slide_address(path) for path in (he_path, ki67_path, *others)]
    with ExitStack() as opened:
        slides = [
            opened.enter_context(section(path, mpp, overrides_file=mpp_overrides_file))
            for path, mpp in zip(paths, [he_mpp, *[ki67_mpp] * (len(paths) - 1)], strict=True)
        ]
        names = ["he", "ki67", *(f"section_{number}" for number in range(3, len(slides) + 1))]
        files = (*FILES, *stages.block_files(len(slides))) if others else FILES
        case = opened.enter_context(_case(out, "register", dict(zip(names, slides, strict=True)), {}, files))
        if not others:
            stages.register(case, slides[0], slides[1], mode, adjustment)
            return _registered(case)
        entries = stages.register_block(case, slides, mode)["sections"]
        described = [_section(case, paths, path, entry) for path, entry in zip(paths[1:], entries, strict=True)]
        return _registered(case) | {"sections": described}


def _registered(case: Case) -> Summary:
    told = {"warnings": stages.warnings_of(case), "seconds": case.seconds()}
    return _quality(case.read_json(QUALITY)) | {"transform": str(case.path(TRANSFORM)), **told}


def _section(case: Case, paths: Sequence[str | Path], path: str | Path, entry: Mapping[str, Any]) -> Summary:
    quality = case.read_json(entry["quality"])
    return {
        "slide": printable(str(path)),
        "through": [printable(str(paths[number - 1])) for number in entry["through"]],
        **{
            name: quality[name] for name in ("accepted", "reasons", "estimated_error_um", "ncc", "unregistered_share")
        },
        "transform": str(case.path(entry["transform"])),
    }


def _case(
    out: str | Path,
    command: str,
    slides: Mapping[str, stages.CaseSlide],
    models: Mapping[str, str],
    files: Sequence[str] = FILES,
) -> AbstractContextManager[Case]:
    """Open the case's folder, which must not lie among the files that a slide is made of."""
    for one in slides.values():
        path = one.slide.path
        home = path.with_suffix("") if path.suffix.lower() == ".mrxs" else path
        if home.is_dir() and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(home)):
            found = f"lies in the folder of the slide {path.name}, which would be another slide with more files in it"
            raise CaseError(out, found, "Choose another folder with --out.")
    return open_case(out, command, {name: one.facts for name, one in slides.items()}, models, files)


def model_hashes(options: Options, *, with_idc: bool = False) -> dict[str, str]:
    """SHA-256 of the models that a run needs, by what they are for.

    Raises
    ------
    ModelError
        Where one cannot be used.
    DataSetError
        Where the laboratory's validation is none, or of another model.
    """
    hashes = {"idc": idc.load_model(options.idc_model).sha256} if with_idc else {}
    counting = cells.load_engine(options.engine, options.cell_model).card.sha256
    if options.validation is not None:
        # Read again where it is needed; what is wrong with it is told before hours of work.
        scoring.read_laboratory(options.validation, counting)
    return hashes | {"cells": counting}


def _result(case: Case) -> Summary:
    result: Summary = case.read_json(SCORE)
    if QUALITY in case.written():
        result["registration"] = _quality(case.read_json(QUALITY))
    result["report"] = str(case.path(REPORT))
    result["pdf"] = str(case.path(REPORT_PDF))
    result["seconds"] = case.seconds()
    return result


def _quality(quality: Mapping[str, Any]) -> Summary:
    """Return a registration's quality without its maps of the section, which are for programs, not for a line."""
    return {name: value for name, value in quality.items() if name not in registration.MAPS}
