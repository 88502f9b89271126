"""The application: routes, the page, and how errors are told."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ki67 import __version__
from ki67.case.corrections import read_corrections, version_of
from ki67.errors import BeyondCountedError, BusyError, Ki67Error, SignedOutError, StaleError, first_fault
from ki67.files import printable
from ki67.server.guard import Guard
from ki67.server.routes import cases, cells, corrections, downloads, fields, jobs, session, tiles
from ki67.server.routes.common import FOR_EVER, PROBLEMS
from ki67.server.state import State

log = logging.getLogger("ki67.server")

STATIC: Final = Path(__file__).parent / "static"
"""The built page."""

WORKERS: Final = 8
"""Threads for all that is no tile; each may hold a case's numbers."""

OF_ALL: Final = "Positions are µm in the slide's own frame. For research use only; not a medical device."
"""Said of every application in its description."""

NO_PAGE: Final = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><title>ki67</title><h1>The page is not there</h1>"
    "<p>The server answers, and scripts can use it (<code>/api/openapi.json</code> describes it), but the page was "
    "not built when ki67 was installed. In the checkout run <code>KI67_PAGE=build pip install --force-reinstall "
    "--no-deps .</code>, then load this page again.</p></html>"
)


class Shared(Protocol):
    """What an application serves."""

    def close(self) -> None:
        """Let go of it."""


def create_app(state: State, port: int, static: Path = STATIC) -> ASGIApp:
    """Make the application.

    Parameters
    ----------
    state
        What is served, and to whom.
    port
        Of the server.
    static
        Folder of the built page.
    """
    about = "Cases of ki67: slides as tiles, cells, regions, corrections, runs."
    rooms = (session, cases, tiles, cells, corrections, fields, downloads, jobs)
    app = begin_app("ki67", about, state, [room.router for room in rooms], PROBLEMS)
    _tell_errors_of_cases(app)
    serve_page(app, static)
    return Guard(app, state.keys, port)


def begin_app(
    title: str, about: str, state: Shared, routers: Iterable[APIRouter], problems: dict[int | str, dict[str, Any]]
) -> FastAPI:
    """Make an application that answers with these routes, tells errors in one line, and closes its state at the end.

    Parameters
    ----------
    title, about
        What its description says; what positions mean, and that it is for research only, is added.
    state
        What is served.
    routers
        The routes.
    problems
        Errors that any of them may answer with, for the description.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = WORKERS
        yield
        await anyio.to_thread.run_sync(state.close)

    app = FastAPI(
        title=title,
        version=__version__,
        description=f"{about} {OF_ALL}",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        responses=problems,
    )
    app.state.shared = state
    for router in routers:
        app.include_router(router)
    _tell_errors(app)
    return app


def _tell_errors(app: FastAPI) -> None:
    """Say in one line what went wrong."""

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": printable(str(error.detail))}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"error": printable(first_fault(error.errors()))}, 422)

    @app.exception_handler(BusyError)
    def busy(_: Request, error: BusyError) -> Response:
        return JSONResponse({"error": printable(str(error))}, 503, {"retry-after": "5"})

    @app.exception_handler(Ki67Error)
    def known(_: Request, error: Ki67Error) -> Response:
        return JSONResponse({"error": printable(str(error))}, 422)

    @app.exception_handler(Exception)
    def unknown(request: Request, error: Exception) -> Response:
        log.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error, exc_info=error)
        return JSONResponse({"error": f"this is a defect of the program: {type(error).__name__}"}, 500)


def _tell_errors_of_cases(app: FastAPI) -> None:
    @app.exception_handler(StaleError)
    def stale(request: Request, error: StaleError) -> Response:
        folder = request.app.state.shared.places.case_folder(request.path_params["case_id"])
        return JSONResponse({"error": printable(str(error)), "version": version_of(read_corrections(folder))}, 409)

    @app.exception_handler(SignedOutError)
    def signed_out(request: Request, error: SignedOutError) -> Response:
        return stale(request, StaleError(str(error)))

    @app.exception_handler(BeyondCountedError)
    def beyond(_: Request, error: BeyondCountedError) -> Response:
        text = printable(str(error))
        return JSONResponse({"error": text, "needs_recount": text}, 422)


def serve_page(app: FastAPI, static: Path) -> None:
    """Answer with the page and its files."""

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        index = static / "index.html"
        if not index.is_file():
            return HTMLResponse(NO_PAGE)
        return FileResponse(index, media_type="text/html; charset=utf-8")

    if static.is_dir():
        app.mount("/", _Files(directory=static), name="static")


class _Files(StaticFiles):
    """Files of the page; those under ``assets/`` have their content's digest in their names."""

    def file_response(self, *args: object, **named: object) -> Response:
        """Answer with a file."""
        answer = super().file_response(*args, **named)  # type: ignore[arg-type]
        asset = str(args[0] if args else named["full_path"]).startswith(str(self.directory) + "/assets/")
        answer.headers["cache-control"] = FOR_EVER if asset else "no-cache"
        return answer
