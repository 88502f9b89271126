"""The Python interface: what the commands do, step by step and in memory.

Every name here is also one of the package's own (``ki67.register``). Results are plain dataclasses and models; they
and the slides pickle. The guards are those of the command line, and options that insist have its options' names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from ki67 import cells, idc, pipeline, registration, scoring, slides, stages
from ki67.annotations import TUMOUR_LABELS, Region, Regions, check_inside
from ki67.case import CaseView, read_case
from ki67.checking import refuse_tiny
from ki67.domain import Check, Verdict, doubts, insist
from ki67.errors import MissingExtraError, RegionError
from ki67.geometry import RectUm, as_multipolygon
from ki67.jobs import job
from ki67.options import Adjustment, Options
from ki67.region_doubt import DrawnByModel, Outlined, carried_over
from ki67.scoring import Score
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import Slide, TissueMask
from ki67.slides.addresses import slide_address
from ki67.stages import CaseSlide
from ki67.stages.opened import REGION_CHECKS
from ki67.vocabulary import UNREGISTERED, Device, EngineName, RegistrationMode

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Adjustment",
    "CaseView",
    "CountedCells",
    "Options",
    "Registration",
    "Score",
    "SimulationOptions",
    "Slide",
    "count",
    "find_carcinoma",
    "find_tissue",
    "job",
    "open_slide",
    "read_case",
    "register",
    "run_count",
    "run_score",
    "score",
    "simulate_pair",
]


def open_slide(path: str | Path, mpp: float | None = None, *, overrides_file: bool = False) -> Slide:
    """Open a whole slide or a plain picture of a field; close it, or use it in a ``with``.

    Parameters
    ----------
    path
        The file, the folder of a DICOM slide, or the URL of a TIFF (extra ``url``).
    mpp
        µm per pixel of level 0, where the file does not say.
    overrides_file
        Take ``mpp`` although the file says otherwise by more than 2 %.

    Raises
    ------
    SlideError
        Where it cannot be opened, or is too small to be a section.
    PixelSizeError
        Where its pixel size is not known, or not believable.
    """
    # Whole, so that a later change of the current folder does not lose it.
    slide = slides.open_slide(slide_address(path).absolute(), mpp, overrides_file=overrides_file)
    try:
        refuse_tiny(slide)
    except Exception:
        slide.close()
        raise
    return slide


def find_tissue(slide: Slide) -> TissueMask:
    """Find the tissue on a slide; looked for once, all that follows uses the same.

    Raises
    ------
    TissueError
        Where there is none, or the slide was not scanned in bright field.
    """
    return slide.tissue


class Carcinoma(Regions):
    """The invasive carcinoma as a model outlined it: what :func:`score` must know of how sure the outline is.

    Parameters
    ----------
    regions
        In µm of the H&E slide.
    outlined
        Heat map, and how the outline was drawn.
    """

    def __init__(self, regions: Regions, outlined: Outlined) -> None:
        super().__init__(regions, notes=regions.notes, source=regions.source)
        self.outlined = outlined


def find_carcinoma(
    he: Slide,
    *,
    model: str | Path | None = None,
    device: Device | str | None = None,
    outline: idc.OutlineOptions | None = None,
    use_unusable_stain: bool = False,
    use_doubtful_region: bool = False,
) -> Carcinoma:
    """Outline the invasive carcinoma on an H&E slide.

    Parameters
    ----------
    he
        The H&E slide.
    model
        Another model than the shipped one (``ki67 idc train``).
    device
        Where it runs: ``cpu``, ``auto`` or ``cuda``; None leaves that to the job (:func:`job`).
    outline
        How the region is drawn: threshold, smoothing, least areas.
    use_unusable_stain
        Go on with a stain or colours known to be unusable.
    use_doubtful_region
        Go on with a slide that looks unlike what the model was trained on.

    Returns
    -------
    Carcinoma
        Label ``IDC``, the largest first, in µm of the slide, with the heat map it was drawn by.

    Raises
    ------
    StainError
        Where it is no H&E, its colours are unusable, or it looks unlike what the model was trained on.
    RegionError
        Where no invasive carcinoma is found.
    TissueError, PixelSizeError
        Where there is no tissue, or the slide is too coarse for the model.
    """
    section = CaseSlide(he)
    _require_usable(stages.judge_slides(None, section), he.path, insisted=use_unusable_stain)
    known = idc.load_model(model, device=_device(device))
    options = outline or idc.DEFAULT_OUTLINE
    found = stages.look_for_carcinoma(section, known, options)
    stages.require_carcinoma(he.path, len(found.regions), found.checks, insisted=use_doubtful_region)
    return Carcinoma(found.regions, Outlined(found.heatmap, DrawnByModel.of(known.card, options)))


class MappedRegions(Regions):
    """Regions of an H&E slide on the Ki-67 slide: what :func:`count` must know of how they came there.

    Parameters
    ----------
    carried
        The regions in µm of the Ki-67 slide, and what of them has no believable place there.
    registered
        The registration that carried them.
    notes
        What was clipped.
    outlined
        How a model drew them; None where a person did.
    """

    def __init__(
        self,
        carried: registration.Carried,
        registered: Registration,
        notes: Iterable[str],
        outlined: Outlined | None = None,
    ) -> None:
        super().__init__(carried.regions, notes=notes, source=carried.regions.source)
        self.carried = carried
        self.registered = registered
        self.outlined = outlined


@dataclass(frozen=True)
class Registration:
    """Two registered sections; look at ``quality.accepted`` before anything is made of it.

    Parameters
    ----------
    transform
        Maps points and regions from H&E µm to Ki-67 µm and back.
    quality
        How far to trust it, with ``reasons`` where it was not accepted.
    checks
        What was thought of the two slides.
    warnings
        What the files and the registration gave to say.
    shown_um, fingerprint
        Of the Ki-67 slide: the part that was scanned, and what it is known by.
    """

    transform: registration.PiecewiseTransform
    quality: registration.RegistrationQuality
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    shown_um: RectUm
    fingerprint: dict[str, int | str] = field(repr=False)

    def map(self, region: Regions | BaseGeometry, *, use_unaccepted_registration: bool = False) -> MappedRegions:
        """Carry regions of the H&E slide over to the Ki-67 slide, without what has no believable place there.

        Parameters
        ----------
        region
            In µm of the H&E slide.
        use_unaccepted_registration
            Carry over what can be, however little that is.

        Raises
        ------
        RegistrationError
            Where more than a third of it has no believable place.
        RegionError
            Where it lies outside the slide.
        """
        belief = registration.LocalBelief.from_dict(self.quality.places)
        carried = registration.carry_over(
            _as_regions(region), self.transform, belief, insist=use_unaccepted_registration
        )
        inside, clipped = check_inside(carried.regions, self.shown_um)
        outlined = region.outlined if isinstance(region, Carcinoma) else None
        return MappedRegions(replace(carried, regions=inside), self, clipped, outlined)


def register(
    he: Slide,
    ki67: Slide,
    *,
    mode: RegistrationMode | str = RegistrationMode.deformable,
    adjustment: Adjustment | None = None,
) -> Registration:
    """Register two serial sections.

    Parameters
    ----------
    he, ki67
        The slides.
    mode
        How far the map may bend: ``rigid``, ``affine`` or ``deformable``.
    adjustment
        Landmarks or a nudge by hand; None registers automatically.

    Raises
    ------
    TissueError
        Where one of the slides has no tissue.
    """
    fixed, moving = CaseSlide(he), CaseSlide(ki67)
    checks = stages.judge_slides(moving, fixed)
    by_hand = adjustment.read(he, ki67) if adjustment else None
    transform, quality = registration.register(
        he, ki67, fixed.tissue, moving.tissue, mode=RegistrationMode(mode), by_hand=by_hand
    )
    told = (*he.named_warnings, *ki67.named_warnings, *quality.warnings)
    return Registration(transform, quality, checks, told, ki67.shown_um, ki67.fingerprint())


@dataclass(frozen=True)
class CountedCells:
    """The cells of a slide, and all that a score needs to know of how they were counted.

    Parameters
    ----------
    slide_path
        The slide.
    table
        One row per cell (:func:`ki67.cells.cell_schema`); places in µm, units in the schema's metadata.
    region
        Where cells were counted, in µm, less what was left out of it.
    region_ids
        Of the regions counted in.
    area_mm2
        Its area.
    area_lost_mm2
        What was left out, by kind.
    stains
        Background and stain vectors of the slide.
    checks, warnings
        What was thought of the slides and the region, and what else was said.
    deviation
        How far the model's index is off where it had not seen the patient or the laboratory, or by a laboratory's own
        validation; None where that is not known.
    mapped
        The region as a registration carried it over; None for one that was drawn, and for all tissue.
    """

    slide_path: Path
    table: pa.Table = field(repr=False)
    region: BaseGeometry = field(repr=False)
    region_ids: tuple[str, ...]
    area_mm2: float
    area_lost_mm2: dict[str, float]
    stains: cells.Stains
    checks: tuple[Check, ...] = field(repr=False)
    warnings: tuple[str, ...]
    deviation: scoring.ModelDeviation | None
    mapped: MappedRegions | None = field(repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def to_pandas(self) -> pd.DataFrame:
        """Copy the table to a data frame.

        Raises
        ------
        MissingExtraError
            Where pandas is not installed.
        """
        try:
            frame: pd.DataFrame = self.table.to_pandas()
        except ImportError as error:
            raise MissingExtraError("notebook", "A data frame") from error
        return frame


def count(
    ki67: Slide,
    region: Regions | BaseGeometry | None = None,
    *,
    engine: EngineName | str = EngineName.network,
    cell_model: str | Path | None = None,
    device: Device | str | None = None,
    dab_threshold: float | None = None,
    validation: str | Path | None = None,
    keep_artefacts: bool = False,
    use_doubtful_region: bool = False,
) -> CountedCells:
    """Find and classify every cell in a region of a Ki-67 slide.

    A stain that gives no index still gives counts; :func:`score` refuses it.

    Parameters
    ----------
    ki67
        The Ki-67 slide, or a picture of a field.
    region
        In µm of this slide: as :meth:`Registration.map` gives it, or drawn on it; None counts in all tissue.
    engine, cell_model
        What finds the cells, ``network`` or ``forest``, and another model of it than the shipped one.
    device
        Where the network runs: ``cpu``, ``auto`` or ``cuda``; None leaves that to the job.
    dab_threshold
        Mean DAB density (OD) of a tumour nucleus from which it is positive; None leaves that to the engine.
    validation
        ``laboratory.json`` of the laboratory's own validation, for the interval of the index; None takes what the
        model's card says.
    keep_artefacts
        Count what lies under pen, in folds and out of focus like everything else.
    use_doubtful_region
        Go on with a region that lies beside the tissue, or where the tumour cells are not.

    Raises
    ------
    RegionError
        Where the region lies outside the slide, belongs to another, or is not where the tumour cells are.
    PixelSizeError, TissueError
        Where the slide is too coarse for nuclei, or has no tissue.
    """
    cells.check_resolution(ki67.path, ki67.mpp)
    mapped = region if isinstance(region, MappedRegions) else None
    regions: Regions | None = None
    notes = [*ki67.named_warnings]
    if mapped is not None:
        if mapped.registered.fingerprint != ki67.fingerprint():
            msg = f"{ki67.path}: the region was carried over to another slide. Register this one with the H&E slide"
            raise RegionError(msg)
        regions, notes = mapped, [*mapped.registered.warnings, *mapped.notes, *_unaccepted(mapped.registered)]
    elif region is not None:
        regions, clipped = check_inside(_as_regions(region), ki67.shown_um)
        notes += clipped
    section = CaseSlide(ki67, outlined=regions)
    tissue = None if cells.is_field(ki67) else section.tissue
    if mapped is not None:
        judged = mapped.registered.checks
        checks = [*judged, mapped.carried.check()]
    else:
        judged = stages.judge_slides(section)
        checks = [*judged, *(stages.judge_region(regions, section) if regions is not None else ())]
        _require_fit(checks, ki67.path, insisted=use_doubtful_region)
    known = cells.load_engine(EngineName(engine), cell_model, _device(device))
    found = cells.detect_cells(
        ki67,
        regions,
        tissue=tissue,
        engine=known,
        dab_threshold=dab_threshold,
        keep_artefacts=keep_artefacts,
    )
    table = found.read_table()
    checks.append(cells.judge_agreement(ki67, table, found.stains, known))
    if regions is not None and not any(check.verdict is Verdict.unusable for check in judged):
        dense = table.select([*cells.DENSITY_COLUMNS])
        checks.append(cells.judge_density(ki67, regions, dense, found.area_mm2, tissue, known))
    _require_fit(checks, ki67.path, insisted=use_doubtful_region)
    if use_doubtful_region:
        checks = [one for check in checks for one in (insist([check]) if check.name in REGION_CHECKS else [check])]
    lost = found.area_lost_mm2
    if mapped is not None:
        lost[UNREGISTERED.name] = mapped.carried.left_out_mm2
    return CountedCells(
        ki67.path,
        table,
        _counted_in(ki67, regions, tissue).difference(shapely.union_all([*found.lost.values()])),
        tuple(one.region_id for one in regions or ()),
        found.area_mm2,
        lost,
        found.stains,
        tuple(checks),
        tuple(dict.fromkeys([*notes, *found.warnings])),
        stages.model_deviation(known, dab_threshold, checks, None if validation is None else Path(validation)),
        mapped,
    )


def score(counted: CountedCells, *, allow_few_cells: bool = False, use_unusable_stain: bool = False) -> Score:
    """Score counted cells: the Ki-67 index with its intervals, guideline scores, hot spots and what to think of it.

    Parameters
    ----------
    counted
        From :func:`count`.
    allow_few_cells
        Give an index on fewer tumour cells than the 500 of the International Ki67 in Breast Cancer Working Group.
    use_unusable_stain
        Give an index on a stain or colours known to be unusable.

    Raises
    ------
    StainError
        Where the slides give no index.
    ScoreError
        Where there are too few tumour cells, or all of the region is unusable.
    """
    _require_usable(counted.checks, counted.slide_path, insisted=use_unusable_stain)
    checks = insist(counted.checks) if use_unusable_stain else counted.checks
    return scoring.score_section(
        counted.table,
        counted.region,
        counted.area_mm2,
        area_lost_mm2=counted.area_lost_mm2,
        region_ids=counted.region_ids,
        checks=checks,
        warnings=list(dict.fromkeys([*doubts(checks), *counted.warnings])),
        carried=None if counted.mapped is None else _carried_over(counted.table, counted.mapped),
        deviation=counted.deviation,
        allow_few=allow_few_cells,
    )


def run_score(
    he: str | Path,
    ki67: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    he_mpp: float | None = None,
    ki67_mpp: float | None = None,
    mpp_overrides_file: bool = False,
) -> CaseView:
    """Score a case as ``ki67 score`` does, with its folder and report; a killed run continues in it.

    Parameters
    ----------
    he, ki67
        The slides' files or URLs.
    out
        The case's folder.
    options
        What the command line's options choose.
    he_mpp, ki67_mpp, mpp_overrides_file
        Pixel sizes in µm, as for :func:`open_slide`.

    Raises
    ------
    Ki67Error
        Any known error of a stage; what finished before it stays in the folder.
    """
    sizes = {"he_mpp": he_mpp, "ki67_mpp": ki67_mpp}
    pipeline.run_score(he, ki67, out, options, **sizes, mpp_overrides_file=mpp_overrides_file)
    return read_case(out)


def run_count(
    ki67: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    mpp: float | None = None,
    mpp_overrides_file: bool = False,
) -> CaseView:
    """Count a slide or a field as ``ki67 count`` does, with its folder and report.

    Parameters
    ----------
    ki67, out, options
        As for :func:`run_score`.
    mpp, mpp_overrides_file
        Pixel size in µm, as for :func:`open_slide`.

    Raises
    ------
    Ki67Error
        Any known error of a stage; what finished before it stays in the folder.
    """
    pipeline.run_count(ki67, out, options, mpp=mpp, mpp_overrides_file=mpp_overrides_file)
    return read_case(out)


def _device(device: Device | str | None) -> Device | None:
    return None if device is None else Device(device)


def _as_regions(region: Regions | BaseGeometry) -> Regions:
    if isinstance(region, Regions):
        return region
    return Regions([Region(TUMOUR_LABELS[0], as_multipolygon(region), "1")])


def _unaccepted(registered: Registration) -> list[str]:
    if registered.quality.accepted:
        return []
    return [f"the registration is not believable: {'; '.join(registered.quality.reasons)}"]


def _require_usable(checks: Iterable[Check], path: Path, *, insisted: bool) -> None:
    error = None if insisted else stages.refusal(checks, path)
    if error is not None:
        raise error


def _require_fit(checks: Iterable[Check], path: Path, *, insisted: bool) -> None:
    error = None if insisted else stages.misfit(checks, path)
    if error is not None:
        raise error


def _counted_in(slide: Slide, regions: Regions | None, tissue: TissueMask | None) -> BaseGeometry:
    if regions is not None:
        return regions.union()
    return slide.bounds_um.polygon if tissue is None else tissue.geometry


def _carried_over(table: pa.Table, mapped: MappedRegions) -> scoring.CarriedOver:
    return carried_over(
        table,
        mapped.union(),
        mapped.registered.transform,
        error_um=mapped.registered.quality.estimated_error_um,
        unknown_share=mapped.carried.left_out_share,
        outlined=mapped.outlined,
    )
