"""Labels as they were: the log holds every version, so any moment can be put together again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.labelling.tables import Event, Person, Task
from ki67.labelling.words import Act
from ki67.labelling.work import labels_for

_SAVED = "save_label"


def labels_before(session: Session, by: Person, task: Task) -> dict[str, Any]:
    """Labels as they were handed in before, to be shown beside those of now; for whoever may see these.

    While the work is handed in: as it was handed in the time before. Else: as it was handed in last.

    Returns
    -------
    dict
        ``at`` (seconds since 1970) and ``labels``; None and [] where it was never handed in before.

    Raises
    ------
    RefusedError
        Where the labels of now are not for this person to see.
    """
    labels_for(session, by, task)
    found = session.scalars(
        sa.select(Event).where(Event.task_id == task.id, Event.act == Act.submit.value).order_by(Event.id)
    ).all()
    last = session.scalars(
        sa.select(Event)
        .where(Event.task_id == task.id, Event.act.in_([Act.submit.value, Act.begin.value]))
        .order_by(Event.id.desc())
        .limit(1)
    ).first()
    handed_in = [event for event in found if last is None or last.act != Act.submit.value or event.id != last.id]
    if not handed_in:
        return {"at": None, "labels": []}
    return {"at": handed_in[-1].at, "labels": labels_at(session, task, handed_in[-1].id)}


def labels_at(session: Session, task: Task, event: int) -> list[dict[str, Any]]:
    """Labels of a task as they stood when a row of the log was added; for the program itself."""
    rows = session.scalars(
        sa.select(Event).where(Event.task_id == task.id, Event.act == _SAVED, Event.id <= event).order_by(Event.id)
    )
    return standing(rows)


def standing(saved: Iterable[Event]) -> list[dict[str, Any]]:
    """Labels that stand after these saves, in the order in which they were made."""
    labels: dict[str, dict[str, Any]] = {}
    for row in saved:
        labels[row.detail["uuid"]] = {**row.detail, "version": int(row.after)}
    return [label for label in labels.values() if not label["deleted"]]
