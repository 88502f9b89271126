"""A finished case that is run again and refused keeps no number, and files of any name are taken."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Run = Callable[..., object]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not Unicode")
def test_a_count_that_is_refused_takes_the_old_number_with_it(ki67: Run, tmp_path: Path) -> None:
    pixels = np.full((400, 400, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(40, 380, 60) for y in range(40, 380, 60)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    slide = tmp_path / os.fsdecode(b"Pr\xfcfung.png")
    slide.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    outside = tmp_path / os.fsdecode(b"au\xdfen.geojson")
    square = [[90000, 90000], [91000, 90000], [91000, 91000], [90000, 91000], [90000, 90000]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square]}, "properties": {}}
    outside.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    case = tmp_path / os.fsdecode(b"F\xe4lle") / "case"
    words = ("count", slide, "--mpp", "0.25", "--out", case, "--quiet", "--json")

    first = ki67(*words)
    assert first.code == 0, first.stderr  # type: ignore[attr-defined]
    assert first.json["positive"] > 0  # type: ignore[attr-defined]
    assert r"Pr\xfcfung.png" in json.loads((case / "run.json").read_bytes())["inputs"]["ki67"]["path"]
    assert r"Pr\xfcfung.png" in (case / "report.html").read_text(encoding="utf-8")
    refused = ki67(*words, "--regions", outside)
    assert refused.code == 1  # type: ignore[attr-defined]
    assert r"au\xdfen.geojson" in refused.stderr or "outside" in refused.stderr  # type: ignore[attr-defined]

    assert not (case / "score.json").exists()
    assert not (case / "report.html").exists()
    manifest = json.loads((case / "run.json").read_text())
    assert manifest["state"] == "failed"
    assert manifest["error"]
    export = ki67("export", case, tmp_path / "cells.csv")
    assert export.code == 1  # type: ignore[attr-defined]
    assert "its last run was refused" in export.stderr  # type: ignore[attr-defined]
    again = ki67(*words)
    assert again.json["positive"] == first.json["positive"]  # type: ignore[attr-defined]
    assert (case / "report.html").is_file()
