"""The browser that tests of pages run in, and when they cannot; a labelling project served to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ki67.server.app import STATIC

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("KI67_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

NEEDS_A_PAGE = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (name it in KI67_CHROMIUM)"),
    pytest.mark.skipif(not (STATIC / "index.html").is_file(), reason="the page was not built (KI67_PAGE=build)"),
]

PATIENCE_MS = 30_000
PASSWORD = "correct horse"


def serve(folder: Path, port: str = "0") -> tuple[subprocess.Popen[str], str]:
    """A server of a labelling project in a process of its own, and its address."""
    words = ["-m", "ki67", "serve", str(folder), "--port", port, "--json", "--no-browser"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"].rstrip("/")


def window(chromium: Browser, base: str, name: str, **more: Any) -> Page:
    """A window in which somebody has logged in."""
    from playwright.sync_api import expect

    told = {"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce"} | more
    context = chromium.new_context(**told)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(base)
    log_in(page, name)
    expect(page.get_by_role("heading", name="My work")).to_be_visible(timeout=PATIENCE_MS)
    return page


def log_in(page: Page, name: str) -> None:
    """Give name and password."""
    who = page.locator("input[name=name]")
    if who.is_editable():
        who.fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def on_slide(page: Page, x_um: float, y_um: float) -> tuple[float, float]:
    """Where a place of the slide is on the screen; what lies beyond the pane is at its edge."""
    pane = page.locator(".pane[data-um-per-px]")
    told, box = pane.evaluate("pane => ({...pane.dataset})"), pane.bounding_box()
    assert box is not None
    scale = float(told["umPerPx"])
    x = box["width"] / 2 + (x_um - float(told["x"])) / scale
    y = box["height"] / 2 + (y_um - float(told["y"])) / scale
    return box["x"] + min(max(x, 2), box["width"] - 2), box["y"] + min(max(y, 2), box["height"] - 2)


def drag(page: Page, *places: tuple[float, float], steps: int = 6) -> None:
    """Draw along places of the slide with the pointer pressed."""
    first, *rest = [on_slide(page, *place) for place in places]
    page.mouse.move(*first)
    page.mouse.down()
    for place in rest:
        page.mouse.move(*place, steps=steps)
    page.mouse.up()
