"""Whatever is wrong with the input, the command says so in one line and exits with 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., object]


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A white field without a pixel size."""
    path = tmp_path / "field.png"
    Image.fromarray(np.full((400, 400, 3), 245, np.uint8)).save(path)
    return path


def assert_known_error(outcome: object, *words: str) -> None:
    assert outcome.code == 1  # type: ignore[attr-defined]
    assert outcome.stdout == ""  # type: ignore[attr-defined]
    lines = outcome.stderr.strip().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1, lines
    assert lines[0].startswith("ki67: error: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("name", ["broken.svs", "unreadable.svs", "unopenable.tiff", "small.svs"])
def test_real_broken_slides_are_refused(ki67: Run, data: Path, tmp_path: Path, name: str) -> None:
    outcome = ki67("count", data / "slides" / name, "--out", tmp_path / "case", "--quiet")

    assert_known_error(outcome, name)


def test_an_absurd_pixel_size_names_the_option(ki67: Run, data: Path, tmp_path: Path) -> None:
    slide = data / "slides" / "mislabelled_generic_tiff.svs"

    outcome = ki67("count", slide, "--out", tmp_path / "case", "--quiet")

    assert_known_error(outcome, "mislabelled_generic_tiff.svs", "--mpp")


def test_a_text_file_with_a_slides_name_is_refused(ki67: Run, tmp_path: Path) -> None:
    slide = tmp_path / "notes.svs"
    slide.write_text("These are notes.")

    assert_known_error(ki67("idc", "predict", slide, "--out", tmp_path / "case", "--quiet"), "notes.svs")


def test_a_missing_slide_is_named(ki67: Run, tmp_path: Path) -> None:
    outcome = ki67("count", tmp_path / "none.svs", "--out", tmp_path / "case", "--quiet")

    assert_known_error(outcome, "none.svs")
    assert not (tmp_path / "case").exists()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.97, 0.995])
@pytest.mark.parametrize("name", ["cmu-1-small-region.svs", "os2_ki67_nanozoomer.ome.tif"])
def test_a_truncated_slide_is_refused(ki67: Run, data: Path, tmp_path: Path, name: str, kept: float) -> None:
    good = (data / "slides" / name).read_bytes()
    slide = tmp_path / f"cut-{name}"
    slide.write_bytes(good[: int(len(good) * kept)])

    assert_known_error(ki67("count", slide, "--out", tmp_path / "case", "--quiet"), slide.name, "copy it again")


def test_a_fluorescence_slide_is_refused(ki67: Run, data: Path, tmp_path: Path) -> None:
    slide = data / "slides" / "fluorescence.ndpi"

    assert_known_error(ki67("count", slide, "--out", tmp_path / "case", "--quiet"), slide.name, "bright-field")


def test_a_field_without_pixel_size_names_the_option(ki67: Run, field: Path, tmp_path: Path) -> None:
    assert_known_error(ki67("count", field, "--out", tmp_path / "case", "--quiet"), "field.png", "--mpp")


def test_an_empty_white_slide_is_refused(ki67: Run, field: Path, tmp_path: Path) -> None:
    outcome = ki67("count", field, "--mpp", 1, "--out", tmp_path / "case", "--quiet")

    assert_known_error(outcome, "field.png", "tissue")


def test_a_region_outside_the_slide_is_refused(ki67: Run, data: Path, tmp_path: Path) -> None:
    regions = tmp_path / "outside.geojson"
    square = [[90000, 90000], [91000, 90000], [91000, 91000], [90000, 91000], [90000, 90000]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [square]},
        "properties": {"objectType": "annotation", "classification": {"name": "IDC"}},
    }
    regions.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    slide = data / "slides" / "os2_ki67_nanozoomer.ome.tif"

    outcome = ki67("count", slide, "--regions", regions, "--out", tmp_path / "case", "--quiet")

    assert_known_error(outcome, "outside")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"type": "FeatureCollection"}'])
def test_a_malformed_region_file_is_refused(ki67: Run, data: Path, tmp_path: Path, text: str) -> None:
    regions = tmp_path / "bad.geojson"
    regions.write_text(text)
    slide = data / "slides" / "os2_ki67_nanozoomer.ome.tif"

    outcome = ki67("count", slide, "--regions", regions, "--out", tmp_path / "case", "--quiet")

    assert_known_error(outcome, "bad.geojson")


@pytest.mark.parametrize("by", [("--shift", "1e308", "0"), ("--rotate", "-1e308")])
def test_a_shift_or_turn_beyond_every_slide_is_wrong_usage(ki67: Run, tmp_path: Path, by: tuple[str, ...]) -> None:
    outcome = ki67("register", "he.tif", "ki67.tif", "--out", tmp_path / "case", *by)

    assert outcome.code == 2  # type: ignore[attr-defined]
    assert "--rotate" in outcome.stderr  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("count",), "ki67 count --help"),
        (("nonsense",), "'nonsense'"),
        (("count", "a.svs", "--out", "case", "--mpp", "wide"), "--mpp"),
        (("count", "a.svs", "--out", "case", "--colour"), "--colour"),
        (("gold", "make"), "ki67 gold make --help"),
        (("score", "a.svs", "b.svs", "--out", "case", "--engine", "abacus"), "--engine"),
    ],
)
def test_wrong_usage_is_told_in_one_line_and_exits_with_2(ki67: Run, words: tuple[str, ...], told: str) -> None:
    outcome = ki67(*words)

    assert outcome.code == 2  # type: ignore[attr-defined]
    assert outcome.stdout == ""  # type: ignore[attr-defined]
    (line,) = outcome.stderr.splitlines()  # type: ignore[attr-defined]
    assert line.startswith("ki67: error: ")
    assert told in line


@pytest.mark.parametrize("words", [(), ("gold",), ("--help",), ("count", "--help")])
def test_a_group_alone_and_help_show_what_there_is(ki67: Run, words: tuple[str, ...]) -> None:
    outcome = ki67(*words)

    assert outcome.code == (0 if "--help" in words else 2)  # type: ignore[attr-defined]
    assert "Usage: ki67" in outcome.stdout  # type: ignore[attr-defined]
    assert outcome.stderr == ""  # type: ignore[attr-defined]


def test_registration_as_given_needs_something_given(ki67: Run, tmp_path: Path) -> None:
    outcome = ki67("register", "he.tif", "ki67.tif", "--out", tmp_path / "case", "--as-given")

    assert outcome.code == 2  # type: ignore[attr-defined]
    assert "--landmarks" in outcome.stderr  # type: ignore[attr-defined]
