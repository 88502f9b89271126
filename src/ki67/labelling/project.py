"""A project and its slides."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ki67.annotations import read_cells, read_regions
from ki67.csv_rows import read_rows
from ki67.errors import RefusedError
from ki67.fields.slide_list import SAFE_NAME, SPLITS, SlideEntry, split_by_patient
from ki67.labelling.journal import note
from ki67.labelling.people import add_person, require_administrator, require_guideline_writer
from ki67.labelling.shapes import as_stored, lies_beside
from ki67.labelling.tables import Person, Project, Slide, Task
from ki67.labelling.words import LabelKind, Role, State, TaskKind
from ki67.progress import message
from ki67.slides import Slide as OpenSlide
from ki67.slides import open_slide

DEFAULT_CLASSES: Final[Mapping[LabelKind, dict[str, str]]] = {
    # Feng et al. 2020, Fig 2 and Fig 5.
    LabelKind.regions: {"IDC": "#ff0000", "DCIS": "#00ff00", "Normal": "#0000ff"},
    LabelKind.cells: {"Positive": "#ff0000", "Negative": "#00aa00"},
}

TRAINING: Final = "training"
"""Split of training slides, whose labels are known."""

LONGEST_GUIDELINE: Final = 100_000
"""Characters; a book has more."""

_SLIDES: Final = (
    "Expected a CSV with the columns slide, patient and, if wanted, split (train, val, test, training), mpp and "
    "answer (a region file, for training slides)."
)
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


def make_project(
    session: Session,
    name: str,
    kind: LabelKind,
    administrator: str,
    *,
    classes: Mapping[str, str] | None = None,
    guideline: str = "",
    prelabels_allowed: bool = False,
    password: str = "",
) -> Person:
    """Make a project with its first administrator.

    Parameters
    ----------
    classes
        Colour by name; the paper's where None.
    guideline
        Text that labellers see.
    prelabels_allowed
        Whether labels of a model may be put there to be mended; that biases people, so it is off and recorded.

    Raises
    ------
    RefusedError
        Where a class or the administrator's name is not usable.
    """
    chosen = dict(classes or DEFAULT_CLASSES[kind])
    for label, colour in chosen.items():
        if not label.strip() or not label.isprintable() or not _COLOUR.fullmatch(colour):
            raise RefusedError(f"class {label!r} with the colour {colour!r}: expected NAME=#rrggbb")
    session.add(
        Project(
            id=1,
            name=name,
            kind=kind.value,
            classes=[{"name": label, "color": colour} for label, colour in chosen.items()],
            guideline=guideline,
            prelabels_allowed=prelabels_allowed,
            unblinded=False,
            created=time.time(),
        )
    )
    person = add_person(session, None, administrator, Role.administrator, password=password)
    note(session, person.id, "init", detail={"kind": kind.value, "classes": list(chosen)})
    return person


def the_project(session: Session) -> Project:
    """The project of this database.

    Raises
    ------
    RefusedError
        Where there is none.
    """
    project = session.get(Project, 1)
    if project is None:
        raise RefusedError("the database holds no project; make one with: ki67 label init DIR")
    return project


def add_slides(session: Session, by: Person, path: Path, *, seed: int = 2020) -> list[Slide]:
    """Add the slides of a list; where it gives no split, one is drawn by patient (the paper's shares).

    Parameters
    ----------
    path
        CSV with the columns ``slide``, ``patient`` and perhaps ``split``, ``mpp`` and ``answer``; file names are
        relative to its folder. Slides of the split ``training`` have an ``answer``: their known labels.
    seed
        Of the draw.

    Raises
    ------
    DataSetError, SlideError, AnnotationError
        Where the list, a slide or an answer cannot be read, with the line.
    RefusedError
        Where a slide is there already, a patient would lie in two splits, or the person is no administrator.
    """
    require_administrator(by)
    project = the_project(session)
    known = {slide.path: slide for slide in session.scalars(sa.select(Slide))}
    splits = {slide.patient: slide.split for slide in known.values() if slide.split != TRAINING}
    entries: list[tuple[SlideEntry, list[Any] | None]] = []
    for place, row in enumerate(read_rows(path, ("slide", "patient"), _SLIDES), 1):
        file = (path.parent / row.text("slide")).absolute()
        patient, split = row.text("patient"), row.values.get("split", "")
        if split not in ("", *SPLITS, TRAINING):
            raise row.error(f"has the split {split!r}")
        if not SAFE_NAME.fullmatch(patient):
            raise row.error(f"has the patient {patient!r}, which cannot be a folder's name")
        if str(file) in known:
            raise row.error("names a slide that is in the project already, or twice in the list")
        before = splits.get(patient, split)
        if split and split != TRAINING and before and before != split:
            raise row.error(f"puts patient {patient} into {split}; other slides of that patient are in {before}")
        if split != TRAINING and before:
            split = splits[patient] = before
        mpp = row.number_or_none("mpp", 0.05, 50.0)
        answer = _answer(row.values.get("answer", ""), file, path, mpp, LabelKind(project.kind), project)
        if (split == TRAINING) != (answer is not None):
            raise row.error("is a training slide without an answer, or has an answer and is none")
        if answer is None:
            open_slide(file, mpp).close()
        known[str(file)] = Slide()
        entries.append((SlideEntry(patient, file, file, split, mpp, place), answer))
    drawn = _with_splits([entry for entry, _ in entries], seed)
    answers = [answer for _, answer in entries]
    slides = [_slide(session, entry, answer) for entry, answer in zip(drawn, answers, strict=True)]
    session.flush()
    for slide in slides:
        if slide.split != TRAINING:
            session.add(Task(slide_id=slide.id, kind=TaskKind.label.value, state=State.new.value, seconds=0.0))
    note(session, by.id, "add_slides", detail={"slides": [slide.id for slide in slides], "seed": seed})
    return slides


def _with_splits(entries: Sequence[SlideEntry], seed: int) -> list[SlideEntry]:
    open_ones = [entry for entry in entries if not entry.split]
    patients = {entry.patient for entry in open_ones}
    if not open_ones:
        return list(entries)
    if len(patients) < 2:
        return [replace(entry, split=entry.split or "train") for entry in entries]
    # A patient of whom one line states the split has it for all.
    stated = {entry.patient: entry.split for entry in entries if entry.split and entry.split != TRAINING}
    entries = [replace(entry, split=entry.split or stated.get(entry.patient, "")) for entry in entries]
    drawn = {entry.patient: entry.split for entry in split_by_patient([e for e in entries if not e.split], seed=seed)}
    return [replace(entry, split=entry.split or drawn[entry.patient]) for entry in entries]


def _slide(session: Session, entry: SlideEntry, answer: list[Any] | None) -> Slide:
    name = entry.slide.name.split(".")[0] or "slide"
    taken = set(session.scalars(sa.select(Slide.name)))
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    slide = Slide(
        name=unique, path=str(entry.slide), patient=entry.patient, split=entry.split, mpp=entry.mpp, answer=answer
    )
    session.add(slide)
    session.flush()
    return slide


def _answer(
    text: str, slide: Path, listed: Path, mpp: float | None, kind: LabelKind, project: Project
) -> list[Any] | None:
    if not text:
        return None
    with open_slide(slide, mpp) as opened:
        return labels_of_file(listed.parent / text, opened, kind, {one["name"] for one in project.classes})


def labels_of_file(path: Path, slide: OpenSlide, kind: LabelKind, classes: set[str]) -> list[Any]:
    """Labels of a file of any program on a slide, as the database keeps them.

    Raises
    ------
    AnnotationError
        Where it cannot be read.
    RefusedError
        Where it holds a class that the project has not, or a label that lies beside the slide: the file is another
        slide's, or in other units.
    """
    frame = slide.frame
    size_um = slide.bounds_um.width_um, slide.bounds_um.height_um
    if kind is LabelKind.regions:
        found = [(region.label, region.geometry) for region in read_regions(path, frame)]
    else:
        found = [(label, at) for label, points in read_cells(path, frame).items() for at in points]
    by_fold = {name.casefold(): name for name in classes}
    labels, vanished = [], 0
    for label, geometry in found:
        name = by_fold.get(label.split(":")[-1].strip().casefold())
        if name is None:
            raise RefusedError(f"{path}: has the class {label!r}; the project has {', '.join(sorted(classes))}")
        stored = as_stored(geometry)
        if not stored["coordinates"]:
            vanished += 1
            continue
        beside = lies_beside(stored, size_um)
        if beside:
            raise RefusedError(
                f"{path}: a label {beside}; is it the file of another slide, or in other units than pixels?"
            )
        labels.append({"label": name, "geometry": stored})
    if vanished:
        message(f"{path}: left out {vanished} areas that are narrower than a thousandth of a µm")
    return labels


def set_guideline(session: Session, by: Person, text: str) -> None:
    """Change the text that labellers see; it is kept in the log.

    Raises
    ------
    RefusedError
        For others than trainers and administrators, and for a text that is too long.
    """
    require_guideline_writer(by)
    if len(text) > LONGEST_GUIDELINE:
        raise RefusedError(f"a guideline has at most {LONGEST_GUIDELINE:,} characters")
    the_project(session).guideline = text
    note(session, by.id, "guideline", detail={"text": text})


def unblind(session: Session, by: Person) -> None:
    """Let labels of test slides be seen and exported, once and for all.

    Raises
    ------
    RefusedError
        Where the person is no administrator.
    """
    require_administrator(by)
    the_project(session).unblinded = True
    note(session, by.id, "unblind")
