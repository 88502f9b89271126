"""What all routes of a labelling project share: its state, who asks, and what is said of errors."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from ki67.server.accounts import AccountSession
from ki67.server.labelling_state import LabellingState


class Problem(BaseModel):
    """Why a request was not answered, in one line."""

    error: str


class ConflictProblem(Problem):
    """Somebody has changed a label since: ``mine`` was to be saved, ``theirs`` stands now."""

    mine: dict[str, Any] | None = None
    theirs: dict[str, Any] | None = None


_WHY: Final = {
    400: "The request cannot be read.",
    401: "Nobody is logged in.",
    403: "It is not open to this person, or not now; or X-CSRF-Token is missing.",
    404: "There is no such thing for this person.",
    409: "A label was changed by somebody else since it was read.",
    413: "The request is too large.",
    421: "It is meant for another host.",
    422: "It says nothing that can be done.",
    423: "Another window has the slide open.",
    428: "If-Match is missing.",
    429: "Too many wrong passwords; wait a while.",
    500: "A defect of the program.",
    503: "The database cannot be used now.",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ConflictProblem if status == 409 else Problem, "description": why}
    for status, why in _WHY.items()
}


class Body(BaseModel):
    """What a request says; nothing else is taken."""

    model_config = ConfigDict(extra="forbid")


def office_of(request: Request) -> LabellingState:
    """Return what all requests share."""
    state: LabellingState = request.app.state.shared
    return state


def account_of(request: Request) -> AccountSession:
    """Return the session of who asks; whoever has none is not let through to here."""
    session: AccountSession = request.state.session
    return session


def window_of(
    request: Request,
    window: Annotated[
        str, Header(alias="x-window", pattern="^[0-9a-zA-Z-]{8,64}$", description="Tells windows of a browser apart.")
    ],
) -> str:
    """Name of the person and of the window that asks: a lease is of both, and outlives a session that ended."""
    return f"{account_of(request).person} {window}"


Office = Annotated[LabellingState, Depends(office_of)]
Account = Annotated[AccountSession, Depends(account_of)]
Window = Annotated[str, Depends(window_of)]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Password = Annotated[str, Field(max_length=1024)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
