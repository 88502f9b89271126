"""Who labels which slide: by hand, or balanced and drawn."""

from __future__ import annotations

from typing import Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import RefusedError
from ki67.labelling.people import actor_of, remove_name, require_administrator
from ki67.labelling.project import TRAINING
from ki67.labelling.tables import Draw, Drawn, Person, Slide, Task
from ki67.labelling.words import Act, Role, State, TaskKind
from ki67.labelling.work import perform

_LABELLING: Final = (Role.labeller.value, Role.leader.value)
_TRAINING_SLIDES: Final = sa.select(Slide).where(Slide.split == TRAINING).order_by(Slide.id)


def assign(session: Session, by: Person, slide_name: str, to: Person) -> Task:
    """Assign a slide to a person; a second person gets work of their own on it, for agreement.

    Where a project has no training slide, that person is taken for trained.

    Raises
    ------
    RefusedError
        Where there is no such slide, the person has it already, or ``by`` may not.
    """
    slide = session.scalar(sa.select(Slide).where(Slide.name == slide_name))
    if slide is None:
        raise RefusedError(f"there is no slide named {slide_name!r}")
    kind = TaskKind.training if slide.split == TRAINING else TaskKind.label
    free = sa.select(Task).where(Task.slide_id == slide.id, Task.state == State.new.value, Task.kind == kind.value)
    task = session.scalar(free.with_for_update())
    if task is None:
        task = Task(slide_id=slide.id, kind=kind.value, state=State.new.value, seconds=0.0)
        session.add(task)
        session.flush()
    perform(session, by, task, Act.assign, to=to)
    if session.scalar(_TRAINING_SLIDES.limit(1)) is None:
        to.trained = True
    return task


def assign_balanced(session: Session, by: Person, *, seed: int) -> list[Task]:
    """Assign all slides that are new to labellers and leaders, so that each has about as many; drawn by the seed.

    All slides of a patient go to people of one group where there are several groups, so that a group's failed quality
    control sends back whole patients.

    Raises
    ------
    RefusedError
        Where nobody labels, or ``by`` is no administrator.
    """
    require_administrator(by)
    people = list(
        session.scalars(sa.select(Person).where(Person.active, Person.role.in_(_LABELLING)).order_by(Person.id))
    )
    if not people:
        raise RefusedError("there is no labeller; add one with: ki67 label add-person")
    rows = session.execute(
        sa.select(Task, Slide)
        .join(Slide, Task.slide_id == Slide.id)
        .where(Task.state == State.new.value, Task.kind == TaskKind.label.value)
        .order_by(Task.id)
    ).all()
    load = {
        person.id: session.scalar(
            sa.select(sa.func.count()).where(Task.labeller_id == person.id, Task.kind == TaskKind.label.value)
        )
        or 0
        for person in people
    }
    draw = np.random.default_rng(seed)
    by_patient: dict[str, list[Task]] = {}
    for task, slide in rows:
        by_patient.setdefault(slide.patient, []).append(task)
    patients = list(by_patient)
    draw.shuffle(patients)
    groups = sorted({person.group_id for person in people if person.group_id is not None})
    assigned = []
    for patient in sorted(patients, key=lambda one: -len(by_patient[one])):
        lightest = min(groups, key=lambda group: _mean_load(group, people, load)) if groups else None
        members = [person for person in people if person.group_id == lightest]
        for task in by_patient[patient]:
            to = min(members, key=lambda person: load[person.id])
            perform(session, by, task, Act.assign, to=to)
            load[to.id] += 1
            assigned.append(task)
    return assigned


def _mean_load(group: int, people: list[Person], load: dict[int, int]) -> float:
    members = [load[person.id] for person in people if person.group_id == group]
    return sum(members) / len(members)


def remove_person(session: Session, by: Person, person: Person) -> str:
    """Take a person's name away, and give back what she or he had taken on: reviews, draws, and slides not begun.

    Nobody else could end a review that somebody has taken, or a draw, so the slides would wait for ever.

    Returns
    -------
    str
        What stands in the name's place.

    Raises
    ------
    RefusedError
        As :func:`ki67.labelling.people.remove_name`.
    """
    require_administrator(by)
    reviews = sa.select(Task).where(Task.reviewer_id == person.id, Task.state == State.in_review.value)
    for task in session.scalars(reviews.order_by(Task.id).with_for_update()).all():
        perform(session, by, task, Act.leave_review, actor=actor_of(person))
    drawn = (
        sa.select(Task)
        .join(Drawn, Drawn.task_id == Task.id)
        .join(Draw, Draw.id == Drawn.draw_id)
        .where(Draw.person_id == person.id, Draw.passed.is_(None), Task.state == State.qc_selected.value)
    )
    for task in session.scalars(drawn.order_by(Task.id).with_for_update(of=Task)).all():
        perform(session, by, task, Act.deselect, actor=actor_of(person))
    waiting = sa.select(Task).where(
        Task.labeller_id == person.id, Task.state == State.assigned.value, Task.kind == TaskKind.label.value
    )
    for task in session.scalars(waiting.order_by(Task.id).with_for_update()).all():
        perform(session, by, task, Act.unassign)
    return remove_name(session, by, person)


def assign_training(session: Session, by: Person) -> list[Task]:
    """Give everybody who labels and has not passed it every training slide that she or he has not got yet.

    Labellers, leaders, and whoever was given a slide by hand.

    Where a project has no training slide, all are taken for trained.
    """
    require_administrator(by)
    slides = list(session.scalars(_TRAINING_SLIDES))
    by_hand = sa.select(Task.labeller_id).where(Task.kind == TaskKind.label.value, Task.labeller_id.is_not(None))
    labels = sa.or_(Person.role.in_(_LABELLING), Person.id.in_(by_hand))
    people = session.scalars(sa.select(Person).where(Person.active, labels, ~Person.trained)).all()
    tasks = []
    for person in people:
        if not slides:
            person.trained = True
            continue
        have = set(session.scalars(sa.select(Task.slide_id).where(Task.labeller_id == person.id)))
        tasks += [assign(session, by, slide.name, person) for slide in slides if slide.id not in have]
    return tasks
