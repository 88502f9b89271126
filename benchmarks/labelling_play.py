"""The paper's whole organisation played through in real browsers: ``python benchmarks/labelling_play.py OUT``.

Forty simulated H&E sections and two for training; 28 labellers in three groups with a leader each, three reviewers,
two quality controllers, a trainer and an administrator. Each is a scripted person with a window of Chromium of its
own, who does everything as people do: logs in, is trained (one of them fails first), draws by hand a little beside
the true outlines, hands in, reviews, pins remarks, sends back, draws for quality control, labels again blind and
compares. The work of one group fails there, goes back, is mended and passes. On the way people try what is not open
to them. At the end the labels become Table 1 and a trained model.

``--kills N`` plays instead one labeller who draws while the server is killed (SIGKILL) N times at random moments and
begun again: every stroke must be there in the end.

Needs Chromium (KI67_CHROMIUM, or on the path) and the page (``npm run page`` in ``frontend/``, or a built package).
Some twenty minutes on two cores. What is played goes on from OUT only as far as the sections: a project is made anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from playwright.sync_api import Browser, Page, expect, sync_playwright
from shapely.geometry import Polygon

from ki67.annotations import Region, Regions, read_regions, write_regions
from ki67.labelling.database import create, open_database
from ki67.labelling.people import add_person, hashed
from ki67.labelling.project import add_slides, make_project
from ki67.labelling.tables import Event, Label, Task
from ki67.labelling.words import LabelKind, Role
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import open_slide

# What tests of the pages do in a browser, people of the play do too.
sys.path.append(str(Path(__file__).parents[1] / "tests" / "server"))
from browser import CHROMIUM, PASSWORD, PATIENCE_MS, drag, log_in, on_slide, serve, window

SECTIONS, TRAINING, FIRST_SEED = 40, 2, 12_001
SIZE_MM, MPP = (1.0, 0.8), 1.0
CLASSES = ("IDC", "DCIS", "Normal")
LABELLERS, GROUPS, REVIEWERS, CONTROLLERS = 28, ("A", "B", "C"), 3, 2
HAND_UM = 1.0
"""How far a drawn corner lies beside the true one, standard deviation."""
LEAST_UM2 = 2_000.0
SEND_BACK_EVERY, LEAVE_EVERY = 5, 11
FAILING = "B"


def draw_sections(folder: Path) -> None:
    """Simulate the sections, once."""
    for number in range(SECTIONS + TRAINING):
        section = folder / f"s{number:02d}"
        if not (section / "truth.json").exists():
            simulate_pair(section, SimulationOptions(seed=FIRST_SEED + number, size_mm=SIZE_MM, mpp=MPP, cells=300))


def truth_of(section: Path) -> list[tuple[str, Polygon]]:
    """Class and outline, in µm, of what a labeller is to draw; larger ones first."""
    with open_slide(section / "he.tif") as slide:
        regions = read_regions(section / "he_regions.geojson", slide.frame)
    parts = [(one.label, part) for one in regions for part in shapely.get_parts(one.geometry)]
    kept = [(label, Polygon(part.exterior)) for label, part in parts if label in CLASSES and part.area > LEAST_UM2]
    return sorted(kept, key=lambda one: -one[1].area)


def ki67(*words: object, typed: str = "") -> dict[str, Any]:
    """Run a command and return what it answers."""
    program = [sys.executable, "-m", "ki67", *map(str, words), "--json", "--quiet"]
    done = subprocess.run(program, input=typed, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def organise(sections: Path, project: Path) -> dict[str, tuple[str, str]]:
    """Make the project and its people; returns role and group by name."""
    rows = ["slide,patient,split,answer"]
    for number in range(SECTIONS + TRAINING):
        section, slide = sections / f"s{number:02d}", sections / f"s{number:02d}.tif"
        if not slide.exists():
            os.link(section / "he.tif", slide)
        if number >= SECTIONS:
            with open_slide(slide) as opened:
                answer = Regions(Region(label, part, f"{n}") for n, (label, part) in enumerate(truth_of(section)))
                write_regions(sections / f"{section.name}.geojson", answer, opened.frame)
        training = number >= SECTIONS
        rows.append(
            f"{slide.name},p{number},{'training' if training else ''},{section.name + '.geojson' if training else ''}"
        )
    (sections / "slides.csv").write_text("\n".join(rows) + "\n")
    shutil.rmtree(project, ignore_errors=True)
    people = {f"lab{n:02d}": ("labeller", GROUPS[n % len(GROUPS)]) for n in range(LABELLERS)}
    people |= {f"lead{group}": ("leader", group) for group in GROUPS}
    people |= {f"rev{n}": ("reviewer", "") for n in range(REVIEWERS)}
    people |= {f"qc{n}": ("quality", "") for n in range(CONTROLLERS)}
    people |= {"tra": ("trainer", "")}
    database = create(project, None)
    with database.session() as session:
        boss = make_project(session, "play", LabelKind.regions, "boss", guideline="Outline carcinoma, DCIS, ducts.")
        add_slides(session, boss, sections / "slides.csv")
        word = hashed(PASSWORD)
        for name, (role, group) in people.items():
            add_person(session, boss, name, Role(role), group=group or None).password_hash = word
    database.close()
    ki67("label", "assign", project, "--seed", 1)
    return people


class Server:
    """``ki67 serve``, which can be killed and begun again at its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process, self.base = serve(folder)

    def begin_again(self) -> None:
        """Serve at the address from before."""
        self.process, self.base = serve(self.folder, self.base.rpartition(":")[2])

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()


@dataclass
class Play:
    """One run: the server, the browser, and what happened."""

    server: Server
    browser: Browser
    sections: Path
    people: dict[str, tuple[str, str]]
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2020))
    refused: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def somebody(self, name: str) -> Iterator[Page]:
        """A person's window, logged in."""
        page = window(self.browser, self.server.base, name)
        yield page
        page.context.close()

    def must_be_refused(self, page: Page, task: int, act: str, why: str) -> None:
        """An act that is not open to whoever is logged in here."""
        asked = (
            "async ([task, act]) => { const session = await (await fetch('/api/session')).json();"
            "const told = await fetch(`/api/labelling/tasks/${task}/acts`, {method: 'POST', headers: "
            "{'Content-Type': 'application/json', 'X-CSRF-Token': session.csrf, 'X-Window': 'another-window'}, "
            "body: JSON.stringify({act, reason: 'because'})}); return told.status; }"
        )
        status = page.evaluate(asked, [task, act])
        if status not in (403, 404):
            raise AssertionError(f"{why}: {act} of task {task} was answered with {status}")
        self.refused[f"{why}: {act}"] += 1

    def draw(self, page: Page, name: str, beside_um: float = 0.0) -> None:
        """Outline what is on a slide; ``beside_um`` moves all of it."""
        page.locator(".pane[data-um-per-px]").wait_for()
        page.wait_for_timeout(500)
        for label, part in truth_of(self.sections / name):
            page.keyboard.press(str(1 + CLASSES.index(label)))
            page.keyboard.press("n")
            ring = np.asarray(part.simplify(1.5).exterior.coords)[:-1]
            ring = ring + self.random.normal(0, HAND_UM, ring.shape) + beside_um
            drag(page, *map(tuple, ring.tolist()), steps=1)
        expect(page.locator(".saving")).to_have_attribute("data-saving", "saved", timeout=PATIENCE_MS)

    def wipe(self, page: Page) -> None:
        """Take away every label that is there, the eraser over the whole slide."""
        page.locator(".pane[data-um-per-px]").wait_for()
        page.wait_for_timeout(500)
        while True:
            if not sum(int(text) for text in page.locator(".class-counts li:not(.sum) b").all_inner_texts()):
                break
            page.keyboard.press("x")
            width, height = (1000 * one for one in SIZE_MM)
            corners = [(-40, -40), (width + 90, -40), (width + 90, height + 90), (-40, height + 90), (-40, -30)]
            drag(page, *corners)
            page.wait_for_timeout(300)
        expect(page.locator(".saving")).to_have_attribute("data-saving", "saved", timeout=PATIENCE_MS)


def task_here(page: Page) -> tuple[int, str]:
    """Number of the task that is open, and its slide's section."""
    page.locator(".task-head h2").wait_for()
    name = page.locator(".task-head h2").inner_text()
    return int(page.url.partition("#/task/")[2].split("?")[0]), name


def wait_for_desk(page: Page) -> None:
    """The list of work is back."""
    expect(page.get_by_role("heading", name="My work")).to_be_visible(timeout=PATIENCE_MS)


def label_all(play: Play, name: str, *, wrong_first: bool) -> None:
    """All that waits for one labeller: training, new work, work that came back."""
    with play.somebody(name) as page:
        while True:
            page.reload()
            wait_for_desk(page)
            page.locator(".tasks, .nothing").first.wait_for()
            # To a leader without work of their own "Next" is a review.
            waiting = page.locator(".list-head .soft").inner_text()
            if waiting.startswith("0 to label") or not page.get_by_role("link", name="Next").count():
                return
            page.get_by_role("link", name="Next").click()
            task, slide = task_here(page)
            again = page.get_by_role("button", name="Work on it again")
            came_back = again.count() > 0
            play.must_be_refused(page, task, "accept", "nobody judges their own work")
            (again if came_back else page.get_by_role("button", name="Begin")).click()
            expect(page.locator(".chip.in_progress")).to_be_visible(timeout=PATIENCE_MS)
            if came_back:
                play.wipe(page)
            training = int(slide.removeprefix("s")) >= SECTIONS
            play.draw(page, slide, 150.0 if training and wrong_first and not came_back else 0.0)
            page.get_by_role("button", name="Hand in").click()
            wait_for_desk(page)


def review_all(play: Play, name: str, numbers: Iterator[int]) -> int:
    """All that waits for a reviewer; now and then it is left to others, or sent back with a remark."""
    done = 0
    with play.somebody(name) as page:
        while True:
            page.reload()
            wait_for_desk(page)
            page.locator(".tasks, .nothing").first.wait_for()
            buttons = page.get_by_role("button", name="Review it")
            if not buttons.count():
                return done
            number = next(numbers)
            buttons.first.click()
            task, _ = task_here(page)
            expect(page.locator(".chip.in_review")).to_be_visible(timeout=PATIENCE_MS)
            play.must_be_refused(page, task, "submit", "only the labeller hands in")
            if number % LEAVE_EVERY == LEAVE_EVERY - 1:
                page.get_by_role("button", name="Leave it to others").click()
                wait_for_desk(page)
                continue
            done += 1
            sent_before = page.locator(".remarks").inner_text().strip() if page.locator(".remarks").count() else ""
            if number % SEND_BACK_EVERY == SEND_BACK_EVERY - 1 and "closer" not in sent_before:
                page.keyboard.press("m")
                page.mouse.click(*on_slide(page, 450, 350))
                page.get_by_role("textbox", name="Remark").fill("Draw this closer.")
                page.get_by_role("button", name="Keep the remark").click()
                page.get_by_role("button", name="Send back").click()
                page.get_by_role("textbox", name="Reason").fill("Closer, please.")
                page.get_by_role("dialog").get_by_role("button", name="Send back").click()
            else:
                page.get_by_role("button", name="Accept").click()
            wait_for_desk(page)


def labelled_and_reviewed(play: Play, labellers: list[str]) -> None:
    """Round after round until nothing waits."""
    numbers = itertools.count()
    while True:
        for name in labellers:
            label_all(play, name, wrong_first=name == labellers[0])
            print(f"{name} has handed in", flush=True)
        # Leaders review their group's, reviewers what is left of any.
        reviewed = sum(review_all(play, name, numbers) for name in (*[f"lead{g}" for g in GROUPS], "rev0", "rev1"))
        print(f"{reviewed} reviewed", flush=True)
        if not reviewed:
            return


def quality_of(play: Play, group: str, seed: int, *, beside_um: float) -> bool:
    """Draw, label again blind, compare; returns whether the group passed."""
    controller = f"qc{seed % CONTROLLERS}"
    with play.somebody(controller) as page:
        page.goto(f"{play.server.base}/#/quality")
        form = page.locator(".draw-form")
        form.wait_for()
        form.locator("select").first.select_option(group)
        form.locator("input").nth(2).fill(str(seed))
        form.get_by_role("button", name="Draw").click()
        card = page.locator("section.card").filter(has_text=f"group {group}").filter(has_text="open").first
        card.wait_for()
        for place in range(card.locator(".checks-list li").count()):
            page.goto(f"{play.server.base}/#/quality")
            card.locator(".checks-list a").nth(place).click()
            task, slide = task_here(page)
            seen = page.evaluate("() => document.querySelector('.class-counts').innerText")
            if any(ch in seen for ch in "123456789"):
                raise AssertionError(f"a label was seen by {controller} in task {task}")
            page.get_by_role("button", name="Begin").click()
            play.draw(page, slide, beside_um)
            page.get_by_role("button", name="Hand in").click()
            wait_for_desk(page)
        page.goto(f"{play.server.base}/#/quality")
        card.get_by_role("button", name="Compare").click()
        first = page.locator("section.card").filter(has_text=f"group {group}").first
        expect(first.locator(".chip.done, .chip.failed")).to_be_visible(timeout=PATIENCE_MS)
        passed = first.locator(".chip.done").count() > 0
        print(f"group {group}: {first.inner_text().splitlines()[-4:]} {'passed' if passed else 'failed'}", flush=True)
        return passed


def play_all(out: Path) -> None:
    """The whole organisation."""
    sections, project = out / "sections", out / "project"
    draw_sections(sections)
    people = organise(sections, project)
    # Leaders label slides of their own as well.
    labellers = [name for name, (role, _) in people.items() if role in ("labeller", "leader")]
    server = Server(project)
    start = time.monotonic()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            play = Play(server, browser, sections, people)
            with play.somebody(labellers[1]) as page:
                play.must_be_refused(page, _task_of(project, labellers[1], "label"), "begin", "training comes first")
            with play.somebody("tra") as page:
                play.must_be_refused(page, 1, "take_review", "trainers review nothing")
            labelled_and_reviewed(play, labellers)
            results = {
                group: quality_of(play, group, 10 + n, beside_um=25.0 * (group == FAILING))
                for n, group in enumerate(GROUPS)
            }
            assert results == {group: group != FAILING for group in GROUPS}, results
            labelled_and_reviewed(play, [name for name in labellers if people[name][1] == FAILING])
            assert quality_of(play, FAILING, 20, beside_um=0.0)
            browser.close()
    finally:
        server.kill()
    print(
        f"{time.monotonic() - start:.0f} s; refused as they must be: {sum(play.refused.values())}", dict(play.refused)
    )
    tell_log(project)
    finish(out, project)


def _task_of(project: Path, name: str, kind: str) -> int:
    rows = ki67("label", "list", project)["tasks"]
    return next(int(row["task"]) for row in rows if row["kind"] == kind and row["labeller"] == name)


def tell_log(project: Path) -> None:
    """Every act of the log, how often, and whether it agrees with the tasks' states."""
    database = open_database(project)
    with database.session() as session:
        acts = Counter(event.act for event in session.query(Event))
        states = Counter(task.state for task in session.query(Task) if task.kind == "label")
        labels = session.query(Label).count()
        last: dict[int, str] = {}
        for event in session.query(Event).order_by(Event.id):
            if event.task_id is not None and event.after and event.act != "save_label":
                last[event.task_id] = event.after
        wrong = [task.id for task in session.query(Task) if task.id in last and last[task.id] != task.state]
    database.close()
    print("log:", dict(sorted(acts.items())))
    print("label tasks:", dict(states), "labels:", labels, "tasks whose state is not the log's:", wrong)


def finish(out: Path, project: Path) -> None:
    """Table 1, agreement, a trained model."""
    ki67("label", "unblind", project)
    for folder in ("labels", "patches", "model"):
        shutil.rmtree(out / folder, ignore_errors=True)
    print("exported:", ki67("label", "export", project, out / "labels", "--as", "idc"))
    sampled = ki67("idc", "sample", out / "labels" / "slides.csv", out / "patches", "--mpp", 4, "--patch-px", 32)
    print("Table 1:", json.dumps(sampled)[:900])
    short = ("--epochs", 2, "--patches-per-epoch", 600, "--batch", 16)
    trained = ki67("idc", "train", out / "patches", out / "model", *short)
    print("trained:", json.dumps(trained["validation"])[:600])
    print("status:", json.dumps(ki67("label", "status", project))[:1500])


def play_kills(out: Path, kills: int) -> None:
    """One labeller draws while the server dies again and again."""
    sections, project = out / "sections", out / "project"
    draw_sections(sections)
    organise(sections, project)
    server = Server(project)
    random = np.random.default_rng(7)
    strokes = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        play = Play(server, browser, sections, {})
        with play.somebody("lab00") as page:
            page.get_by_role("link", name="Next").click()
            page.get_by_role("button", name="Begin").click()
            expect(page.locator(".chip.in_progress")).to_be_visible(timeout=PATIENCE_MS)
            task, _ = task_here(page)
            page.wait_for_timeout(500)
            for kill in range(kills):
                due = time.monotonic() + random.uniform(0.0, 1.5)
                killed = False
                for _ in range(4):
                    strokes += 1
                    column, row = strokes % 40, strokes // 40
                    x, y = 20 + 21 * column, 20 + 31 * row
                    corners = [(x, y), (x + 14, y), (x + 14, y + 20), (x, y + 20), (x, y + 3)]
                    page.keyboard.press("n")
                    drag(page, *corners, steps=1)
                    page.wait_for_timeout(random.uniform(0, 400))
                    if not killed and time.monotonic() >= due:
                        server.kill()
                        killed = True
                if not killed:
                    server.kill()
                server.begin_again()
                page.get_by_role("dialog", name="Log in again").wait_for()
                if kill % 3 == 2:
                    # Also by another way in: the page loaded anew, before anything was sent.
                    page.reload()
                log_in(page, "lab00")
                page.locator(".pane[data-um-per-px]").wait_for()
                expect(page.locator(".saving")).to_have_attribute("data-saving", "saved", timeout=PATIENCE_MS)
                page.wait_for_timeout(200)
                print(f"kill {kill + 1} of {kills}: {strokes} strokes", flush=True)
            expect(page.locator(".saving")).to_have_attribute("data-saving", "saved", timeout=PATIENCE_MS)
            shown = page.locator(".class-counts li b").first.inner_text()
        browser.close()
    server.kill()
    database = open_database(project)
    with database.session() as session:
        kept = session.query(Label).where(Label.task_id == task, ~Label.deleted).count()
    database.close()
    print(f"{kills} kills, {strokes} strokes drawn, {kept} labels kept, {shown} shown")
    if kept != strokes:
        sys.exit(1)


def main() -> None:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    out: Path = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if given.kills:
        play_kills(out, given.kills)
    else:
        play_all(out)


if __name__ == "__main__":
    main()
