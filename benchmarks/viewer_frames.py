"""Frames a second while a slide with many cells is dragged, and how long its first picture takes, in Chromium.

``python benchmarks/viewer_frames.py OUT [--cells 330000] [--seconds 5]``

Makes a case of two sections of 8 x 8 mm (once, as the tests of the viewer do), serves it, opens it in Chromium of
1280 x 720 without a screen or a graphics card, both sections side by side, and tells: how long until both sections
are drawn, and until cells are, on a server that has just begun and once more; then, at each zoom, the frames in a
second that showed another place while the pointer dragged the slide in a circle. Processor seconds of the server, and
of it with the browser, are told too, since seconds by the clock count what else the machine did. All of it is kept in
OUT/viewer_frames.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "tests" / "server"))
import made_case
from browser import CHROMIUM, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIDE_UM, MPP = 8000.0, 1.0
ZOOMS = {"from far": 8.0, "1.6 µm a pixel": 1.6, "0.5 µm a pixel": 0.5, "0.25 µm a pixel, outlines": 0.25}
PATIENCE_S = 180

DRAWN = """
(() => {
  const drawn = (selector) => {
    const canvas = document.querySelector(selector);
    if (!canvas || !canvas.width) return false;
    const side = 60, x = Math.max(0, canvas.width / 2 - side / 2), y = Math.max(0, canvas.height / 2 - side / 2);
    const pixels = canvas.getContext("2d").getImageData(x, y, side, side).data;
    for (let at = 3; at < pixels.length; at += 4) if (pixels[at]) return true;
    return false;
  };
  const told = (window.told = {});
  const look = () => {
    const both = ["he", "ki67"].every((slide) => drawn(`.pane[data-slide=${slide}] .slide canvas:not(.over)`));
    if (both && !told.sections) told.sections = performance.now();
    if (drawn(".pane[data-slide=ki67] canvas.over") && !told.cells) told.cells = performance.now();
    if (!told.sections || !told.cells) setTimeout(look, 20);
  };
  look();
})();
"""
"""Milliseconds since the address was opened until something is drawn in the middle."""

FRAMES = """
(seconds) => new Promise((done) => {
  const begin = performance.now();
  const { dataset } = document.querySelector(".pane[data-slide=ki67]");
  let frames = 0, longest = 0, before = begin, place = "";
  const frame = (now) => {
    if (place !== `${dataset.x} ${dataset.y}`) {
      place = `${dataset.x} ${dataset.y}`;
      frames += 1;
      longest = Math.max(longest, now - before);
      before = now;
    }
    if (now - begin < 1000 * seconds) requestAnimationFrame(frame);
    else done([(1000 * frames) / (now - begin), longest]);
  };
  requestAnimationFrame(frame);
})
"""


def make(folder: Path, cells: int) -> None:
    """Make the case, if it is not there yet."""
    if (folder / "case" / "score.json").exists():
        return
    made_case.MPP = MPP
    turned = made_case.turned(90, mirrored=True, bent_um=10, side_um=SIDE_UM)
    made_case.make_case(folder, count=cells, transform=turned, side_px=round(SIDE_UM / MPP))


def processor_s(root: int) -> float:
    """Processor seconds of a process and of all that it started and that still run."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(file.parent.name)
        children.setdefault(int(words[1]), []).append(pid)
        spent[pid] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    total, left = 0.0, [root]
    while left:
        pid = left.pop()
        total += spent.get(pid, 0.0)
        left += children.get(pid, [])
    return total


def first_picture(page: Page, address: str) -> dict[str, float]:
    """Open a view and tell after how many seconds sections and cells are drawn."""
    page.goto("about:blank")
    page.goto(address)
    begin = time.monotonic()
    told: dict[str, float] = {}
    while len(told) < 2:
        if time.monotonic() - begin > PATIENCE_S:
            raise RuntimeError(f"{address} is not drawn, only {told}")
        page.wait_for_timeout(100)
        told = page.evaluate("window.told ?? {}")
    return {name: value / 1000 for name, value in told.items()}


def dragged(page: Page, seconds: float) -> tuple[float, float]:
    """Frames a second, and the longest in ms, while the Ki-67 section is dragged in a circle."""
    box = page.locator(".pane[data-slide=ki67] .slide").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(f"void (window.frames_ = ({FRAMES})({seconds}))")
    begin, turn = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        turn += 1
        page.mouse.move(x + 150 * math.sin(turn / 12), y + 150 * (1 - math.cos(turn / 12)))
    page.mouse.up()
    rate, longest = page.evaluate("window.frames_")
    return rate, longest


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", type=int, default=330_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    make(given.out, given.cells)
    server, address = serve(given.out)
    result: dict[str, Any] = {"cells": given.cells, "cores": os.cpu_count(), "load": os.getloadavg()}
    try:
        base, _, token = address.partition("/?")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.set_default_timeout(1000 * PATIENCE_S)
            page.goto(f"{base}/?{token}")
            page.add_init_script(DRAWN)
            for name in ("first", "again"):
                result[name] = first_picture(page, f"{base}/#/case/case/view?x=4000&y=4000&s=8&m=side")
                print(name, ", ".join(f"{what} after {s:.1f} s" for what, s in result[name].items()), flush=True)
            result["zooms"] = {}
            for name, um_per_px in ZOOMS.items():
                first_picture(page, f"{base}/#/case/case/view?x=4000&y=4000&s={um_per_px}&m=side")
                page.wait_for_timeout(2000)
                before, spent = processor_s(os.getpid()), processor_s(server.pid)
                rate, longest = dragged(page, given.seconds)
                told = {
                    "frames_per_s": rate,
                    "longest_ms": longest,
                    "server_processor_s": processor_s(server.pid) - spent,
                    "processor_s": processor_s(os.getpid()) - before,
                }
                result["zooms"][name] = told
                print(f"{name}: " + ", ".join(f"{what} {value:.1f}" for what, value in told.items()), flush=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    result["load_after"] = os.getloadavg()
    (given.out / "viewer_frames.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
