"""Cells: many as binary, one with all that is known of it, the least certain to look through."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ki67.geometry import RectUm
from ki67.server.cell_arrays import CellArrays
from ki67.server.library import OpenCase
from ki67.server.routes.common import Case, CaseId, Number, in_thread, state_of, tile
from ki67.server.tiles import png
from ki67.vocabulary import CLASSES

router = APIRouter(prefix="/api/cases/{case_id}", tags=["cells"])

MOST_AT_ONCE: Final = 400_000
MOST_OUTLINES: Final = 5000
LARGEST_CROP_PX: Final = 512
Label = Literal["other", "positive", "negative"]
Edge = Annotated[float, Query(ge=-1e6, le=1e6, allow_inf_nan=False)]
BINARY: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/octet-stream": {}}}}


@router.get("/cells", response_class=Response, responses=BINARY)
def cells(
    case: Case,
    x0: Edge = -1e6,
    y0: Edge = -1e6,
    x1: Edge = 1e6,
    y1: Edge = 1e6,
    limit: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = MOST_AT_ONCE,
) -> Response:
    """Answer with the cells in a rectangle in µm, little-endian, one array after the other.

    ``uint32`` their number n, then ``float32 x_um[n]``, ``float32 y_um[n]``, ``uint8 class[n]`` (0 other, 1 positive,
    2 negative; 128 more where the cell does not count), ``float32 probability[n]`` (NaN where there is none),
    ``uint32 row[n]``. ``X-Total`` tells how many lie there; where that is more than ``limit``, some spread evenly are
    given. ``X-Version`` is the state of the corrections, ``X-Classes`` names the classes.
    """
    found = case.cells()
    chosen = found.within(x0, y0, x1, y1)
    total = len(chosen)
    if total > limit:
        chosen = chosen[np.linspace(0, total - 1, limit).astype(np.intp)]
    headers = {"x-total": str(total), "x-version": case.corrected().version, "x-classes": ",".join(CLASSES)}
    return Response(found.packed(chosen), media_type="application/octet-stream", headers=headers)


@router.get("/cells/raster", response_class=Response, responses=BINARY)
def raster(case: Case, cell_um: Annotated[float, Query(ge=4, le=1000, allow_inf_nan=False)] = 32.0) -> Response:
    """Answer with counted cells on a grid: a line of JSON, then ``float32`` positive and negative, row by row.

    The line holds ``columns``, ``rows``, ``cell_um``, ``x_um``, ``y_um`` (corner of the first square) and ``layers``.
    """
    headers = {"x-version": case.corrected().version}
    return Response(case.cells().raster(cell_um), media_type="application/octet-stream", headers=headers)


@router.get("/cells/outlines", response_class=Response, responses=BINARY)
def outlines(
    case: Case,
    x0: Edge,
    y0: Edge,
    x1: Edge,
    y1: Edge,
    limit: Annotated[int, Query(ge=1, le=MOST_OUTLINES)] = MOST_OUTLINES,
) -> Response:
    """Answer with outlines of the nuclei whose middles lie in a rectangle in µm, little-endian.

    ``uint32`` their number n, ``uint32 row[n]``, ``uint32 corners[n]``, then ``float32`` x, y, x, y, … in µm of one
    after the other. Cells that were added have none. Where more lie there than ``limit``, the first are given.
    """
    found = case.cells()
    chosen = found.within(x0, y0, x1, y1)
    rows = found.row[chosen]
    rows = rows[rows < found.automatic_rows][:limit]
    shapes = case.view.read_rows(rows.tolist(), ("outline_um",))["outline_um"].combine_chunks()
    corners = np.asarray(shapes.value_lengths(), np.int64) // 2
    parts = (
        np.array([len(rows)], "<u4"),
        rows.astype("<u4"),
        corners.astype("<u4"),
        np.asarray(shapes.flatten(), np.float32).astype("<f4"),
    )
    headers = {"x-version": case.corrected().version}
    return Response(
        b"".join(part.tobytes() for part in parts), media_type="application/octet-stream", headers=headers
    )


@router.get("/cells/{row}")
def cell(case: Case, row: Number) -> dict[str, Any]:
    """Tell all that is known of one cell; ``key`` is its name in files and on the command line."""
    found = case.cells()
    place = _place(found, row)
    told = {
        "row": row,
        "key": int(found.cell_id[place]),
        "x_um": float(found.x_um[place]),
        "y_um": float(found.y_um[place]),
        "label": CLASSES[found.label[place]],
        "in_region": bool(found.in_region[place]),
        "probability": _or_none(float(found.probability[place])),
        "added": row >= found.automatic_rows,
    }
    if row >= found.automatic_rows:
        return told | {"automatic_label": None}
    known = case.view.read_rows([row]).to_pylist()[0]
    return (
        told
        | {"automatic_label": known.pop("label")}
        | {name: _or_none(value) for name, value in known.items() if name not in {*told, "cell_id"}}
    )


@router.get("/cells/{row}/crop.png", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def crop(
    request: Request,
    case_id: CaseId,
    row: Number,
    size_um: Annotated[float, Query(ge=5, le=200, allow_inf_nan=False)] = 40.0,
) -> Response:
    """Answer with the picture of one cell, at the slide's own resolution."""
    library = state_of(request).library

    def make() -> bytes:
        case = library.case(case_id)
        found = case.cells()
        place = _place(found, row)
        mpp = max(case.record("ki67").mpp, size_um / LARGEST_CROP_PX)
        corner = (found.x_um[place] - size_um / 2, found.y_um[place] - size_um / 2)
        with case.slide("ki67") as slide:
            return png(slide.read(RectUm(float(corner[0]), float(corner[1]), size_um, size_um), mpp))

    name = await in_thread(request, lambda: _crop_name(library.case(case_id), row, size_um))
    answer = await tile(request, name, make, "image/png")
    # Its address does not name what it was made from: it is asked for again, and mostly not sent again.
    answer.headers["cache-control"] = "private, no-cache"
    return answer


@router.get("/gallery")
def gallery(
    case: Case,
    order: Literal["uncertain", "class", "probability"] = "uncertain",
    label: Label | None = None,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
) -> dict[str, Any]:
    """List counted cells to look through: the least certain first, by class, or by probability."""
    found = case.cells()
    chosen = found.gallery(order, None if label is None else CLASSES.index(label))
    shown = [
        {
            "row": int(found.row[place]),
            "key": int(found.cell_id[place]),
            "x_um": float(found.x_um[place]),
            "y_um": float(found.y_um[place]),
            "label": CLASSES[found.label[place]],
            "probability": _or_none(float(found.probability[place])),
        }
        for place in chosen[offset : offset + limit]
    ]
    return {"total": len(chosen), "version": case.corrected().version, "cells": shown}


def _crop_name(case: OpenCase, row: int, size_um: float) -> str:
    found = case.cells()
    return f"crop-{case.digest('ki67')}-{int(found.cell_id[_place(found, row)])}-{size_um}"


def _place(found: CellArrays, row: int) -> int:
    place = found.index_of(row)
    if place is None:
        raise HTTPException(404, "there is no such cell; it may have been removed")
    return place


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
