"""Tiles of the slides, of the H&E in the Ki-67 frame, and of the maps."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ki67.case.view import Role
from ki67.server.layers import AGREEMENT, HEATMAP, INDEX, layer, layer_digest, layer_slide
from ki67.server.routes.cases import map_digest, section_map
from ki67.server.routes.common import CaseId, Number, in_thread, state_of, tile
from ki67.server.tiles import jpeg, png, read_tile

router = APIRouter(prefix="/api/cases/{case_id}", tags=["tiles"])

THUMBNAIL_PX: Final = 320
ANOTHER: Final = "these are tiles of another state of the case; load it again"

Digest = Annotated[str, Path(pattern="^[0-9a-f]{20}$")]
LayerName = Literal["heatmap", "index", "agreement"]
assert {HEATMAP, INDEX, AGREEMENT} == {"heatmap", "index", "agreement"}


def _answers(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}}, 304: {"description": "The browser has it."}}


@router.get(
    "/slides/{role}/{digest}/{level}/{column}_{row}.jpg", response_class=Response, responses=_answers("image/jpeg")
)
async def slide_tile(
    request: Request, case_id: CaseId, role: Role, digest: Digest, level: Number, column: Number, row: Number
) -> Response:
    """Answer with a tile of a slide (Deep Zoom levels, 256 px, no overlap)."""

    def make() -> bytes:
        case = state_of(request).library.case(case_id)
        _same(case.digest(role), digest)
        place = case.grid(role).place(level, column, row)
        with case.slide(role) as slide:
            return jpeg(read_tile(slide, place))

    return await tile(request, f"{digest}-{level}-{column}-{row}", make, "image/jpeg")


@router.get("/slides/{role}/thumbnail.jpg", response_class=Response, responses=_answers("image/jpeg"))
async def thumbnail(request: Request, case_id: CaseId, role: Role) -> Response:
    """Answer with a small picture of a slide."""

    def make() -> bytes:
        case = state_of(request).library.case(case_id)
        record = case.record(role)
        with case.slide(role) as slide:
            return jpeg(slide.thumbnail(max(record.mpp, max(record.size_px) * record.mpp / THUMBNAIL_PX)))

    digest = await in_thread(request, lambda: state_of(request).library.case(case_id).digest(role))
    return await tile(request, f"{digest}-thumbnail", make, "image/jpeg")


@router.get("/warped/{digest}/{level}/{column}_{row}.jpg", response_class=Response, responses=_answers("image/jpeg"))
async def warped_tile(
    request: Request, case_id: CaseId, digest: Digest, level: Number, column: Number, row: Number
) -> Response:
    """Answer with a tile of the H&E slide as it lies on the Ki-67 slide, on the grid of that."""

    def make() -> bytes:
        case = state_of(request).library.case(case_id)
        _same(map_digest(case), digest)
        place = case.grid("ki67").place(level, column, row)
        found = case.made("map", digest, lambda: section_map(case))
        with case.slide("he") as he:
            return jpeg(found.warped(he, place))

    return await tile(request, f"warped-{digest}-{level}-{column}-{row}", make, "image/jpeg")


@router.get(
    "/layers/{name}/{digest}/{level}/{column}_{row}.png", response_class=Response, responses=_answers("image/png")
)
async def layer_tile(
    request: Request, case_id: CaseId, name: LayerName, digest: Digest, level: Number, column: Number, row: Number
) -> Response:
    """Answer with a tile of a map, transparent where it says nothing, on the grid of the slide that it lies on."""

    def make() -> bytes:
        case = state_of(request).library.case(case_id)
        _same(layer_digest(case, name), digest)
        place = case.grid(layer_slide(name)).place(level, column, row)
        return png(case.made(f"layer {name}", digest, lambda: layer(case, name)).tile(place))

    return await tile(request, f"{name}-{digest}-{level}-{column}-{row}", make, "image/png")


def _same(now: str | None, asked: str) -> None:
    if now is None:
        raise HTTPException(404, "the case has no such tiles")
    if now != asked:
        raise HTTPException(404, ANOTHER)
