"""Reader studies for readers: the own reading under the server's clock, blinded slides as tiles."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ki67.errors import Ki67Error
from ki67.labelling.readings import facts_for, readings_for, take_step
from ki67.labelling.words import ReadingAct
from ki67.server.accounts import AccountSession
from ki67.server.labelling_state import LabellingState, SlideRow
from ki67.server.routes.common import in_thread, tile
from ki67.server.routes.labelling_tiles import JPEG, Digest, tile_of
from ki67.server.routes.office import Account, Body, Number, Office
from ki67.server.tiles import digest_of

log = logging.getLogger("ki67.server")
router = APIRouter(prefix="/api/labelling", tags=["readings"])

Key = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Place = Annotated[int, Field(ge=1, le=10_000)]

UNREADABLE: Final = "this slide cannot be shown now; tell whoever holds the study"
"""Not why: that names the file."""


class ShowBody(Body):
    """Which slide of the own order is in front from now on."""

    place: Place


class AnswerBody(Body):
    """The index of a slide, a whole percent."""

    place: Place
    percent: Annotated[int, Field(ge=0, le=100, strict=True)]


@router.get("/readings")
def readings(office: Office, account: Account) -> list[dict[str, Any]]:
    """List the studies that this person reads in."""
    with office.looking(account) as (db, by):
        return readings_for(db, by, now=office.clock())


@router.get("/readings/{number}")
def reading(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Tell the own reading: time left, answers, and the slide in front as tiles."""
    return _told(number, office, account)


@router.post("/readings/{number}/begin")
def begin(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Start the clock, once."""
    return _step(number, office, account, ReadingAct.begin)


@router.post("/readings/{number}/show")
def show(number: Number, body: ShowBody, office: Office, account: Account) -> dict[str, Any]:
    """Put a slide in front; its time runs from now."""
    return _step(number, office, account, ReadingAct.show, place=body.place)


@router.post("/readings/{number}/answers")
def answer(number: Number, body: AnswerBody, office: Office, account: Account) -> dict[str, Any]:
    """Answer; an answer before it is kept, and the last one counts."""
    return _step(number, office, account, ReadingAct.answer, place=body.place, percent=body.percent)


@router.post("/readings/{number}/finish")
def finish(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Stop the clock for good."""
    return _step(number, office, account, ReadingAct.finish)


@router.get("/blinded/{key}/{digest}/{level}/{column}_{row}.jpg", response_class=Response, responses=JPEG)
async def blinded_tile(
    request: Request,
    key: Key,
    digest: Digest,
    level: Number,
    column: Number,
    row: Number,
    office: Office,
    account: Account,
) -> Response:
    """Answer with a tile of a slide that this reader may look at now."""
    found = await in_thread(request, lambda: office.blinded(account, key))

    def make() -> bytes:
        return tile_of(office, found, lambda now: _digest(now, key) == digest, (level, column, row))

    try:
        return await tile(request, f"{key}-{digest}-{level}-{column}-{row}", make, "image/jpeg")
    except Ki67Error as error:
        raise _unreadable(error) from error


def _step(
    number: int,
    office: LabellingState,
    account: AccountSession,
    act: ReadingAct,
    *,
    place: int | None = None,
    percent: int | None = None,
) -> dict[str, Any]:
    with office.acting(account) as (db, by):
        take_step(db, by, number, act, place=place, percent=percent, now=office.clock())
    if act is ReadingAct.finish:
        account.read.clear()
    return _told(number, office, account)


def _told(number: int, office: LabellingState, account: AccountSession) -> dict[str, Any]:
    with office.looking(account) as (db, by):
        facts = facts_for(db, by, number, now=office.clock())
    front = facts["front"]
    if front is not None:
        slide = _slide_facts(office, office.blinded(account, front["key"]), front, len(facts["places"]))
        facts["front"] = {"place": front["place"], "regions": front["regions"], "slide_facts": slide}
    return facts


def _slide_facts(office: LabellingState, row: SlideRow, front: dict[str, Any], count: int) -> dict[str, Any]:
    """What a page needs to show the slide in front, by the word that stands for it."""
    key, file = front["key"], f"Slide {front['place']} of {count}"
    try:
        digest, grid = office.grid(row)
    except Ki67Error as error:
        log.error("%s", error)
        return {"file": file, "available": False, "why_not": UNREADABLE}
    (width, height), mpp, digest = grid.size_px, grid.mpp, _digest(digest, key)
    return {
        "file": file,
        "width_px": width,
        "height_px": height,
        "mpp": mpp,
        "width_um": width * mpp,
        "height_um": height * mpp,
        "digest": digest,
        "tiles": f"/api/labelling/blinded/{key}/{digest}/{{level}}/{{col}}_{{row}}.jpg",
        "available": True,
        "why_not": None,
    }


def _digest(digest: str, key: str) -> str:
    """Another name of the same tiles for each reader: the slide's own stands in addresses beside its name."""
    return digest_of(digest, key)


def _unreadable(error: Ki67Error) -> Exception:
    log.error("%s", error)
    return HTTPException(503, UNREADABLE)
