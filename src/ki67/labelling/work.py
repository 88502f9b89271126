"""Work on a slide: acts that change its state, the lease of a session, labels with versions."""

from __future__ import annotations

import time
import uuid as uuids
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import AbsentError, ConflictError, LeaseError, RefusedError
from ki67.labelling.agreement import compare
from ki67.labelling.journal import note
from ki67.labelling.law import LABELLERS, PROGRAM, Actor, Work, judge, may_edit, may_see
from ki67.labelling.people import actor_of
from ki67.labelling.project import the_project
from ki67.labelling.shapes import checked, lies_beside
from ki67.labelling.tables import Label, Lease, Person, Slide, Task
from ki67.labelling.words import BY_HAND, Act, LabelKind, State, TaskKind

LEASE_S: Final = 75.0
"""A session that was silent for so long has lost its slide. Our own choice: three missed heartbeats and a bit."""

HEARTBEAT_S: Final = 20.0
"""How often a page says that it is there."""

MOST_AT_ONCE: Final = 5000
"""Labels of one save."""

TRAINING_LIMIT: Final = 0.8
"""Agreement with the known answer from which a training slide is passed. Our own choice."""


def task_of(session: Session, number: int) -> Task:
    """A task by its number, held until the transaction ends.

    Raises
    ------
    AbsentError
        Where there is none.
    """
    task = session.scalar(sa.select(Task).where(Task.id == number).with_for_update())
    if task is None:
        raise AbsentError(f"there is no task {number}")
    return task


def work_of(session: Session, task: Task) -> Work:
    """What the law asks of a task."""
    slide = session.get_one(Slide, task.slide_id)
    labeller = None if task.labeller_id is None else session.get(Person, task.labeller_id)
    return Work(
        state=State(task.state),
        kind=TaskKind(task.kind),
        labeller=task.labeller_id,
        reviewer=task.reviewer_id,
        group=None if labeller is None else labeller.group_id,
        test=slide.split == "test",
    )


def perform(
    session: Session,
    by: Person,
    task: Task,
    act: Act,
    *,
    reason: str = "",
    to: Person | None = None,
    actor: Actor | None = None,
) -> State:
    """Do one act; the only place where a task's state is changed.

    Parameters
    ----------
    to
        Whom it is assigned to; for ``assign`` only.
    actor
        Whom the law is asked about where that is not ``by``: the program, on behalf of ``by``.

    Raises
    ------
    RefusedError
        As :func:`ki67.labelling.law.judge`.
    """
    before = State(task.state)
    work = work_of(session, task)
    if act is Act.assign:
        if to is None or not to.active:
            raise RefusedError("assign: say to whom")
        if to.role not in LABELLERS:
            raise RefusedError(f"assign: the role '{to.role}' labels nothing; assign it to somebody else")
        work = Work(work.state, work.kind, to.id, None, to.group_id, work.test)
    after = judge(act, actor or actor_of(by), work, reason)
    if act is Act.assign and to is not None:
        twice = sa.select(Task.id).where(
            Task.slide_id == task.slide_id, Task.labeller_id == to.id, Task.kind != TaskKind.training.value
        )
        if work.kind is not TaskKind.training and session.scalar(twice) is not None:
            raise RefusedError("assign: this person has the slide already")
    task.state = after.value
    if act is Act.assign and to is not None:
        task.labeller_id = to.id
    elif act is Act.unassign:
        task.labeller_id = None
    elif act is Act.take_review:
        task.reviewer_id = by.id
    elif act in (Act.leave_review, Act.begin):
        task.reviewer_id = None
    if act not in (Act.begin, Act.take_review):
        session.execute(sa.delete(Lease).where(Lease.task_id == task.id))
    detail: dict[str, Any] = {"reason": reason} if reason else {}
    detail |= {"to": to.id} if to is not None else {}
    note(session, by.id, act.value, task=task.id, before=before.value, after=after.value, detail=detail)
    session.flush()
    if act is Act.submit and task.kind == TaskKind.training:
        return _grade(session, by, task)
    return after


def perform_by_hand(session: Session, by: Person, task: Task, act: Act, *, reason: str = "") -> State:
    """Do an act that a person does as such; the others follow from assigning, from draws and from grading.

    Raises
    ------
    RefusedError
        For the others, and as :func:`perform`.
    """
    if act not in BY_HAND:
        raise RefusedError(f"{act.value} is no step that is done by hand")
    return perform(session, by, task, act, reason=reason)


def _grade(session: Session, by: Person, task: Task) -> State:
    """Compare a training slide with its known answer; who has passed all of them may label."""
    slide = session.get_one(Slide, task.slide_id)
    kind = LabelKind(the_project(session).kind)
    agreement = compare(kind, slide.answer or [], current_labels(session, task))["agreement"] or 0.0
    passed = agreement >= TRAINING_LIMIT
    act = Act.grade_pass if passed else Act.grade_fail
    note(session, None, "graded", task=task.id, detail={"agreement": agreement})
    reason = f"agreement {agreement:.3f} with the known answer, {TRAINING_LIMIT:g} needed"
    state = perform(session, by, task, act, reason=reason, actor=PROGRAM)
    others = sa.select(Task.id).where(
        Task.labeller_id == by.id, Task.kind == TaskKind.training.value, Task.state != State.accepted.value
    )
    if passed and session.scalar(others.limit(1)) is None:
        by.trained = True
        note(session, by.id, "trained", detail={"person": by.id})
    return state


def hold(
    session: Session, by: Person, task: Task, token: str, *, take_over: bool = False, now: float | None = None
) -> float:
    """Take or keep the lease of a task for one session of one person; to be repeated every :data:`HEARTBEAT_S`.

    The time since the last sign of life counts as work on the slide.

    Parameters
    ----------
    take_over
        Also where another session of the same person holds it, as after a browser that died.

    Returns
    -------
    float
        When it ends unless it is renewed.

    Raises
    ------
    RefusedError
        Where this person may not edit the task.
    LeaseError
        Where another session holds it, also one of the same person.
    """
    may_edit(actor_of(by), work_of(session, task))
    now = time.time() if now is None else now
    lease = session.scalar(sa.select(Lease).where(Lease.task_id == task.id).with_for_update())
    mine = lease is not None and lease.person_id == by.id
    if lease is not None and lease.session != token and now - lease.seen < LEASE_S and not (take_over and mine):
        who = "another window of yours" if lease.person_id == by.id else "somebody else"
        left = LEASE_S - (now - lease.seen)
        raise LeaseError(f"{who} has this slide open; try again when it is closed, or in {left:.0f} s")
    if lease is None:
        session.add(Lease(task_id=task.id, person_id=by.id, session=token, seen=now))
    else:
        if lease.session == token:
            task.seconds += min(max(now - lease.seen, 0.0), LEASE_S)
        lease.person_id, lease.session, lease.seen = by.id, token, now
    session.flush()
    return now + LEASE_S


def release(session: Session, task: Task, token: str) -> None:
    """Give the lease back."""
    session.execute(sa.delete(Lease).where(Lease.task_id == task.id, Lease.session == token))


@dataclass(frozen=True)
class Terms:
    """What changes of labels must fit.

    Parameters
    ----------
    kind
        Whether areas or points are labelled.
    classes
        Names of the project's classes.
    size_um
        Width and height of the slide, on which a label must lie; None where it is not known.
    """

    kind: LabelKind
    classes: frozenset[str]
    size_um: tuple[float, float] | None = None


def terms_of(session: Session) -> Terms:
    """What changes of labels in this project must fit, whatever the slide."""
    project = the_project(session)
    return Terms(LabelKind(project.kind), frozenset(one["name"] for one in project.classes))


@dataclass(frozen=True)
class Wanted:
    """A change of a label that was read and checked; ``geometry`` as it is stored."""

    uuid: str
    version: int
    label: str
    geometry: dict[str, Any]
    deleted: bool

    @property
    def content(self) -> dict[str, Any]:
        """What a label holds besides its name and version."""
        return {"label": self.label, "geometry": self.geometry, "deleted": self.deleted}


def read_changes(changes: Iterable[Mapping[str, Any]], terms: Terms) -> list[Wanted]:
    """Check changes before the database is asked for its one writer's turn: a large outline takes its time.

    A change has ``uuid``, ``label``, ``geometry`` (GeoJSON in µm), the ``version`` it was made from (0 for a new
    label) and perhaps ``deleted``.

    Raises
    ------
    RefusedError
        Where a change is none, or a label that stays lies beside the slide.
    """
    wanted = []
    for number, change in enumerate(changes, 1):
        if number > MOST_AT_ONCE:
            raise RefusedError(f"a save holds more than {MOST_AT_ONCE:,} labels")
        wanted.append(_wanted(change, terms))
    return wanted


def save(session: Session, by: Person, task: Task, token: str, changes: Sequence[Wanted]) -> list[dict[str, Any]]:
    """Save changes of labels, all or none.

    One that is already there as it was sent (the answer was lost on the way) is done, not a conflict.

    Returns
    -------
    list of dict
        The labels as they stand now, in the order of the changes.

    Raises
    ------
    ConflictError
        Where a label has another version; it carries both.
    RefusedError
        Where the person may not edit.
    LeaseError
        Where another session holds the task.
    """
    hold(session, by, task, token)
    identifiers = [one.uuid for one in changes]
    found = session.scalars(sa.select(Label).where(Label.uuid.in_(identifiers)).with_for_update())
    standing = {label.uuid: label for label in found}
    done = [_save_one(session, by, task, one, standing) for one in changes]
    session.flush()
    return done


def _wanted(change: Mapping[str, Any], terms: Terms) -> Wanted:
    try:
        identifier = str(uuids.UUID(str(change.get("uuid"))))
    except ValueError as error:
        raise RefusedError(f"a label has no UUID but {str(change.get('uuid'))[:40]!r}") from error
    version, label = change.get("version"), change.get("label")
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise RefusedError(f"label {identifier} does not say which version it was made from")
    if not isinstance(label, str) or label not in terms.classes:
        raise RefusedError(
            f"label {identifier} has the class {str(label)[:40]!r}; there are {', '.join(sorted(terms.classes))}"
        )
    geometry = checked(terms.kind, change.get("geometry"))
    deleted = change.get("deleted", False) is True
    beside = None if deleted or terms.size_um is None else lies_beside(geometry, terms.size_um)
    if beside:
        raise RefusedError(f"label {identifier} {beside}")
    return Wanted(identifier, version, label, geometry, deleted)


def _save_one(session: Session, by: Person, task: Task, wanted: Wanted, found: dict[str, Label]) -> dict[str, Any]:
    label = found.get(wanted.uuid)
    if label is not None and label.task_id != task.id:
        raise RefusedError(f"label {wanted.uuid} belongs to other work")
    content = wanted.content
    if label is not None and label.version != wanted.version:
        stands = as_sent(label)
        same = all(stands[key] == value for key, value in content.items())
        if same and label.person_id == by.id and label.version == wanted.version + 1:
            return stands
        raise ConflictError(asdict(wanted), stands)
    if label is None:
        if wanted.version != 0:
            raise RefusedError(f"label {wanted.uuid} is not there, so there is no version {wanted.version} of it")
        label = Label(uuid=wanted.uuid, task_id=task.id, version=0, person_id=by.id, changed=0.0, **content)
        session.add(label)
        found[label.uuid] = label
    before = label.version
    label.version, label.person_id, label.changed = before + 1, by.id, time.time()
    for key, value in content.items():
        setattr(label, key, value)
    note(
        session,
        by.id,
        "save_label",
        task=task.id,
        before=str(before),
        after=str(label.version),
        detail={"uuid": label.uuid, **content},
    )
    return as_sent(label)


def as_sent(label: Label) -> dict[str, Any]:
    """A label as it is handed out."""
    return {
        "uuid": label.uuid,
        "version": label.version,
        "label": label.label,
        "geometry": label.geometry,
        "deleted": label.deleted,
    }


def current_labels(session: Session, task: Task) -> list[dict[str, Any]]:
    """Labels of a task that are not deleted; for the program itself, whoever asks goes through :func:`labels_for`."""
    found = session.scalars(sa.select(Label).where(Label.task_id == task.id, ~Label.deleted).order_by(Label.uuid))
    return [as_sent(label) for label in found]


def labels_for(session: Session, by: Person, task: Task) -> list[dict[str, Any]]:
    """Labels of a task, for a person.

    Raises
    ------
    RefusedError
        Where that person may not see them: another's, drawn for a blind check, or of a test slide before unblinding.
    """
    unblinded = the_project(session).unblinded
    if not may_see(actor_of(by), work_of(session, task), unblinded=unblinded):
        raise RefusedError("these labels are not for this person to see now")
    return current_labels(session, task)
