"""The chain from two slides to a report, and the parts of it that stand alone; every stage resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry import MultiPolygon

from ki67 import cells, idc, registration, report, scoring
from ki67.annotations import UNCLASSIFIED, Region, Regions, check_inside, read_regions, write_regions
from ki67.case import Case, Stage, Summary, open_case
from ki67.errors import RegionError, RegistrationError, SlideError
from ki67.files import atomic_path, sha256_of, write_json
from ki67.progress import message
from ki67.slides import Slide, TissueMask, open_slide, tissue_mask

HEATMAP = "idc/heatmap.tif"
REGIONS_HE = "idc/regions.geojson"
TRANSFORM = "registration/transform.json"
DISPLACEMENT = "registration/displacement.mha"
QUALITY = "registration/quality.json"
REGIONS_KI67 = "regions_ki67.geojson"
CELLS = "cells.parquet"
EXCLUDED = "excluded.geojson"
SCORE = "score.json"
REPORT = "report.html"

LEAST_SIDE_UM = 20.0
"""Smaller than two tumour cells side by side, a picture is no section: a broken file or a wrong pixel size."""

TUMOUR_LABELS = ("IDC", "Tumor", "Tumour", "Invasive", "Invasive carcinoma")
"""Labels taken for the region to count, the first that occurs; other programs' names for it come after ours."""

EXCLUSION_LABELS = {"pen": "Pen", "fold": "Fold", "focus": "Out of focus"}
"""What the parts that are not counted are called in region files and in the report."""


@dataclass(frozen=True)
class Adjustment:
    """Registration by hand.

    Parameters
    ----------
    landmarks
        CSV of landmark pairs (``he_x,he_y,ki67_x,ki67_y`` in pixels), or None.
    shift_um, rotate_deg
        A nudge of the region on the Ki-67 slide: right, down, and clockwise about the middle of the tissue.
    as_given
        Take it as it is; otherwise it is refined automatically.
    """

    landmarks: Path | None = None
    shift_um: tuple[float, float] = (0.0, 0.0)
    rotate_deg: float = 0.0
    as_given: bool = False

    def read(self, he: Slide, ki67: Slide) -> registration.ByHand:
        """Read the landmarks of these two slides."""
        pairs = None
        if self.landmarks is not None:
            sizes = [(slide.bounds_um.width_um, slide.bounds_um.height_um) for slide in (he, ki67)]
            pairs = registration.read_landmark_pairs(self.landmarks, he.mpp, ki67.mpp, sizes[0], sizes[1])
        return registration.ByHand(pairs, self.shift_um, self.rotate_deg, self.as_given)

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the result."""
        pairs = None if self.landmarks is None else sha256_of(self.landmarks)
        return {"landmarks": pairs, "nudge": [*self.shift_um, self.rotate_deg], "as_given": self.as_given}


@dataclass(frozen=True)
class Options:
    """What a user can choose; the defaults are the recommended way.

    Parameters
    ----------
    regions
        Region file of the H&E (``score``) or of the Ki-67 slide (``count``); None finds the region.
    label
        Which label of the region file is counted; None takes IDC, or what other programs call it.
    mode
        Registration: ``rigid``, ``affine`` or ``deformable``.
    adjustment
        Registration by hand; None registers automatically.
    use_unaccepted_registration
        Go on with a registration that is not believable.
    allow_few_cells
        Report an index on fewer tumour cells than the recommended minimum.
    engine
        What finds the cells: ``network`` or ``forest``.
    cell_model
        Another model of that engine (``ki67 cells train``); None takes the shipped one.
    dab_threshold
        Mean DAB density of a tumour nucleus from which it is positive; None leaves that to the engine.
    keep_artefacts
        Count what lies under pen, in folds and out of focus like everything else.
    """

    regions: Path | None = None
    label: str | None = None
    mode: registration.Mode = "deformable"
    adjustment: Adjustment | None = None
    use_unaccepted_registration: bool = False
    allow_few_cells: bool = False
    engine: cells.EngineName = cells.DEFAULT_ENGINE
    cell_model: Path | None = None
    dab_threshold: float | None = None
    keep_artefacts: bool = False


@dataclass
class Section:
    """One open slide of a case, with its tissue found once and only when it is needed."""

    slide: Slide

    @cached_property
    def tissue(self) -> TissueMask:
        """Tissue mask; found at the first use."""
        message(f"finding the tissue on {self.slide.path.name}")
        return tissue_mask(self.slide)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the manifest tells of the slide."""
        return {
            "path": str(self.slide.path.resolve()),
            "reader": self.slide.reader,
            "size_px": list(self.slide.size_px),
            "mpp": self.slide.mpp,
            "mpp_source": self.slide.mpp_source,
            "fingerprint": self.slide.fingerprint(),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What of the slide decides a stage's result."""
        return {"fingerprint": self.facts["fingerprint"], "mpp": self.slide.mpp}


@contextmanager
def _section(path: str | Path, mpp: float | None) -> Iterator[Section]:
    with open_slide(path, mpp) as slide:
        bounds = slide.bounds_um
        if min(bounds.width_um, bounds.height_um) < LEAST_SIDE_UM:
            size = f"{bounds.width_um:.1f} x {bounds.height_um:.1f} µm"
            found = f"is {size}, expected at least {LEAST_SIDE_UM:.0f} µm a side"
            raise SlideError(path, found, "Check the pixel size, or give it with --mpp (--he-mpp, --ki67-mpp).")
        yield Section(slide)


def run_score(
    he_path: str | Path,
    ki67_path: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    he_mpp: float | None = None,
    ki67_mpp: float | None = None,
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
    with _section(he_path, he_mpp) as he, _section(ki67_path, ki67_mpp) as ki67:
        models = _model_hashes(options, with_idc=options.regions is None)
        with open_case(out, "score", {"he": he.facts, "ki67": ki67.facts}, models) as case:
            _find_region(case, he, options)
            _register(case, he, ki67, options.mode, options.adjustment)
            _require_believable(case, options)
            _map_region(case, he, ki67)
            _count_cells(case, ki67, REGIONS_KI67, options)
            _score(case, ki67, options)
            _report(case, he, ki67, options)
            return _result(case)


def run_count(
    ki67_path: str | Path, out: str | Path, options: Options | None = None, *, mpp: float | None = None
) -> Summary:
    """Count the cells of one Ki-67 slide or field, in given regions or in all its tissue.

    A count is a measurement, not a score that is signed out: few cells give a warning, not a refusal.

    Returns
    -------
    dict
        ``index_percent`` (None where there is no tumour cell), ``positive``, ``negative``, ``other``,
        ``area_mm2`` (counted), ``area_lost_mm2`` (``pen``, ``fold``, ``focus``), ``warnings``, ``report``.
    """
    options = options or Options()
    with (
        _section(ki67_path, mpp) as ki67,
        open_case(out, "count", {"ki67": ki67.facts}, _model_hashes(options)) as case,
    ):
        if options.regions is not None:
            _take_regions(case, ki67, options, REGIONS_KI67)
        _count_cells(case, ki67, REGIONS_KI67 if options.regions is not None else None, options)
        _score(case, ki67, Options(allow_few_cells=True), zero_cells_allowed=True)
        _report(case, None, ki67, options)
        return _result(case)


def run_idc(
    he_path: str | Path,
    out: str | Path,
    *,
    mpp: float | None = None,
    model: str | Path | None = None,
    stride_px: int | None = None,
) -> Summary:
    """Find the invasive region of one H&E slide: heat map and outline.

    ``model`` takes the place of the shipped one; ``stride_px`` is the distance of patches (:func:`ki67.idc.predict`).

    Returns
    -------
    dict
        ``area_mm2``, ``tissue_mm2``, ``polygons``, ``regions``, ``heatmap``, ``warnings``.
    """
    with (
        _section(he_path, mpp) as he,
        open_case(out, "idc predict", {"he": he.facts}, {"idc": idc.load_model(model).sha256}) as case,
    ):
        summary = _predict_idc(case, he, model, stride_px)
        return summary | {"regions": str(case.path(REGIONS_HE)), "heatmap": str(case.path(HEATMAP))}


def run_register(
    he_path: str | Path,
    ki67_path: str | Path,
    out: str | Path,
    *,
    mode: registration.Mode = "deformable",
    adjustment: Adjustment | None = None,
    he_mpp: float | None = None,
    ki67_mpp: float | None = None,
) -> Summary:
    """Register two sections.

    Returns
    -------
    dict
        The quality (``ncc``, ``ncc_before``, ``accepted``, ``reasons``, …) and ``transform``, the file's place.
    """
    with _section(he_path, he_mpp) as he, _section(ki67_path, ki67_mpp) as ki67:
        facts = {"he": he.facts, "ki67": ki67.facts}
        with open_case(out, "register", facts, {}) as case:
            _register(case, he, ki67, mode, adjustment)
            return _quality(case) | {"transform": str(case.path(TRANSFORM)), "seconds": case.seconds()}


def _model_hashes(options: Options, *, with_idc: bool = False) -> dict[str, str]:
    hashes = {"idc": idc.load_model().sha256} if with_idc else {}
    return hashes | {"cells": cells.load_engine(options.engine, options.cell_model).card.sha256}


def _find_region(case: Case, he: Section, options: Options) -> None:
    if options.regions is not None:
        _take_regions(case, he, options, REGIONS_HE)
        return
    summary = _predict_idc(case, he)
    if summary["polygons"] == 0:
        msg = (
            f"{he.slide.path}: no invasive carcinoma was found. Outline it by hand (QuPath, saved as GeoJSON, "
            f"classified IDC) and give the file with --regions"
        )
        raise RegionError(msg)


def _predict_idc(
    case: Case, he: Section, model_path: str | Path | None = None, stride_px: int | None = None
) -> Summary:
    model = idc.load_model(model_path)

    def work() -> Summary:
        heatmap = idc.predict(he.slide, he.tissue, model, stride_px=stride_px)
        regions = idc.outline(heatmap, model)
        with atomic_path(case.path(HEATMAP)) as path:
            idc.write_heatmap(path, heatmap)
        write_regions(case.path(REGIONS_HE), regions, he.slide.mpp)
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
    return case.run_stage(Stage("idc", 2, (HEATMAP, REGIONS_HE)), parameters, (), work)


def _take_regions(case: Case, section: Section, options: Options, target: str) -> None:
    path = options.regions
    if path is None:
        raise ValueError("no region file was given")
    regions = read_regions(path, section.slide.mpp)
    label_of = {"path": str(path), "sha256": sha256_of(path), "label": options.label}

    def work() -> Summary:
        chosen, warnings = choose_regions(regions, options.label, path)
        inside, clipped = check_inside(chosen, section.slide.bounds_um)
        write_regions(case.path(target), inside, section.slide.mpp)
        return {
            "area_mm2": inside.area_mm2,
            "polygons": len(inside),
            "warnings": [*warnings, *clipped],
        }

    parameters = {"slide": section.identity, "regions": label_of}
    case.run_stage(Stage("regions", 1, (target,)), parameters, (), work)


def choose_regions(regions: Regions, label: str | None, path: Path) -> tuple[Regions, list[str]]:
    """Pick the regions that are counted, by label.

    Parameters
    ----------
    regions
        All regions of the file.
    label
        The label asked for; None takes the first of :data:`TUMOUR_LABELS` that occurs, or regions without a label
        where none has one.
    path
        Their file, for messages.

    Returns
    -------
    tuple
        The regions, and warnings on what was left out or taken without a label.

    Raises
    ------
    RegionError
        Where no region carries such a label.
    """
    present = {name.casefold(): name for name in regions.labels}
    wanted = (label,) if label is not None else TUMOUR_LABELS
    for name in wanted:
        if name.casefold() in present:
            chosen = regions.with_label(present[name.casefold()])
            left_out = sorted(other for other in regions.labels if other.casefold() != name.casefold())
            note = f"{path.name}: counted '{name}'; left out {', '.join(map(repr, left_out))}"
            return chosen, [note] if left_out else []
    if label is None and set(regions.labels) == {UNCLASSIFIED}:
        return regions, [f"{path.name}: the regions carry no label; they were taken for invasive carcinoma"]
    found = ", ".join(repr(name) for name in sorted(regions.labels)) or "no region at all"
    expected = repr(label) if label is not None else "'IDC'"
    msg = f"{path}: no region is labelled {expected}, found {found}. Name the label to count with --label"
    raise RegionError(msg)


def _register(
    case: Case, he: Section, ki67: Section, mode: registration.Mode, adjustment: Adjustment | None
) -> Summary:
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
    return case.run_stage(Stage("registration", 3, (TRANSFORM, QUALITY), (DISPLACEMENT,)), parameters, (), work)


def _require_believable(case: Case, options: Options) -> None:
    quality = _read_json(case, QUALITY)
    if quality["accepted"] or options.use_unaccepted_registration:
        return
    msg = (
        f"the registration is not believable: {'; '.join(quality['reasons'])}. Check that the slides are serial "
        "sections of one block; then help with pairs of places seen on both (--landmarks FILE), or outline the "
        "region on the Ki-67 slide and use 'ki67 count --regions', or accept this registration with "
        "--use-unaccepted-registration"
    )
    raise RegistrationError(msg)


def _map_region(case: Case, he: Section, ki67: Section) -> None:
    def work() -> Summary:
        transform = registration.read_transform(case.path(TRANSFORM))
        regions = read_regions(case.path(REGIONS_HE), he.slide.mpp)
        mapped = regions.map_geometry(transform.map_geometry)
        inside, clipped = check_inside(mapped, ki67.slide.bounds_um)
        write_regions(case.path(REGIONS_KI67), inside, ki67.slide.mpp)
        return {"area_mm2": inside.area_mm2, "polygons": len(inside), "warnings": clipped}

    parameters = {"he_mpp": he.slide.mpp, "ki67": ki67.identity}
    reads = [name for name in (TRANSFORM, DISPLACEMENT, REGIONS_HE) if case.path(name).is_file()]
    case.run_stage(Stage("regions_ki67", 1, (REGIONS_KI67,)), parameters, reads, work)


def _count_cells(case: Case, ki67: Section, region_file: str | None, options: Options) -> None:
    engine = cells.load_engine(options.engine, options.cell_model)

    def work() -> Summary:
        region = read_regions(case.path(region_file), ki67.slide.mpp).union() if region_file else None
        found = cells.detect_cells(
            ki67.slide,
            region,
            case.path(CELLS),
            engine=engine,
            dab_threshold=options.dab_threshold,
            keep_artefacts=options.keep_artefacts,
        )
        write_regions(case.path(EXCLUDED), excluded_regions(found.lost), ki67.slide.mpp)
        return {
            "area_mm2": found.area_mm2,
            "area_lost_mm2": found.area_lost_mm2,
            "stains": found.stains.to_dict(),
            "warnings": list(found.warnings),
        }

    parameters = {
        "ki67": ki67.identity,
        "model": engine.card.sha256,
        "dab_threshold": options.dab_threshold,
        "keep_artefacts": options.keep_artefacts,
        "region": region_file,
    }
    reads = (region_file,) if region_file else ()
    case.run_stage(Stage("cells", 5, (CELLS, EXCLUDED)), parameters, reads, work)


def excluded_regions(lost: Mapping[str, MultiPolygon]) -> Regions:
    """Return what was left out of the region as labelled regions, one for each kind that occurs."""
    return Regions(
        Region(EXCLUSION_LABELS[kind], geometry, kind) for kind, geometry in lost.items() if not geometry.is_empty
    )


def _score(case: Case, ki67: Section, options: Options, *, zero_cells_allowed: bool = False) -> None:
    counted = case.manifest["stages"]["cells"]["summary"]
    area_mm2, area_lost_mm2 = counted["area_mm2"], counted["area_lost_mm2"]
    warnings = _warnings(case)
    reads = tuple(name for name in (CELLS, QUALITY, REGIONS_KI67) if name in case.written())

    def work() -> Summary:
        table = pq.read_table(case.path(CELLS), columns=sorted({*scoring.SCORE_COLUMNS, *scoring.SPREAD_COLUMNS}))
        score = scoring.score_cells(
            table,
            area_mm2,
            area_lost_mm2=area_lost_mm2,
            allow_few=options.allow_few_cells,
            allow_none=zero_cells_allowed,
        )
        facts = score.model_dump(mode="json")
        if QUALITY in reads:
            facts["registration_spread_percent"] = _spread(case, table, ki67)
        facts["warnings"] = [*warnings, *score.warnings]
        write_json(case.path(SCORE), facts)
        return {"index_percent": score.index_percent, "cells": score.cells, "warnings": list(score.warnings)}

    parameters = {
        "area_mm2": area_mm2,
        "area_lost_mm2": area_lost_mm2,
        "allow_few_cells": options.allow_few_cells,
        "zero_cells_allowed": zero_cells_allowed,
        "warnings": warnings,
    }
    case.run_stage(Stage("score", 3, (SCORE,)), parameters, reads, work)


def _spread(case: Case, table: pa.Table, ki67: Section) -> tuple[float, float] | None:
    """Spread of the index over maps as far off as this registration may be; None where that is not known."""
    error_um = _read_json(case, QUALITY)["estimated_error_um"]
    if error_um is None:
        return None
    region = read_regions(case.path(REGIONS_KI67), ki67.slide.mpp).union()
    motions = registration.draw_motions(error_um, shapely.get_coordinates(region))
    return scoring.index_spread(table, region, motions)


def _report(case: Case, he: Section | None, ki67: Section, options: Options) -> None:
    present = case.written()
    has_excluded = any(case.manifest["stages"]["cells"]["summary"]["area_lost_mm2"].values())

    def work() -> Summary:
        message("writing the report")
        data = report.ReportData(
            title=ki67.slide.path.name if he is None else f"{he.slide.path.name} + {ki67.slide.path.name}",
            he=he.slide if he else None,
            ki67=ki67.slide,
            regions_he=read_regions(case.path(REGIONS_HE), he.slide.mpp) if he and REGIONS_HE in present else None,
            regions_ki67=read_regions(case.path(REGIONS_KI67), ki67.slide.mpp) if REGIONS_KI67 in present else None,
            heatmap=idc.read_heatmap(case.path(HEATMAP)) if HEATMAP in present else None,
            transform=registration.read_transform(case.path(TRANSFORM)) if TRANSFORM in present else None,
            quality=_read_json(case, QUALITY) if QUALITY in present else None,
            excluded=read_regions(case.path(EXCLUDED), ki67.slide.mpp) if has_excluded else None,
            cells=pq.read_table(case.path(CELLS), columns=[*report.DRAWN_COLUMNS]),
            score=_read_json(case, SCORE),
            run=case.manifest,
            model_cards=_model_cards(case.manifest["models"], options),
        )
        report.write_report(case.path(REPORT), data)
        return {"warnings": []}

    case.run_stage(Stage("report", 2, (REPORT,)), {}, tuple(present), work)


def _model_cards(models: Mapping[str, str], options: Options) -> dict[str, Mapping[str, Any]]:
    cards: dict[str, Callable[[], Any]] = {
        "idc": lambda: idc.load_model().card.details,
        "cells": lambda: cells.load_engine(options.engine, options.cell_model).card.details,
    }
    return {name: cards[name]() for name in models}


def _warnings(case: Case) -> list[str]:
    """Return the warnings of the stages that ran so far, each once."""
    return list(dict.fromkeys(line for summary in case.summaries() for line in summary["warnings"]))


def _result(case: Case) -> Summary:
    result: Summary = _read_json(case, SCORE)
    if QUALITY in case.written():
        result["registration"] = _quality(case)
    result["report"] = str(case.path(REPORT))
    result["seconds"] = case.seconds()
    return result


def _quality(case: Case) -> Summary:
    """Return the registration's quality without its map of local agreement, which is for programs, not for a line."""
    return {name: value for name, value in _read_json(case, QUALITY).items() if name != "local"}


def _read_json(case: Case, name: str) -> Any:
    return json.loads(case.path(name).read_text(encoding="utf-8"))
