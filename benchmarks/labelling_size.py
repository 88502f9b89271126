"""How a project bears 10,000 regions or 2,000,000 points: ``python benchmarks/labelling_size.py OUT``.

Two projects of 40 slides on SQLite, one of regions and one of points, labelled by a program; what people wait for is
timed: the labels of one slide as the page gets them over HTTP, the list of work, the progress page, and the export.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np
import sqlalchemy as sa

from ki67.labelling import database as databases
from ki67.labelling.delivering import pack
from ki67.labelling.people import add_person, hashed, person_named
from ki67.labelling.project import add_slides, make_project
from ki67.labelling.tables import Label, Task
from ki67.labelling.words import Act, Delivery, LabelKind, Role
from ki67.labelling.work import perform
from labelling_load import MPP, write_slides

sys.path.append(str(Path(__file__).parents[1] / "tests" / "server"))
from browser import PASSWORD, serve

SLIDES, SIDE_PX = 40, 4096
EACH = {LabelKind.regions: 250, LabelKind.cells: 50_000}
CLASS = {LabelKind.regions: "IDC", LabelKind.cells: "positive"}
CORNERS = 40

T = TypeVar("T")


def timed(what: str, work: Callable[[], T]) -> T:
    """Do it, and say how long it took."""
    start = time.perf_counter()
    found = work()
    print(f"  {what}: {time.perf_counter() - start:.2f} s", flush=True)
    return found


def geometries(kind: LabelKind, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Points, or outlines of forty corners, anywhere on the slide, in µm."""
    random = np.random.default_rng(seed)
    side_um = SIDE_PX * MPP
    places = random.uniform(100, side_um - 100, (count, 2)).round(2)
    if kind is LabelKind.cells:
        yield from ({"type": "Point", "coordinates": place} for place in places.tolist())
        return
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    for place in places:
        radius = random.uniform(20, 60) * random.uniform(0.9, 1.1, CORNERS)
        ring = (place + np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])).round(2).tolist()
        yield {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def make(folder: Path, kind: LabelKind) -> Path:
    """A project whose every slide is labelled and accepted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    slides = write_slides(folder, SLIDES, SIDE_PX)
    database = databases.create(folder / "project", None)
    with database.session() as session:
        boss = make_project(session, "size", kind, "boss")
        boss.password_hash = hashed(PASSWORD)
        add_slides(session, boss, slides)
        ann = add_person(session, boss, "ann", Role.labeller, group="A")
        rev = add_person(session, boss, "rev", Role.reviewer)
        for person in (ann, rev):
            person.password_hash, person.trained = hashed(PASSWORD), True
        for task in session.scalars(sa.select(Task).order_by(Task.id)).all():
            perform(session, boss, task, Act.assign, to=ann)
            perform(session, ann, task, Act.begin)
            facts = {
                "version": 1,
                "label": CLASS[kind],
                "deleted": False,
                "person_id": ann.id,
                "changed": time.time(),
            }
            labels = [
                {"uuid": str(uuid.uuid4()), "task_id": task.id, "geometry": geometry, "changed": time.time(), **facts}
                for geometry in geometries(kind, EACH[kind], task.id)
            ]
            session.execute(sa.insert(Label), labels)
            perform(session, ann, task, Act.submit)
            perform(session, rev, task, Act.take_review)
            perform(session, rev, task, Act.accept)
    database.close()
    return folder / "project"


def ask(project: Path) -> None:
    """What a person waits for over HTTP."""
    process, base = serve(project)
    try:
        headers = {"x-window": str(uuid.uuid4()), "x-csrf-token": "login"}
        with httpx2.Client(base_url=base, timeout=300, headers=headers) as client:
            login = {"name": "boss", "password": PASSWORD}
            client.post("/api/labelling/login", json=login).raise_for_status()
            for what, place in (
                ("labels of one slide", "/api/labelling/tasks/1/labels"),
                ("my work", "/api/labelling/desk"),
                ("progress", "/api/labelling/progress"),
            ):
                answer = timed(what, lambda place=place: client.get(place))
                answer.raise_for_status()
                print(f"    {len(answer.content) / 1e6:.2f} MB", flush=True)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Make both projects and time what people wait for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for kind, delivery in ((LabelKind.regions, Delivery.idc), (LabelKind.cells, Delivery.gold)):
        print(f"{SLIDES * EACH[kind]:,} {kind.value}", flush=True)
        project = timed("made", lambda kind=kind: make(out / kind.value, kind))
        print(f"    {sum(one.stat().st_size for one in project.iterdir()) / 1e6:.0f} MB")
        ask(project)
        database = databases.open_database(project)

        def export(database: databases.Database = database, delivery: Delivery = delivery) -> dict[str, Any]:
            with database.session() as session:
                parcel = pack(session, person_named(session, "boss"), delivery)
            with database.reading() as session:
                return parcel.write(session, out / "export")

        print(f"    {json.dumps(timed('export', export))}")
        database.close()


if __name__ == "__main__":
    main()
