"""The page looks as it did: screenshots of its views beside pictures of how they shall look, both scaled down.

They are 320 px wide and compared block by block, by the mean colour, so that other fonts pass and a drawing that is
missing does not. Where a view was changed on purpose, ``KI67_LOOKS=write pytest tests/server/test_page_looks.py``
makes the pictures anew; look at each before it is committed. A failing test says where it left what it saw.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import NEEDS_A_PAGE, PATIENCE_MS
from made_case import a_cell
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("playwright", reason="no Playwright: pip install '.[dev]'")
from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, *NEEDS_A_PAGE]

LOOKS = Path(__file__).parent / "looks"
WRITE = os.environ.get("KI67_LOOKS") == "write"
WIDTH_PX = 320
BLOCK_PX = 8
DIFFERENT = 20.0
"""Difference of a block's mean colour, of 255, from which on it looks different."""

MOST_DIFFERENT = 0.01
"""Share of the blocks that may.

Other fonts (serifs, condensed) come to 0.45 % at most, a section without its small map to 1.4 %, one without its
cells to 4 % and more.
"""

VIEWS = {
    "list": "",
    "side": "/case/case/view?x=300&y=300&s=0.5&r=0&m=side",
    "curtain": "/case/case/view?x=300&y=300&s=0.8&r=30&m=over",
    "near": "/case/case/view?x={x}&y={y}&s=0.15&r=0&m=ki67",
    "gallery": "/case/case/gallery",
    "count": "/case/case/count",
    "files": "/case/case/files",
}
SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 720}, "color_scheme": "light"},
    "tablet": {"viewport": {"width": 820, "height": 1180}, "color_scheme": "dark", "has_touch": True},
}
SEEN = [("desk", view) for view in VIEWS] + [("tablet", view) for view in ("list", "side", "near", "count")]


@pytest.fixture(scope="module")
def screens(chromium: Browser, finished: Path) -> Iterator[dict[str, Page]]:
    """A window of each size on a server of the finished case."""
    words = ["-m", "ki67", "serve", str(finished), "--json", "--no-browser"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        link = json.loads(process.stdout.readline())["url"]
        first = chromium.new_context(**SCREENS["desk"], reduced_motion="reduce")
        first.new_page().goto(link)
        let_in: Any = first.storage_state()
        second = chromium.new_context(**SCREENS["tablet"], reduced_motion="reduce", storage_state=let_in)
        second.new_page().goto(link.partition("/?")[0])
        pages = {"desk": first.pages[0], "tablet": second.pages[0]}
        for page in pages.values():
            page.set_default_timeout(PATIENCE_MS)
        yield pages
        first.close()
        second.close()
    finally:
        process.kill()
        process.communicate()


def show(page: Page, view: str, case: Path) -> None:
    """Go to a view, by its own address."""
    x, y = a_cell(case)
    page.goto(page.url.partition("#")[0] + "#" + VIEWS[view].format(x=x, y=y))
    page.locator("main > *:not(.waiting)").first.wait_for()
    if view == "curtain":
        page.get_by_role("button", name="Curtain").click()


def screen(page: Page) -> NDArray[np.uint8]:
    """What is seen now, scaled down; when a case was changed is not looked at."""
    shot = page.screenshot(mask=[page.locator("td.modified")], mask_color="#888888")
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    size = WIDTH_PX, round(picture.height * WIDTH_PX / picture.width)
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def share_different(seen: NDArray[np.uint8], file: Path) -> float:
    """Share of the blocks that look otherwise than in a picture."""
    one, other = (_blocks(pixels) for pixels in (seen, np.asarray(Image.open(file).convert("RGB"))))
    return float((np.abs(one - other).max(axis=2) > DIFFERENT).mean())


def _blocks(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    rows, columns = (side // BLOCK_PX for side in pixels.shape[:2])
    whole = pixels[: rows * BLOCK_PX, : columns * BLOCK_PX]
    means: NDArray[np.float64] = whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3).mean(axis=(1, 3))
    return means


def wait_until_alike(page: Page, file: Path, kept: Path) -> None:
    """Wait until the page looks as in a picture; leave what was seen where it does not."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (share := share_different(seen := screen(page), file)) > MOST_DIFFERENT:
        if time.monotonic() > deadline:
            Image.fromarray(seen).save(kept / f"{file.stem}.png")
            raise AssertionError(f"{share:.1%} differs from {file.name}: {kept / file.stem}.png")
        page.wait_for_timeout(250)


@pytest.mark.parametrize(("size", "view"), SEEN)
def test_a_view_looks_as_it_did(
    screens: dict[str, Page], finished: Path, tmp_path: Path, size: str, view: str
) -> None:
    page, file = screens[size], LOOKS / f"{view}-{size}.webp"
    show(page, view, finished / "case")
    if WRITE:
        page.wait_for_timeout(4000)
        Image.fromarray(screen(page)).save(file, quality=60, method=6)
    wait_until_alike(page, file, tmp_path)


def test_what_is_not_drawn_is_seen(screens: dict[str, Page], finished: Path, tmp_path: Path) -> None:
    page, file = screens["desk"], LOOKS / "near-desk.webp"
    show(page, "near", finished / "case")
    wait_until_alike(page, file, tmp_path)
    for part in (".pane[data-slide=ki67] canvas.over", ".pane[data-slide=ki67] .navigator", ".panel"):
        hidden = page.locator(part)
        hidden.evaluate("part => { part.style.visibility = 'hidden'; }")
        assert share_different(screen(page), file) > MOST_DIFFERENT, part
        hidden.evaluate("part => { part.style.visibility = ''; }")
