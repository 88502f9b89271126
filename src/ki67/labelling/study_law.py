"""The law of reader studies: who may do what when, and how long a reader had; no database in it.

A reading goes from waiting to running by "Begin", once. It ends by itself when its time is over, whatever the page
or the server does meanwhile; there is no pause.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ki67.errors import RefusedError
from ki67.labelling.words import ReadingAct, ReadingState, Role

ORGANISERS: Final = frozenset({Role.administrator, Role.trainer})
"""Who starts and closes studies. They know the slides by name, so they read in none."""

MINUTES: Final = 30.0
"""For all slides (Feng et al. 2020)."""
LEAST_MINUTES: Final = 1.0
MOST_MINUTES: Final = 600.0

MOST_STEPS: Final = 5000
"""Of one reading, each of which is kept: more than two a second in half an hour are no reader's. Our own choice."""

ENDED: Final = frozenset({ReadingState.finished, ReadingState.time_up, ReadingState.closed})
"""States of a reading that was begun and takes no more answers."""


@dataclass(frozen=True)
class Step:
    """One thing a reader did; ``at`` in seconds since 1970."""

    act: ReadingAct
    at: float
    place: int | None = None
    percent: int | None = None


@dataclass(frozen=True)
class Course:
    """A reading as far as the law asks.

    Parameters
    ----------
    steps
        All that the reader did, in order.
    slides
        How many there are; places count from 1.
    allowed_s
        Seconds for all slides.
    closed
        When the study was closed; None while it is open.
    """

    steps: Sequence[Step]
    slides: int
    allowed_s: float
    closed: float | None = None

    @property
    def begun(self) -> float | None:
        """When the clock was started; None before."""
        return self.steps[0].at if self.steps else None

    @property
    def finished(self) -> float | None:
        """When the reader said that it is done; None where that was never said."""
        return next((step.at for step in self.steps if step.act is ReadingAct.finish), None)

    @property
    def ends(self) -> float:
        """When it ended or will end at the latest; infinite before it is begun."""
        if self.begun is None:
            return math.inf
        known = [one for one in (self.finished, self.closed) if one is not None]
        return min(self.begun + self.allowed_s, *known) if known else self.begun + self.allowed_s

    @property
    def front(self) -> int:
        """Place of the slide in front; the first before anything is shown."""
        shown = [step.place for step in self.steps if step.act in (ReadingAct.begin, ReadingAct.show)]
        return (shown[-1] or 1) if shown else 1

    @property
    def shown(self) -> frozenset[int]:
        """Places of the slides that were in front at some time."""
        return frozenset(
            step.place
            for step in self.steps
            if step.act in (ReadingAct.begin, ReadingAct.show) and step.place is not None
        )

    @property
    def answers(self) -> dict[int, int]:
        """Whole percent by place, as it stands."""
        return {
            step.place: step.percent for step in self.steps if step.place is not None and step.percent is not None
        }

    def state(self, now: float) -> ReadingState:
        """Where it stands at a time."""
        if self.begun is None:
            return ReadingState.waiting if self.closed is None else ReadingState.missed
        if self.finished is not None:
            return ReadingState.finished
        if now < self.ends and self.closed is None:
            return ReadingState.running
        return ReadingState.time_up if self.ends >= self.begun + self.allowed_s else ReadingState.closed

    def seconds(self, now: float) -> dict[int, float]:
        """Seconds for which each slide was in front until it ended, or until now; their sum is all of the time."""
        found = dict.fromkeys(sorted(self.shown), 0.0)
        moves = [step for step in self.steps if step.act in (ReadingAct.begin, ReadingAct.show)]
        until = [*(step.at for step in moves[1:]), min(now, self.ends)]
        for move, end in zip(moves, until, strict=True):
            found[move.place or 1] += max(0.0, end - move.at)
        return found


def judge_step(act: ReadingAct, course: Course, now: float, *, place: int | None = None) -> None:
    """Let a reader take a step.

    Raises
    ------
    RefusedError
        Where it is not open now; says why.
    """
    state = course.state(now)
    if act is ReadingAct.begin:
        if state is not ReadingState.waiting:
            raise RefusedError(f"begin: {_WHY.get(state, _BEGUN)}")
        return
    if state is not ReadingState.running:
        raise RefusedError(f"{act.value}: {_WHY[state]}")
    if act is ReadingAct.finish:
        return
    if len(course.steps) >= MOST_STEPS:
        raise RefusedError(f"{act.value}: this reading has {MOST_STEPS:,} steps; finish it")
    if place is None or not 1 <= place <= course.slides:
        raise RefusedError(f"{act.value}: there are slides 1 to {course.slides}")
    if act is ReadingAct.answer and place not in course.shown:
        raise RefusedError(f"answer: slide {place} has not been shown yet")


_BEGUN: Final = "this reading has begun; its clock is started once"
_WHY: Final = {
    ReadingState.waiting: "begin first; the clock starts then",
    ReadingState.finished: "you have finished; nothing is taken after that",
    ReadingState.time_up: "the time is over; nothing is taken after that, what was answered before stands",
    ReadingState.closed: "the study was closed; nothing is taken after that",
    ReadingState.missed: "the study is closed",
}


def require_organiser(role: str) -> None:
    """Stop who may hold no study.

    Raises
    ------
    RefusedError
        For other roles.
    """
    if role not in ORGANISERS:
        raise RefusedError(f"reader studies are for administrators and trainers, not for the role '{role}'")


def require_open(closed: float | None) -> None:
    """Stop what is for open studies.

    Raises
    ------
    RefusedError
        Where it is closed.
    """
    if closed is not None:
        raise RefusedError("the study is closed")


def require_closed(closed: float | None) -> None:
    """Stop who asks for answers, scores or the standard too early: nobody has them before the study is closed.

    Raises
    ------
    RefusedError
        Where it is open.
    """
    if closed is None:
        raise RefusedError("answers, scores and the standard are for nobody before the study is closed")


def may_give_standard(closed: float | None, known: bool) -> None:
    """Let the standard be given, and given anew while no answer can be seen.

    Raises
    ------
    RefusedError
        Where the study is closed and has one: nobody changes it after answers were seen.
    """
    if closed is not None and known:
        raise RefusedError("the study is closed and has its standard, which stands")
