"""Who is here: login, logout, the own password."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from ki67 import __version__
from ki67.labelling.people import change_password, check_password, entered
from ki67.labelling.tables import Group, Person
from ki67.server.account_guard import LOGIN
from ki67.server.accounts import AccountSession
from ki67.server.guard import too_many_text
from ki67.server.keys import LONGEST_IDLE_S
from ki67.server.routes.office import Account, Body, Name, Office, Password

router = APIRouter(tags=["login"])


class LoginBody(Body):
    """Name and password."""

    name: Name
    password: Password


class PasswordBody(Body):
    """The own password, and what it shall be."""

    old: Password
    new: Password


@router.get("/api/session")
def session(request: Request, office: Office) -> dict[str, Any]:
    """Tell who is logged in: ``person`` is null where nobody is."""
    account: AccountSession | None = request.state.session
    told = {"labelling": True, "version": __version__, "person": None, "csrf": None}
    if account is None:
        return told
    try:
        with office.looking(account) as (db, by):
            group = None if by.group_id is None else db.get_one(Group, by.group_id).name
            person = {"person": by.id, "name": by.name, "role": by.role, "group": group, "trained": by.trained}
    except HTTPException:
        office.accounts.leave(account)
        return told
    return told | {"person": person, "csrf": account.csrf}


@router.post(LOGIN)
def login(body: LoginBody, request: Request, response: Response, office: Office) -> dict[str, str]:
    """Log in; the cookie is another one than before, whatever it was."""
    address = "" if request.client is None else request.client.host
    wait_s = office.accounts.may_guess(body.name, address)
    if wait_s:
        raise HTTPException(429, too_many_text("passwords"), {"retry-after": str(int(wait_s) + 1)})
    with office.accounts.hashing, office.database.reading() as db:
        found = check_password(db, body.name.strip(), body.password)
    if found is None:
        raise HTTPException(401, "this name and this password do not belong together")
    with office.database.session() as db:
        person = db.get_one(Person, found.id)
        entered(db, person, body.password)
        kept = person.password_hash
    before = request.cookies.get(office.cookie, "")
    cookie, _ = office.accounts.enter(found.id, kept, body.name, address, before)
    response.set_cookie(
        office.cookie,
        cookie,
        max_age=round(LONGEST_IDLE_S),
        path="/",
        httponly=True,
        samesite="strict",
        # A proxy in front may encrypt: then the page came by https.
        secure=office.encrypted or request.headers.get("origin", "").startswith("https://"),
    )
    return {"name": found.name}


@router.post("/api/labelling/logout")
def logout(response: Response, office: Office, account: Account) -> dict[str, bool]:
    """End this session."""
    office.accounts.leave(account)
    response.delete_cookie(office.cookie, path="/", httponly=True, samesite="strict", secure=office.encrypted)
    return {"logged_out": True}


@router.post("/api/labelling/password")
def password(body: PasswordBody, request: Request, office: Office, account: Account) -> dict[str, bool]:
    """Change the own password; all other sessions of this person end."""
    address = "" if request.client is None else request.client.host
    with office.looking(account) as (_, by):
        name = by.name
    wait_s = office.accounts.may_guess(name, address)
    if wait_s:
        raise HTTPException(429, too_many_text("passwords"), {"retry-after": str(int(wait_s) + 1)})
    with office.accounts.hashing, office.database.reading() as db:
        right = check_password(db, name, body.old) is not None
    if not right:
        raise HTTPException(403, "the old password is another one")
    office.accounts.forgive(name, address)
    with office.acting(account) as (db, by):
        change_password(db, by, body.new)
        kept = by.password_hash
    account.password = kept
    office.accounts.leave_all(account.person, but=account)
    return {"changed": True}
