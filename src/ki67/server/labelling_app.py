"""The application of one labelling project: routes, the page, and how errors are told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ki67.errors import AbsentError, ConflictError, LabellingError, LeaseError, RefusedError
from ki67.files import printable
from ki67.server.account_guard import AccountGuard
from ki67.server.app import STATIC, begin_app, serve_page
from ki67.server.labelling_state import LabellingState
from ki67.server.routes import (
    labelling_labels,
    labelling_login,
    labelling_overview,
    labelling_readings,
    labelling_studies,
    labelling_tiles,
    labelling_work,
)
from ki67.server.routes.office import PROBLEMS

log = logging.getLogger("ki67.server")

_STATUS: Final = ((AbsentError, 404), (LeaseError, 423), (RefusedError, 403))
"""What an error of the process is over HTTP; the first that fits."""


def create_labelling_app(state: LabellingState, hosts: Iterable[str], static: Path = STATIC) -> ASGIApp:
    """Make the application.

    Parameters
    ----------
    state
        The project.
    hosts
        Hosts' names, with port, that the server answers to.
    static
        Folder of the built page.
    """
    about = "A labelling project: work, labels with versions, review, quality control, agreement, reader studies."
    work = (labelling_login, labelling_work, labelling_labels, labelling_tiles, labelling_overview)
    rooms = (*work, labelling_studies, labelling_readings)
    app = begin_app("ki67 labelling", about, state, [room.router for room in rooms], PROBLEMS)
    _tell_errors_of_the_process(app)
    serve_page(app, static)
    return AccountGuard(app, state.accounts, hosts, cookie=state.cookie, encrypted=state.encrypted)


def _tell_errors_of_the_process(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    def refused(_: Request, error: RefusedError) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return JSONResponse({"error": printable(str(error))}, status)

    @app.exception_handler(ConflictError)
    def conflict(_: Request, error: ConflictError) -> Response:
        told = {"error": printable(str(error)), "mine": error.mine, "theirs": error.theirs}
        return JSONResponse(told, 409, {"etag": f'"{error.theirs["version"]}"'})

    @app.exception_handler(LabellingError)
    def unusable(_: Request, error: LabellingError) -> Response:
        log.error("%s", error)
        # Where it lies is nobody's business on another machine.
        return JSONResponse(
            {"error": "the database cannot be used now; nothing was saved"}, 503, {"retry-after": "5"}
        )
