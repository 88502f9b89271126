"""What came out of a reader study: ranks by ``ki67 compete``'s own scoring, and files that it reads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.csv_rows import csv_text
from ki67.errors import AbsentError, RefusedError
from ki67.evaluation.compete import Answer, answer_score, imrmc_text, ranking
from ki67.evaluation.rules import Rule
from ki67.files import make_folder, write_text
from ki67.labelling.studies import readings_of, slide_names, study_for, washouts
from ki67.labelling.study_law import ENDED, ORGANISERS, Course, require_closed
from ki67.labelling.tables import Person, Reading, ReadingSlide, Study
from ki67.labelling.words import StudyFile

RULE: Final = Rule.interval
"""How studies are scored; by another rule ``ki67 compete --rule`` ranks the files."""

MODALITY: Final = "competition"
_DECIMALS: Final = 3
_NO_STANDARD: Final = "the study has no gold standard yet"
_NOBODY: Final = "nobody has read yet"


def ranking_for(session: Session, by: Person, number: int, *, now: float | None = None) -> dict[str, Any]:
    """Rank the readers of a study, for whoever may know it now.

    Before it is closed, and where it is live: who holds it gets ``readers`` who have ended, with ``rank``,
    ``reader``, ``average_score``, ``seconds`` and ``answered``; a reader who has ended gets ``place`` and ``of``
    (readers who have ended), nothing else. Once it is closed, both get what
    :func:`ki67.evaluation.compete.ranking` tells; a reader gets numbers of the own order in place of the slides'
    names, and ``own``, the own name.

    Raises
    ------
    AbsentError
        Where there is none, or it is not this person's: the two are not told apart.
    RefusedError
        Where it is sealed, this person has not ended, there is no standard yet, or nobody has read.
    """
    at = time.time() if now is None else now
    holds = by.role in ORGANISERS
    study = session.get(Study, number)
    own = _own(session, by, number)
    if study is None or not (holds or own):
        raise AbsentError(f"there is no study {number}")
    if study.closed is None and not study.live:
        raise RefusedError("the ranking is sealed until the study is closed")
    parts = [part for part in readings_of(session, study) if part[2].state(at) in ENDED]
    if study.closed is None and not holds and all(person.id != by.id for _, person, _ in parts):
        raise RefusedError("your place is told when you have finished")
    if study.standard is None:
        raise RefusedError(_NO_STANDARD)
    if not parts:
        raise RefusedError(_NOBODY)
    result = ranking(_gold(study), _answers(session, study, parts, at), RULE)
    if study.closed is not None:
        return result | {"own": None} if holds or own is None else _blinded(session, study, own, by, result)
    if holds:
        kept = ("rank", "reader", "average_score", "seconds", "answered")
        return {"readers": [{key: reader[key] for key in kept} for reader in result["readers"]]}
    mine = next(reader for reader in result["readers"] if reader["reader"] == by.name)
    return {"place": mine["rank"], "of": len(result["readers"])}


def _own(session: Session, by: Person, number: int) -> Reading | None:
    return session.scalar(sa.select(Reading).where(Reading.study_id == number, Reading.person_id == by.id))


def _gold(study: Study) -> dict[str, float]:
    return {name: float(one[0]) for name, one in (study.standard or {}).items()}


def _answers(
    session: Session, study: Study, parts: Iterable[tuple[Reading, Person, Course]], now: float
) -> list[Answer]:
    """Answers, and slides that were looked at without one; scored where there is a standard."""
    names, gold, found = slide_names(session, study), _gold(study), []
    for reading, person, course in parts:
        seconds, said = course.seconds(now), course.answers
        by_slide = {row.slide_id: row.place for row in _order(session, reading)}
        for slide, name in names.items():
            place = by_slide[slide]
            if place not in course.shown:
                continue
            percent = said.get(place)
            score = 0.0 if percent is None or name not in gold else answer_score(percent, gold[name], RULE)
            took = round(seconds[place], _DECIMALS)
            found.append(Answer(name, person.name, MODALITY, percent, score, took, percent is not None))
    return found


def _order(session: Session, reading: Reading) -> Sequence[ReadingSlide]:
    return session.scalars(
        sa.select(ReadingSlide).where(ReadingSlide.reading_id == reading.id).order_by(ReadingSlide.place)
    ).all()


def _blinded(session: Session, study: Study, own: Reading, by: Person, result: dict[str, Any]) -> dict[str, Any]:
    """Put numbers of a reader's own order for the slides' names: they may be read again some day."""
    names = slide_names(session, study)
    numbers = {names[row.slide_id]: f"Slide {row.place}" for row in _order(session, own)}
    readers = [
        reader | {"scores": {number: reader["scores"][name] for name, number in numbers.items()}}
        for reader in result["readers"]
    ]
    known = {one["slide"]: one for one in result["slides"]}
    slides = [known[name] | {"slide": number} for name, number in numbers.items()]
    return result | {"readers": readers, "slides": slides, "own": by.name}


def file_of(session: Session, by: Person, number: int, file: StudyFile, *, now: float | None = None) -> str:
    """Text of one file of a closed study.

    ``answers.csv`` is what ``ki67 compete`` reads, with ``seconds`` of each slide and ``washout_days`` where the
    reader had the slide before; ``standard.csv`` its gold standard; ``imrmc.csv`` the answers as reader-study
    software takes them; ``entries.csv`` every step of every reader.

    Raises
    ------
    RefusedError
        For others than who holds studies, before the study is closed, and for a standard that was not given.
    AbsentError
        Where there is no such study.
    """
    study = study_for(session, by, number)
    require_closed(study.closed)
    at = time.time() if now is None else now
    if file is StudyFile.standard:
        return _standard_text(study)
    if file is StudyFile.entries:
        return _entries_text(session, study)
    parts = [part for part in readings_of(session, study) if part[2].begun is not None]
    answers = _answers(session, study, parts, at)
    if file is StudyFile.answers:
        return _answers_text(session, study, parts, answers)
    return imrmc_text(answers)


def write_files(session: Session, by: Person, number: int, out: Path) -> list[str]:
    """Write all files of a closed study; returns their names. The standard only where there is one.

    Raises
    ------
    RefusedError, AbsentError
        As :func:`file_of`.
    WriteError
        Where a file cannot be written.
    """
    known = study_for(session, by, number).standard is not None
    files = [file for file in StudyFile if known or file is not StudyFile.standard]
    texts = {file.value: file_of(session, by, number, file) for file in files}
    make_folder(out)
    for name, text in texts.items():
        write_text(out / name, text)
    return list(texts)


def _answers_text(
    session: Session, study: Study, parts: Iterable[tuple[Reading, Person, Course]], answers: Iterable[Answer]
) -> str:
    names = slide_names(session, study)
    washed = {
        (names[slide], person.name): days
        for reading, person, course in parts
        for slide, days in washouts(session, reading, course).items()
    }
    rows = []
    for one in answers:
        days = washed.get((one.slide, one.reader))
        percent = "" if one.index_percent is None else f"{one.index_percent:g}"
        rows.append([one.slide, one.reader, percent, repr(one.seconds), "" if days is None else f"{days:.1f}"])
    return csv_text([["slide", "reader", "index_percent", "seconds", "washout_days"], *rows])


def _standard_text(study: Study) -> str:
    if study.standard is None:
        raise RefusedError(_NO_STANDARD)
    rows = [[name, *("" if one is None else repr(one) for one in values)] for name, values in study.standard.items()]
    return csv_text([["slide", "index_percent", "positive", "negative"], *rows])


def _entries_text(session: Session, study: Study) -> str:
    names, rows = slide_names(session, study), []
    for reading, person, course in readings_of(session, study):
        slides = {row.place: names[row.slide_id] for row in _order(session, reading)}
        for step in course.steps:
            place = "" if step.place is None else str(step.place)
            slide = "" if step.place is None else slides[step.place]
            percent = "" if step.percent is None else str(step.percent)
            rows.append([person.name, step.act.value, f"{step.at:.3f}", place, slide, percent])
    return csv_text([["reader", "act", "at", "place", "slide", "index_percent"], *rows])
