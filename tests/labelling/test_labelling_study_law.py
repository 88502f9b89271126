"""The law of reader studies by itself: every state and step, the end of the time, times that add up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ki67.errors import RefusedError
from ki67.labelling.study_law import MOST_STEPS, Course, Step, judge_step, may_give_standard
from ki67.labelling.words import ReadingAct, ReadingState

ALLOWED_S = 100.0
BEGIN = Step(ReadingAct.begin, 10.0, 1)
COURSES = {
    ReadingState.waiting: Course([], 2, ALLOWED_S),
    ReadingState.running: Course([BEGIN], 2, ALLOWED_S),
    ReadingState.finished: Course([BEGIN, Step(ReadingAct.finish, 20.0)], 2, ALLOWED_S),
    ReadingState.time_up: Course([Step(ReadingAct.begin, -90.0, 1)], 2, ALLOWED_S),
    ReadingState.closed: Course([BEGIN], 2, ALLOWED_S, 25.0),
    ReadingState.missed: Course([], 2, ALLOWED_S, 25.0),
}
NOW = 30.0


@pytest.mark.parametrize(("state", "act"), itertools.product(ReadingState, ReadingAct))
def test_a_step_is_open_in_one_state_only(state: ReadingState, act: ReadingAct) -> None:
    course = COURSES[state]
    assert course.state(NOW) is state
    right = ReadingState.waiting if act is ReadingAct.begin else ReadingState.running

    if state is right:
        judge_step(act, course, NOW, place=1)
    else:
        with pytest.raises(RefusedError):
            judge_step(act, course, NOW, place=1)


def test_the_time_ends_by_itself_to_the_moment() -> None:
    course = COURSES[ReadingState.running]
    judge_step(ReadingAct.answer, course, 109.999, place=1)
    with pytest.raises(RefusedError, match="the time is over"):
        judge_step(ReadingAct.answer, course, 110.0, place=1)
    with pytest.raises(RefusedError, match="clock is started once"):
        judge_step(ReadingAct.begin, course, 50.0)
    for place in (0, 3):
        with pytest.raises(RefusedError, match="slides 1 to 2"):
            judge_step(ReadingAct.show, course, 50.0, place=place)
    with pytest.raises(RefusedError, match="has not been shown"):
        judge_step(ReadingAct.answer, course, 50.0, place=2)
    long = Course([BEGIN] * MOST_STEPS, 2, ALLOWED_S)
    with pytest.raises(RefusedError, match="finish it"):
        judge_step(ReadingAct.show, long, 50.0, place=2)
    judge_step(ReadingAct.finish, long, 50.0)


@given(
    moves=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=20),
    finished=st.none() | st.floats(0, 50),
    closed=st.none() | st.floats(0, 2000),
    later=st.floats(0, 1000),
)
def test_times_of_the_slides_add_up_to_all_of_the_time(
    moves: list[tuple[float, int]], finished: float | None, closed: float | None, later: float
) -> None:
    at, steps = 0.0, [Step(ReadingAct.begin, 0.0, 1)]
    for wait, place in moves:
        at += wait
        if at >= ALLOWED_S:
            break
        steps.append(Step(ReadingAct.show, at, place))
    last = steps[-1].at
    if finished is not None and last + finished < ALLOWED_S:
        last += finished
        steps.append(Step(ReadingAct.finish, last))
    end = None if closed is None else last + closed
    course = Course(steps, 5, ALLOWED_S, end)
    now = last + later

    assert sum(course.seconds(now).values()) == pytest.approx(min(now, course.ends))
    assert course.ends <= ALLOWED_S


def test_a_standard_stands_once_answers_were_seen() -> None:
    for closed, known in ((None, False), (None, True), (5.0, False)):
        may_give_standard(closed, known)
    with pytest.raises(RefusedError, match="stands"):
        may_give_standard(5.0, True)
