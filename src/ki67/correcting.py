"""Correcting a case: entries are added to its log, and the score is computed anew from the cells as they are then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from ki67 import cells, registration, scoring
from ki67.annotations import read_regions
from ki67.case import CaseView, read_case
from ki67.case.artefacts import REGION_CARRIED, SCORED
from ki67.case.corrections import (
    CORRECTIONS,
    Correction,
    Counted,
    Redo,
    Undo,
    What,
    effective,
    holding,
    log_of,
    read_corrections,
)
from ki67.case.folder import locked
from ki67.domain import checks_of
from ki67.errors import CorrectionError
from ki67.files import write_json
from ki67.geometry import area_mm2
from ki67.scoring import Score
from ki67.vocabulary import UNREGISTERED

COLUMNS = ("cell_id", *scoring.TABLE_COLUMNS)
"""What is read of the cell table."""


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
    """

    automatic: Score
    score: Score
    log: tuple[Correction, ...]
    holding: tuple[Correction, ...]
    unattached: tuple[Correction, ...]


def corrected(folder: str | Path) -> CorrectedCase:
    """Score a case with its corrections; nothing is written.

    Raises
    ------
    CaseError
        Where the case has no score, or its corrections are damaged.
    CorrectionError
        Where a corrected region reaches beyond what was counted.
    ScoreError
        Where too few cells are left.
    """
    view = read_case(folder)
    return _corrected(view, read_corrections(view.folder))


def correct(folder: str | Path, what: What, *, by: str, why: str) -> CorrectedCase:
    """Add one entry to a case's corrections, and score it with them.

    Parameters
    ----------
    folder
        The case's folder.
    what
        What to correct; :class:`~ki67.case.corrections.Undo` takes the last one back.
    by, why
        Who corrects, and the reason.

    Raises
    ------
    CorrectionError
        Where nothing can be undone or redone, no one is named, or a region reaches beyond what was counted: then
        nothing is written.
    BusyError
        Where a run is in the folder.
    CaseError, ScoreError
        As :func:`corrected`.
    """
    if not by.strip() or not why.strip():
        raise CorrectionError("a correction needs who makes it and why; give --by NAME and --why TEXT")
    with locked(Path(folder)):
        view = read_case(folder)
        log = read_corrections(view.folder)
        hold, undone = holding(log)
        if isinstance(what, Undo) and not hold:
            raise CorrectionError(f"{folder}: holds no correction to undo")
        if isinstance(what, Redo) and not undone:
            raise CorrectionError(f"{folder}: holds no undone correction to make again")
        when = datetime.now(tz=UTC).isoformat(timespec="seconds")
        entry = Correction(number=len(log) + 1, by=by.strip(), when=when, why=why.strip(), what=what)
        result = _corrected(view, (*log, entry))
        write_json(view.folder / CORRECTIONS, log_of(result.log))
    return result


def place_of(folder: str | Path, cell: int) -> tuple[float, float]:
    """Place in µm of a cell of a case, one that was added by hand included.

    Raises
    ------
    CorrectionError
        Where there is no such cell.
    """
    view = read_case(folder)
    hold, _ = holding(read_corrections(view.folder))
    table = effective(_automatic(view), hold).table
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


def _corrected(view: CaseView, log: Sequence[Correction]) -> CorrectedCase:
    hold, _ = holding(log)
    if not hold:
        return CorrectedCase(view.score, view.score, tuple(log), (), ())
    counted = effective(_automatic(view), hold)
    return CorrectedCase(view.score, _score(view, counted, len(hold)), tuple(log), tuple(hold), counted.unattached)


def _automatic(view: CaseView) -> Counted:
    view.require_finished()
    table = view.read_cells(COLUMNS)
    ids = cells.cell_ids(table["x_um"].to_numpy(), table["y_um"].to_numpy())
    if not pc.all(pc.equal(table["cell_id"], ids)).as_py():
        msg = f"{view.folder}: was counted before cells had lasting names. Run the command that made it again"
        raise CorrectionError(msg)
    return Counted(table, _region(view), {one.region_id: one.geometry for one in view.excluded or ()})


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
    )


def _carried(view: CaseView, counted: Counted) -> scoring.CarriedOver:
    error_um = None if view.quality is None else view.quality.estimated_error_um
    spread = None
    if error_um is not None:
        motions = registration.draw_motions(error_um, shapely.get_coordinates(counted.region))
        spread = scoring.index_spread(counted.table, counted.region, motions)
    return scoring.CarriedOver(spread, view.stages[SCORED].parameters["unknown_share"], cells.MARGIN_UM)
