"""Who is here: the session, its name, another link."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ki67 import __version__
from ki67.server.routes.common import InSession, Shared

router = APIRouter(prefix="/api/session", tags=["session"])


class SessionFacts(BaseModel):
    """``csrf``: what requests that change something carry as ``X-CSRF-Token``; not those with a bearer."""

    csrf: str
    name: str | None
    version: str


class Named(BaseModel):
    """Who works here: the name that corrections are kept under."""

    name: Annotated[str, Field(min_length=1, max_length=200)]


class Link(BaseModel):
    """An address that lets one more browser in, once."""

    url: str


@router.get("")
def session(session: InSession) -> SessionFacts:
    """Tell the session."""
    return SessionFacts(csrf=session.csrf, name=session.name, version=__version__)


@router.put("")
def name(named: Named, session: InSession) -> SessionFacts:
    """Name who works here."""
    session.name = named.name.strip()
    return SessionFacts(csrf=session.csrf, name=session.name, version=__version__)


@router.post("/links")
def link(request: Request, state: Shared) -> Link:
    """Make a link for another browser on this machine."""
    return Link(url=f"http://{request.headers['host']}/?token={state.keys.new_link()}")
