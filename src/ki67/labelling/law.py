"""The law of the process, in one place: who may do what, in which state, and what follows; no database in it.

Whatever serves the process (command line, server, scripts) changes a state through :func:`judge` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ki67.errors import RefusedError
from ki67.labelling.words import BY_HAND, Act, LabelKind, Role, State, TaskKind

_ALL_WORK: Final = frozenset(TaskKind)
_LABEL: Final = frozenset({TaskKind.label})
_TRAINING: Final = frozenset({TaskKind.training})


@dataclass(frozen=True)
class Actor:
    """Who acts."""

    person: int
    role: Role
    group: int | None = None
    trained: bool = True


@dataclass(frozen=True)
class Work:
    """One person's work on one slide, as far as the law asks."""

    state: State
    kind: TaskKind
    labeller: int | None
    reviewer: int | None
    group: int | None
    test: bool = False


@dataclass(frozen=True)
class Rule:
    """From which states an act leads where, and who may do it with which kind of work."""

    sources: frozenset[State]
    target: State
    roles: frozenset[Role]
    own: bool | None = None
    """True: only the labeller; False: anybody but the labeller; None: either."""
    reviewing: bool = False
    """Only who took the review."""
    reason: bool = False
    kinds: frozenset[TaskKind] = _LABEL


_LABELLERS: Final = frozenset({Role.labeller, Role.leader, Role.quality, Role.reviewer, Role.trainer})
_REVIEWERS: Final = frozenset({Role.leader, Role.reviewer})
_QUALITY: Final = frozenset({Role.quality})
_ASSIGNERS: Final = frozenset({Role.administrator, Role.leader})
_GRADERS: Final = frozenset({Role.trainer})

PROGRAM: Final = Actor(-1, Role.trainer)
"""The program itself, which grades training by its known answer as soon as it is handed in."""

RULES: Final[Mapping[Act, Rule]] = {
    Act.assign: Rule(frozenset({State.new}), State.assigned, _ASSIGNERS, kinds=_ALL_WORK),
    Act.unassign: Rule(frozenset({State.assigned}), State.new, _ASSIGNERS),
    Act.begin: Rule(
        frozenset({State.assigned, State.returned, State.qc_failed}),
        State.in_progress,
        _LABELLERS,
        own=True,
        kinds=_ALL_WORK,
    ),
    Act.submit: Rule(frozenset({State.in_progress}), State.submitted, _LABELLERS, own=True, kinds=_ALL_WORK),
    Act.take_review: Rule(frozenset({State.submitted}), State.in_review, _REVIEWERS, own=False),
    Act.leave_review: Rule(frozenset({State.in_review}), State.submitted, _REVIEWERS, own=False, reviewing=True),
    Act.accept: Rule(frozenset({State.in_review}), State.accepted, _REVIEWERS, own=False, reviewing=True),
    Act.send_back: Rule(
        frozenset({State.in_review}), State.returned, _REVIEWERS, own=False, reviewing=True, reason=True
    ),
    Act.select: Rule(frozenset({State.accepted}), State.qc_selected, _QUALITY, own=False),
    # Of a draw that nobody can conclude any more.
    Act.deselect: Rule(frozenset({State.qc_selected}), State.accepted, _QUALITY, own=False),
    Act.qc_pass: Rule(frozenset({State.qc_selected}), State.qc_passed, _QUALITY, own=False),
    Act.qc_fail: Rule(frozenset({State.qc_selected}), State.qc_failed, _QUALITY, own=False, reason=True),
    Act.reopen: Rule(frozenset({State.accepted, State.qc_passed}), State.returned, _QUALITY, reason=True),
    Act.grade_pass: Rule(frozenset({State.submitted}), State.accepted, _GRADERS, kinds=_TRAINING),
    Act.grade_fail: Rule(frozenset({State.submitted}), State.returned, _GRADERS, reason=True, kinds=_TRAINING),
}
"""Everything that may happen; what is not here may not."""

LABELLERS: Final = RULES[Act.begin].roles
"""Who can work on a slide that is assigned."""


def judge(act: Act, actor: Actor, work: Work, reason: str = "") -> State:
    """State that follows.

    Raises
    ------
    RefusedError
        Where the act is not open in this state, or not to this person; says why.
    """
    rule = RULES[act]
    what = f"{act.value} of work that is {work.state.value}"
    if work.state not in rule.sources:
        raise RefusedError(f"{what}: only from {' or '.join(sorted(state.value for state in rule.sources))}")
    if work.kind not in rule.kinds:
        raise RefusedError(f"{what}: not for work of the kind '{work.kind.value}'")
    if actor.role not in rule.roles:
        raise RefusedError(f"{what}: not open to the role '{actor.role.value}'")
    own = actor.person == work.labeller
    if rule.own is True and not own:
        raise RefusedError(f"{what}: only the person it is assigned to may do that")
    if rule.own is False and own:
        raise RefusedError(f"{what}: nobody judges their own work")
    if rule.reviewing and actor.person != work.reviewer:
        raise RefusedError(f"{what}: somebody else has taken the review")
    if actor.role is Role.leader and not own and actor.group != work.group:
        raise RefusedError(f"{what}: a leader decides for the own group only")
    if act is Act.begin and work.kind is TaskKind.label and not actor.trained:
        raise RefusedError(f"{what}: the training slides have to be passed first; an administrator assigns them")
    if rule.reason and not reason.strip():
        raise RefusedError(f"{what}: give the reason")
    return rule.target


def may_edit(actor: Actor, work: Work) -> None:
    """Let the labeller edit work in progress, and the reviewer work in review (fix and accept).

    Raises
    ------
    RefusedError
        For everybody else, and in every other state.
    """
    labelling = work.state is State.in_progress and actor.person == work.labeller
    reviewing = work.state is State.in_review and actor.person == work.reviewer != work.labeller
    if not (labelling or reviewing):
        raise RefusedError(f"labels of work that is {work.state.value} cannot be changed by this person now")


def may_see(actor: Actor, work: Work, *, unblinded: bool) -> bool:
    """Whether a person may see the labels of a piece of work.

    Those of a test slide only who draws them, while that lasts, and who has taken the review: nobody else before
    unblinding. Others the labeller; the leader of the group and reviewers once they are handed in; trainers those of
    training; the administrator all. Quality control sees labels of others after it has compared them.
    """
    own, reviewing = actor.person == work.labeller, actor.person == work.reviewer
    if work.test and not unblinded:
        at_work = work.state in (State.assigned, State.in_progress, State.returned, State.qc_failed)
        return (own and at_work) or (reviewing and work.state is State.in_review)
    if own:
        return True
    if actor.role is Role.administrator:
        return True
    if work.kind is TaskKind.check:
        return False
    handed_in = work.state not in (State.new, State.assigned, State.in_progress)
    if actor.role is Role.trainer:
        return work.kind is TaskKind.training
    if actor.role is Role.leader:
        return handed_in and actor.group == work.group
    if actor.role is Role.reviewer:
        return handed_in
    if actor.role is Role.quality:
        return work.state in (State.qc_passed, State.qc_failed)
    return False


def may_look(actor: Actor, work: Work) -> bool:
    """Whether a person may see the slide, and that there is this work on it.

    Whose work it is, at any time; and who could see its labels if nothing were blinded: a reviewer has to find the
    test slides that wait for review.
    """
    return actor.person in (work.labeller, work.reviewer) or may_see(actor, replace(work, test=False), unblinded=True)


def open_acts(actor: Actor, work: Work) -> list[Act]:
    """What a person may do with a piece of work by hand now, given a reason where one is needed."""
    found = []
    for act in sorted(BY_HAND):
        try:
            judge(act, actor, work, "a reason")
        except RefusedError:
            continue
        found.append(act)
    return found


def label_kind_fits(kind: LabelKind, geometry_type: str) -> bool:
    """Whether a project of this kind takes such a geometry."""
    return geometry_type in (("Polygon", "MultiPolygon") if kind is LabelKind.regions else ("Point",))
