"""The people of a project: names, roles, groups, passwords."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import argon2
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import RefusedError
from ki67.labelling.journal import note
from ki67.labelling.law import Actor
from ki67.labelling.tables import Group, Lease, Person
from ki67.labelling.words import Role

LONGEST_NAME: Final = 100
SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 1024

_HASHER: Final = argon2.PasswordHasher()

_FORMER: Final = "former member"


def person_named(session: Session, name: str) -> Person:
    """Active person of a name.

    Raises
    ------
    RefusedError
        Where there is none.
    """
    found = session.scalar(sa.select(Person).where(Person.name == name, Person.active))
    if found is None:
        names = ", ".join(
            session.scalars(sa.select(Person.name).where(Person.active).order_by(Person.name).limit(10))
        )
        raise RefusedError(f"there is no active person named {name!r}; there are: {names or 'none'}")
    return found


def actor_of(person: Person) -> Actor:
    """What the law asks of a person."""
    return Actor(person.id, Role(person.role), person.group_id, person.trained)


def require_administrator(person: Person) -> None:
    """Stop everybody else.

    Raises
    ------
    RefusedError
        For other roles.
    """
    if person.role != Role.administrator:
        raise RefusedError(f"that is for administrators, not for the role '{person.role}'")


def require_assigner(person: Person) -> None:
    """Stop who may give nobody work, before anything is said of people and slides.

    Raises
    ------
    RefusedError
        For other roles.
    """
    if person.role not in (Role.administrator, Role.leader):
        raise RefusedError(f"that is for administrators and leaders, not for the role '{person.role}'")


def require_guideline_writer(person: Person) -> None:
    """Stop who writes neither the guideline nor its pictures.

    Raises
    ------
    RefusedError
        For other roles.
    """
    if person.role not in (Role.administrator, Role.trainer):
        raise RefusedError(f"the guideline is for trainers and administrators, not for the role '{person.role}'")


def add_person(
    session: Session, by: Person | None, name: str, role: Role, *, group: str | None = None, password: str = ""
) -> Person:
    """Add a person; a group that is new is made.

    Parameters
    ----------
    by
        The administrator who does it; None for the first person of a project.
    group
        Name of the group; labellers and leaders need one.
    password
        For the web pages; without, the person cannot log in there.

    Raises
    ------
    RefusedError
        Where the name is taken or none, a password is too short, a group's name is none, or a labeller or leader has
        no group.
    """
    if by is not None:
        require_administrator(by)
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise RefusedError(f"a name is one line of 1 to {LONGEST_NAME} characters")
    if re.fullmatch(rf"{_FORMER} [0-9]+", name):
        raise RefusedError(f"{name!r} stands for somebody whose name was taken away; choose another name")
    if session.scalar(sa.select(Person.id).where(Person.name == name)) is not None:
        raise RefusedError(f"there is a person named {name!r} already")
    if role in (Role.labeller, Role.leader) and not group:
        raise RefusedError(f"a {role.value} needs a group")
    if group and (len(group) > LONGEST_NAME or not group.isprintable()):
        raise RefusedError(f"a group's name is one line of 1 to {LONGEST_NAME} characters")
    person = Person(
        name=name,
        role=role.value,
        group_id=None if not group else _group(session, group).id,
        password_hash=hashed(password) if password else "",
        active=True,
        trained=False,
    )
    session.add(person)
    session.flush()
    note(session, None if by is None else by.id, "add_person", detail={"person": person.id, "role": role.value})
    return person


def _group(session: Session, name: str) -> Group:
    group = session.scalar(sa.select(Group).where(Group.name == name))
    if group is None:
        group = Group(name=name)
        session.add(group)
        session.flush()
    return group


def hashed(password: str) -> str:
    """Argon2 hash of a password.

    Raises
    ------
    RefusedError
        Where it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise RefusedError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    return _HASHER.hash(password)


@functools.cache
def _decoy() -> str:
    """Hash of nobody's password, so that a name that is not there takes as long as one that is."""
    return _HASHER.hash("no password of anybody")


def check_password(session: Session, name: str, password: str) -> Person | None:
    """Person whose name and password these are; None otherwise, after the same time."""
    person = session.scalar(sa.select(Person).where(Person.name == name, Person.active))
    known = person is not None and bool(person.password_hash)
    try:
        _HASHER.verify(
            person.password_hash if person is not None and known else _decoy(), password[:LONGEST_PASSWORD]
        )
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return None
    if person is None or not known:
        return None
    return person


def entered(session: Session, person: Person, password: str) -> None:
    """Keep in the log that somebody logged in; make a hash of older strength anew while the password is at hand."""
    if _HASHER.check_needs_rehash(person.password_hash):
        person.password_hash = _HASHER.hash(password)
    note(session, person.id, "log_in")


def set_password(session: Session, by: Person, person: Person, password: str) -> None:
    """Give a person a password, as an administrator.

    Raises
    ------
    RefusedError
        For everybody else, of somebody who is no longer active, and where it is too short or too long.
    """
    require_administrator(by)
    _set_password(session, by, person, password)


def change_password(session: Session, by: Person, password: str) -> None:
    """Change the own password; whoever calls this has had the old one looked at.

    Raises
    ------
    RefusedError
        Where it is too short or too long.
    """
    _set_password(session, by, by, password)


def _set_password(session: Session, by: Person, person: Person, password: str) -> None:
    if not person.active:
        raise RefusedError("this person is no longer active")
    person.password_hash = hashed(password)
    note(session, by.id, "set_password", detail={"person": person.id})


def remove_name(session: Session, by: Person, person: Person) -> str:
    """Take a person's name and password away on request; the log and the labels keep the number.

    Returns
    -------
    str
        What stands in the name's place.

    Raises
    ------
    RefusedError
        For anybody but an administrator, and of the only administrator.
    """
    require_administrator(by)
    others = sa.select(Person.id).where(Person.role == Role.administrator, Person.active, Person.id != person.id)
    if person.role == Role.administrator and session.scalar(others.limit(1)) is None:
        raise RefusedError("the only administrator cannot be removed; add another one first")
    person.name, person.password_hash, person.active = f"{_FORMER} {person.id}", "", False
    session.execute(sa.delete(Lease).where(Lease.person_id == person.id))
    note(session, by.id, "remove_name", detail={"person": person.id})
    return person.name


def list_people(session: Session) -> list[dict[str, Any]]:
    """Everybody, active or not, without anything secret."""
    rows = session.execute(sa.select(Person, Group.name).outerjoin(Group, Person.group_id == Group.id))
    return [
        {
            "person": person.id,
            "name": person.name,
            "role": person.role,
            "group": group,
            "active": person.active,
            "trained": person.trained,
            "can_log_in": bool(person.password_hash),
        }
        for person, group in rows
    ]
