"""The page in Firefox, from one end to the other: a cell is corrected, undone, the region moved, all there again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from firefox import FIREFOX, firefox
from made_case import a_cell

from ki67.case.corrections import read_corrections
from ki67.server.app import STATIC

pytest.importorskip("tornado", reason="no tornado, which the extra 'dev' brings")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FIREFOX is None, reason="no Firefox on this machine (name it in KI67_FIREFOX)"),
    pytest.mark.skipif(not (STATIC / "index.html").is_file(), reason="the page was not built (KI67_PAGE=build)"),
]
INDEX = "[data-test=index]"
PANE = ".pane[data-slide=ki67]"


def test_firefox_corrects_undoes_moves_and_finds_it_all_again(root: Path, finished: Path, tmp_path: Path) -> None:
    words = ["-m", "ki67", "serve", str(root), "--slides", str(finished / "slides"), "--json", "--no-browser"]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        link = json.loads(server.stdout.readline())["url"]
        with firefox(tmp_path / "firefox") as window:
            window.open(link)
            window.wait("document.querySelectorAll('table.cases tbody tr').length === 1")
            x, y = a_cell(root / "case")
            window.open(f"{link.partition('/?')[0]}/#/case/case/view?x={x}&y={y}&s=0.3&r=0&m=side")
            automatic = window.text(INDEX)
            window.click_on("input[name=by]")
            window.keys(*"Dr. Ruiz", "Enter")
            # The pane's middle is the cell; both sections have to have drawn something.
            window.wait(f"Math.abs(document.querySelector('{PANE}').dataset.x - {x}) < 0.1")
            window.wait(f"{painted('he')} > 1000 && {painted('ki67')} > 1000")
            window.click_on(f"{PANE} .slide")
            window.wait("document.querySelector('section[aria-label=Cell]')?.innerText.includes('positive')")
            window.keys("n")
            window.wait(f"document.querySelector('{INDEX}').innerText !== {automatic!r}")
            changed = window.text(INDEX)
            window.wait("document.querySelector('.history li')?.innerText.includes('Dr. Ruiz')")
            window.keys("Control", "z")
            window.wait(f"document.querySelector('{INDEX}').innerText === {automatic!r}")
            window.keys("Control", "y")
            window.wait(f"document.querySelector('{INDEX}').innerText === {changed!r}")
            window.keys("m", "ArrowRight", "ArrowRight")
            window.wait("document.querySelector('.moved')?.innerText.includes('µm right')")
            window.keys("Enter")
            window.wait("document.querySelectorAll('.history li .what').length === 4")
            moved = window.text(INDEX)
            window.reload()
            assert window.text(INDEX) == moved
            assert window.wait("document.querySelectorAll('.history li .what').length") == 4
            window.wait(f"Math.abs(document.querySelector('{PANE}')?.dataset.x - {x}) < 0.1")
            assert window.complaints == []
    finally:
        server.kill()
        server.communicate()
    assert [one.what.kind for one in read_corrections(root / "case")] == ["relabel", "undo", "redo", "nudge"]


def painted(slide: str) -> str:
    """How many pixels of a section's first canvas are not empty, as an expression."""
    return (
        f"((canvas) => canvas ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)"
        f".data.filter((value, at) => at % 4 === 3 && value > 0).length : 0)"
        f"(document.querySelector('.pane[data-slide={slide}] .slide canvas'))"
    )
