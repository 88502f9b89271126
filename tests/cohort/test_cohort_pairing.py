"""Which H&E belongs to which Ki-67 slide: by name, by shape, by the stain in the pixels; always with a reason."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ki67.cohort import pairing as pairing_module
from ki67.cohort import read_cases
from ki67.cohort.pairing import (
    SeenSlide,
    find_slides,
    likeness_of_names,
    likeness_of_shapes,
    look_at,
    pair_slides,
    propose,
    stain_in_name,
    without_stain,
)
from ki67.errors import DataSetError

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "stain", "rest"),
    [
        ("B12-345_A1_HE.svs", "he", "b12 345 a1"),
        ("B12-345_A1_Ki67.svs", "ki67", "b12 345 a1"),
        ("B12-345 A1 H&E.ndpi", "he", "b12 345 a1"),
        ("ki-67_07.tif", "ki67", "07"),
        ("17_MIB1.mrxs", "ki67", "17"),
        ("he.tif", "he", ""),
        ("Sheila.tif", None, "sheila"),
        ("theory_3.tif", None, "theory 3"),
        ("he_ki67_both.tif", None, "both"),
    ],
)
def test_names_tell_a_stain_or_none(name: str, stain: str | None, rest: str) -> None:
    assert stain_in_name(name) == stain
    assert without_stain(name) == rest


def test_names_that_differ_in_a_number_are_hardly_alike() -> None:
    same = likeness_of_names(Path("x/12_A1_HE.svs"), Path("x/12_A1_Ki67.svs"))
    other = likeness_of_names(Path("x/12_A1_HE.svs"), Path("x/13_A1_Ki67.svs"))
    assert same == 1.0
    assert other < 0.5
    assert likeness_of_names(Path("x/he.tif"), Path("x/ki67.tif")) == 1.0
    assert likeness_of_names(Path("x/he.tif"), Path("y/ki67.tif")) == 0.0


def blob(seed: int, turn: float = 0, size: int = 160) -> np.ndarray:
    draw = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = (
        size / 4 * (1 + sum(draw.uniform(-0.3, 0.3) * np.cos(k * angles + draw.uniform(0, 6)) for k in (2, 3, 5)))
    )
    points = np.column_stack([np.cos(angles) * radius, np.sin(angles) * radius])
    turned = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    cv2.fillPoly(mask, [np.round(turned + size / 2).astype(np.int32)], 1)
    return mask.astype(bool)


def seen(name: str, stain: Any, seed: int, turn: float = 0, size: int = 160) -> SeenSlide:
    return SeenSlide(Path(name), stain, "pixels", blob(seed, turn, size), 100.0)


def test_a_shape_is_known_again_turned_mirrored_and_at_another_size() -> None:
    one = seen("a", "he", 1)
    turned = likeness_of_shapes(one, seen("b", "ki67", 1, turn=2.0, size=240))
    mirrored = SeenSlide(Path("c"), "ki67", "pixels", blob(1)[:, ::-1], 100.0)
    assert turned > 0.9
    assert likeness_of_shapes(one, mirrored) > 0.95
    others = [likeness_of_shapes(one, seen("d", "ki67", number)) for number in range(2, 8)]
    assert max(others) < turned
    half = SeenSlide(Path("e"), "ki67", "pixels", blob(1), 50.0)
    assert likeness_of_shapes(one, half) < 0.8
    assert likeness_of_shapes(one, SeenSlide(Path("f"), "ki67")) == 0.0


def test_shapes_find_the_partner_where_names_say_nothing() -> None:
    he = [seen(f"scan{number}.svs", "he", number) for number in range(5)]
    ki67 = [seen(f"image_{9 - number}x.svs", "ki67", number, turn=1.0) for number in range(5)]
    pairs = list(propose([*he, *ki67]))
    right = {(f"scan{number}.svs", f"image_{9 - number}x.svs") for number in range(5)}
    found = {(str(pair["he"]), str(pair["ki67"])) for pair in pairs}
    assert found == right
    assert {pair["confidence"] for pair in pairs} <= {"medium", "low"}  # never high without names
    names = list(propose([seen("4_HE.svs", "he", 1), seen("4_Ki67.svs", "ki67", 1), seen("5_Ki67.svs", "ki67", 1)]))
    assert [(str(pair["ki67"]), pair["confidence"], pair["case"]) for pair in names] == [("4_Ki67.svs", "high", "4")]
    assert "names the same but for the stain" in names[0]["reason"]


def section(path: Path, *, he: bool, seed: int = 0) -> None:
    """A small section: pink with blue nuclei, or pale with blue and brown nuclei."""
    draw = np.random.default_rng(seed)
    picture = np.full((900, 900, 3), 243, np.uint8)
    mask = blob(seed, size=900)
    picture[mask] = (230, 165, 200) if he else (232, 230, 236)
    for y, x in draw.permutation(np.argwhere(mask))[:700]:
        color = (95, 60, 140) if he else (110, 70, 45) if draw.random() < 0.4 else (120, 140, 195)
        cv2.circle(picture, (int(x), int(y)), 8, color, -1, cv2.LINE_AA)
    noisy = np.clip(picture + draw.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", noisy[..., ::-1])[1].tobytes())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give plain pictures, which have no size of their own, one."""
    opening = pairing_module.open_slide
    monkeypatch.setattr(pairing_module, "open_slide", lambda path, *more, **others: opening(path, 0.5))


def test_the_stain_is_told_from_the_pixels_whatever_the_name(tmp_path: Path, measured: None) -> None:
    section(tmp_path / "1_ki67.png", he=True)
    section(tmp_path / "1_he.png", he=False)
    assert (look_at(tmp_path / "1_ki67.png").stain, look_at(tmp_path / "1_ki67.png").by) == ("he", "pixels")
    assert look_at(tmp_path / "1_he.png").stain == "ki67"


def test_a_proposal_is_a_table_to_check_and_then_to_run(ki67: Run, tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    section(slides / "B1_HE.png", he=True, seed=1)
    section(slides / "B1_Ki67.png", he=False, seed=1)
    section(slides / "below" / "B2_HE.png", he=True, seed=2)
    (slides / "B3_Ki67.png").write_bytes(b"no picture")
    (slides / "notes.txt").write_text("")
    table = tmp_path / "pairs.csv"
    outcome = ki67("pair", slides, "--out", table, "--json", "--quiet")
    assert outcome.code == 0, outcome.stderr
    (pair,) = outcome.json["pairs"]
    assert (pair["case"], Path(pair["he"]).name, Path(pair["ki67"]).name) == ("b1", "B1_HE.png", "B1_Ki67.png")
    assert "a stain known from the name only" in pair["reason"]  # without a pixel size no stain is measured
    reasons = {Path(row["file"]).name: row["reason"] for row in outcome.json["alone"]}
    assert set(reasons) == {"B2_HE.png", "B3_Ki67.png"}
    assert reasons["B2_HE.png"] == "no Ki-67 slide fits it"
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["confidence"] for row in rows] == [pair["confidence"], "none", "none"]
    with pytest.raises(DataSetError, match="line 3 has no case"):
        read_cases(table)  # what has no partner must be looked at
    kept = "".join(line for line in table.read_text().splitlines(keepends=True) if ",none," not in line)
    table.write_text(kept)
    (case,) = read_cases(table)
    assert case.he.samefile(slides / "B1_HE.png")


def test_folders_that_slides_are_made_of_are_passed_over(tmp_path: Path) -> None:
    for folder in ("a", "case/idc"):
        (tmp_path / folder).mkdir(parents=True)
    names = ("a.mrxs", "a/Slide.png", "b.svs", ".hidden.svs", "c.txt", "case/run.json", "case/idc/heatmap.tif")
    for name in names:
        (tmp_path / name).write_text("")
    assert [path.name for path in find_slides(tmp_path)] == ["a.mrxs", "b.svs"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataSetError, match="holds no slide"):
        pair_slides(tmp_path / "empty")
