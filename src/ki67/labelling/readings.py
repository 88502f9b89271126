"""Reader studies as a reader sees them: blinded slides in an own order, a clock kept here, answers only added to."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.errors import AbsentError, RefusedError
from ki67.labelling.studies import course_of
from ki67.labelling.study_law import Course, judge_step
from ki67.labelling.tables import Person, Reading, ReadingEvent, ReadingSlide, Slide, Study, StudySlide
from ki67.labelling.words import ReadingAct, ReadingState


def reading_for(session: Session, by: Person, number: int, *, changes: bool = False) -> tuple[Study, Reading]:
    """A person's own part in a study; others wait for the same until the transaction ends where it is to be changed.

    Raises
    ------
    AbsentError
        Where there is no such study, or this person is none of its readers: the two are not told apart.
    """
    found = sa.select(Reading).where(Reading.study_id == number, Reading.person_id == by.id)
    reading = session.scalar(found.with_for_update() if changes else found)
    study = sa.select(Study).where(Study.id == number)
    # Shared: readers do not wait for one another, and closing waits for the step that is under way.
    held = session.scalar(study.with_for_update(read=True) if changes else study)
    if reading is None or held is None:
        raise AbsentError(f"there is no study {number} for you to read")
    return held, reading


def readings_for(session: Session, by: Person, *, now: float | None = None) -> list[dict[str, Any]]:
    """Studies that a person reads in, the latest first: ``study``, ``name``, ``slides``, ``minutes``, ``state``."""
    at = time.time() if now is None else now
    rows = session.execute(
        sa.select(Study, Reading)
        .join(Reading, Reading.study_id == Study.id)
        .where(Reading.person_id == by.id)
        .order_by(Study.id.desc())
    ).all()
    told = []
    for study, reading in rows:
        course = course_of(session, study, reading)
        told.append(
            {
                "study": study.id,
                "name": study.name,
                "slides": course.slides,
                "minutes": study.minutes,
                "state": course.state(at).value,
                "closed": study.closed is not None,
            }
        )
    return told


def take_step(
    session: Session,
    by: Person,
    number: int,
    act: ReadingAct,
    *,
    place: int | None = None,
    percent: int | None = None,
    now: float | None = None,
) -> None:
    """Begin, show a slide, answer or finish; kept with its time. What changes nothing is not kept again.

    Parameters
    ----------
    place
        Which slide of the own order, from 1; for ``show`` and ``answer``.
    percent
        The index, a whole percent; for ``answer``.

    Raises
    ------
    AbsentError
        As :func:`reading_for`.
    RefusedError
        Where the law does not let it, or the answer is none.
    """
    study, reading = reading_for(session, by, number, changes=True)
    course = course_of(session, study, reading)
    at = time.time() if now is None else now
    judge_step(act, course, at, place=place)
    if act is ReadingAct.answer and (percent is None or not 0 <= percent <= 100):
        raise RefusedError("answer: an index is a whole percent from 0 to 100")
    if act is ReadingAct.show and place == course.front:
        return
    if act is ReadingAct.answer and place is not None and course.answers.get(place) == percent:
        return
    if act is ReadingAct.begin:
        place = 1
        _note_earlier(session, reading)
    # A clock that was set back does not take time away.
    at = max(at, course.steps[-1].at) if course.steps else at
    session.add(
        ReadingEvent(
            reading_id=reading.id,
            at=at,
            act=act.value,
            place=None if act is ReadingAct.finish else place,
            percent=percent if act is ReadingAct.answer else None,
        )
    )
    session.flush()


def _note_earlier(session: Session, reading: Reading) -> None:
    """Keep when this reader last had each slide in front in another study."""
    rows = session.execute(
        sa.select(ReadingSlide.slide_id, sa.func.max(ReadingEvent.at))
        .join(Reading, Reading.id == ReadingSlide.reading_id)
        .join(
            ReadingEvent,
            sa.and_(ReadingEvent.reading_id == Reading.id, ReadingEvent.place == ReadingSlide.place),
        )
        .where(Reading.person_id == reading.person_id, Reading.id != reading.id)
        .group_by(ReadingSlide.slide_id)
    )
    seen = {row[0]: float(row[1]) for row in rows}
    for own in session.scalars(sa.select(ReadingSlide).where(ReadingSlide.reading_id == reading.id)):
        own.seen = seen.get(own.slide_id)


def facts_for(session: Session, by: Person, number: int, *, now: float | None = None) -> dict[str, Any]:
    """What a reader may know of the own reading: no name of a slide, nothing of anybody else.

    Returns
    -------
    dict
        ``study``, ``name``, ``minutes``, ``state``, ``closed``, ``live``, ``seconds_left`` (None unless it runs),
        ``places``: of each slide in the own order ``place``, ``shown`` and ``percent`` (None where not answered);
        ``front``: None unless it runs, else ``place``, ``key`` and ``regions`` (GeoJSON in µm) of the slide in front.

    Raises
    ------
    AbsentError
        As :func:`reading_for`.
    """
    at = time.time() if now is None else now
    study, reading = reading_for(session, by, number)
    course = course_of(session, study, reading)
    state, answers = course.state(at), course.answers
    running = state is ReadingState.running
    return {
        "study": study.id,
        "name": study.name,
        "minutes": study.minutes,
        "state": state.value,
        "closed": study.closed is not None,
        "live": study.live,
        "seconds_left": course.ends - at if running else None,
        "places": [
            {"place": place, "shown": place in course.shown, "percent": answers.get(place)}
            for place in range(1, course.slides + 1)
        ],
        "front": _front(session, reading, course) if running else None,
    }


def _front(session: Session, reading: Reading, course: Course) -> dict[str, Any]:
    row = session.get_one(ReadingSlide, (reading.id, course.front))
    outlines = session.scalar(
        sa.select(StudySlide.regions).where(
            StudySlide.study_id == reading.study_id, StudySlide.slide_id == row.slide_id
        )
    )
    return {"place": row.place, "key": row.key, "regions": outlines or []}


def slide_of_key(session: Session, by: Person, key: str, *, now: float | None = None) -> tuple[Slide, float]:
    """A slide that a reader may look at now, by the word that stands for it, and until when at the latest.

    Raises
    ------
    AbsentError
        Where there is none, it is another reader's, it was not shown yet, or the reading does not run: the cases are
        not told apart.
    """
    at = time.time() if now is None else now
    row = session.execute(
        sa.select(ReadingSlide, Reading, Study)
        .join(Reading, Reading.id == ReadingSlide.reading_id)
        .join(Study, Study.id == Reading.study_id)
        .where(ReadingSlide.key == key, Reading.person_id == by.id)
    ).first()
    if row is not None:
        own, reading, study = row
        course = course_of(session, study, reading)
        if course.state(at) is ReadingState.running and own.place in course.shown:
            return session.get_one(Slide, own.slide_id), course.ends
    raise AbsentError("there is no such slide now")
