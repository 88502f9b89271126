"""How long a save takes while many label at once over HTTP, and whether tiles still come.

``python benchmarks/labelling_load.py [--people 36] [--seconds 20] [--every 1.0]``

Each person saves five points every so often, as the page does, and has a tile read between; the server is a process
of its own, on an SQLite database.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np

from ki67.labelling import database as databases
from ki67.labelling.people import add_person, hashed
from ki67.labelling.project import add_slides, make_project
from ki67.labelling.tables import Task
from ki67.labelling.words import Act, LabelKind, Role
from ki67.labelling.work import perform
from ki67.slides import write_pyramid

PASSWORD = "correct horse"  # noqa: S105 - nobody's
SIDE_PX, MPP = 2048, 0.5


def write_slides(folder: Path, count: int, side_px: int) -> Path:
    """Slides of noise, all alike, each of a patient of its own; returns the list of them."""
    pixels = np.random.default_rng(0).integers(120, 240, (side_px, side_px, 3), np.uint8)
    write_pyramid(folder / "first.tif", [pixels], (side_px, side_px), MPP, tile_px=256)
    rows = ["slide,patient,split,mpp"]
    for number in range(count):
        shutil.copyfile(folder / "first.tif", folder / f"s{number}.tif")
        rows.append(f"s{number}.tif,p{number},train,{MPP}")
    (folder / "slides.csv").write_text("\n".join(rows) + "\n")
    return folder / "slides.csv"


def make(folder: Path, people: int) -> None:
    """A project of cells with a slide in progress for each person."""
    slides = write_slides(folder, people, SIDE_PX)
    database = databases.create(folder / "project", None)
    with database.session() as session:
        boss = make_project(session, "load", LabelKind.cells, "boss")
        add_slides(session, boss, slides)
        word = hashed(PASSWORD)
        for number in range(people):
            person = add_person(session, boss, f"person {number}", Role.labeller, group="A")
            person.password_hash, person.trained = word, True
            task = session.get_one(Task, number + 1)
            perform(session, boss, task, Act.assign, to=person)
            perform(session, person, task, Act.begin)
    database.close()


class Labeller(threading.Thread):
    """One person at work."""

    def __init__(self, port: int, number: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self.number, self.every_s = number, every_s
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"content-type": "application/json", "x-window": str(uuid.uuid4()), "x-csrf-token": "login"}
        self.saves: list[float] = []
        self.tiles: list[float] = []
        self.stopped = threading.Event()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes, str]:
        """Status, body and cookie of an answer."""
        self.connection.request(method, path, None if body is None else json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.getheader("set-cookie") or ""

    def log_in(self) -> None:
        """Begin."""
        _, _, cookie = self.ask(
            "POST", "/api/labelling/login", {"name": f"person {self.number}", "password": PASSWORD}
        )
        self.headers["cookie"] = cookie.partition(";")[0]
        self.headers["x-csrf-token"] = json.loads(self.ask("GET", "/api/session")[1])["csrf"]

    def run(self) -> None:
        """Save, look, wait."""
        task = f"/api/labelling/tasks/{self.number + 1}"
        self.connection.close()  # the server has ended those that waited long
        tiles = json.loads(self.ask("GET", task)[1])["slide_facts"]["tiles"]
        draw = np.random.default_rng(self.number)
        time.sleep(draw.uniform(0, self.every_s))
        while not self.stopped.is_set():
            points = [
                {
                    "uuid": str(uuid.uuid4()),
                    "version": 0,
                    "label": "Positive",
                    "geometry": {"type": "Point", "coordinates": draw.uniform(0, 1000, 2).tolist()},
                }
                for _ in range(5)
            ]
            start = time.perf_counter()
            status, _, _ = self.ask("POST", f"{task}/labels", {"changes": points})
            self.saves.append(time.perf_counter() - start)
            column, row = draw.integers(0, 8, 2)
            place = tiles.replace("{level}", "11").replace("{col}", str(column)).replace("{row}", str(row))
            start = time.perf_counter()
            seen, _, _ = self.ask("GET", place)
            self.tiles.append(time.perf_counter() - start)
            assert (status, seen) == (200, 200)
            self.stopped.wait(self.every_s)


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=36)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.people)
        words = ["-m", "ki67", "serve", str(folder / "project"), "--json", "--no-browser"]
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["url"].rstrip("/").rpartition(":")[2])
            people = [Labeller(port, number, options.every) for number in range(options.people)]
            for one in people:
                one.log_in()
            for one in people:
                one.start()
            time.sleep(options.seconds)
            for one in people:
                one.stopped.set()
            for one in people:
                one.join()
        finally:
            process.kill()
            process.communicate()
    for what in ("saves", "tiles"):
        values = 1000 * np.array([value for one in people for value in getattr(one, what)])
        low, high = np.percentile(values, (50, 95))
        print(f"{what}: {len(values)}, ms p50 {low:.0f}, p95 {high:.0f}, longest {values.max():.0f}")


if __name__ == "__main__":
    main()
