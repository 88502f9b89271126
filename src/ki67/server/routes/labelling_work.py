"""A person's desk: work, one task with its slide, what may be done with it, remarks; the project's words."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from ki67.labelling.desk import desk_of, facts_of, task_for
from ki67.labelling.past import labels_before
from ki67.labelling.pictures import as_jpeg, keep_picture, may_add_picture, picture_of
from ki67.labelling.project import set_guideline, the_project
from ki67.labelling.remarks import LONGEST, as_sent, remark, remarks_for, settle
from ki67.labelling.tables import Slide
from ki67.labelling.words import Act
from ki67.labelling.work import HEARTBEAT_S, LEASE_S, perform_by_hand
from ki67.server.accounts import AccountSession
from ki67.server.labelling_state import LabellingState
from ki67.server.routes.common import Micrometres, in_thread
from ki67.server.routes.office import Account, Body, Number, Office

router = APIRouter(prefix="/api/labelling", tags=["work"])


class ActBody(Body):
    """What is done, and why."""

    act: Act
    reason: Annotated[str, Field(max_length=2000)] = ""


class RemarkBody(Body):
    """A remark, at a place or on the whole."""

    text: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    x_um: Micrometres | None = None
    y_um: Micrometres | None = None


class SettledBody(Body):
    """Whether what a remark asks for is done."""

    settled: bool


class GuidelineBody(Body):
    """The text that labellers see."""

    text: Annotated[str, Field(max_length=200_000)]


PictureName = Annotated[str, Path(min_length=1, max_length=100)]
JPEG: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/jpeg": {}}}}
PICTURE_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/project")
def project(office: Office, account: Account) -> dict[str, Any]:
    """Tell the project's words and rules."""
    with office.looking(account) as (db, _):
        found = the_project(db)
        return {
            # Tells what a browser keeps for this project from what it keeps for others on the same address.
            "id": f"{found.created:.6f}",
            "name": found.name,
            "kind": found.kind,
            "classes": found.classes,
            "guideline": found.guideline,
            "prelabels_allowed": found.prelabels_allowed,
            "unblinded": found.unblinded,
            "heartbeat_s": HEARTBEAT_S,
            "lease_s": LEASE_S,
        }


@router.put("/guideline")
def guideline(body: GuidelineBody, office: Office, account: Account) -> dict[str, bool]:
    """Change the guideline."""
    with office.acting(account) as (db, by):
        set_guideline(db, by, body.text)
    return {"changed": True}


@router.put("/guideline/pictures/{name}", openapi_extra=PICTURE_BODY)
async def add_guideline_picture(
    name: PictureName, request: Request, office: Office, account: Account
) -> dict[str, bool]:
    """Keep a picture (PNG, JPEG or WebP) for the guideline, in place of one of the same name."""
    data = await request.body()

    def keep() -> None:
        with office.looking(account) as (_, by):
            may_add_picture(by, name)
        made = as_jpeg(data)
        with office.acting(account) as (db, by):
            keep_picture(db, by, name, made)

    await in_thread(request, keep)
    return {"kept": True}


@router.get("/guideline/pictures/{name}", response_class=Response, responses=JPEG)
def guideline_picture(name: PictureName, office: Office, account: Account) -> Response:
    """Answer with a picture of the guideline."""
    with office.looking(account) as (db, _):
        data = picture_of(db, name)
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, no-cache"})


@router.get("/desk")
def desk(office: Office, account: Account) -> dict[str, Any]:
    """List the own work, and what waits for review."""
    with office.looking(account) as (db, by):
        return {**desk_of(db, by), "trained": by.trained}


@router.get("/tasks/{number}")
def task(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Tell a task and its slide, as tiles."""
    with office.looking(account) as (db, by):
        found = task_for(db, by, number)
        told, rois = facts_of(db, by, found), db.get_one(Slide, found.slide_id).rois
    return told | {"rois": rois, "slide_facts": slide_facts(office, account, told["slide"], told["name"])}


def slide_facts(office: LabellingState, account: AccountSession, number: int, name: str) -> dict[str, Any]:
    """What a page needs to show a slide; says why where it cannot be shown."""
    row = office.row(account, number)
    digest, grid = office.grid(row)
    (width, height), mpp = grid.size_px, grid.mpp
    return {
        "file": name,
        "width_px": width,
        "height_px": height,
        "mpp": mpp,
        "width_um": width * mpp,
        "height_um": height * mpp,
        "digest": digest,
        "tiles": f"/api/labelling/slides/{number}/{digest}/{{level}}/{{col}}_{{row}}.jpg",
        "available": True,
        "why_not": None,
    }


@router.post("/tasks/{number}/acts")
def act(number: Number, body: ActBody, office: Office, account: Account) -> dict[str, Any]:
    """Do a step of the process; others than those by hand follow from draws and grading."""
    with office.acting(account) as (db, by):
        found = task_for(db, by, number)
        state = perform_by_hand(db, by, found, body.act, reason=body.reason)
        told = facts_of(db, by, found)
    return told | {"state": state.value}


@router.get("/tasks/{number}/before")
def before(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Answer with the labels as they were handed in before."""
    with office.looking(account) as (db, by):
        return labels_before(db, by, task_for(db, by, number))


@router.get("/tasks/{number}/remarks")
def remarks(number: Number, office: Office, account: Account) -> list[dict[str, Any]]:
    """List the remarks."""
    with office.looking(account) as (db, by):
        return remarks_for(db, by, task_for(db, by, number))


@router.post("/tasks/{number}/remarks")
def add_remark(number: Number, body: RemarkBody, office: Office, account: Account) -> dict[str, Any]:
    """Pin a remark."""
    at = None if body.x_um is None or body.y_um is None else (body.x_um, body.y_um)
    with office.acting(account) as (db, by):
        return as_sent(remark(db, by, task_for(db, by, number), body.text, at), by.name)


@router.put("/remarks/{number}")
def settle_remark(number: Number, body: SettledBody, office: Office, account: Account) -> dict[str, bool]:
    """Say that what a remark asks for is done, or open again."""
    with office.acting(account) as (db, by):
        return {"settled": settle(db, by, number, settled=body.settled).settled}
