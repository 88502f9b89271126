"""Labels of a task: read, saved by version, under a lease that a window keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ki67.errors import SlideError
from ki67.labelling.desk import task_for, task_to_edit
from ki67.labelling.shapes import as_stored
from ki67.labelling.tables import Task
from ki67.labelling.wand import REACHES, magic_outline
from ki67.labelling.work import MOST_AT_ONCE, Wanted, hold, labels_for, read_changes, release, save, terms_of
from ki67.server.accounts import AccountSession
from ki67.server.labelling_state import LabellingState
from ki67.server.routes.common import Micrometres, in_thread
from ki67.server.routes.office import Account, Body, Number, Office, Window

router = APIRouter(prefix="/api/labelling/tasks/{number}", tags=["labels"])

Uuid = Annotated[str, Path(pattern="^[0-9a-fA-F-]{36}$")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="if-match",
        description='The version it was made from, as "3"; "0" for a new label.',
    ),
]


class LabelBody(Body):
    """A class, and a GeoJSON geometry in µm of the slide's own frame."""

    label: Annotated[str, Field(max_length=200)]
    geometry: dict[str, Any]


class Change(LabelBody):
    """A label made from a version of it; 0 for a new one."""

    uuid: Annotated[str, Field(max_length=40)]
    version: Annotated[int, Field(ge=0, le=2**31)]
    deleted: bool = False


class Changes(Body):
    """Changes that are all saved, or none."""

    changes: Annotated[list[Change], Field(max_length=MOST_AT_ONCE)]


class WandBody(Body):
    """A place that was clicked, the resolution at which it was seen, and how unlike it an area may be."""

    x_um: Micrometres
    y_um: Micrometres
    um_per_px: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]
    reach: Annotated[float, Field(ge=REACHES[0], le=REACHES[1], allow_inf_nan=False)] = 1.0


class LeaseBody(Body):
    """Whether the slide is taken over from another window of the same person."""

    take_over: bool = False


@router.get("/labels")
def labels(number: Number, office: Office, account: Account) -> list[dict[str, Any]]:
    """Answer with the labels as they stand, for whoever may see them now."""
    with office.looking(account) as (db, by):
        return labels_for(db, by, task_for(db, by, number))


@router.post("/labels")
def save_labels(body: Changes, number: Number, office: Office, account: Account, window: Window) -> dict[str, Any]:
    """Save changes, all or none; 409 with both versions where somebody was quicker."""
    changes = _checked(office, account, number, [change.model_dump() for change in body.changes])
    with office.acting(account) as (db, by):
        return {"labels": save(db, by, task_for(db, by, number), window, changes)}


@router.put("/labels/{uuid}")
def save_label(
    body: LabelBody,
    number: Number,
    uuid: Uuid,
    response: Response,
    office: Office,
    account: Account,
    window: Window,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Save one label made from the version that ``If-Match`` names; 409 with both where another stands."""
    change = {"uuid": uuid, "version": _version(if_match), **body.model_dump()}
    changes = _checked(office, account, number, [change])
    with office.acting(account) as (db, by):
        saved = save(db, by, task_for(db, by, number), window, changes)[0]
    response.headers["etag"] = f'"{saved["version"]}"'
    return saved


@router.delete("/labels/{uuid}")
def delete_label(
    number: Number, uuid: Uuid, office: Office, account: Account, window: Window, if_match: IfMatch = None
) -> dict[str, Any]:
    """Delete one label of the version that ``If-Match`` names; the log keeps it."""
    version = _version(if_match)
    with office.acting(account) as (db, by):
        task = task_for(db, by, number)
        found = next((one for one in labels_for(db, by, task) if one["uuid"] == uuid.lower()), None)
        if found is None:
            raise HTTPException(404, "there is no such label")
        gone = Wanted(found["uuid"], version, found["label"], found["geometry"], deleted=True)
        return save(db, by, task, window, [gone])[0]


@router.post("/wand")
async def wand(body: WandBody, request: Request, number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Outline what looks like a place and hangs together with it, for whoever may draw here now."""

    def outline() -> dict[str, Any]:
        with office.looking(account) as (db, by):
            slide = task_to_edit(db, by, number).slide_id
        with office.slide(office.row(account, slide)) as opened:
            return as_stored(magic_outline(opened, body.x_um, body.y_um, body.um_per_px, body.reach))

    # With the tiles, few at a time for one browser: many clicks keep nobody from saving.
    async with account.reading:
        return {"geometry": await in_thread(request, outline)}


@router.post("/lease")
def keep_lease(body: LeaseBody, number: Number, office: Office, account: Account, window: Window) -> dict[str, float]:
    """Take or keep the slide for this window; to be said again every ``heartbeat_s``."""
    with office.acting(account) as (db, by):
        return {"until": hold(db, by, task_for(db, by, number), window, take_over=body.take_over)}


@router.delete("/lease")
def give_lease_back(number: Number, office: Office, account: Account, window: Window) -> dict[str, bool]:
    """Let others have the slide; what another window holds stays."""
    with office.acting(account) as (db, by):
        task: Task = task_for(db, by, number)
        release(db, task, window)
    return {"released": True}


def _checked(
    office: LabellingState, account: AccountSession, number: int, changes: list[dict[str, Any]]
) -> list[Wanted]:
    """Check changes while others may write."""
    with office.looking(account) as (db, by):
        slide, terms = task_for(db, by, number).slide_id, terms_of(db)
    try:
        _, grid = office.grid(office.row(account, slide))
    except SlideError:
        # The file is away for the moment: what was drawn before is kept all the same.
        return read_changes(changes, terms)
    return read_changes(changes, replace(terms, size_um=grid.size_um))


def _version(if_match: str | None) -> int:
    if if_match is None:
        raise HTTPException(428, "If-Match is missing: say which version the label was made from")
    text = if_match.strip().strip('"')
    if not text.isdecimal() or len(text) > 9:
        raise HTTPException(422, "If-Match is no version")
    return int(text)
