"""Correcting a case: entries are added to its log, and the score is computed anew from the cells as they are then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pyarrow.compute as pc
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from ki67 import cells, scoring
from ki67.annotations import read_regions
from ki67.case import Case, CaseView, read_case
from ki67.case.artefacts import HEATMAP, REGION_CARRIED, REPORTED, SCORED
from ki67.case.corrections import (
    CORRECTIONS,
    CorrectedIndex,
    Correction,
    CorrectionLog,
    Counted,
    Redo,
    Reopen,
    SignOut,
    Undo,
    What,
    effective,
    holding,
    read_corrections,
    signed_out,
    version_of,
)
from ki67.case.folder import locked
from ki67.case.manifest import MANIFEST, read_manifest
from ki67.domain import checks_of
from ki67.errors import CorrectionError, SignedOutError, StaleError
from ki67.files import sha256_of, write_json
from ki67.geometry import area_mm2
from ki67.intensity import INTENSITY_CUTS_OD
from ki67.region_doubt import DrawnByModel, Outlined, carried_over
from ki67.scoring import Score
from ki67.vocabulary import UNREGISTERED

COLUMNS = ("cell_id", *scoring.TABLE_COLUMNS)
"""What is read of the cell table."""


@dataclass(frozen=True)
class FinishedCase:
    """A finished case as correcting it needs it: read once, however many corrections follow.

    Parameters
    ----------
    view
        The case.
    manifest_sha256
        Of the manifest that the view was made of.
    """

    view: CaseView
    manifest_sha256: str

    @classmethod
    def read(cls, folder: str | Path) -> FinishedCase:
        """Read a case.

        Raises
        ------
        CaseError
            Where the folder holds no case.
        """
        view = read_case(folder)
        return cls(view, sha256_of(view.folder / MANIFEST))

    def is_current(self) -> bool:
        """Whether the case is still the one that was read: a run changes its manifest."""
        path = self.view.folder / MANIFEST
        return path.is_file() and sha256_of(path) == self.manifest_sha256

    @cached_property
    def counted(self) -> Counted:
        """The automatic count.

        Raises
        ------
        CaseError
            Where the case is not finished, or damaged.
        CorrectionError
            Where it was counted before cells had lasting names.
        """
        view = self.view
        view.require_finished()
        table = view.read_cells(COLUMNS)
        ids = cells.cell_ids(table["x_um"].to_numpy(), table["y_um"].to_numpy())
        if not pc.all(pc.equal(table["cell_id"], ids)).as_py():
            msg = f"{view.folder}: was counted before cells had lasting names. Run the command that made it again"
            raise CorrectionError(msg)
        return Counted(table, _region(view), {one.region_id: one.geometry for one in view.excluded or ()})


@dataclass(frozen=True)
class CorrectedCase:
    """A case with what people corrected.

    Parameters
    ----------
    automatic, score
        The score as it was counted, and with the corrections that hold.
    log
        All entries, undone ones and undoing included.
    holding
        Those that hold.
    unattached
        Those of them whose cell a recount did not find again.
    counted
        The cells with the corrections that hold; None where none does.
    """

    automatic: Score
    score: Score
    log: tuple[Correction, ...]
    holding: tuple[Correction, ...]
    unattached: tuple[Correction, ...]
    counted: Counted | None = None

    @property
    def version(self) -> str:
        """Name of this state of the corrections."""
        return version_of(self.log)


def corrected(folder: str | Path, known: FinishedCase | None = None) -> CorrectedCase:
    """Score a case with its corrections; nothing is written.

    ``known`` is the case where it was read before; it is read again where a run has changed it.

    Raises
    ------
    CaseError
        Where the case has no score, or its corrections are damaged.
    CorrectionError
        Where a corrected region reaches beyond what was counted.
    ScoreError
        Where too few cells are left.
    """
    case = known if known is not None and known.is_current() else FinishedCase.read(folder)
    return _corrected(case, read_corrections(case.view.folder))


def correct(
    folder: str | Path,
    what: What,
    *,
    by: str,
    why: str,
    version: str | None = None,
    known: FinishedCase | None = None,
) -> CorrectedCase:
    """Add one entry to a case's corrections, and score it with them.

    Parameters
    ----------
    folder
        The case's folder.
    what
        What to correct; :class:`~ki67.case.corrections.Undo` takes the last one back.
    by, why
        Who corrects, and the reason.
    version
        State of the corrections that the person saw (:attr:`CorrectedCase.version`); None takes the last one.
    known
        The case where it was read before; it is read again where a run has changed it.

    Raises
    ------
    CorrectionError
        Where nothing can be undone or redone, no one is named, or a region reaches beyond what was counted: then
        nothing is written.
    StaleError
        Where somebody has corrected since.
    SignedOutError
        Where the case is signed out.
    BusyError
        Where a run is in the folder.
    CaseError, ScoreError
        As :func:`corrected`.
    """
    if not by.strip() or not why.strip():
        raise CorrectionError("a correction needs who makes it and why; give --by NAME and --why TEXT")
    with locked(Path(folder)):
        case = known if known is not None and known.is_current() else FinishedCase.read(folder)
        log = read_corrections(case.view.folder)
        if version not in {None, version_of(log)}:
            msg = f"{folder}: was corrected by {log[-1].by if log else 'somebody'} since; look at it again first"
            raise StaleError(msg)
        _refuse_impossible(folder, what, log)
        if isinstance(what, SignOut):
            index = _corrected(case, log).score.index_percent
            what = SignOut(index_percent=index, score_sha256=case.view.score_sha256)
        when = datetime.now(tz=UTC).isoformat(timespec="seconds")
        entry = Correction(number=len(log) + 1, by=by.strip(), when=when, why=why.strip(), what=what)
        result = _corrected(case, (*log, entry))
        kept = CorrectionLog(corrections=result.log, result=_in_short(case, result.score))
        # The report shows what held before; `ki67 report` writes it again.
        Case(case.view.folder, read_manifest(case.view.folder)).take_away(REPORTED)
        write_json(case.view.folder / CORRECTIONS, kept.model_dump(mode="json"))
    return result


def sign_out(
    folder: str | Path, *, by: str, version: str | None = None, known: FinishedCase | None = None
) -> CorrectedCase:
    """Sign a case out: its index stands, and nothing is corrected before it is opened again; as :func:`correct`."""
    # What it is signed out with is found out under the lock.
    unknown = SignOut(index_percent=None, score_sha256="")
    return correct(folder, unknown, by=by, why="signed out", version=version, known=known)


def _refuse_impossible(folder: str | Path, what: What, log: Sequence[Correction]) -> None:
    hold, undone = holding(log)
    signed = signed_out(log)
    if signed is not None and not isinstance(what, Reopen):
        msg = f"{folder}: was signed out by {signed.by} ({signed.when}); open it again first: ki67 correct … reopen"
        raise SignedOutError(msg)
    if signed is None and isinstance(what, Reopen):
        raise CorrectionError(f"{folder}: is not signed out")
    if isinstance(what, Undo) and not hold:
        raise CorrectionError(f"{folder}: holds no correction to undo")
    if isinstance(what, Redo) and not undone:
        raise CorrectionError(f"{folder}: holds no undone correction to make again")


def _in_short(case: FinishedCase, score: Score) -> CorrectedIndex:
    return CorrectedIndex(
        index_percent=score.index_percent,
        ci95_percent=score.ci95_percent,
        positive=score.positive,
        negative=score.negative,
        score_sha256=case.view.score_sha256,
    )


def place_of(folder: str | Path, cell: int) -> tuple[float, float]:
    """Place in µm of a cell of a case, one that was added by hand included.

    Raises
    ------
    CorrectionError
        Where there is no such cell.
    """
    case = FinishedCase.read(folder)
    hold, _ = holding(read_corrections(case.view.folder))
    table = effective(case.counted, hold).table
    found = table.filter(pc.equal(table["cell_id"], cell))
    if not len(found):
        raise CorrectionError(f"{folder}: holds no cell {cell}; cell_id of 'ki67 export CASE cells.csv' names them")
    return found["x_um"][0].as_py(), found["y_um"][0].as_py()


def area_in(folder: str | Path, file: str | Path) -> dict[str, object]:
    """Regions of a file, in pixels of the Ki-67 slide as QuPath counts them, as one geometry in µm.

    Raises
    ------
    AnnotationError
        Where the file is damaged.
    CorrectionError
        Where it holds no area.
    """
    geometry = read_regions(file, read_case(folder).frame("ki67")).union()
    if geometry.is_empty:
        raise CorrectionError(f"{file}: holds no area")
    return dict(mapping(geometry))


def _corrected(case: FinishedCase, log: Sequence[Correction]) -> CorrectedCase:
    view, (hold, _) = case.view, holding(log)
    if not hold:
        return CorrectedCase(view.score, view.score, tuple(log), (), ())
    counted = effective(case.counted, hold)
    score = _score(view, counted, len(hold))
    return CorrectedCase(view.score, score, tuple(log), tuple(hold), counted.unattached, counted)


def _region(view: CaseView) -> BaseGeometry:
    if view.regions_ki67 is not None:
        return view.regions_ki67.union()
    with view.open_slide("ki67") as slide:
        return slide.bounds_um.polygon if cells.is_field(slide) else slide.tissue.geometry


def _score(view: CaseView, counted: Counted, corrections: int) -> Score:
    """Score cells with what the automatic score was made with."""
    known = view.stages[SCORED].parameters
    area, lost = known["area_mm2"], known["area_lost_mm2"]
    if counted.moved:
        unregistered = {name: value for name, value in lost.items() if name == UNREGISTERED.name}
        area = area_mm2(counted.where)
        lost = {name: area_mm2(geometry) for name, geometry in counted.left_out.items()} | unregistered
    deviation = known["deviation"]
    return scoring.score_section(
        counted.table,
        counted.where,
        area,
        area_lost_mm2=lost,
        region_ids=known["region_ids"],
        checks=checks_of(known["domain"]["checks"]),
        warnings=[*known["warnings"], f"{corrections} correction{'s' if corrections > 1 else ''} by hand"],
        carried=_carried(view, counted) if REGION_CARRIED in view.stages else None,
        deviation=None if deviation is None else scoring.ModelDeviation(**deviation),
        allow_few=known["allow_few_cells"],
        allow_none=known["zero_cells_allowed"],
        intensity_cuts_od=tuple(known.get("intensity_cuts_od", INTENSITY_CUTS_OD)),
    )


def _carried(view: CaseView, counted: Counted) -> scoring.CarriedOver:
    known = view.stages[SCORED].parameters
    # Archives leave the heat map out now and then; all but this doubt can be worked out without.
    drawn = known.get("outline") if counted.drawn_by_model and (view.folder / HEATMAP).is_file() else None
    return carried_over(
        counted.table,
        counted.region,
        view.transform,
        error_um=None if view.quality is None else view.quality.estimated_error_um,
        unknown_share=known["unknown_share"],
        outlined=Outlined(view.heatmap, DrawnByModel.from_dict(drawn)) if drawn and view.heatmap else None,
        motion=counted.motion,
    )
