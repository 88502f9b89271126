"""Progress and agreement for everybody; draws of quality control; people, assignment and states."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy.orm
from fastapi import APIRouter
from pydantic import Field
from starlette.exceptions import HTTPException

from ki67.labelling.assigning import assign, assign_balanced, assign_training, remove_person
from ki67.labelling.desk import task_to_assign
from ki67.labelling.overview import list_tasks
from ki67.labelling.people import (
    add_person,
    list_people,
    person_named,
    require_administrator,
    require_assigner,
    set_password,
)
from ki67.labelling.project import unblind
from ki67.labelling.quality import LEAST_SHARE, LIMIT, conclude, draw_for_quality, draws_for
from ki67.labelling.rois import draw_rois
from ki67.labelling.tables import Person
from ki67.labelling.words import Act, QualityRule, Role
from ki67.labelling.work import perform
from ki67.server.routes.office import Account, Body, Name, Number, Office, Password, Seed

router = APIRouter(prefix="/api/labelling", tags=["overview"])


class DrawBody(Body):
    """A draw of a group's accepted slides."""

    group: Name
    seed: Seed
    share: Annotated[float, Field(ge=LEAST_SHARE, le=1, allow_inf_nan=False)] = LEAST_SHARE
    rule: QualityRule = QualityRule.point
    limit: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = LIMIT


class PersonBody(Body):
    """A new person; labellers and leaders have a group."""

    name: Name
    role: Role
    group: Annotated[str, Field(max_length=200)] = ""
    password: Password = ""


class NewPasswordBody(Body):
    """A password for somebody."""

    password: Password


class AssignBody(Body):
    """A slide for a person."""

    slide: Name
    to: Name


class SeedBody(Body):
    """A draw."""

    seed: Seed


@router.get("/progress")
def progress(office: Office, account: Account) -> dict[str, Any]:
    """Tell how far the project is, how far labellers agree and how they learn."""
    return office.progress(account)


@router.get("/draws")
def draws(office: Office, account: Account) -> list[dict[str, Any]]:
    """List the draws of this quality controller."""
    with office.looking(account) as (db, by):
        return draws_for(db, by)


@router.post("/draws")
def draw(body: DrawBody, office: Office, account: Account) -> dict[str, Any]:
    """Draw accepted slides of a group, to be labelled again blind."""
    with office.acting(account) as (db, by):
        made = draw_for_quality(
            db, by, body.group, seed=body.seed, share=body.share, rule=body.rule, limit=body.limit
        )
        return {"draw": made.id, "seed": made.seed}


@router.post("/draws/{number}/conclude")
def conclude_draw(number: Number, office: Office, account: Account) -> dict[str, Any]:
    """Compare what was drawn with what was labelled again."""
    with office.acting(account) as (db, by):
        return conclude(db, by, number)


@router.get("/people")
def people(office: Office, account: Account) -> list[dict[str, Any]]:
    """List everybody."""
    with office.looking(account) as (db, by):
        require_administrator(by)
        return list_people(db)


@router.post("/people")
def new_person(body: PersonBody, office: Office, account: Account) -> dict[str, Any]:
    """Add a person."""
    with office.acting(account) as (db, by):
        made = add_person(db, by, body.name, body.role, group=body.group.strip() or None, password=body.password)
        return {"person": made.id, "name": made.name}


@router.post("/people/{number}/password")
def new_password(number: Number, body: NewPasswordBody, office: Office, account: Account) -> dict[str, bool]:
    """Give somebody a password; her or his sessions end."""
    with office.acting(account) as (db, by):
        require_administrator(by)
        set_password(db, by, _person(db, number), body.password)
    office.accounts.leave_all(number, but=account)
    return {"changed": True}


@router.post("/people/{number}/remove-name")
def remove(number: Number, office: Office, account: Account) -> dict[str, str]:
    """Take a name and a password away and give back what was not begun; log and labels keep the number."""
    with office.acting(account) as (db, by):
        require_administrator(by)
        shown = remove_person(db, by, _person(db, number))
    office.accounts.leave_all(number)
    return {"shown_as": shown}


@router.get("/tasks")
def tasks(office: Office, account: Account) -> list[dict[str, Any]]:
    """List all work and its states, without labels."""
    with office.looking(account) as (db, by):
        require_administrator(by)
        return list_tasks(db)


@router.post("/assign")
def assign_one(body: AssignBody, office: Office, account: Account) -> dict[str, int]:
    """Give a person a slide."""
    with office.acting(account) as (db, by):
        require_assigner(by)
        return {"task": assign(db, by, body.slide, person_named(db, body.to)).id}


@router.post("/assign-balanced")
def assign_all(body: SeedBody, office: Office, account: Account) -> dict[str, int]:
    """Give all new slides to labellers in balance, and training slides to who has not passed them."""
    with office.acting(account) as (db, by):
        return {"tasks": len(assign_training(db, by)) + len(assign_balanced(db, by, seed=body.seed))}


@router.post("/tasks/{number}/unassign")
def unassign(number: Number, office: Office, account: Account) -> dict[str, str]:
    """Take a slide back that was not begun."""
    with office.acting(account) as (db, by):
        return {"state": perform(db, by, task_to_assign(db, by, number), Act.unassign).value}


@router.post("/rois")
def rois(body: SeedBody, office: Office, account: Account) -> dict[str, int]:
    """Draw the squares in which cells are counted, on slides that have none."""
    with office.acting(account) as (db, by):
        return {"slides": len(draw_rois(db, by, seed=body.seed))}


@router.post("/unblind")
def unblind_all(office: Office, account: Account) -> dict[str, bool]:
    """Open the labels of test slides, once and for all."""
    with office.acting(account) as (db, by):
        unblind(db, by)
    return {"unblinded": True}


def _person(db: sqlalchemy.orm.Session, number: int) -> Person:
    found = db.get(Person, number)
    if found is None:
        raise HTTPException(404, f"there is no person {number}")
    return found
