"""A labelling project behind its application in this process, and people who ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from ki67.labelling.people import person_named
from ki67.labelling.tables import Person
from ki67.server.labelling_app import create_labelling_app
from ki67.server.labelling_state import LabellingState

HOST = "127.0.0.1:8000"
COOKIE = "ki67_labelling_8000"
WINDOW = {"x-window": "window-one"}
_APPS: dict[int, ASGIApp] = {}


def web(state: LabellingState) -> TestClient:
    """A browser that nobody has logged in with."""
    app = _APPS.get(id(state))
    if app is None:
        app = _APPS[id(state)] = create_labelling_app(state, {HOST, "localhost:8000"})
    return TestClient(app, f"http://{HOST}", raise_server_exceptions=False, headers=WINDOW)


def logged_in(state: LabellingState, name: str) -> TestClient:
    """A browser of somebody whose password was right."""
    with state.database.reading() as session:
        person = person_named(session, name)
        number, password = person.id, person.password_hash
    cookie, session_of = state.accounts.enter(number, password, name, "test", "")
    browser = web(state)
    browser.cookies.set(COOKIE, cookie)
    browser.headers["x-csrf-token"] = session_of.csrf
    return browser


@contextmanager
def forgetful(state: LabellingState) -> Iterator[None]:
    """Every request is judged and done, and then forgotten, so that each finds the same project."""
    kept = state.database.session

    @contextmanager
    def session() -> Iterator[Session]:
        with kept() as one:
            try:
                yield one
                one.flush()
            finally:
                one.rollback()

    state.database.session = session  # type: ignore[method-assign]
    try:
        yield
    finally:
        state.database.session = kept  # type: ignore[method-assign]


def number_of(state: LabellingState, name: str) -> int:
    """A person's number."""
    with state.database.reading() as session:
        return session.scalars(sa.select(Person.id).where(Person.name == name)).one()
