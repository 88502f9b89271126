"""Labels of a model put there beforehand, to be mended; only where the project allows it, and always told."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import RefusedError
from ki67.labelling.journal import note
from ki67.labelling.people import require_administrator
from ki67.labelling.project import the_project
from ki67.labelling.shapes import checked
from ki67.labelling.tables import Event, Label, Person, Slide, Task
from ki67.labelling.words import LabelKind, State, TaskKind

ACT: Final = "prelabel"
LONGEST_SOURCE: Final = 200


def prelabel(session: Session, by: Person, task: Task, labels: Sequence[Mapping[str, Any]], source: str) -> int:
    """Put labels into work that is not begun.

    They bias whoever mends them, so a project has to allow them; never on test slides, whose labels shall measure
    models, on training slides, or on what quality control labels again.

    Parameters
    ----------
    labels
        Each with ``label`` and ``geometry`` (GeoJSON in µm).
    source
        What made them, as it is shown to labellers and kept in the log.

    Returns
    -------
    int
        How many.

    Raises
    ------
    RefusedError
        Where the project forbids it, the work is begun, of another kind or has labels, or the person is no
        administrator.
    """
    require_administrator(by)
    project = the_project(session)
    if not project.prelabels_allowed:
        raise RefusedError("this project forbids labels of a model; it was made without --allow-prelabels")
    if task.kind != TaskKind.label or task.state not in (State.new, State.assigned):
        raise RefusedError(f"task {task.id} is '{task.kind}' and '{task.state}': labels go into labelling not begun")
    if session.get_one(Slide, task.slide_id).split == "test":
        raise RefusedError(f"task {task.id} is of a test slide: its labels shall not come from a model")
    if session.scalar(sa.select(Label.uuid).where(Label.task_id == task.id).limit(1)) is not None:
        raise RefusedError(f"task {task.id} has labels already")
    source = source.strip()
    if not source or len(source) > LONGEST_SOURCE or not source.isprintable():
        raise RefusedError(f"say in 1 to {LONGEST_SOURCE} characters what made the labels")
    classes = {one["name"] for one in project.classes}
    note(session, by.id, ACT, task=task.id, detail={"source": source, "labels": len(labels)})
    for one in labels:
        if one["label"] not in classes:
            raise RefusedError(f"there is no class {one['label']!r}; there are {', '.join(sorted(classes))}")
        made = {
            "uuid": str(uuid.uuid4()),
            "label": one["label"],
            "geometry": checked(LabelKind(project.kind), one["geometry"]),
            "deleted": False,
        }
        session.add(Label(task_id=task.id, version=1, person_id=by.id, changed=time.time(), **made))
        note(session, by.id, "save_label", task=task.id, before="0", after="1", detail=made)
    session.flush()
    return len(labels)


def source_of(session: Session, task: Task) -> str | None:
    """What made the labels that were put into a task beforehand; None where nothing did."""
    found = session.scalars(sa.select(Event).where(Event.task_id == task.id, Event.act == ACT).limit(1)).first()
    return None if found is None else str(found.detail["source"])
