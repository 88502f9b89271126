"""Learning curves: how far what a person handed in agreed with what was accepted in the end, slide after slide."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.labelling.agreement import compare
from ki67.labelling.past import standing
from ki67.labelling.project import TRAINING, the_project
from ki67.labelling.tables import Event, Label, Person, Slide, Task
from ki67.labelling.words import DONE, Act, LabelKind, TaskKind
from ki67.labelling.work import current_labels


def learning_curves(session: Session) -> list[dict[str, Any]]:
    """Points of every labeller's learning curve, in the order in which work was handed in.

    A training slide is compared with its known answer at every hand-in; any other slide with what was accepted, as it
    was handed in first. Test slides only after unblinding.

    Returns
    -------
    list of dict
        ``person`` (name), ``at`` (seconds since 1970), ``kind``, ``agreement`` (None where neither labelled
        anything), ``minutes`` of work on the slide until now.
    """
    project = the_project(session)
    kind = LabelKind(project.kind)
    rows = session.execute(
        sa.select(Task, Slide, Person.name)
        .join(Slide, Task.slide_id == Slide.id)
        .join(Person, Task.labeller_id == Person.id)
        .where(
            Task.kind.in_([TaskKind.label.value, TaskKind.training.value]),
            sa.or_(sa.literal(project.unblinded), Slide.split != "test"),
        )
    )
    points = []
    for task, slide, name in rows:
        for at, agreement in _training(session, task) if slide.split == TRAINING else _accepted(session, kind, task):
            minutes = round(task.seconds / 60, 1)
            points.append({"person": name, "at": at, "kind": task.kind, "agreement": agreement, "minutes": minutes})
    return sorted(points, key=lambda point: point["at"])


def _training(session: Session, task: Task) -> list[tuple[float, float | None]]:
    graded = sa.select(Event).where(Event.task_id == task.id, Event.act == "graded").order_by(Event.id)
    return [(event.at, event.detail["agreement"]) for event in session.scalars(graded)]


def _accepted(session: Session, kind: LabelKind, task: Task) -> list[tuple[float, float | None]]:
    if task.state not in DONE:
        return []
    own = sa.select(Event).where(Event.task_id == task.id).order_by(Event.id)
    first = session.scalar(own.where(Event.act == Act.submit.value).limit(1))
    if first is None:
        return []
    saves = own.where(Event.act == "save_label")
    if session.scalar(saves.where(Event.id > first.id).limit(1)) is None:
        # Accepted as it was handed in: labels, of which there may be millions, need not be read.
        anything = sa.select(Label.uuid).where(Label.task_id == task.id, ~Label.deleted).limit(1)
        return [(first.at, None if session.scalar(anything) is None else 1.0)]
    labels = standing(session.scalars(saves.where(Event.id < first.id)).all())
    return [(first.at, compare(kind, labels, current_labels(session, task))["agreement"])]
