"""Reader studies as who holds them sees them: begun, watched, given a standard, closed."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.annotations import check_inside, read_regions
from ki67.errors import AbsentError, RefusedError
from ki67.evaluation.standard import read_standard
from ki67.labelling.journal import note
from ki67.labelling.people import person_named
from ki67.labelling.shapes import as_stored
from ki67.labelling.study_law import (
    LEAST_MINUTES,
    MINUTES,
    MOST_MINUTES,
    ORGANISERS,
    Course,
    Step,
    may_give_standard,
    require_open,
    require_organiser,
)
from ki67.labelling.tables import Person, Reading, ReadingEvent, ReadingSlide, Slide, Study, StudySlide
from ki67.labelling.words import ReadingAct
from ki67.slides import open_slide

LONGEST_NAME: Final = 100
MOST_SLIDES: Final = 200
KEY_BYTES: Final = 16
"""Of the word that stands for a slide in addresses: drawn, so that it tells nothing and cannot be guessed."""

DAY_S: Final = 86_400.0


def slide_named(session: Session, by: Person, name: str) -> Slide:
    """A slide of the project, for who holds a study.

    Raises
    ------
    RefusedError
        For other roles, and where there is none.
    """
    require_organiser(by.role)
    slide = session.scalar(sa.select(Slide).where(Slide.name == name))
    if slide is None:
        raise RefusedError(f"there is no slide named {name!r}")
    return slide


def regions_on(path: Path, slide_path: str | Path, mpp: float | None) -> list[dict[str, Any]]:
    """Outlines of a region file on a slide, without classes and names: GeoJSON geometries in µm.

    Raises
    ------
    SlideError, AnnotationError, RegionError
        Where either cannot be read, or the regions lie beside the slide.
    """
    with open_slide(slide_path, mpp) as slide:
        kept, _ = check_inside(read_regions(path, slide.frame), slide.bounds_um)
    return [as_stored(region.geometry) for region in kept]


def start_study(
    session: Session,
    by: Person,
    name: str,
    slides: Mapping[str, Sequence[Mapping[str, Any]]],
    readers: Sequence[str],
    *,
    minutes: float = MINUTES,
    live: bool = False,
    seed: int = 2020,
    now: float | None = None,
) -> Study:
    """Start a study; each reader gets an order of the slides drawn by the seed and the own number.

    Parameters
    ----------
    slides
        Outlines by name of the slide (as :func:`regions_on`), none where the whole slide is read.
    readers
        Names of people who hold no studies themselves.
    minutes
        For all slides.
    live
        Whether a reader who has ended learns the own place before the study is closed.

    Raises
    ------
    RefusedError
        For other roles, and where a name, a slide, a reader or a time makes no study.
    """
    require_organiser(by.role)
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise RefusedError(f"a study's name is one line of 1 to {LONGEST_NAME} characters")
    if not 1 <= len(slides) <= MOST_SLIDES:
        raise RefusedError(f"a study has 1 to {MOST_SLIDES} slides")
    if not readers or len(set(readers)) < len(readers):
        raise RefusedError("a study has readers, each named once")
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise RefusedError(f"a study takes {LEAST_MINUTES:g} to {MOST_MINUTES:g} minutes")
    chosen = [slide_named(session, by, one) for one in slides]
    people = [person_named(session, one) for one in readers]
    holder = next((one for one in people if one.role in ORGANISERS), None)
    if holder is not None:
        raise RefusedError(f"{holder.name} is {holder.role} and knows slides by name; choose other readers")
    at = time.time() if now is None else now
    study = Study(name=name, person_id=by.id, at=at, minutes=minutes, live=live, seed=seed)
    session.add(study)
    session.flush()
    for place, slide in enumerate(chosen, 1):
        outlines = [dict(one) for one in slides[slide.name]]
        session.add(StudySlide(study_id=study.id, place=place, slide_id=slide.id, regions=outlines))
    orders = {person.id: _order(session, study, person, chosen) for person in people}
    detail = {"study": study.id, "slides": [one.id for one in chosen], "orders": orders, "seed": seed}
    note(session, by.id, "start_study", detail=detail | {"minutes": minutes, "live": live})
    session.flush()
    return study


def _order(session: Session, study: Study, person: Person, slides: Sequence[Slide]) -> list[int]:
    """Draw a reader's order; numbers of the slides."""
    reading = Reading(study_id=study.id, person_id=person.id)
    session.add(reading)
    session.flush()
    drawn = np.random.default_rng([study.seed, person.id]).permutation(len(slides))
    order = [slides[int(one)].id for one in drawn]
    for place, slide in enumerate(order, 1):
        key = secrets.token_hex(KEY_BYTES)
        session.add(ReadingSlide(reading_id=reading.id, place=place, slide_id=slide, key=key))
    return order


def study_for(session: Session, by: Person, number: int, *, changes: bool = False) -> Study:
    """A study, for who may hold it; kept from changes until the transaction ends where it is to be changed.

    Raises
    ------
    RefusedError
        For other roles, whether there is such a study or not.
    AbsentError
        Where there is none.
    """
    require_organiser(by.role)
    found = sa.select(Study).where(Study.id == number)
    study = session.scalar(found.with_for_update() if changes else found)
    if study is None:
        raise AbsentError(f"there is no study {number}")
    return study


def give_standard(session: Session, by: Person, number: int, path: Path) -> list[str]:
    """Take the gold standard of a study from a file as ``ki67 compete`` reads it; further slides in it are left out.

    Returns
    -------
    list of str
        What does not add up in it.

    Raises
    ------
    DataSetError
        Where the file cannot be read or a line makes no sense.
    RefusedError
        For other roles, where a slide of the study has no standard, or where the study is closed and has one.
    """
    study = study_for(session, by, number, changes=True)
    may_give_standard(study.closed, study.standard is not None)
    found, warnings = read_standard(path)
    names = slide_names(session, study)
    missing = [name for name in names.values() if name not in found]
    if missing:
        raise RefusedError(f"the standard says nothing of {', '.join(missing[:5])}")
    kept = {name: found[name] for name in names.values()}
    study.standard = {name: [one.index_percent, *(one.counts or (None, None))] for name, one in kept.items()}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    note(session, by.id, "study_standard", detail={"study": study.id, "sha256": digest})
    return warnings


def close_study(session: Session, by: Person, number: int, *, now: float | None = None) -> Study:
    """Close a study, once and for all; readings that run end with it.

    Raises
    ------
    RefusedError
        For other roles, and where it is closed already.
    AbsentError
        Where there is none.
    """
    study = study_for(session, by, number, changes=True)
    require_open(study.closed)
    study.closed = time.time() if now is None else now
    note(session, by.id, "close_study", detail={"study": study.id})
    session.flush()
    return study


def slide_names(session: Session, study: Study) -> dict[int, str]:
    """Name by number of each slide of a study, in the order in which they were given."""
    rows = session.execute(
        sa.select(Slide.id, Slide.name)
        .join(StudySlide, StudySlide.slide_id == Slide.id)
        .where(StudySlide.study_id == study.id)
        .order_by(StudySlide.place)
    )
    return {row.id: row.name for row in rows}


def course_of(session: Session, study: Study, reading: Reading) -> Course:
    """What the law asks of a reading."""
    rows = session.scalars(
        sa.select(ReadingEvent).where(ReadingEvent.reading_id == reading.id).order_by(ReadingEvent.id)
    )
    steps = [Step(ReadingAct(row.act), row.at, row.place, row.percent) for row in rows]
    slides = session.scalar(sa.select(sa.func.count()).select_from(StudySlide).where(StudySlide.study_id == study.id))
    return Course(steps, slides or 0, 60.0 * study.minutes, study.closed)


def readings_of(session: Session, study: Study) -> list[tuple[Reading, Person, Course]]:
    """All readers of a study, in the order in which they were named, and what each did."""
    rows = session.execute(
        sa.select(Reading, Person)
        .join(Person, Reading.person_id == Person.id)
        .where(Reading.study_id == study.id)
        .order_by(Reading.id)
    ).all()
    return [(reading, person, course_of(session, study, reading)) for reading, person in rows]


def studies_for(session: Session, by: Person, *, now: float | None = None) -> list[dict[str, Any]]:
    """All studies, the latest first, and how far their readers are; no answer and no standard.

    Raises
    ------
    RefusedError
        For other roles.
    """
    require_organiser(by.role)
    at = time.time() if now is None else now
    studies = session.scalars(sa.select(Study).order_by(Study.id.desc()))
    return [status_of(session, study, now=at) for study in studies]


def status_of(session: Session, study: Study, *, now: float) -> dict[str, Any]:
    """How far a study is, for who holds it.

    Returns
    -------
    dict
        ``study`` (number), ``name``, ``at``, ``by``, ``minutes``, ``live``, ``seed``, ``standard`` (whether it is
        known), ``closed`` (when; None while it is open), ``slides`` (names), ``with_regions`` (names), ``readers``:
        of each ``name``, ``state``, ``answered``, ``shown`` (numbers of slides), ``seconds`` so far (None before
        "Begin"), ``washout_days`` (the least time since this reader had one of the slides in front in an earlier
        study, None where there is none or the reading is not begun) and ``seen_before`` (number of such slides).
    """
    names = slide_names(session, study)
    outlined = session.scalars(
        sa.select(StudySlide).where(StudySlide.study_id == study.id).order_by(StudySlide.place)
    )
    readers = []
    for reading, person, course in readings_of(session, study):
        washed = list(washouts(session, reading, course).values())
        readers.append(
            {
                "name": person.name,
                "state": course.state(now).value,
                "answered": len(course.answers),
                "shown": len(course.shown),
                "seconds": None if course.begun is None else sum(course.seconds(now).values()),
                "washout_days": min(washed, default=None),
                "seen_before": len(washed),
            }
        )
    return {
        "study": study.id,
        "name": study.name,
        "at": study.at,
        "by": session.get_one(Person, study.person_id).name,
        "minutes": study.minutes,
        "live": study.live,
        "seed": study.seed,
        "standard": study.standard is not None,
        "closed": study.closed,
        "slides": list(names.values()),
        "with_regions": [names[one.slide_id] for one in outlined if one.regions],
        "readers": readers,
    }


def washouts(session: Session, reading: Reading, course: Course) -> dict[int, float]:
    """Days between the last look at a slide in an earlier study and the begin of this reading, by slide's number.

    Slides that the reader had not seen in a study are left out.
    """
    if course.begun is None:
        return {}
    rows = session.scalars(
        sa.select(ReadingSlide).where(ReadingSlide.reading_id == reading.id).order_by(ReadingSlide.place)
    )
    return {row.slide_id: max(0.0, course.begun - row.seen) / DAY_S for row in rows if row.seen is not None}
