"""What lies before a person: own work, work to review, the slide that belongs to it; nothing of anybody else's."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import AbsentError, RefusedError
from ki67.labelling.law import may_edit, may_look, may_see, open_acts
from ki67.labelling.people import actor_of, require_assigner
from ki67.labelling.prelabels import source_of
from ki67.labelling.project import the_project
from ki67.labelling.tables import Comment, Event, Label, Person, Slide, Task
from ki67.labelling.words import Act, Role, State, TaskKind
from ki67.labelling.work import task_of, work_of

_WITH_REASON = (Act.send_back.value, Act.reopen.value, Act.qc_fail.value, Act.grade_fail.value)


def task_for(session: Session, by: Person, number: int) -> Task:
    """A task that a person may know of.

    Raises
    ------
    AbsentError
        Where there is none, or it is not for this person: the two are not told apart.
    """
    task = task_of(session, number)
    if not may_look(actor_of(by), work_of(session, task)):
        raise AbsentError(f"there is no task {number}")
    return task


def task_to_edit(session: Session, by: Person, number: int) -> Task:
    """A task whose labels a person may change now.

    Raises
    ------
    AbsentError
        Where there is none, or it is not for this person: the two are not told apart.
    RefusedError
        Where it is not this person's to change now.
    """
    task = task_for(session, by, number)
    may_edit(actor_of(by), work_of(session, task))
    return task


def task_to_assign(session: Session, by: Person, number: int) -> Task:
    """A task that a person may give to somebody, or take back: of any group, or of the leader's own.

    Raises
    ------
    RefusedError
        For roles that assign nothing, whether there is such a task or not.
    AbsentError
        Where there is none, or it is another group's: the two are not told apart.
    """
    require_assigner(by)
    task = task_of(session, number)
    if by.role == Role.leader and work_of(session, task).group != by.group_id:
        raise AbsentError(f"there is no task {number}")
    return task


def slide_for(session: Session, by: Person, number: int) -> Slide:
    """A slide that a person may look at, for some work on it.

    Raises
    ------
    AbsentError
        Where there is none, or it is not for this person: the two are not told apart.
    """
    slide = session.get(Slide, number)
    actor = actor_of(by)
    tasks = session.scalars(sa.select(Task).where(Task.slide_id == number))
    if slide is None or not (
        by.role == Role.administrator or any(may_look(actor, work_of(session, task)) for task in tasks)
    ):
        raise AbsentError(f"there is no slide {number}")
    return slide


def desk_of(session: Session, by: Person) -> dict[str, list[dict[str, Any]]]:
    """All that waits for a person.

    Returns
    -------
    dict
        ``own`` work of every kind, what is to be done first before what is done; ``review``: handed in by others and
        free, or taken by this person.
    """
    own = session.scalars(sa.select(Task).where(Task.labeller_id == by.id).order_by(Task.id)).all()
    review = session.scalars(
        sa.select(Task)
        .where(
            Task.kind == TaskKind.label.value,
            Task.labeller_id != by.id,
            sa.or_(Task.state == State.submitted.value, sa.and_(_IN_REVIEW, Task.reviewer_id == by.id)),
        )
        .order_by(Task.id)
    )
    actor = actor_of(by)
    return {
        "own": [facts_of(session, by, task) for task in sorted(own, key=_urgency)],
        "review": [facts_of(session, by, task) for task in review if open_acts(actor, work_of(session, task))],
    }


_IN_REVIEW = Task.state == State.in_review.value
_ORDER = (State.returned, State.qc_failed, State.in_progress, State.assigned)


def _urgency(task: Task) -> tuple[bool, int, int]:
    """Training first, then what came back, what is begun, what is new, what is done."""
    state = State(task.state)
    place = _ORDER.index(state) if state in _ORDER else len(_ORDER)
    return place == len(_ORDER) or task.kind != TaskKind.training, place, task.id


def facts_of(session: Session, by: Person, task: Task) -> dict[str, Any]:
    """What a person may know of a task, without its labels.

    Returns
    -------
    dict
        ``task``, ``slide`` (number), ``name`` of the slide, ``kind``, ``state``, ``minutes``, ``own``, ``labeller``
        (name), ``may_edit``, ``may_see`` (the labels), ``acts`` that are open, ``reason`` why it came back,
        ``prelabelled`` (what made labels that were put there beforehand; None where nothing did), ``labels`` and
        ``open_remarks`` (numbers; None where the labels are not to be seen).
    """
    actor, work = actor_of(by), work_of(session, task)
    seen = may_see(actor, work, unblinded=the_project(session).unblinded)
    try:
        may_edit(actor, work)
        edits = True
    except RefusedError:
        edits = False
    labeller = None if task.labeller_id is None else session.get_one(Person, task.labeller_id).name
    return {
        "task": task.id,
        "slide": task.slide_id,
        "name": session.get_one(Slide, task.slide_id).name,
        "kind": task.kind,
        "state": task.state,
        "minutes": round(task.seconds / 60, 1),
        "own": work.labeller == by.id,
        "labeller": labeller,
        "may_edit": edits,
        "may_see": seen,
        "acts": [act.value for act in open_acts(actor, work)],
        "reason": reason_of(session, task),
        "prelabelled": source_of(session, task),
        "labels": _count(session, sa.select(Label).where(Label.task_id == task.id, ~Label.deleted)) if seen else None,
        "open_remarks": (
            _count(session, sa.select(Comment).where(Comment.task_id == task.id, ~Comment.settled)) if seen else None
        ),
    }


def reason_of(session: Session, task: Task) -> str | None:
    """Why a task came back; None where it did not, or was handed in again."""
    if task.state not in (State.returned.value, State.qc_failed.value, State.in_progress.value):
        return None
    acts = (*_WITH_REASON, Act.submit.value)
    last = session.scalars(
        sa.select(Event).where(Event.task_id == task.id, Event.act.in_(acts)).order_by(Event.id.desc()).limit(1)
    ).first()
    return None if last is None or last.act == Act.submit.value else last.detail.get("reason")


def _count(session: Session, found: sa.Select[Any]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(found.subquery())) or 0
