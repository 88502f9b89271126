"""A case's report, and its files for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from ki67.case import read_case
from ki67.case.artefacts import REPORT, REPORT_PDF
from ki67.export import FORMATS, export_case
from ki67.pipeline import run_report
from ki67.server.library import OpenCase
from ki67.server.routes.common import Case
from ki67.vocabulary import Layer

router = APIRouter(prefix="/api/cases/{case_id}", tags=["downloads"])

FILES: Final = tuple(one for one in FORMATS if not one.folder)
"""What can be sent: a browser saves files, not folders."""

ENDS: Final = tuple(suffix.removeprefix(".") for one in FILES for suffix in one.suffixes)

_REPORT_CSP: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-popups"
)


@router.get("/report", response_class=Response, responses={200: {"content": {"text/html": {}}}})
def report(case: Case) -> Response:
    """Answer with the report, in which no script runs; it is written anew where corrections took it away."""
    path = _reported(case, REPORT)
    headers = {"content-security-policy": _REPORT_CSP, "x-frame-options": "SAMEORIGIN"}
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/report.pdf", response_class=Response, responses={200: {"content": {"application/pdf": {}}}})
def report_pdf(case: Case) -> Response:
    """Answer with the report as a PDF; it is written anew where corrections took it away."""
    return FileResponse(_reported(case, REPORT_PDF), media_type="application/pdf", filename=f"{case.folder.name}.pdf")


def _reported(case: OpenCase, name: str) -> Path:
    path = case.view.file(name)
    if path is None:
        if not case.has_score:
            raise HTTPException(404, "the case has no report")
        case.require_slides()
        run_report(case.folder)
        path = read_case(case.folder).file(name)
    if path is None:
        raise HTTPException(404, "the case has no such report")
    return path


@router.get("/exports")
def exports(_case: Case) -> list[dict[str, Any]]:
    """List what a case can be exported as: ``format`` for ``export``, and what it is."""
    return [{"format": one.suffixes[0].removeprefix("."), "what": one.what, "layers": one.layers} for one in FILES]


@router.get("/export", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def export(case: Case, format: str, layer: Literal["index", "heatmap"] | None = None) -> Response:  # noqa: A002
    """Answer with the case as it is with its corrections, for another program; ``format`` is the end of its name."""
    end = format.removeprefix(".").lower()
    if end not in ENDS:
        raise HTTPException(422, f"format is one of {', '.join(ENDS)}")
    if case.view.regions_ki67 is None:
        case.require_slides()
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
