"""What ``ki67 check`` says of slides, and that ``score`` and ``count`` never say otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from framed_slides import write_scn
from ki67.slides import open_slide, write_pyramid

Run = Callable[..., Any]
PER_SLIDE = {"reader", "levels", "mpp", "mpp_source", "stain", "tissue_mm2", "pieces", "focus", "nuclear_radius_um"}


def brown_and_blue(size: int = 480) -> Any:
    pixels = np.full((size, size, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, size - 40, 80) for y in range(60, size - 40, 80)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    return np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


def said(outcome: Any) -> str:
    """The one line of an error, without the program's name."""
    (line,) = outcome.stderr.strip().splitlines()
    return str(line).removeprefix("ki67: error: ")


def test_a_good_pair_is_usable_and_told_in_one_screen(
    ki67: Run, simulated_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ki67("check", simulated_pair / "he.tif", simulated_pair / "ki67.tif", "--json", "--quiet").json

    assert (found["usable"], found["problems"]) == (True, [])
    he, brown = found["slides"]
    assert [he["role"], brown["role"]] == ["he", "ki67"]
    assert set(he) >= PER_SLIDE
    assert (he["mpp"], he["mpp_source"], he["reader"]) == (0.5, "file", "tifffile")
    assert "H&E" in he["stain"]
    assert "DAB" in brown["stain"]
    assert brown["tissue_mm2"] == pytest.approx(he["tissue_mm2"], rel=0.3)
    assert he["pieces"] >= 1

    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        screen = ki67("check", simulated_pair / "he.tif", simulated_pair / "ki67.tif", "--quiet").stdout.splitlines()
        assert len(screen) <= 24
        assert max(map(len, screen)) <= columns
        assert screen[-1] == "usable with 'ki67 score'"


def test_one_slide_is_judged_as_what_it_looks_like(ki67: Run, simulated_pair: Path) -> None:
    for name, role, purpose in (
        ("he.tif", "he", "as the H&E slide of 'ki67 score'"),
        ("ki67.tif", "ki67", "with 'ki67 count'"),
    ):
        (slide,) = ki67("check", simulated_pair / name, "--json", "--quiet").json["slides"]
        assert slide["role"] == role
        assert ki67("check", simulated_pair / name, "--quiet").stdout.splitlines()[-1] == f"usable {purpose}"


def test_score_and_check_refuse_a_pair_in_the_same_words(ki67: Run, simulated_pair: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(simulated_pair / "ki67.tif", tmp_path / "copy.tif"))
    for number, (he, other) in enumerate((("ki67.tif", "he.tif"), ("he.tif", "he.tif"), ("ki67.tif", copy))):
        found = ki67("check", simulated_pair / he, simulated_pair / other, "--json", "--quiet")
        scored = ki67(
            "score", simulated_pair / he, simulated_pair / other, "--out", tmp_path / str(number), "--quiet"
        )
        assert (found.code, found.json["usable"], scored.code) == (0, False, 1)
        assert found.json["problems"] == [said(scored)]


def test_count_and_check_refuse_a_slide_in_the_same_words(ki67: Run, tmp_path: Path) -> None:
    write_pyramid(tmp_path / "field.tif", [brown_and_blue()], (480, 480), 0.25)
    write_pyramid(tmp_path / "coarse.tif", [brown_and_blue()], (480, 480), 2.0)
    write_pyramid(tmp_path / "tiny.tif", [brown_and_blue(64)], (64, 64), 0.25)
    Image.fromarray(brown_and_blue()).save(tmp_path / "field.png", dpi=(300, 300))
    Image.fromarray(np.full((480, 480, 3), 240, np.uint8)).save(tmp_path / "blank.png")
    for name, *words in (
        ("field.tif", "--mpp", "0.4"),
        ("field.png",),
        ("tiny.tif",),
        ("coarse.tif",),
        ("blank.png", "--mpp", "0.25"),
    ):
        found = ki67("check", tmp_path / name, *words, "--json", "--quiet")
        counted = ki67("count", tmp_path / name, *words, "--out", tmp_path / "case", "--quiet")
        assert (name, found.code, found.json["usable"], counted.code) == (name, 0, False, 1)
        assert found.json["problems"] == [said(counted)]


def test_a_field_without_a_size_still_tells_what_it_is(ki67: Run, tmp_path: Path) -> None:
    Image.fromarray(brown_and_blue()).save(tmp_path / "field.png")

    (slide,) = ki67("check", tmp_path / "field.png", "--json", "--quiet").json["slides"]
    assert (slide["reader"], slide["size_px"], slide["mpp"], slide["tissue_mm2"]) == ("png", [480, 480], None, None)

    given = ki67("check", tmp_path / "field.png", "--mpp", "0.25", "--json", "--quiet").json
    assert given["usable"]
    assert given["slides"][0]["mpp_source"] == "given"


def test_a_size_that_overrides_the_file_is_told(ki67: Run, tmp_path: Path) -> None:
    write_pyramid(tmp_path / "field.tif", [brown_and_blue()], (480, 480), 0.25)
    found = ki67("check", tmp_path / "field.tif", "--mpp", "0.4", "--mpp-overrides-file", "--json", "--quiet").json
    assert sum("0.25 µm" in text for text in found["warnings"]) == 1
    assert found["slides"][0]["mpp_of_file"].startswith("0.25 µm")


def test_what_is_no_slide_at_all_is_an_error(ki67: Run, simulated_pair: Path, tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    for words in ((tmp_path / "text.svs",), (simulated_pair / "he.tif", tmp_path / "missing.tif")):
        outcome = ki67("check", *words, "--json", "--quiet")
        assert outcome.code == 1
        assert outcome.stdout == ""
        assert str(words[-1]) in said(outcome)


def test_a_slide_that_qupath_crops_tells_where_it_counts_from(ki67: Run, tmp_path: Path) -> None:
    write_scn(tmp_path / "slide.scn", brown_and_blue(), 0.25, (300, 200))
    assert "QuPath      counts pixels from (300, 200)" in ki67("check", tmp_path / "slide.scn", "--quiet").stdout


def test_wrong_usage_is_told(ki67: Run, simulated_pair: Path) -> None:
    assert ki67("check", simulated_pair / "he.tif", simulated_pair / "ki67.tif", "--mpp", "0.5").code == 2
    assert ki67("check", simulated_pair / "he.tif", "--ki67-mpp", "0.5").code == 2


def test_a_check_writes_nothing_and_closes_its_files(simulated_pair: Path, ki67: Run) -> None:
    before = sorted(simulated_pair.rglob("*"))
    ki67("check", simulated_pair / "he.tif", simulated_pair / "ki67.tif", "--quiet")
    assert sorted(simulated_pair.rglob("*")) == before
    with open_slide(simulated_pair / "he.tif") as slide:
        assert slide.warnings == ()
