"""Remarks of review, pinned to a place of a slide or to the whole of it."""

from __future__ import annotations

import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import AbsentError, RefusedError
from ki67.labelling.desk import task_for
from ki67.labelling.journal import note
from ki67.labelling.tables import Comment, Person, Task
from ki67.labelling.work import labels_for

LONGEST: Final = 2000
"""Characters."""


def remark(session: Session, by: Person, task: Task, text: str, at_um: tuple[float, float] | None = None) -> Comment:
    """Pin a remark to a place of a task, or to the whole of it; for whoever may see its labels.

    Raises
    ------
    RefusedError
        Where that is not this person's, or the text is empty or too long.
    """
    labels_for(session, by, task)
    if not text.strip() or len(text) > LONGEST:
        raise RefusedError(f"a remark has 1 to {LONGEST:,} characters")
    x_um, y_um = at_um if at_um is not None else (None, None)
    made = Comment(
        task_id=task.id, person_id=by.id, at=time.time(), x_um=x_um, y_um=y_um, text=text.strip(), settled=False
    )
    session.add(made)
    session.flush()
    note(session, by.id, "remark", task=task.id, detail={"remark": made.id, "x_um": x_um, "y_um": y_um})
    return made


def settle(session: Session, by: Person, number: int, *, settled: bool) -> Comment:
    """Say that what a remark asks for is done, or is open again; for whoever may see the labels.

    Raises
    ------
    AbsentError
        Where there is no such remark, or it is on work that is not for this person: the two are not told apart.
    RefusedError
        Where the labels are not for this person to see now.
    """
    found = session.get(Comment, number)
    try:
        task = None if found is None else task_for(session, by, found.task_id)
    except AbsentError:
        task = None
    if found is None or task is None:
        raise AbsentError(f"there is no remark {number}")
    labels_for(session, by, task)
    if found.settled != settled:
        found.settled = settled
        note(session, by.id, "settle", task=found.task_id, detail={"remark": number, "settled": settled})
    return found


def remarks_for(session: Session, by: Person, task: Task) -> list[dict[str, Any]]:
    """Remarks of a task, the oldest first; for whoever may see its labels.

    Raises
    ------
    RefusedError
        Where that is not this person's.
    """
    labels_for(session, by, task)
    rows = session.execute(
        sa.select(Comment, Person.name)
        .join(Person, Comment.person_id == Person.id)
        .where(Comment.task_id == task.id)
        .order_by(Comment.id)
    )
    return [as_sent(found, name) for found, name in rows]


def as_sent(found: Comment, name: str) -> dict[str, Any]:
    """A remark as it is handed out."""
    return {
        "remark": found.id,
        "by": name,
        "at": found.at,
        "x_um": found.x_um,
        "y_um": found.y_um,
        "text": found.text,
        "settled": found.settled,
    }
