"""A reader-study kit is blind, orders slides for each reader, and its answers are ranked."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shapely.geometry import box, mapping

Run = Callable[..., Any]


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    lines = ["slide,picture,regions,mpp"]
    for number in range(1, 7):
        pixels = np.random.default_rng(number).integers(180, 255, (200, 200, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"Doe_{number}.png"), pixels)
        feature = {
            "type": "Feature",
            "geometry": mapping(box(40, 40, 160, 160)),
            "properties": {"classification": {"name": "IDC"}, "name": "Doe"},
        }
        (folder / f"Doe_{number}.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "features": [feature]})
        )
        lines.append(f"slide {number},Doe_{number}.png,Doe_{number}.geojson,0.5")
    (folder / "slides.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "slides.csv"


def kit(ki67: Run, slides: Path, out: Path, *more: object) -> Any:
    return ki67("compete", "kit", slides, out, "--reader", "ann", "--reader", "bob", "--json", "--quiet", *more)


def test_it_is_blind_and_each_reader_has_an_order(ki67: Run, slides: Path, tmp_path: Path) -> None:
    done = kit(ki67, slides, tmp_path / "kit", "--washout-days", 14, "--minutes", 20)

    assert done.code == 0, done.stderr
    orders = done.json["readers"]
    codes = {f"S{number:02d}" for number in range(1, 7)}
    assert {name: set(order) for name, order in orders.items()} == {"ann": codes, "bob": codes}
    assert orders["ann"] != orders["bob"]
    assert orders["ann"] != sorted(codes)
    for path in (tmp_path / "kit").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Doe" not in content
            assert b"slide 1" not in content
    sheet = (tmp_path / "kit" / "ann.html").read_text("utf-8")
    assert [sheet.index(f'data-code="{code}"') for code in orders["ann"]] == sorted(
        sheet.index(f'data-code="{code}"') for code in orders["ann"]
    )
    assert "last 14 days" in sheet
    assert "limit = 1200" in sheet
    assert 'step="1"' in sheet
    with (tmp_path / "kit" / "bob.csv").open(newline="") as stream:
        assert [row["slide"] for row in csv.DictReader(stream)] == orders["bob"]


def test_the_seed_decides(ki67: Run, slides: Path, tmp_path: Path) -> None:
    made = [
        kit(ki67, slides, tmp_path / name, "--seed", seed).json["readers"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert made[0] == made[1] != made[2]
    assert (tmp_path / "a" / "ann.html").read_bytes() == (tmp_path / "b" / "ann.html").read_bytes()
    assert "Washout" not in (tmp_path / "a" / "ann.html").read_text("utf-8")


def test_answers_of_the_sheets_are_ranked_with_the_key(ki67: Run, slides: Path, tmp_path: Path) -> None:
    told = kit(ki67, slides, tmp_path / "kit").json
    with Path(told["key"]).open(newline="") as stream:
        slide_of = {row["code"]: row["slide"] for row in csv.DictReader(stream)}
    gold = {name: 10.0 * number for number, name in enumerate(sorted(slide_of.values()), start=1)}
    (tmp_path / "gold.csv").write_text("\n".join(["slide,index_percent", *(f"{n},{v}" for n, v in gold.items())]))
    answers = tmp_path / "answers"
    answers.mkdir()
    for reader, off in (("ann", 0), ("bob", 3)):
        rows = [f"{code},{reader},{gold[slide_of[code]] + off:.0f},12.5" for code in told["readers"][reader]]
        (answers / f"{reader}.csv").write_text("\n".join(["slide,reader,index_percent,seconds", *rows]) + "\n")

    ranked = ki67("compete", tmp_path / "gold.csv", answers, "--key", told["key"], "--json")

    assert ranked.code == 0, ranked.stderr
    assert [(one["reader"], one["average_score"], one["seconds"]) for one in ranked.json["readers"]] == [
        ("ann", 100, 75),
        ("bob", 97, 75),
    ]
    assert ki67("compete", "rank", tmp_path / "gold.csv", answers, "--key", told["key"], "--json").json == ranked.json
    unknown = ki67("compete", tmp_path / "gold.csv", answers)
    assert unknown.code == 1
    assert "which the standard does not hold" in unknown.stderr


@pytest.mark.parametrize("words", [("--help",), ("kit", "--help")])
def test_help_names_both(ki67: Run, words: tuple[str, ...]) -> None:
    done = ki67("compete", *words)
    assert done.code == 0
    assert "kit" in done.stdout


def test_nothing_at_all_is_wrong_usage(ki67: Run) -> None:
    assert ki67("compete").code == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("slide,", "name,", 1), "lacks the column 'slide'"),
        (lambda text: text + "\nslide 1,Doe_2.png,,0.5", "names the slide 'slide 1' twice"),
        (lambda text: text + "\nslide 9,gone.png,,0.5", "which is not there"),
        (lambda text: text + "\nslide 9,,,0.5", "has no picture"),
        (lambda _: "slide,picture", "holds no slide"),
    ],
)
def test_a_list_that_makes_no_sense_is_said(
    ki67: Run, slides: Path, tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    slides.write_text(change(slides.read_text()))
    done = kit(ki67, slides, tmp_path / "kit")
    assert done.code == 1
    assert said in done.stderr
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize("reader", ["../x", "a/b", "Ann"])
def test_names_that_cannot_be_files_or_come_twice_are_said(
    ki67: Run, slides: Path, tmp_path: Path, reader: str
) -> None:
    assert kit(ki67, slides, tmp_path / "kit", "--reader", reader).code == 1
