"""Where a project stands: states, people, time, agreement of labellers with one another."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.evaluation.agreement import icc_a1
from ki67.labelling.agreement import compare, pooled
from ki67.labelling.curves import learning_curves
from ki67.labelling.people import list_people
from ki67.labelling.project import the_project
from ki67.labelling.tables import Draw, Drawn, Person, Slide, Task
from ki67.labelling.words import DONE, LabelKind, State, TaskKind
from ki67.labelling.work import current_labels

_STILL_BLIND = sa.select(Drawn.check_id).join(Draw, Drawn.draw_id == Draw.id).where(Draw.passed.is_(None))
"""What quality control labels again before it has compared: nobody is told how far it agrees."""

_HANDED_IN = frozenset(State) - {State.new, State.assigned, State.in_progress, State.returned}


def list_tasks(session: Session) -> list[dict[str, Any]]:
    """Every task, without labels."""
    labeller, reviewer = sa.orm.aliased(Person), sa.orm.aliased(Person)
    rows = session.execute(
        sa.select(Task, Slide, labeller.name, reviewer.name)
        .join(Slide, Task.slide_id == Slide.id)
        .outerjoin(labeller, Task.labeller_id == labeller.id)
        .outerjoin(reviewer, Task.reviewer_id == reviewer.id)
        .order_by(Task.id)
    )
    return [
        {
            "task": task.id,
            "slide": slide.name,
            "patient": slide.patient,
            "split": slide.split,
            "kind": task.kind,
            "state": task.state,
            "labeller": by,
            "reviewer": reviewed_by,
            "minutes": round(task.seconds / 60, 1),
        }
        for task, slide, by, reviewed_by in rows
    ]


def status(session: Session) -> dict[str, Any]:
    """How far the project is, person by person, and how far labellers agree.

    Returns
    -------
    dict
        ``states`` (number of tasks), ``people`` (of each: tasks by state, minutes a slide), ``agreement``:
        rows of the labeller × labeller matrix, over slides that two have handed in, test slides only after
        unblinding; ``index_icc``: ICC(A,1) of the indices of slides that all who labelled cells share; ``draws``.
    """
    project = the_project(session)
    kind = LabelKind(project.kind)
    tasks = list_tasks(session)
    states = {state.value: sum(task["state"] == state for task in tasks) for state in State}
    people = []
    for person in list_people(session):
        own = [task for task in tasks if task["labeller"] == person["name"] and task["kind"] == TaskKind.label]
        minutes = [task["minutes"] for task in own if task["state"] in _HANDED_IN]
        person["tasks"] = {state.value: sum(task["state"] == state for task in own) for state in State}
        person["tasks"] = {state: count for state, count in person["tasks"].items() if count}
        del person["can_log_in"]
        person["minutes_per_slide"] = float(np.mean(minutes)) if minutes else None
        people.append(person)
    draws = session.scalars(sa.select(Draw).order_by(Draw.id))
    return {
        "project": project.name,
        "kind": kind.value,
        "slides": len({task["slide"] for task in tasks}),
        "states": {state: count for state, count in states.items() if count},
        "done": sum(task["state"] in DONE and task["kind"] == TaskKind.label for task in tasks),
        "people": people,
        **_matrix(session, kind, unblinded=project.unblinded),
        "draws": [
            {"draw": draw.id, "seed": draw.seed, "share": draw.share, "passed": draw.passed, "figures": draw.figures}
            for draw in draws
        ],
    }


def progress(session: Session) -> dict[str, Any]:
    """What everybody may know of the project: :func:`status`, and ``curves``, how each labeller learns."""
    return {**status(session), "curves": learning_curves(session)}


def _matrix(session: Session, kind: LabelKind, *, unblinded: bool) -> dict[str, Any]:
    rows = session.execute(
        sa.select(Task, Slide.id, Person.name)
        .join(Slide, Task.slide_id == Slide.id)
        .join(Person, Task.labeller_id == Person.id)
        .where(
            Task.state.in_([state.value for state in _HANDED_IN]),
            Task.kind.in_([TaskKind.label.value, TaskKind.check.value]),
            sa.or_(sa.literal(unblinded), Slide.split != "test"),
            Task.id.not_in(_STILL_BLIND),
        )
    )
    by_slide: dict[int, dict[str, Task]] = {}
    for task, slide, name in rows:
        by_slide.setdefault(slide, {})[name] = task
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for tasks in by_slide.values():
        if len(tasks) == 1:
            # Labels, of which there may be millions, are read where there is something to compare.
            continue
        labelled = {name: current_labels(session, task) for name, task in tasks.items()}
        for first, second in combinations(sorted(labelled), 2):
            pairs.setdefault((first, second), []).append(compare(kind, labelled[first], labelled[second]))
    matrix = [
        {"first": first, "second": second, **pooled(kind, compared), "classes": _by_class(compared)}
        for (first, second), compared in sorted(pairs.items())
    ]
    return {"agreement": matrix, "index_icc": _icc(pairs) if kind is LabelKind.cells else None}


def _by_class(compared: list[dict[str, Any]]) -> dict[str, float]:
    """Mean agreement over slides of each class that either of two has labelled there."""
    found: dict[str, list[float]] = {}
    for one in compared:
        for label, agreement in one["classes"].items():
            if agreement is not None:
                found.setdefault(label, []).append(agreement)
    return {label: float(np.mean(values)) for label, values in sorted(found.items())}


def _icc(pairs: dict[tuple[str, str], list[dict[str, Any]]]) -> float | None:
    """ICC(A,1) of two readers' indices, over the pair that shares most slides."""
    if not pairs:
        return None
    most = max(pairs.values(), key=len)
    ratings = np.array([one["index_percent"] for one in most if None not in one["index_percent"]], np.float64)
    if ratings.ndim != 2 or len(ratings) < 2:
        return None
    estimate = icc_a1(ratings)
    return None if estimate is None else float(estimate.value)
