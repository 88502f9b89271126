"""Guideline fields to count by eye; what the program counted is told after, not before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from ki67.case.field_counts import (
    MOST_IN_A_FIELD,
    FieldCount,
    ProgramField,
    add_field_count,
    program_fields,
    read_field_counts,
)
from ki67.server.routes.common import Case
from ki67.server.shapes import circle

router = APIRouter(prefix="/api/cases/{case_id}/fields", tags=["fields"])

Count = Annotated[int, Field(ge=0, le=MOST_IN_A_FIELD)]


class CountBody(BaseModel):
    """What a person counted in a field."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, Field(min_length=1, max_length=200)]
    positive: Count
    negative: Count


@router.get("")
def fields(
    case: Case,
    by: Annotated[str | None, Query(max_length=200, description="Only this person's counts unblind a field.")] = None,
) -> list[dict[str, Any]]:
    """List the fields; ``program`` stays null until a field was counted by eye."""
    counts = _latest(read_field_counts(case.folder), by)
    return [_told(field, counts.get(field.field_id)) for field in program_fields(case.view)]


@router.post("/{field_id}/counts")
def count(case: Case, field_id: str, body: CountBody) -> dict[str, Any]:
    """Keep what a person counted; answers with what the program counted there, and how far apart the two are."""
    made = add_field_count(case.view, field_id, by=body.by, positive=body.positive, negative=body.negative)
    known = program_fields(case.view)
    field = next(one for one in known if one.field_id == field_id)
    counts = _latest(read_field_counts(case.folder), made.by)
    return _told(field, made) | {"overall": _overall(known, counts)}


def _latest(counts: Iterable[FieldCount], by: str | None) -> dict[str, FieldCount]:
    """Each field's last count, of one person or of anybody."""
    return {one.field_id: one for one in counts if by is None or one.by == by.strip()}


def _told(field: ProgramField, count: FieldCount | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": field.field_id,
        "name": field.name,
        "x_um": field.x_um,
        "y_um": field.y_um,
        "radius_um": field.radius_um,
        "polygon_um": circle(field.x_um, field.y_um, field.radius_um),
        "count": None,
        "program": None,
        "difference_points": None,
    }
    if count is None:
        return told
    by_eye, by_program = (
        _counted(count.positive, count.negative),
        _counted(field.positive, field.cells - field.positive),
    )
    return told | {
        "count": by_eye | {"by": count.by, "when": count.when},
        "program": by_program,
        "difference_points": by_eye["index_percent"] - by_program["index_percent"],
    }


def _counted(positive: int, negative: int) -> dict[str, Any]:
    index = 100 * positive / (positive + negative)
    return {"positive": positive, "negative": negative, "index": index, "index_percent": index}


def _overall(fields: Iterable[ProgramField], counts: dict[str, FieldCount]) -> dict[str, Any]:
    """Both indices over the fields that a person counted, all cells together."""
    pairs = [(field, counts[field.field_id]) for field in fields if field.field_id in counts]
    by_eye = _counted(sum(one.positive for _, one in pairs), sum(one.negative for _, one in pairs))
    by_program = _counted(
        sum(field.positive for field, _ in pairs), sum(field.cells - field.positive for field, _ in pairs)
    )
    difference = by_eye["index_percent"] - by_program["index_percent"]
    return {"fields": len(pairs), "count": by_eye, "program": by_program, "difference_points": difference}
