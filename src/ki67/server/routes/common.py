"""What all routes share: the state, the case that an address names, tiles, and what is said of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import Depends, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ki67.server.keys import Session
from ki67.server.library import EncodedTiles, OpenCase
from ki67.server.state import State

T = TypeVar("T")


class Problem(BaseModel):
    """Why a request was not answered, in one line."""

    error: str


class StaleProblem(Problem):
    """Somebody has corrected since: ``version`` is the state that the case is in now."""

    version: str | None = None
    needs_recount: str | None = None


_WHY: Final = {
    400: "The request cannot be read.",
    401: "Nobody known: open the link that ki67 serve printed.",
    403: "It leads out of the folder that is served, or X-CSRF-Token is missing.",
    404: "There is no such thing.",
    409: "It does not fit the state that the case is in.",
    413: "The request is too large.",
    421: "It is meant for another host.",
    422: "It says nothing that can be done.",
    429: "Too many; wait a while.",
    500: "A defect of the program.",
    503: "A run is at work in the case; try again later.",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": StaleProblem if status in {409, 422} else Problem, "description": why}
    for status, why in _WHY.items()
}

FOR_EVER: Final = "private, max-age=31536000, immutable"
CLIENT_GONE: Final = 499
"""Nobody waits for the answer any more; it is never seen."""

Number = Annotated[int, Path(ge=0, le=2**31)]


class TileServer(Protocol):
    """What it takes to answer with tiles."""

    @property
    def readers(self) -> ThreadPoolExecutor:
        """Threads that read."""
        ...

    @property
    def encoded(self) -> EncodedTiles:
        """Tiles as they were sent."""
        ...


class TileReader(Protocol):
    """Who asks for tiles: few at a time."""

    @property
    def reading(self) -> asyncio.Semaphore:
        """Taken while a tile is read."""
        ...


def state_of(request: Request) -> State:
    """Return what all requests share."""
    state: State = request.app.state.shared
    return state


def session_of(request: Request) -> Session:
    """Return the session of the browser, or of scripts."""
    session: Session = request.state.session
    return session


Shared = Annotated[State, Depends(state_of)]
InSession = Annotated[Session, Depends(session_of)]
CaseId = Annotated[str, Path(max_length=2000, description="The case's folder below the root, ~ between folders.")]


def case_of(case_id: CaseId, state: Shared) -> OpenCase:
    """Return the case that an address names."""
    return state.library.case(case_id)


Case = Annotated[OpenCase, Depends(case_of)]
Micrometres = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
"""A coordinate, or a distance, on a slide: none is a metre long."""


def in_browser_for_ever(request: Request, digest: str) -> Response | None:
    """Answer a browser that has a picture of this name already; None where it has not."""
    if request.headers.get("if-none-match") == f'"{digest}"':
        return Response(status_code=304, headers={"etag": f'"{digest}"', "cache-control": FOR_EVER})
    return None


def picture(data: bytes, digest: str, media_type: str) -> Response:
    """Return a picture whose address holds the name of all that it was made from."""
    return Response(data, media_type=media_type, headers={"etag": f'"{digest}"', "cache-control": FOR_EVER})


async def tile(request: Request, name: str, make: Callable[[], bytes], media_type: str) -> Response:
    """Answer with a tile: few at a time for one browser, and none for one that has gone on.

    Parameters
    ----------
    request
        The request.
    name
        Tells the tile from all others that ever were.
    make
        Makes it, in a thread.
    media_type
        What it is.
    """
    known = in_browser_for_ever(request, name)
    if known is not None:
        return known
    state: TileServer = request.app.state.shared
    reader: TileReader = request.state.session
    async with reader.reading:
        if await _gone(request):
            return Response(status_code=CLIENT_GONE)
        data = await in_thread(request, lambda: state.encoded.get(name, make))
    return picture(data, name, media_type)


async def in_thread(request: Request, work: Callable[[], T]) -> T:
    """Do something that reads files, while others are answered."""
    state: TileServer = request.app.state.shared
    return await asyncio.get_running_loop().run_in_executor(state.readers, work)


async def _gone(request: Request) -> bool:
    """Whether the browser has closed the connection; the first look may find the request's empty body instead."""
    return await request.is_disconnected() or await request.is_disconnected()
