"""What is made while the documentation is built: the notebooks' pages, and pictures of the report of their case."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import made_notebooks
from PIL import Image

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


def report_pictures(case: Path, folder: Path) -> None:
    """Keep the pictures of a case's report."""
    found = [(alt, content) for content, alt in _IMAGE.findall((case / "report.html").read_text("utf-8"))]
    for name, text in SHOWN.items():
        content = next(content for alt, content in found if text in alt)
        (folder / f"{name}.jpg").write_bytes(base64.b64decode(content))


def place(app: Sphinx) -> None:
    """Put pages and pictures where others look for them: code alone, and grey pictures, where none are to be made."""
    PICTURES.mkdir(exist_ok=True)
    if app.config.ki67_pictures:
        with tempfile.TemporaryDirectory() as scratch:
            made_notebooks.write_pages(PICTURES, Path(scratch))
            report_pictures(Path(scratch) / "case", PICTURES)
        return
    made_notebooks.write_pages(PICTURES, None)
    for name in SHOWN:
        if not (PICTURES / f"{name}.jpg").exists():
            Image.new("RGB", (64, 48), (200, 200, 200)).save(PICTURES / f"{name}.jpg")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of it."""
    app.add_config_value("ki67_pictures", default=True, rebuild="env", types=bool)
    app.connect("builder-inited", place)
    return {"parallel_read_safe": True}
