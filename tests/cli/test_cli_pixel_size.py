"""A pixel size given against the file's own: refused, or insisted upon and marked everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ki67.slides import write_pyramid

Run = Callable[..., Any]


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Brown and blue nuclei on a slide that says 0.25 µm."""
    pixels = np.full((480, 480, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, 440, 80) for y in range(60, 440, 80)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    write_pyramid(tmp_path / "field.tif", [pixels], (480, 480), 0.25)
    return tmp_path / "field.tif"


@pytest.mark.parametrize(
    "words",
    [
        ("count", "SLIDE", "--mpp", "0.4"),
        ("score", "SLIDE", "SLIDE", "--he-mpp", "0.4"),
        ("score", "SLIDE", "SLIDE", "--ki67-mpp", "0.4"),
        ("register", "SLIDE", "SLIDE", "--ki67-mpp", "0.4"),
        ("idc", "predict", "SLIDE", "--mpp", "0.4"),
    ],
)
def test_no_command_takes_it_in_silence(ki67: Run, field: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    outcome = ki67(*(field if word == "SLIDE" else word for word in words), "--out", tmp_path / "case", "--quiet")

    assert outcome.code == 1
    assert len(outcome.stderr.strip().splitlines()) == 1
    for text in ("field.tif", "0.4 µm", "0.25 µm", "--mpp-overrides-file"):
        assert text in outcome.stderr
    assert not (tmp_path / "case").exists()


def test_insisting_marks_result_and_report_once(ki67: Run, field: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"

    outcome = ki67(
        "count",
        field,
        "--out",
        case,
        "--mpp",
        "0.4",
        "--mpp-overrides-file",
        "--use-unusable-stain",
        "--json",
        "--quiet",
    )

    assert outcome.code == 0, outcome.stderr
    (warning,) = (text for text in outcome.json["warnings"] if "0.25 µm" in text)
    assert warning.startswith("field.tif: ")
    assert "0.4 µm" in warning
    facts = json.loads((case / "run.json").read_text())["inputs"]["ki67"]
    assert (facts["mpp"], facts["mpp_source"], facts["mpp_contradicts_file"]) == (0.4, "given", True)
    assert facts["mpp_of_file"].startswith("0.25 µm")
    page = (case / "report.html").read_text(encoding="utf-8")
    assert 'role="alert">The pixel size of field.tif was given as 0.4 µm' in page
    assert page.count(warning.replace("'", "&#39;")) == 1


def test_the_files_own_size_needs_no_mark(ki67: Run, field: Path, tmp_path: Path) -> None:
    outcome = ki67("count", field, "--out", tmp_path / "case", "--mpp", "0.25", "--json", "--quiet")

    assert outcome.code == 0, outcome.stderr
    assert not [text for text in outcome.json["warnings"] if "pixel size" in text]
    page = (tmp_path / "case" / "report.html").read_text(encoding="utf-8")
    assert "The pixel size of" not in page
