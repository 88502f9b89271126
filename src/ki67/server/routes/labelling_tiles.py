"""Tiles of the project's slides, for whoever may look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ki67.server.labelling_state import LabellingState, SlideRow
from ki67.server.routes.common import in_thread, tile
from ki67.server.routes.office import Account, Number, Office
from ki67.server.tiles import jpeg, read_tile

router = APIRouter(prefix="/api/labelling/slides/{number}", tags=["tiles"])

THUMBNAIL_PX: Final = 320
Digest = Annotated[str, Path(pattern="^[0-9a-f]{20}$")]
JPEG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/jpeg": {}}},
    304: {"description": "The browser has it."},
}


@router.get("/{digest}/{level}/{column}_{row}.jpg", response_class=Response, responses=JPEG)
async def slide_tile(
    request: Request,
    number: Number,
    digest: Digest,
    level: Number,
    column: Number,
    row: Number,
    office: Office,
    account: Account,
) -> Response:
    """Answer with a tile (Deep Zoom levels, 256 px, no overlap)."""
    found = await in_thread(request, lambda: office.row(account, number))

    def make() -> bytes:
        return tile_of(office, found, lambda now: now == digest, (level, column, row))

    return await tile(request, f"{number}-{digest}-{level}-{column}-{row}", make, "image/jpeg")


def tile_of(
    office: LabellingState, found: SlideRow, is_this: Callable[[str], bool], at: tuple[int, int, int]
) -> bytes:
    """Read a tile as JPEG; ``is_this`` says whether the slide's digest is the one that was asked for."""
    now, grid = office.grid(found)
    if not is_this(now):
        raise HTTPException(404, "these are tiles of another state of the slide; load the page again")
    place = grid.place(*at)
    with office.slide(found) as slide:
        return jpeg(read_tile(slide, place))


@router.get("/thumbnail.jpg", response_class=Response, responses=JPEG)
async def thumbnail(request: Request, number: Number, office: Office, account: Account) -> Response:
    """Answer with a small picture of a slide."""
    found = await in_thread(request, lambda: office.row(account, number))
    digest, _ = await in_thread(request, lambda: office.grid(found))

    def make() -> bytes:
        with office.slide(found) as slide:
            return jpeg(slide.thumbnail(max(slide.mpp, max(slide.size_px) * slide.mpp / THUMBNAIL_PX)))

    return await tile(request, f"{number}-{digest}-thumbnail", make, "image/jpeg")
