"""Pictures of the documentation, made while the pages are built: those that a report shows of a simulated pair."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import ki67

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PICTURES = Path(__file__).parent / "pictures"
SHOWN = {
    "he": "Whole H&amp;E slide",
    "ki67": "Whole Ki-67 slide",
    "heatmap": "Heat map of the probability",
    "checkerboard": "Checkerboard, whole slide",
    "index_map": "Index in hexagons",
    "cells": "the same field with every counted cell outlined",
}
"""Name of each picture, and what its text in the report holds."""

_IMAGE = re.compile(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]*)"')


def report_pictures(folder: Path) -> None:
    """Simulate a pair, run the whole chain on it, and keep the pictures of its report."""
    with tempfile.TemporaryDirectory() as scratch:
        slides, case = Path(scratch) / "slides", Path(scratch) / "case"
        options = ki67.SimulationOptions(seed=11, size_mm=(1.4, 1.1), mpp=0.5, cells=900, index_percent=25)
        ki67.simulate_pair(slides, options)
        ki67.run_score(slides / "he.tif", slides / "ki67.tif", case)
        found = [(alt, content) for content, alt in _IMAGE.findall((case / "report.html").read_text("utf-8"))]
    for name, text in SHOWN.items():
        content = next(content for alt, content in found if text in alt)
        (folder / f"{name}.jpg").write_bytes(base64.b64decode(content))


def place(app: Sphinx) -> None:
    """Put a picture of each name where the pages look for it: a grey one where none are to be made."""
    PICTURES.mkdir(exist_ok=True)
    if app.config.ki67_pictures:
        report_pictures(PICTURES)
        return
    for name in SHOWN:
        if not (PICTURES / f"{name}.jpg").exists():
            Image.new("RGB", (64, 48), (200, 200, 200)).save(PICTURES / f"{name}.jpg")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of it."""
    app.add_config_value("ki67_pictures", default=True, rebuild="env", types=bool)
    app.connect("builder-inited", place)
    return {"parallel_read_safe": True}
