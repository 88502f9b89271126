"""The words of the labelling process: roles, states, acts, kinds of work."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person may do; the paper had 28 labellers, 3 leaders, 3 reviewers, 2 quality controllers, 3 trainers."""

    labeller = "labeller"
    leader = "leader"
    reviewer = "reviewer"
    quality = "quality"
    trainer = "trainer"
    administrator = "administrator"


class State(StrEnum):
    """Where one person's work on one slide stands."""

    new = "new"
    assigned = "assigned"
    in_progress = "in_progress"
    submitted = "submitted"
    in_review = "in_review"
    accepted = "accepted"
    returned = "returned"
    qc_selected = "qc_selected"
    qc_passed = "qc_passed"
    qc_failed = "qc_failed"


DONE = frozenset({State.accepted, State.qc_selected, State.qc_passed})
"""States of work that has been accepted and not been sent back since."""


class Act(StrEnum):
    """What changes a state."""

    assign = "assign"
    unassign = "unassign"
    begin = "begin"
    submit = "submit"
    take_review = "take_review"
    leave_review = "leave_review"
    accept = "accept"
    send_back = "send_back"
    select = "select"
    deselect = "deselect"
    qc_pass = "qc_pass"  # noqa: S105 - no password
    qc_fail = "qc_fail"
    reopen = "reopen"
    grade_pass = "grade_pass"  # noqa: S105 - no password
    grade_fail = "grade_fail"


BY_HAND = frozenset(
    {Act.unassign, Act.begin, Act.submit, Act.take_review, Act.leave_review, Act.accept, Act.send_back}
)
"""Acts that a person does as such; the others follow from assigning, from draws and from grading."""


class TaskKind(StrEnum):
    """Labelling a slide, labelling a training slide, or labelling a drawn slide again without seeing the first."""

    label = "label"
    training = "training"
    check = "check"


class LabelKind(StrEnum):
    """What a project labels."""

    regions = "regions"
    cells = "cells"


class QualityRule(StrEnum):
    """What of the agreement must lie above the limit: its value, or the lower end of its 95 % interval."""

    point = "point"
    interval = "interval"


class Delivery(StrEnum):
    """For which command labels are written."""

    idc = "idc"
    cells = "cells"
    gold = "gold"


class ReadingAct(StrEnum):
    """What a reader of a study does; every one is kept with its time."""

    begin = "begin"
    show = "show"
    answer = "answer"
    finish = "finish"


class ReadingState(StrEnum):
    """Where one reader stands in a study."""

    waiting = "waiting"
    running = "running"
    finished = "finished"
    time_up = "time_up"
    closed = "closed"
    """Ended because the study was closed meanwhile."""
    missed = "missed"
    """The study was closed before this reader had begun."""


class StudyFile(StrEnum):
    """What a closed reader study is handed out as."""

    answers = "answers.csv"
    standard = "standard.csv"
    imrmc = "imrmc.csv"
    entries = "entries.csv"
