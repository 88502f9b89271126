"""Guideline fields that people counted themselves, beside what the program counted there: a log that only grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ki67.case.folder import locked
from ki67.case.view import CaseView
from ki67.cells import cell_ids
from ki67.errors import CaseError, CorrectionError, first_fault
from ki67.files import read_json, write_json

FIELD_COUNTS: Final = "field_counts.json"
MOST_IN_A_FIELD: Final = 10_000
"""More cells do not fit into a high-power field."""

WAY_OUT: Final = "Restore the file from a copy, or remove it to count the fields anew."


@dataclass(frozen=True)
class ProgramField:
    """A field that the program drew and counted.

    Parameters
    ----------
    field_id
        Name that follows from its place, as cells have.
    name
        What the guideline calls its type, and its number among those.
    x_um, y_um, radius_um
        The circle on the Ki-67 slide.
    positive, cells
        What the program counted in it.
    """

    field_id: str
    name: str
    x_um: float
    y_um: float
    radius_um: float
    positive: int
    cells: int


class FieldCount(BaseModel):
    """What a person counted in a field; its place is kept besides, since a recount may draw other fields."""

    model_config = ConfigDict(frozen=True)

    field_id: str
    x_um: float
    y_um: float
    radius_um: float
    by: str = Field(min_length=1)
    when: str
    positive: int = Field(ge=0, le=MOST_IN_A_FIELD)
    negative: int = Field(ge=0, le=MOST_IN_A_FIELD)


class _Log(BaseModel):
    format: Literal[1] = 1
    counts: tuple[FieldCount, ...] = ()


def program_fields(view: CaseView) -> list[ProgramField]:
    """Guideline fields of a case's automatic score, in its order.

    Raises
    ------
    CaseError
        Where the case has no score.
    """
    guideline = view.score.guideline
    drawn = [] if guideline is None else guideline.fields
    names: dict[str, int] = {}
    return [_program_field(one, names) for one in drawn]


def _program_field(one: Mapping[str, Any], names: dict[str, int]) -> ProgramField:
    x_um, y_um = float(one["x_um"]), float(one["y_um"])
    names[one["type"]] = names.get(one["type"], 0) + 1
    return ProgramField(
        field_id=str(int(cell_ids(np.array([x_um]), np.array([y_um]))[0])),
        name=f"{one['type']} {names[one['type']]}",
        x_um=x_um,
        y_um=y_um,
        radius_um=float(one["radius_um"]),
        positive=int(one["positive"]),
        cells=int(one["cells"]),
    )


def read_field_counts(folder: Path) -> tuple[FieldCount, ...]:
    """Read what people counted in the fields of a case, in order; nothing where there is no file.

    Raises
    ------
    CaseError
        Where the file is damaged.
    """
    path = folder / FIELD_COUNTS
    if not path.exists():
        return ()
    try:
        return _Log.model_validate(read_json(path, CaseError, WAY_OUT, "counts of fields")).counts
    except ValidationError as error:
        raise CaseError(path, f"is damaged ({first_fault(error.errors())})", WAY_OUT) from error


def add_field_count(view: CaseView, field_id: str, *, by: str, positive: int, negative: int) -> FieldCount:
    """Add what a person counted in a field.

    Raises
    ------
    CorrectionError
        Where the case has no such field, nobody is named, or the counts are none.
    BusyError
        Where a run is in the folder.
    CaseError
        Where the case has no score, or its counts are damaged.
    """
    field = next((one for one in program_fields(view) if one.field_id == field_id), None)
    if field is None:
        raise CorrectionError(f"{view.folder}: has no field {field_id}; the case may have been counted anew")
    if not by.strip():
        raise CorrectionError("a count needs who made it")
    if not (0 <= positive <= MOST_IN_A_FIELD and 0 <= negative <= MOST_IN_A_FIELD and positive + negative):
        raise CorrectionError(f"a field holds 1 to {MOST_IN_A_FIELD:,} cells, found {positive} and {negative}")
    count = FieldCount(
        field_id=field_id,
        x_um=field.x_um,
        y_um=field.y_um,
        radius_um=field.radius_um,
        by=by.strip(),
        when=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        positive=positive,
        negative=negative,
    )
    with locked(view.folder):
        log = _Log(counts=(*read_field_counts(view.folder), count))
        write_json(view.folder / FIELD_COUNTS, log.model_dump(mode="json"))
    return count
