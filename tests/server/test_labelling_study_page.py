"""A reader study in a real browser: started, two readers through two slides, a reload, closed, ranked."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from browser import NEEDS_A_PAGE, PASSWORD, PATIENCE_MS, serve, window
from made_case import picture

from ki67.evaluation.compete import compete
from ki67.labelling import database as databases
from ki67.labelling.people import hashed, person_named
from ki67.labelling.study_results import write_files
from ki67.labelling.tables import Person
from ki67.labelling.words import LabelKind
from ki67.slides import write_pyramid
from labelling_office import Office, fill

pytest.importorskip("playwright", reason="no Playwright: pip install '.[dev]'")
from playwright.sync_api import Browser, Page, expect

SIDE_PX = 900
TABLET = {"width": 820, "height": 1180}
DESK = {"width": 1280, "height": 720}
PICTURES = os.environ.get("KI67_STUDY_PICTURES", "")
"""A folder in which what is shown is kept as pictures, light and dark, for who wants to look."""

pytestmark = NEEDS_A_PAGE
NAMES = ("s0", "s1")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, str, subprocess.Popen[str]]]:
    """A project of two slides whose people have passwords."""
    folder = tmp_path_factory.mktemp("study")
    database = databases.create(folder / "project", None)
    with database.session() as session:
        fill(session, folder, LabelKind.cells, len(NAMES), ("train",))
        word = hashed(PASSWORD)
        for person in session.scalars(sa.select(Person)):
            person.password_hash = word
    for number, name in enumerate(NAMES):
        pixels = picture(number + 1, (150, 60 + 40 * number, 130), SIDE_PX)
        write_pyramid(folder / "slides" / f"{name}.png", [pixels], (SIDE_PX, SIDE_PX), 0.5)
    process, base = serve(folder / "project")
    yield Office(folder / "project", database), base, process
    process.kill()
    process.communicate()
    database.close()


def look(page: Page, name: str) -> None:
    """Nothing lies beside the window; keep pictures where they are asked for."""
    for size in (DESK, TABLET):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.wait_for_timeout(300)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= size["width"], f"{name} is {wide} px wide"
        for scheme in ("light", "dark") if PICTURES else ():
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}-{size['width']}.png")
    page.set_viewport_size(DESK)  # type: ignore[arg-type]


def seconds_left(page: Page) -> int:
    minutes, seconds = page.get_by_role("timer").inner_text().split(":")
    return 60 * int(minutes) + int(seconds)


def answer(page: Page, percent: str) -> None:
    page.locator("input[name=percent]").fill(percent)
    page.keyboard.press("Enter")
    expect(page.locator(".kept")).to_have_text("kept")


def reading(page: Page, watched: list[str]) -> None:
    """Go to the study; what the page asks for and shows is watched from here on."""
    page.on("request", lambda request: watched.append(request.url))
    page.on("response", lambda got: watched.append(got.text() if "/readings" in got.url else ""))
    page.get_by_role("link", name="Reader study").click()
    page.get_by_role("link", name="Two slides").click()


def test_a_study_from_its_start_to_its_ranking(
    chromium: Browser, served: tuple[Office, str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    office, base, _ = served
    complaints: list[str] = []
    tra = window(chromium, base, "tra")
    tra.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    tra.get_by_role("link", name="Reader study").click()
    tra.get_by_role("button", name="Start a study").click()
    tra.get_by_label("Name, as readers see it").fill("Two slides")
    tra.get_by_label("Ranking").select_option("live")
    for name in (*NAMES, "ann labeller", "bob labeller"):
        tra.get_by_role("checkbox", name=name, exact=True).check()
    ring = [[200, 200], [600, 200], [600, 600], [200, 600], [200, 200]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    outline = {"type": "Feature", "geometry": shape, "properties": {"classification": {"name": "IDC"}}}
    (tmp_path / "s0.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [outline]}))
    tra.get_by_label(re.compile("Region files")).set_input_files(tmp_path / "s0.geojson")
    expect(tra.get_by_text("Regions for 1 slide.")).to_be_visible()
    look(tra, "start")
    tra.get_by_role("button", name="Start the study").click()
    expect(tra.get_by_text("no gold standard")).to_be_visible(timeout=PATIENCE_MS)
    (tmp_path / "standard.csv").write_text("slide,index_percent\ns0,9.1\ns1,20.5\n")
    tra.get_by_role("button", name="Give the gold standard").click()
    tra.get_by_label("File").set_input_files(tmp_path / "standard.csv")
    tra.get_by_role("button", name="Give it").click()
    expect(tra.get_by_role("button", name="Another gold standard")).to_be_visible(timeout=PATIENCE_MS)

    # ann goes through both slides, loads the page again, and changes an answer; the clock does not begin anew.
    watched: list[str] = []
    ann = window(chromium, base, "ann")
    ann.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    reading(ann, watched)
    look(ann, "begin")
    ann.get_by_role("button", name="Begin").click()
    expect(ann.get_by_role("heading", name="Slide 1 of 2")).to_be_visible(timeout=PATIENCE_MS)
    ann.locator(".pane[data-um-per-px]").wait_for()
    ann.wait_for_timeout(800)
    answer(ann, "15")
    look(ann, "reading")
    ann.locator("input[name=percent]").fill("16")
    ann.get_by_role("button", name="Next").click()
    expect(ann.get_by_role("heading", name="Slide 2 of 2")).to_be_visible(timeout=PATIENCE_MS)
    ann.locator("input[name=percent]").fill("1.5")
    expect(ann.locator(".kept")).to_have_text("a whole percent, 0 to 100")
    ann.locator("input[name=percent]").fill("")
    left = seconds_left(ann)
    ann.wait_for_timeout(1500)
    ann.reload()
    expect(ann.get_by_role("heading", name="Slide 2 of 2")).to_be_visible(timeout=PATIENCE_MS)
    expect(ann.get_by_role("button", name="Slide 1, 16 %")).to_be_visible()
    assert seconds_left(ann) < left < 30 * 60
    ann.get_by_role("button", name="Finish").click()
    expect(ann.get_by_role("dialog")).to_contain_text("No answer for slide 2")
    ann.get_by_role("button", name="Close").click()
    answer(ann, "15")
    look(ann, "reading-2")
    ann.get_by_role("button", name="Finish").click()
    expect(ann.get_by_role("dialog")).to_contain_text("Every slide has an answer.")
    ann.get_by_role("dialog").get_by_role("button", name="Finish").click()
    expect(ann.get_by_text("of 1 who have ended so far")).to_be_visible(timeout=PATIENCE_MS)
    look(ann, "standing")
    assert not [one for one in watched for name in NAMES if name in one or f"{name}.png" in one]
    assert not re.search("|".join(NAMES), ann.content())

    # bob's answers are right for one slide at least: he has both at 20.
    bob = window(chromium, base, "bob")
    reading(bob, [])
    bob.get_by_role("button", name="Begin").click()
    answer(bob, "20")
    bob.get_by_role("button", name="Next").click()
    expect(bob.get_by_role("heading", name="Slide 2 of 2")).to_be_visible(timeout=PATIENCE_MS)
    answer(bob, "20")
    tra.reload()
    expect(tra.locator(".studies-page")).to_contain_text("reading", timeout=PATIENCE_MS)
    look(tra, "watched")

    # Closing ends bob's reading; all see the ranking, which is that of `ki67 compete`.
    tra.get_by_role("button", name="Close the study").click()
    expect(tra.get_by_role("dialog")).to_contain_text("ended by this: bob")
    tra.get_by_role("button", name="Close it").click()
    expect(tra.get_by_text("Score of every answer")).to_be_visible(timeout=PATIENCE_MS)
    look(tra, "closed")
    with tra.expect_download() as download:
        tra.get_by_role("link", name="answers.csv").click()
    download.value.save_as(tmp_path / "answers.csv")
    ranked = compete(tmp_path / "standard.csv", tmp_path / "answers.csv")["readers"]
    for page in (tra, ann):
        page.reload()
        rows = page.locator("table.ranks tbody tr")
        expect(rows).to_have_count(2, timeout=PATIENCE_MS)
        for row, one in zip(rows.all(), ranked, strict=True):
            expect(row).to_contain_text(one["reader"])
            expect(row).to_contain_text(f"{one['average_score']:.1f}")
    look(ann, "ranking")
    expect(ann.locator("table.ranks tr.own")).to_contain_text("ann")
    assert not re.search("|".join(NAMES), ann.locator("main").inner_text())
    with office.database.session() as session:
        write_files(session, person_named(session, "tra"), 1, tmp_path / "out")
    assert (tmp_path / "out" / "answers.csv").read_text() == (tmp_path / "answers.csv").read_text()
    assert complaints == []
