"""The page in a real browser: both sections move together, cells are corrected, and the index follows."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import NEEDS_A_PAGE
from made_case import a_cell

from ki67.case.corrections import read_corrections

pytest.importorskip("playwright", reason="no Playwright: pip install '.[dev]'")
from playwright.sync_api import Browser, BrowserContext, Page, expect

SIZE = {"width": 1280, "height": 720}
BIG_ENOUGH = 20_000
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
pytestmark = NEEDS_A_PAGE


@dataclass
class Served:
    """A server of the module, the case of one test in it, and what the browser complained of."""

    base: str
    root: Path
    name: str
    complaints: list[str]

    @property
    def case(self) -> Path:
        """The case's folder."""
        return self.root / self.name

    @property
    def kinds(self) -> list[str]:
        """What is in its log of corrections."""
        return [one.what.kind for one in read_corrections(self.case)]


@pytest.fixture(scope="module")
def server(
    chromium: Browser, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, Any]]:
    """A server: its address, its folder, and what lets a browser in."""
    folder = tmp_path_factory.mktemp("page")
    words = ["-m", "ki67", "serve", str(folder), "--slides", str(finished / "slides"), "--json", "--no-browser"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        link = json.loads(process.stdout.readline())["url"]
        first = chromium.new_context()
        first.new_page().goto(link)
        let_in = first.storage_state()
        first.close()
        yield link.partition("/?")[0], folder, let_in
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def served(server: tuple[str, Path, Any], finished: Path, request: pytest.FixtureRequest) -> Served:
    base, folder, _ = server
    name = re.sub(r"\W+", "-", request.node.name)[-60:]
    shutil.copytree(finished / "case", folder / name)
    return Served(base, folder, name, [])


@pytest.fixture
def context(chromium: Browser, server: tuple[str, Path, Any]) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport=SIZE, reduced_motion="reduce", storage_state=server[2])  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, served: Served) -> Iterator[Page]:
    page = context.new_page()
    page.on("pageerror", lambda error: served.complaints.append(str(error)))
    page.on("console", lambda said: served.complaints.append(said.text) if said.type == "error" else None)
    yield page
    assert served.complaints == []


def view(served: Served, query: str) -> str:
    return f"{served.base}/#/case/{served.name}/view?{query}"


def state_of(page: Page, slide: str) -> dict[str, float]:
    """What a pane shows, as it says itself."""
    told = page.locator(f".pane[data-slide={slide}]").evaluate("pane => ({...pane.dataset})")
    return {name: float(told[name]) for name in ("x", "y", "umPerPx", "deg", "flip")}


def settled(page: Page, slide: str = "ki67") -> dict[str, float]:
    """What a pane shows once it moves no more."""
    pane = page.locator(f".pane[data-slide={slide}][data-um-per-px]")
    pane.wait_for()
    before, same = state_of(page, slide), 0
    while same < 4:
        page.wait_for_timeout(60)
        now = state_of(page, slide)
        same = same + 1 if now == before else 0
        before = now
    return before


def on_screen(state: dict[str, float], box: Any, x_um: float, y_um: float) -> tuple[float, float]:
    """Where a place of a slide is on the screen: turned about the pane's middle, then mirrored."""
    turn = math.radians(state["deg"])
    dx, dy = (x_um - state["x"]) / state["umPerPx"], (y_um - state["y"]) / state["umPerPx"]
    x, y = math.cos(turn) * dx - math.sin(turn) * dy, math.sin(turn) * dx + math.cos(turn) * dy
    side = -1 if state["flip"] else 1
    return box["x"] + box["width"] / 2 + side * x, box["y"] + box["height"] / 2 + y


def slide_of(state: dict[str, float], box: Any, x_px: float, y_px: float) -> tuple[float, float]:
    """Which place of a slide is at a point of the screen."""
    turn, side = math.radians(state["deg"]), -1 if state["flip"] else 1
    x, y = side * (x_px - box["x"] - box["width"] / 2), y_px - box["y"] - box["height"] / 2
    dx, dy = math.cos(turn) * x + math.sin(turn) * y, -math.sin(turn) * x + math.cos(turn) * y
    return state["x"] + dx * state["umPerPx"], state["y"] + dy * state["umPerPx"]


def pane_box(page: Page, slide: str) -> Any:
    return page.locator(f".pane[data-slide={slide}] .slide").bounding_box()


def index_of(page: Page) -> str:
    return page.locator("[data-test=index]").inner_text()


def name_me(page: Page) -> None:
    page.locator("input[name=by]").press_sequentially("Dr. Ruiz")
    page.locator("input[name=by]").blur()


HEARS_LATE = """window.addEventListener("hashchange", (event) => {
  if (!event.isTrusted) return;
  event.stopImmediatePropagation();
  setTimeout(() => window.dispatchEvent(new HashChangeEvent("hashchange")), 1500);
}, true)"""


def test_a_view_that_is_asked_for_while_another_moves_is_shown(page: Page, served: Served) -> None:
    # As on a busy machine: the pane writes its own place into the address before the page hears of a new one.
    page.add_init_script(HEARS_LATE)
    page.goto(view(served, "x=300&y=300&s=1.2&r=0&m=side"))
    page.reload()
    settled(page)
    page.keyboard.press("+")
    page.wait_for_timeout(100)
    asked = view(served, "x=220&y=310&s=0.8&r=0&m=side").partition("#")[2]
    page.evaluate("hash => { window.location.hash = hash }", asked)
    page.wait_for_timeout(2000)
    now = settled(page)
    assert (now["x"], now["y"], now["umPerPx"]) == pytest.approx((220, 310, 0.8), abs=0.01)


def test_a_cell_is_switched_and_the_index_follows_and_comes_back(page: Page, served: Served) -> None:
    page.goto(served.base)
    page.get_by_role("searchbox").fill(served.name)
    expect(page.locator("table.cases tbody tr")).to_have_count(1)
    page.get_by_role("link", name=served.name, exact=True).click()
    page.locator(".pane[data-slide=ki67]").wait_for()
    automatic = index_of(page)
    name_me(page)
    x, y = a_cell(served.case)
    page.goto(view(served, f"x={x}&y={y}&s=0.3&r=0&m=side"))
    now = settled(page)
    assert (now["x"], now["y"], now["umPerPx"]) == pytest.approx((x, y, 0.3), abs=0.01)
    box = pane_box(page, "ki67")
    page.wait_for_timeout(700)
    page.mouse.click(*on_screen(now, box, x, y))
    cell = page.get_by_role("region", name="Cell")
    expect(cell).to_contain_text("positive")
    page.keyboard.press("n")
    expect(page.locator("[data-test=index]")).not_to_have_text(automatic)
    changed = index_of(page)
    assert float(changed.split()[0]) < float(automatic.split()[0]) + 0.05
    expect(page.locator(".history li").first).to_contain_text("Dr. Ruiz")
    assert served.kinds == ["relabel"]
    page.reload()
    expect(page.locator("[data-test=index]")).to_have_text(changed)
    again = settled(page)
    assert (again["x"], again["y"], again["umPerPx"]) == pytest.approx((x, y, 0.3), abs=0.01)
    page.keyboard.press("Control+z")
    expect(page.locator("[data-test=index]")).to_have_text(automatic)
    page.keyboard.press("Control+y")
    expect(page.locator("[data-test=index]")).to_have_text(changed)
    assert served.kinds == ["relabel", "undo", "redo"]


def test_the_crosshair_lies_on_the_mapped_place_at_five_zooms(page: Page, served: Served, reader: Any) -> None:
    for um_per_px in (0.2, 0.35, 0.5, 0.7, 1.0):
        page.goto(view(served, f"x=300&y=310&s={um_per_px}&r=17&m=side"))
        settled(page)
        for slide, other, direction in (("ki67", "he", "ki67_to_he"), ("he", "ki67", "he_to_ki67")):
            box = pane_box(page, slide)
            pointer = (box["x"] + 0.5 * box["width"] + 61, box["y"] + 0.5 * box["height"] - 47)
            page.mouse.move(*pointer)
            settled(page, slide)
            page.wait_for_timeout(250)
            there = slide_of(state_of(page, slide), box, *pointer)
            body = {"direction": direction, "points_um": [there]}
            mapped = reader.post("/api/cases/case/map", json=body).json()["points_um"][0]
            expected = on_screen(state_of(page, other), pane_box(page, other), *mapped)
            cross = page.locator(f".pane[data-slide={other}] .crosshair")
            seen = cross.evaluate("e => { const b = e.getBoundingClientRect(); return [b.x, b.y]; }")
            assert math.dist(seen, expected) < 1, (um_per_px, slide)
            # And the middles show the same tissue, in the same attitude, mirrored sections too.
            middle = {"direction": direction, "points_um": [(state_of(page, slide)["x"], state_of(page, slide)["y"])]}
            there = reader.post("/api/cases/case/map", json=middle).json()["points_um"][0]
            found = state_of(page, other)
            assert math.dist(there, (found["x"], found["y"])) / found["umPerPx"] < 1, (um_per_px, slide)
            assert {state_of(page, "he")["flip"], state_of(page, "ki67")["flip"]} == {0.0, 1.0}


def test_moving_one_section_moves_the_other_and_neither_drifts(page: Page, served: Served) -> None:
    page.goto(view(served, "x=300&y=300&s=0.5&r=0&m=side"))
    before = settled(page), settled(page, "he")
    box = pane_box(page, "he")
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 230, steps=6)
    page.mouse.up()
    after = settled(page), settled(page, "he")
    assert math.dist((before[0]["x"], before[0]["y"]), (after[0]["x"], after[0]["y"])) > 20
    page.wait_for_timeout(600)
    assert (state_of(page, "ki67"), state_of(page, "he")) == after
    page.keyboard.press("v")
    expect(page.locator(".panes")).to_have_attribute("data-mode", "over")
    page.keyboard.press("v")
    assert settled(page)["umPerPx"] == pytest.approx(after[0]["umPerPx"], rel=1e-3)


def test_an_area_is_left_out_and_counted_again_and_the_case_signed_out(page: Page, served: Served) -> None:
    page.goto(view(served, "x=300&y=300&s=1.2&r=0&m=ki67"))
    now = settled(page)
    name_me(page)
    box = pane_box(page, "ki67")
    cells = page.locator(".numbers tr", has_text="tumour cells").locator("td").last
    before = cells.inner_text()
    page.keyboard.press("x")
    corners = [(200, 200), (300, 200), (300, 300), (200, 300)]
    for corner in corners:
        page.mouse.click(*on_screen(now, box, *corner))
        page.wait_for_timeout(350)
    page.keyboard.press("Enter")
    expect(cells).not_to_have_text(before)
    log = read_corrections(served.case)
    assert [one.what.kind for one in log] == ["exclude"]
    assert log[0].what.geometry.area == pytest.approx(100 * 100, rel=0.05)  # type: ignore[union-attr]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out…").click()
    page.get_by_role("button", name="Sign out as Dr. Ruiz").click()
    expect(page.locator(".signed")).to_contain_text("Signed out by Dr. Ruiz")
    expect(page.get_by_role("button", name="Add a cell")).to_be_disabled()
    page.reload()
    expect(page.locator(".signed")).to_contain_text("Signed out by Dr. Ruiz")
    page.get_by_role("button", name="Open again…").click()
    page.get_by_role("textbox", name="Reason").fill("second look")
    page.get_by_role("dialog").get_by_role("button", name="Open again").click()
    expect(page.locator(".signed")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(cells).to_have_text(before)


def test_cells_are_added_removed_brushed_and_the_region_moved(page: Page, served: Served) -> None:
    x, y = a_cell(served.case, "negative")
    page.goto(view(served, f"x={x}&y={y}&s=0.5&r=0&m=ki67"))
    now = settled(page)
    name_me(page)
    box = pane_box(page, "ki67")
    done = page.locator(".history li .what")
    page.wait_for_timeout(600)
    page.keyboard.press("a")
    page.mouse.click(*on_screen(now, box, x + 8, y))
    expect(done).to_have_count(1)
    page.keyboard.press("d")
    page.mouse.click(*on_screen(now, box, x, y))
    expect(done).to_have_count(2)
    page.keyboard.press("b")
    page.mouse.move(*on_screen(now, box, x - 60, y - 40))
    page.mouse.down()
    page.mouse.move(*on_screen(now, box, x + 60, y - 40), steps=8)
    page.mouse.up()
    expect(done).to_have_count(3)
    page.keyboard.press("m")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "e"):
        page.keyboard.press(key)
    expect(page.locator(".moved")).to_have_text("20 µm right, 1 µm down, 0.5°")
    page.keyboard.press("Enter")
    expect(done).to_have_count(4)
    log = read_corrections(served.case)
    assert [one.what.kind for one in log] == ["add", "remove", "several", "nudge"]
    assert {part.to for part in log[2].what.of} == {"positive"}  # type: ignore[union-attr]
    assert log[3].what.shift_um == (20, 1)  # type: ignore[union-attr]


def test_pairs_of_places_move_the_region_once_it_is_known_who_asks(page: Page, served: Served) -> None:
    page.goto(view(served, "x=300&y=300&s=1.2&r=0&m=side"))
    scale = settled(page)["umPerPx"]
    settled(page, "he")
    page.keyboard.press("l")
    expect(page.get_by_text("Say who you are first")).to_be_visible()
    name_me(page)
    page.keyboard.press("l")
    for share in (0.35, 0.65):
        for pane, beside_px in (("he", 0), ("ki67", 12)):
            box = pane_box(page, pane)
            page.mouse.click(box["x"] + share * box["width"] + beside_px, box["y"] + share * box["height"])
    expect(page.locator(".moved")).to_have_text("2 pairs")
    page.keyboard.press("Enter")
    expect(page.locator(".moved")).to_contain_text("µm right")
    page.keyboard.press("Enter")
    expect(page.locator(".history li .what")).to_have_count(1)
    (log,) = read_corrections(served.case)
    assert log.why.startswith("moved by 2 pairs of places")
    assert log.what.shift_um[0] == pytest.approx(12 * scale, abs=5)  # type: ignore[union-attr]


def test_two_browsers_on_one_case_lose_nothing(page: Page, context: BrowserContext, served: Served) -> None:
    page.goto(view(served, "x=300&y=300&s=0.5&m=ki67"))
    settled(page)
    name_me(page)
    other = context.new_page()
    other.goto(view(served, "x=300&y=300&s=0.5&m=ki67"))
    settled(other)
    for one in (page, other):
        one.keyboard.press("m")
        one.keyboard.press("ArrowRight")
        one.keyboard.press("Enter")
        expect(one.locator(".history li .what")).to_have_count(1)
    # Whoever was second is told, sees the first one's correction, and makes it once more if it is still right.
    expect(other.locator(".told.error")).to_be_visible()
    expect(other.locator(".history li .what")).to_have_count(1)
    other.keyboard.press("ArrowRight")
    other.keyboard.press("Enter")
    expect(other.locator(".history li .what")).to_have_count(2)
    assert len(read_corrections(served.case)) == 2
    served.complaints[:] = [one for one in served.complaints if "409" not in one]


def test_the_gallery_is_gone_through_by_keyboard(page: Page, served: Served) -> None:
    page.goto(view(served, "x=300&y=300&s=0.5&m=ki67"))
    settled(page)
    name_me(page)
    page.get_by_role("link", name="Gallery").click()
    tiles = page.locator(".gallery li")
    expect(tiles.first).to_be_visible()
    first = tiles.first.get_attribute("class") or ""
    page.locator(".gallery button").first.focus()
    page.keyboard.press(" ")
    expect(tiles.first).to_have_class(f"{first} seen")
    page.keyboard.press("ArrowLeft")
    label = "negative" if first == "positive" else "positive"
    page.keyboard.press(label[0])
    expect(tiles.first).to_have_class(f"{label} seen")
    expect(page.locator(".gallery button").nth(1)).to_be_focused()
    for _ in range(60):
        if served.kinds:
            break
        page.wait_for_timeout(500)
    assert served.kinds == ["relabel"]


def test_fields_are_counted_blind_and_then_compared(page: Page, served: Served) -> None:
    page.goto(view(served, "x=300&y=300&s=0.5&m=ki67"))
    settled(page)
    name_me(page)
    page.get_by_role("link", name="Count", exact=True).click()
    fields = page.locator(".fields li")
    expect(fields.first).to_contain_text("not counted yet")
    expect(page.locator(".top-index")).to_have_count(0)
    settled(page)
    box = pane_box(page, "ki67")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(350)
    page.keyboard.press("n")
    page.mouse.click(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2)
    expect(page.locator(".tally b")).to_have_text(["1", "1"])
    page.get_by_role("button", name="Enter this count").click()
    expect(page.locator(".difference")).to_contain_text("points from the program")
    expect(fields.first).to_contain_text("points")


def test_report_and_exports_are_there(page: Page, served: Served) -> None:
    page.goto(f"{served.base}/#/case/{served.name}/files")
    expect(page.frame_locator("iframe.report").locator("p")).to_have_text("index")
    with page.expect_download() as download:
        page.locator(".exports a", has_text=".csv").click()
    assert Path(download.value.path()).stat().st_size > BIG_ENOUGH


STAND_IN = """
import json, shutil, subprocess, sys, time
import ki67.cli, ki67.server.jobs
from pathlib import Path
case = Path(sys.argv.pop())

def run(words):
    out = Path(words[words.index("--out") + 1])
    def tell(stage, done, total):
        print(json.dumps({"stage": stage, "done": done, "total": total}), file=sys.stderr, flush=True)
    tell("Registering", 1, 4)
    begun = out.with_suffix(".begun")
    if begun.exists():
        shutil.copytree(case, out)
        return
    begun.touch()
    tell("Counting cells", 0, 12)
    time.sleep(6)
    tell("Counting cells", 2, 12)
    time.sleep(600)

if sys.argv[1:2] == ["score"]:
    run(sys.argv)
else:
    def begin(words):
        command = [sys.executable, __file__, *words, str(case)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    ki67.server.jobs._begin = begin
    ki67.cli.main()
"""
"""A server whose runs hang in the middle the first time, and then leave a finished case."""


def test_a_run_is_started_followed_stopped_and_started_again(
    chromium: Browser, finished: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished / "slides", root / "slides")
    (tmp_path / "server.py").write_text(STAND_IN)
    words = ["serve", str(root), "--slides", str(finished / "slides"), "--json", "--no-browser"]
    command = [sys.executable, str(tmp_path / "server.py"), *words, str(finished / "case")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    context = chromium.new_context(viewport=SIZE, reduced_motion="reduce")  # type: ignore[arg-type]
    try:
        assert process.stdout is not None
        page = context.new_page()
        page.goto(json.loads(process.stdout.readline())["url"])
        job = page.locator(".job")

        def start() -> None:
            page.get_by_role("button", name="New run…").click()
            page.get_by_role("button", name="slides", exact=True).click()
            page.get_by_role("button", name="case-ki67.tif is Ki-67").click()
            page.get_by_role("button", name="case-he.tif is H&E").click()
            page.get_by_role("textbox", name="Folder of the case").fill("new case")
            page.get_by_role("button", name="Start", exact=True).click()

        start()
        expect(job).to_contain_text("Counting cells · 0 of 12")
        expect(job).to_contain_text(re.compile(r"Counting cells · 2 of 12 · \d+ s · about \d\d s left of this"))
        expect(job.get_by_role("progressbar")).to_have_js_property("value", 2)
        page.get_by_role("button", name="Stop new case").click()
        expect(page.get_by_text("new case was stopped")).to_be_visible()
        expect(job).to_have_count(0)
        start()
        expect(job).to_contain_text("done")
        job.get_by_role("link", name="new case").click()
        expect(page.locator("[data-test=index]")).to_be_visible()
        page.locator(".pane[data-slide=ki67][data-um-per-px]").wait_for()
    finally:
        context.close()
        process.terminate()
        process.communicate(timeout=PATIENCE_MS / 1000)


def test_whoever_is_not_let_in_is_told_how(chromium: Browser, served: Served) -> None:
    context = chromium.new_context()
    page = context.new_page()
    answer = page.goto(served.base)
    assert answer is not None
    assert answer.status == 401
    assert "ki67 serve" in page.content()
    context.close()


@pytest.mark.parametrize(("size", "scheme"), [((1280, 720), "light"), ((820, 1180), "dark")])
def test_nothing_is_wider_than_the_screen_and_all_that_acts_has_a_name(
    chromium: Browser, context: BrowserContext, served: Served, scheme: Any, size: tuple[int, int]
) -> None:
    shape: Any = {"width": size[0], "height": size[1]}
    other = chromium.new_context(
        viewport=shape, color_scheme=scheme, has_touch=True, storage_state=context.storage_state()
    )
    page = other.new_page()
    for where in ("", *(f"/case/{served.name}/{page}" for page in ("view", "gallery", "count", "files"))):
        page.goto(f"{served.base}/#{where}")
        page.locator("main > *:not(.waiting)").first.wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), where
        nameless = page.locator("button, a, input, select").evaluate_all(
            "all => all.filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.closest('label')"
            " || e.getAttribute('aria-hidden'))).map(e => e.outerHTML)"
        )
        assert nameless == [], where
    other.close()
