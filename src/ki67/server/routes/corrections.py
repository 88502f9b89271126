"""Correcting a case: entries are added to its log; whoever corrects an older state than the last is told so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, model_validator
from shapely.geometry import Point, mapping

from ki67.case.corrections import (
    MOST_AT_ONCE,
    Add,
    Correction,
    Exclude,
    Include,
    Nudge,
    Redo,
    Relabel,
    Remove,
    Reopen,
    ReplaceRegion,
    Several,
    SignOut,
    Undo,
    What,
    holding,
    read_corrections,
    signed_out,
    version_of,
)
from ki67.correcting import CorrectedCase
from ki67.errors import CorrectionError
from ki67.geometry import RectUm, area_mm2
from ki67.server.cell_arrays import CellArrays
from ki67.server.library import OpenCase
from ki67.server.routes.cases import numbers, section_map
from ki67.server.routes.common import Case, Micrometres
from ki67.server.shapes import area_from

router = APIRouter(prefix="/api/cases/{case_id}", tags=["corrections"])

FARTHEST_NUDGE_UM: Final = 1000.0
_AREA_KINDS: Final[dict[str, type[Exclude | Include | ReplaceRegion]]] = {
    "exclude": Exclude,
    "include": Include,
    "region": ReplaceRegion,
}
Row = Annotated[int, Field(ge=0, le=2**31)]
Key = Annotated[int, Field(ge=0, le=2**53)]
Label = Literal["other", "positive", "negative"]


class By(BaseModel):
    """Who does it, and to which state of the corrections."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, Field(min_length=1, max_length=200)]
    version: Annotated[str, Field(max_length=100)]


class Because(By):
    """And why."""

    why: Annotated[str, Field(min_length=1, max_length=2000)]


class MaybeBecause(By):
    """And perhaps why."""

    why: Annotated[str, Field(max_length=2000)] = ""


class _OfCells(Because):
    """Cells by their rows in ``cells``, or by their names (``key``); exactly one of the four is given."""

    row: Row | None = None
    rows: Annotated[list[Row], Field(min_length=1, max_length=MOST_AT_ONCE)] | None = None
    key: Key | None = None
    keys: Annotated[list[Key], Field(min_length=1, max_length=MOST_AT_ONCE)] | None = None

    @model_validator(mode="after")
    def _one_of_four(self) -> _OfCells:
        if sum(one is not None for one in (self.row, self.rows, self.key, self.keys)) != 1:
            raise ValueError("give one of row, rows, key and keys")
        return self


class RelabelBody(_OfCells):
    """Give cells another class."""

    kind: Literal["relabel"]
    to: Label


class RemoveBody(_OfCells):
    """Take away what is no cell."""

    kind: Literal["remove"]


class AddBody(Because):
    """Add a cell that was missed, at a place in µm of the Ki-67 slide."""

    kind: Literal["add"]
    x_um: Micrometres
    y_um: Micrometres
    label: Label


class AreaBody(Because):
    """Leave an area out, or count it after all: a GeoJSON Polygon or MultiPolygon in µm of the Ki-67 slide."""

    kind: Literal["exclude", "include"]
    area: dict[str, Any]


class RegionBody(Because):
    """Take another region, drawn on the Ki-67 slide, or on the H&E slide and carried over."""

    kind: Literal["region"]
    area: dict[str, Any]
    slide: Literal["he", "ki67"] = "ki67"


class NudgeBody(Because):
    """Move the region by µm (right, down) and turn it clockwise about its middle."""

    kind: Literal["nudge"]
    shift_um: tuple[Micrometres, Micrometres] = (0.0, 0.0)
    rotate_deg: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] = 0.0


CorrectionBody = Annotated[
    RelabelBody | RemoveBody | AddBody | AreaBody | RegionBody | NudgeBody, Field(discriminator="kind")
]


@router.get("/corrections")
def corrections(case: Case) -> dict[str, Any]:
    """List all entries of the log, the first first."""
    log = read_corrections(case.folder)
    return {"version": version_of(log), **_items(log)}


@router.post("/corrections")
def correct(case: Case, body: Annotated[CorrectionBody, Body()]) -> dict[str, Any]:
    """Add a correction; the index follows. 409 with ``version`` where somebody has corrected since."""
    return _told(case.correct(_what(case, body), by=body.by, why=body.why, version=body.version))


@router.post("/undo")
def undo(case: Case, body: MaybeBecause) -> dict[str, Any]:
    """Take the last correction that holds back."""
    return _told(case.correct(Undo(), by=body.by, why=body.why or "undone", version=body.version))


@router.post("/redo")
def redo(case: Case, body: MaybeBecause) -> dict[str, Any]:
    """Make the correction again that was undone last."""
    return _told(case.correct(Redo(), by=body.by, why=body.why or "made again", version=body.version))


@router.post("/sign-out")
def sign_out(case: Case, body: By) -> dict[str, Any]:
    """Sign the case out: its index stands, and nothing is corrected before it is opened again."""
    return _told(case.sign_out(by=body.by, version=body.version))


@router.post("/reopen")
def reopen(case: Case, body: Because) -> dict[str, Any]:
    """Open a case again that was signed out."""
    return _told(case.correct(Reopen(), by=body.by, why=body.why, version=body.version))


def _told(found: CorrectedCase) -> dict[str, Any]:
    items = _items(found.log)
    return numbers(found) | {"item": items["items"][-1]} | {name: items[name] for name in ("can_undo", "can_redo")}


def _items(log: Sequence[Correction]) -> dict[str, Any]:
    hold, undone = holding(log)
    active, signed = {one.number for one in hold}, signed_out(log)
    items = [
        {
            "id": one.number,
            "kind": one.what.kind,
            "by": one.by,
            "who": one.by,
            "when": one.when,
            "why": one.why,
            "summary": _summary(one.what),
            "active": one.number in active,
        }
        for one in log
    ]
    free = signed is None
    return {
        "items": items,
        "can_undo": free and bool(hold),
        "can_redo": free and bool(undone),
        "signed_out": not free,
    }


def _what(case: OpenCase, body: CorrectionBody) -> What:
    if isinstance(body, RelabelBody | RemoveBody):
        parts = [_of_cell(body, cell, x_um, y_um) for cell, x_um, y_um in _cells(case.cells(), body)]
        return parts[0] if len(parts) == 1 else Several(of=tuple(parts))
    if isinstance(body, AddBody):
        if not _bounds(case, "ki67").polygon.covers(Point(body.x_um, body.y_um)):
            raise CorrectionError("the place lies beside the slide")
        return Add(x_um=body.x_um, y_um=body.y_um, label=body.label)
    if isinstance(body, NudgeBody):
        if max(map(abs, body.shift_um)) > FARTHEST_NUDGE_UM:
            raise CorrectionError(f"a nudge goes to {FARTHEST_NUDGE_UM:.0f} µm either way; register anew instead")
        return Nudge(shift_um=body.shift_um, rotate_deg=body.rotate_deg)
    on = body.slide if isinstance(body, RegionBody) else "ki67"
    area = area_from(body.area, _bounds(case, on))
    if on == "he":
        area = section_map(case).region_to_ki67(area)
    return _AREA_KINDS[body.kind](area=dict(mapping(area)))


def _of_cell(body: RelabelBody | RemoveBody, cell: int, x_um: float, y_um: float) -> Relabel | Remove:
    if isinstance(body, RelabelBody):
        return Relabel(cell=cell, x_um=x_um, y_um=y_um, to=body.to)
    return Remove(cell=cell, x_um=x_um, y_um=y_um)


def _cells(found: CellArrays, body: RelabelBody | RemoveBody) -> list[tuple[int, float, float]]:
    """Name and place of each cell that a request names.

    Raises
    ------
    CorrectionError
        Where there is no such cell.
    """
    rows = body.rows if body.rows is not None else [] if body.row is None else [body.row]
    keys = body.keys if body.keys is not None else [] if body.key is None else [body.key]
    places = [found.index_of(row) for row in dict.fromkeys(rows)]
    places += [found.index_of_name(key) for key in dict.fromkeys(keys)]
    if any(place is None for place in places):
        raise CorrectionError("there is no such cell; it may have been removed")
    return [
        (int(found.cell_id[place]), float(found.x_um[place]), float(found.y_um[place]))
        for place in places
        if place is not None
    ]


def _bounds(case: OpenCase, role: Literal["he", "ki67"]) -> RectUm:
    record = case.record(role)
    return RectUm(0.0, 0.0, record.size_px[0] * record.mpp, record.size_px[1] * record.mpp)


def _summary(what: What) -> str:
    if isinstance(what, Relabel):
        return f"a cell at {what.x_um:.0f}, {what.y_um:.0f} µm is {what.to}"
    if isinstance(what, Remove):
        return f"what was found at {what.x_um:.0f}, {what.y_um:.0f} µm is no cell"
    if isinstance(what, Add):
        return f"a {what.label} cell was missed at {what.x_um:.0f}, {what.y_um:.0f} µm"
    if isinstance(what, Several):
        kinds = {part.to if isinstance(part, Relabel) else part.kind for part in what.of}
        return f"{len(what.of)} cells at once: {', '.join(sorted(kinds))}"
    if isinstance(what, Exclude | Include | ReplaceRegion):
        words = {"exclude": "left out", "include": "counted after all", "region": "the region now"}
        return f"{area_mm2(what.geometry):.3g} mm² {words[what.kind]}"
    if isinstance(what, Nudge):
        return f"moved by {what.shift_um[0]:g}, {what.shift_um[1]:g} µm, turned by {what.rotate_deg:g}°"
    if isinstance(what, SignOut):
        index = "no index" if what.index_percent is None else f"{what.index_percent:.1f} %"
        return f"signed out with {index}"
    return {"undo": "the last correction taken back", "redo": "made again", "reopen": "opened again"}[what.kind]
