"""What the commands of a labelling project share: its folder, who acts, one transaction."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ki67.errors import MissingExtraError, RefusedError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from ki67.labelling.tables import Person

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")]
By = Annotated[
    str | None, typer.Option("--by", help="Who does it, by name; without, the administrator if there is only one.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of the draw; kept in the log.")]


@contextmanager
def open_project(folder: Path, *, looks: bool = False) -> Iterator[Session]:
    """One transaction on a project; one that only looks keeps nobody from saving."""
    require_extra()
    from ki67.labelling.database import open_database

    database = open_database(folder)
    try:
        with database.reading() if looks else database.session() as session:
            yield session
    finally:
        database.close()


def require_extra() -> None:
    """Stop where the extra is not installed.

    Raises
    ------
    MissingExtraError
        With the command that installs it.
    """
    if any(importlib.util.find_spec(name) is None for name in ("sqlalchemy", "alembic", "argon2")):
        raise MissingExtraError("serve", "The labelling process")


def who(session: Session, by: str | None) -> Person:
    """Return who acts: the person named, or the only administrator.

    Raises
    ------
    RefusedError
        Where there is no such person, or no name and several administrators.
    """
    from ki67.labelling.people import list_people, person_named

    if by is not None:
        return person_named(session, by)
    found = [one["name"] for one in list_people(session) if one["active"] and one["role"] == "administrator"]
    if len(found) != 1:
        raise RefusedError("say who does it, with --by NAME")
    return person_named(session, found[0])
