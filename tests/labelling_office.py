"""A project with a small organisation: two groups with a leader each, reviewer, quality control, administrator."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image
from sqlalchemy.orm import Session

from ki67.labelling.database import Database
from ki67.labelling.people import add_person, person_named
from ki67.labelling.project import add_slides, make_project
from ki67.labelling.tables import Person, Task
from ki67.labelling.words import Act, LabelKind, Role, State, TaskKind
from ki67.labelling.work import perform, read_changes, save, task_of, terms_of

PEOPLE = {
    "ann": (Role.labeller, "A"),
    "abe": (Role.labeller, "A"),
    "lea": (Role.leader, "A"),
    "bob": (Role.labeller, "B"),
    "leo": (Role.leader, "B"),
    "rev": (Role.reviewer, None),
    "qua": (Role.quality, None),
    "tra": (Role.trainer, None),
}


class Office:
    """Shorthand for tests: every step one transaction, people by name."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database

    def act(self, name: str, task: int, act: Act, reason: str = "", to: str = "") -> State:
        with self.database.session() as session:
            other = person_named(session, to) if to else None
            return perform(session, person_named(session, name), task_of(session, task), act, reason=reason, to=other)

    def save(self, name: str, task: int, *changes: dict[str, Any], token: str = "tab") -> list[dict[str, Any]]:
        with self.database.session() as session:
            wanted = read_changes(changes, terms_of(session))
            return save(session, person_named(session, name), task_of(session, task), token, wanted)

    def to_accepted(self, name: str, task: int, *changes: dict[str, Any]) -> None:
        self.act("boss", task, Act.assign, to=name)
        self.act(name, task, Act.begin)
        self.save(name, task, *changes)
        self.act(name, task, Act.submit)
        self.act("rev", task, Act.take_review)
        self.act("rev", task, Act.accept)

    def tasks(self, kind: TaskKind = TaskKind.label) -> list[int]:
        with self.database.session() as session:
            return list(session.scalars(sa.select(Task.id).where(Task.kind == kind.value).order_by(Task.id)))

    def state(self, task: int) -> State:
        with self.database.session() as session:
            return State(task_of(session, task).state)


def point(x_um: float, y_um: float = 0.0, label: str = "Positive", version: int = 0, **more: Any) -> dict[str, Any]:
    geometry = {"type": "Point", "coordinates": [x_um, y_um]}
    return {"uuid": str(uuid.uuid4()), "version": version, "label": label, "geometry": geometry, **more}


def write_slides(folder: Path, count: int, splits: tuple[str, ...] = ("train",)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((64, 64, 3), 230, np.uint8)
    rows = ["slide,patient,split,mpp"]
    for number in range(count):
        Image.fromarray(pixels).save(folder / f"s{number}.png")
        rows.append(f"s{number}.png,p{number},{splits[number % len(splits)]},0.5")
    (folder / "slides.csv").write_text("\n".join(rows) + "\n")
    return folder / "slides.csv"


def fill(session: Session, folder: Path, kind: LabelKind, slides: int, splits: tuple[str, ...]) -> None:
    boss = make_project(session, "test", kind, "boss", guideline="Outline the carcinoma.")
    for name, (role, group) in PEOPLE.items():
        add_person(session, boss, name, role, group=group)
    for person in session.scalars(sa.select(Person)):
        person.trained = True
    add_slides(session, boss, write_slides(folder / "slides", slides, splits))
