"""A case's report, and its files for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from ki67.export import FORMATS, export_case
from ki67.server.routes.common import Case
from ki67.vocabulary import Layer

router = APIRouter(prefix="/api/cases/{case_id}", tags=["downloads"])

ENDS: Final = tuple(suffix.removeprefix(".") for one in FORMATS for suffix in one.suffixes)

_REPORT_CSP: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-popups"
)


@router.get("/report", response_class=Response, responses={200: {"content": {"text/html": {}}}})
def report(case: Case) -> Response:
    """Answer with the report, in which no script runs."""
    path = case.view.report
    if path is None:
        raise HTTPException(404, "the case has no report")
    headers = {"content-security-policy": _REPORT_CSP, "x-frame-options": "SAMEORIGIN"}
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/exports")
def exports() -> list[dict[str, Any]]:
    """List what a case can be exported as: ``format`` for ``export``, and what it is."""
    return [{"format": one.suffixes[0].removeprefix("."), "what": one.what, "layers": one.layers} for one in FORMATS]


@router.get("/export", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def export(case: Case, format: str, layer: Literal["index", "heatmap"] | None = None) -> Response:  # noqa: A002
    """Answer with the automatic count for another program; ``format`` is the end of the file's name."""
    end = format.removeprefix(".").lower()
    if end not in ENDS:
        raise HTTPException(422, f"format is one of {', '.join(ENDS)}")
    folder = tempfile.TemporaryDirectory(prefix="ki67-export-", ignore_cleanup_errors=True)
    try:
        target = Path(folder.name) / f"cells.{end}"
        export_case(case.folder, target, None if layer is None else Layer(layer))
    except BaseException:
        folder.cleanup()
        raise
    name = f"{case.folder.name}.{end}"
    task = BackgroundTask(folder.cleanup)
    return FileResponse(target, media_type="application/octet-stream", filename=name, background=task)
