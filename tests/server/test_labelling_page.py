"""Labelling in a real browser: drawn, cut, undone, sent back, mended, accepted; a dead server loses nothing."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from browser import NEEDS_A_PAGE, PASSWORD, PATIENCE_MS, drag, log_in, on_slide, serve, window
from made_case import picture

from ki67.labelling import database as databases
from ki67.labelling.people import hashed, person_named
from ki67.labelling.tables import Person
from ki67.labelling.words import Act, LabelKind, State
from ki67.labelling.work import current_labels, read_changes, save, task_of, terms_of
from ki67.slides import write_pyramid
from labelling_office import Office, fill

pytest.importorskip("playwright", reason="no Playwright: pip install '.[dev]'")
from playwright.sync_api import Browser, Page, expect

SIDE_PX = 800
pytestmark = NEEDS_A_PAGE


@dataclass
class Served:
    """A project that is served, and may be killed and begun again at the same address."""

    folder: Path
    office: Office
    process: subprocess.Popen[str]
    base: str

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def begin_again(self) -> None:
        self.process, base = serve(self.folder, self.base.rpartition(":")[2])
        assert base == self.base

    def labels(self, task: int) -> list[dict[str, Any]]:
        with self.office.database.reading() as session:
            return current_labels(session, task_of(session, task))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A project of regions: ann has one slide to label."""
    folder = tmp_path_factory.mktemp("labelled")
    database = databases.create(folder / "project", None)
    office = Office(folder / "project", database)
    with database.session() as session:
        fill(session, folder, LabelKind.regions, 1, ("train",))
        word = hashed(PASSWORD)
        for person in session.scalars(sa.select(Person)):
            person.password_hash = word
    write_pyramid(folder / "slides" / "s0.png", [picture(1, (150, 60, 130), SIDE_PX)], (SIDE_PX, SIDE_PX), 0.5)
    office.act("boss", 1, Act.assign, to="ann")
    process, base = serve(folder / "project", "0")
    one = Served(folder / "project", office, process, base)
    yield one
    one.kill()
    database.close()


def square(x: float, y: float, side: float) -> tuple[tuple[float, float], ...]:
    return (x, y), (x + side, y), (x + side, y + side), (x, y + side), (x + 1, y + 1)


def saved(page: Page) -> None:
    expect(page.locator(".saving")).to_have_attribute("data-saving", "saved", timeout=PATIENCE_MS)


def area(labels: list[dict[str, Any]], name: str) -> float:
    from ki67.labelling.shapes import areas

    return areas(labels)[name].area


def test_a_slide_is_labelled_through_a_killed_server_reviewed_mended_and_accepted(
    chromium: Browser, served: Served
) -> None:
    ann = window(chromium, served.base, "ann")
    ann.get_by_role("link", name="Next").click()
    ann.get_by_role("button", name="Begin").click()
    expect(ann.locator(".task-head .chip.in_progress")).to_be_visible(timeout=PATIENCE_MS)
    ann.locator(".pane[data-um-per-px]").wait_for()
    ann.wait_for_timeout(800)

    # Outlined, a hole cut out of it, another class painted, and one stroke undone.
    drag(ann, *square(50, 50, 120))
    ann.keyboard.press("x")
    drag(ann, *square(90, 90, 40))
    ann.keyboard.press("2")
    ann.keyboard.press("b")
    drag(ann, (250, 100), (320, 100))
    saved(ann)
    labels = served.labels(1)
    assert area(labels, "IDC") == pytest.approx(120**2 - 40**2, rel=0.05)
    assert len(next(one for one in labels if one["label"] == "IDC")["geometry"]["coordinates"]) == 2
    assert area(labels, "DCIS") > 1000
    drag(ann, (250, 250), (320, 250))
    ann.keyboard.press("Control+z")
    saved(ann)
    assert len(served.labels(1)) == 2

    # The server dies; the page goes on, is even loaded again, and all is there when the server is.
    served.kill()
    ann.keyboard.press("3")
    ann.keyboard.press("g")
    ann.keyboard.press("n")
    drag(ann, *square(60, 250, 80))
    expect(ann.locator(".saving")).to_have_attribute("data-saving", "offline", timeout=PATIENCE_MS)
    served.begin_again()
    expect(ann.get_by_role("dialog", name="Log in again")).to_be_visible(timeout=PATIENCE_MS)
    ann.reload()
    log_in(ann, "ann")
    ann.locator(".pane[data-um-per-px]").wait_for()
    saved(ann)
    assert area(served.labels(1), "Normal") == pytest.approx(80**2, rel=0.05)

    # Somebody else's version of a label: both are shown, and both kept.
    changed = next(one for one in served.labels(1) if one["label"] == "IDC")
    with served.office.database.session() as session:
        session.execute(sa.text("DELETE FROM lease"))
        task = task_of(session, 1)
        wanted = read_changes([changed | {"label": "Normal"}], terms_of(session))
        save(session, person_named(session, "ann"), task, "elsewhere", wanted)
        session.execute(sa.text("DELETE FROM lease"))
    ann.keyboard.press("s")
    ann.mouse.click(*on_slide(ann, 60, 60))
    ann.wait_for_timeout(400)
    ann.keyboard.press("2")
    merge = ann.get_by_role("alertdialog")
    expect(merge).to_contain_text("Yours")
    merge.get_by_role("button", name="Keep both").click()
    saved(ann)
    assert sorted(one["label"] for one in served.labels(1)) == ["DCIS", "DCIS", "Normal", "Normal"]
    ann.get_by_role("button", name="Hand in").click()
    expect(ann.get_by_role("heading", name="Done")).to_be_visible(timeout=PATIENCE_MS)
    assert served.office.state(1) is State.submitted

    # The reviewer pins a remark and sends it back; the labeller reads both, mends it; the reviewer accepts.
    rev = window(chromium, served.base, "rev")
    rev.get_by_role("button", name="Review it").click()
    rev.locator(".pane[data-um-per-px]").wait_for()
    rev.wait_for_timeout(800)
    rev.keyboard.press("m")
    rev.mouse.click(*on_slide(rev, 100, 60))
    rev.get_by_role("textbox", name="Remark").fill("This is no DCIS.")
    rev.get_by_role("button", name="Keep the remark").click()
    expect(rev.locator(".remarks")).to_contain_text("This is no DCIS.")
    rev.get_by_role("button", name="Send back").click()
    rev.get_by_role("textbox", name="Reason").fill("See the remark.")
    rev.get_by_role("dialog").get_by_role("button", name="Send back").click()
    expect(rev.get_by_role("heading", name="My work")).to_be_visible(timeout=PATIENCE_MS)
    ann.reload()
    expect(ann.locator(".tasks .reason")).to_contain_text("See the remark.")
    ann.get_by_role("link", name="Next").click()
    ann.get_by_role("button", name="Work on it again").click()
    # The page is made anew; what is pressed before belongs to the one that goes.
    expect(ann.locator(".task-head .chip.in_progress")).to_be_visible(timeout=PATIENCE_MS)
    expect(ann.locator(".remarks")).to_contain_text("This is no DCIS.")
    ann.locator(".remarks input").check()
    ann.keyboard.press("s")
    ann.wait_for_timeout(800)
    ann.mouse.click(*on_slide(ann, 60, 60))
    expect(ann.get_by_role("button", name="Take away")).to_be_visible()
    ann.keyboard.press("Delete")
    saved(ann)
    ann.get_by_role("button", name="Hand in").click()
    expect(ann.get_by_role("heading", name="Done")).to_be_visible(timeout=PATIENCE_MS)
    rev.reload()
    rev.get_by_role("button", name="Review it").click()
    rev.get_by_role("button", name="What has changed").click()
    expect(rev.locator(".before")).to_contain_text("0 added, 0 changed, 1 taken away")
    rev.get_by_role("button", name="Accept").click()
    expect(rev.get_by_text("Nothing waits for you")).to_be_visible(timeout=PATIENCE_MS)
    assert served.office.state(1) is State.accepted
    assert len(served.labels(1)) == 3
    assert {uuid.UUID(one["uuid"]).version for one in served.labels(1)} == {4}
