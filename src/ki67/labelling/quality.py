"""Quality control: of a group's accepted slides some are drawn by seed, labelled again blind and compared."""

from __future__ import annotations

import math
import time
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import RefusedError
from ki67.labelling.agreement import compare, pooled
from ki67.labelling.journal import note
from ki67.labelling.project import the_project
from ki67.labelling.tables import Draw, Drawn, Group, Person, Slide, Task
from ki67.labelling.words import Act, LabelKind, QualityRule, Role, State, TaskKind
from ki67.labelling.work import current_labels, perform

LEAST_SHARE: Final = 0.05
"""Feng et al. 2020: at least 5 % are drawn."""

LIMIT: Final = 0.95
"""Feng et al. 2020: accepted above 95 %."""


def draw_for_quality(
    session: Session,
    by: Person,
    group: str,
    *,
    seed: int,
    share: float = LEAST_SHARE,
    rule: QualityRule = QualityRule.point,
    limit: float = LIMIT,
) -> Draw:
    """Draw accepted slides of a group and give them to the controller to label again without seeing the labels.

    Parameters
    ----------
    share
        Of the accepted slides, at least :data:`LEAST_SHARE`; rounded up.
    rule
        Whether the agreement itself or the lower end of its 95 % interval has to lie above the limit. It is stated
        with the result, for 95 right of 100 only means 89 to 98 %.

    Raises
    ------
    RefusedError
        Where the role is another, the share too small, or nothing is accepted that somebody else labelled.
    """
    if by.role != Role.quality:
        raise RefusedError(f"a draw is for quality control, not for the role '{by.role}'")
    if not LEAST_SHARE <= share <= 1:
        raise RefusedError(f"the share drawn is {LEAST_SHARE:g} to 1, not {share:g}")
    if not 0 < limit < 1:
        raise RefusedError(f"the limit lies between 0 and 1, not at {limit:g}")
    team = session.scalar(sa.select(Group).where(Group.name == group))
    if team is None:
        raise RefusedError(f"there is no group named {group!r}")
    candidates = [task for task in _of_group(session, team, (State.accepted,)) if task.labeller_id != by.id]
    have = set(session.scalars(sa.select(Task.slide_id).where(Task.labeller_id == by.id)))
    candidates = [task for task in candidates if task.slide_id not in have]
    if not candidates:
        raise RefusedError(f"group {group!r} has no accepted slide that this person has not labelled")
    count = min(len(candidates), max(1, math.ceil(share * len(candidates) - 1e-9)))
    chosen = np.random.default_rng(seed).choice(len(candidates), count, replace=False)
    draw = Draw(
        group_id=team.id, person_id=by.id, at=time.time(), seed=seed, share=share, rule=rule.value, limit=limit
    )
    session.add(draw)
    session.flush()
    for index in sorted(chosen.tolist()):
        task = candidates[index]
        perform(session, by, task, Act.select)
        check = Task(
            slide_id=task.slide_id,
            kind=TaskKind.check.value,
            state=State.assigned.value,
            labeller_id=by.id,
            seconds=0.0,
        )
        session.add(check)
        session.flush()
        note(session, by.id, Act.assign.value, task=check.id, before=State.new.value, after=check.state)
        session.add(Drawn(draw_id=draw.id, task_id=task.id, check_id=check.id))
    numbers = [candidates[index].id for index in sorted(chosen.tolist())]
    detail = {"draw": draw.id, "seed": seed, "share": share, "of": len(candidates), "tasks": numbers}
    note(session, by.id, "draw", detail=detail)
    session.flush()
    return draw


def draws_for(session: Session, by: Person) -> list[dict[str, Any]]:
    """Draws of a quality controller, the latest first: what is to be labelled again, and how each ended.

    Raises
    ------
    RefusedError
        For other roles.
    """
    if by.role != Role.quality:
        raise RefusedError(f"draws are for quality control, not for the role '{by.role}'")
    rows = session.execute(
        sa.select(Draw, Group.name)
        .outerjoin(Group, Draw.group_id == Group.id)
        .where(Draw.person_id == by.id)
        .order_by(Draw.id.desc())
    )
    found = []
    for draw, group in rows:
        checks = session.execute(
            sa.select(Task.id, Task.state)
            .join(Drawn, Drawn.check_id == Task.id)
            .where(Drawn.draw_id == draw.id)
            .order_by(Task.id)
        )
        found.append(
            {
                "draw": draw.id,
                "group": group,
                "at": draw.at,
                "seed": draw.seed,
                "share": draw.share,
                "rule": draw.rule,
                "limit": draw.limit,
                "passed": draw.passed,
                "figures": draw.figures,
                "checks": [{"task": task, "state": state} for task, state in checks],
            }
        )
    return found


def _of_group(session: Session, team: Group, states: tuple[State, ...]) -> list[Task]:
    return list(
        session.scalars(
            sa.select(Task)
            .join(Person, Task.labeller_id == Person.id)
            .where(
                Person.group_id == team.id,
                Task.kind == TaskKind.label.value,
                Task.state.in_([state.value for state in states]),
            )
            .order_by(Task.id)
            .with_for_update(of=Task)
        )
    )


def conclude(session: Session, by: Person, number: int) -> dict[str, Any]:
    """Compare the drawn slides with what was labelled again, and pass the group's work or send all of it back.

    Returns
    -------
    dict
        ``passed``, ``agreement``, ``ci95``, ``rule``, ``limit``, ``slides`` (number), ``reopened`` (number) and
        ``per_slide``: :func:`ki67.labelling.agreement.compare` of each, the first labelling first.

    Raises
    ------
    RefusedError
        Where there is no such draw, it is concluded, another controller's, or not all is labelled again.
    """
    draw = session.scalar(sa.select(Draw).where(Draw.id == number).with_for_update())
    if draw is None or draw.passed is not None:
        raise RefusedError(f"there is no open draw {number}")
    if draw.person_id != by.id:
        raise RefusedError("a draw is concluded by who labelled it again")
    pairs = [
        (session.get_one(Task, one.task_id), session.get_one(Task, one.check_id))
        for one in session.scalars(sa.select(Drawn).where(Drawn.draw_id == draw.id).order_by(Drawn.task_id))
    ]
    waiting = [check.id for _, check in pairs if check.state != State.submitted]
    if waiting:
        raise RefusedError(f"not all is labelled again: tasks {', '.join(map(str, waiting[:10]))} are not handed in")
    kind = LabelKind(the_project(session).kind)
    each = [compare(kind, current_labels(session, task), current_labels(session, check)) for task, check in pairs]
    total = pooled(kind, each)
    measured = total["agreement"] if draw.rule == QualityRule.point else (total["ci95"] or [None])[0]
    draw.passed = measured is not None and measured > draw.limit
    measure = "agreement" if draw.rule == QualityRule.point else "lower end of the 95 % interval of the agreement"
    said = "not known" if measured is None else f"{measured:.4f}"
    reason = f"draw {draw.id}: {measure} {said}, limit {draw.limit:g}"
    for task, _ in pairs:
        perform(session, by, task, Act.qc_pass if draw.passed else Act.qc_fail, reason=reason)
    reopened = 0
    if not draw.passed and draw.group_id is not None:
        for task in _of_group(session, session.get_one(Group, draw.group_id), (State.accepted, State.qc_passed)):
            perform(session, by, task, Act.reopen, reason=reason)
            reopened += 1
    names = [session.get_one(Slide, task.slide_id).name for task, _ in pairs]
    draw.figures = {
        "passed": draw.passed,
        **total,
        "rule": draw.rule,
        "limit": draw.limit,
        "seed": draw.seed,
        "share": draw.share,
        "reopened": reopened,
        "reason": reason,
        "per_slide": [{"slide": name, **figures} for name, figures in zip(names, each, strict=True)],
    }
    note(session, by.id, "conclude", detail={"draw": draw.id, "passed": draw.passed, "reopened": reopened})
    return draw.figures
