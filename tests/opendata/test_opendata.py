"""A data set holds pixels and labels and nothing else, describes itself, and is read back."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from shapely.geometry import box, mapping

from ki67.slides import open_slide

Run = Callable[..., Any]
SECRET = "DOE^JANE 1961-02-03 S26-0815"
SAID = ("--title", "Ki-67 test set", "--creator", "Lab", "--licence", "CC-BY-4.0", "--description", "Drawn by hand.")


def pixels(seed: int, side: int = 320) -> np.ndarray[Any, Any]:
    found = np.random.default_rng(seed).integers(180, 255, (side, side, 3)).astype(np.uint8)
    return cv2.GaussianBlur(found, (0, 0), 3)


def write_slide(path: Path) -> np.ndarray[Any, Any]:
    """A pyramid with a label, an overview and the scanner's notes, all of which name the patient."""
    label = np.zeros((120, 300, 3), np.uint8)
    cv2.putText(label, SECRET[:8], (5, 60), 0, 1, (255, 255, 255), 2)
    whole = pixels(9, 9000 // 4)
    with tifffile.TiffWriter(path) as writer:
        told = {"description": f"Aperio|MPP = 0.5|User = {SECRET}|Filename = {SECRET}", "software": SECRET}
        tags = [(315, "s", len(SECRET) + 1, SECRET, False)]
        per_cm = (20000, 20000)
        layout: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
        writer.write(whole, resolution=per_cm, metadata=None, extratags=tags, **told, **layout)
        writer.write(whole[::4, ::4], resolution=(5000, 5000), metadata=None, subfiletype=1, **layout)
        writer.write(label, description=f"label {SECRET}", metadata=None, subfiletype=1)
        writer.write(label[::2, ::2], description=f"macro {SECRET}", metadata=None, subfiletype=9)
    return label


def region_file(path: Path) -> None:
    feature = {
        "type": "Feature",
        "id": SECRET,
        "geometry": mapping(box(200, 200, 1200, 1000)),
        "properties": {"classification": {"name": "IDC"}, "name": SECRET, "metadata": {"who": SECRET}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    lines = ["patient,picture,cells,regions,split,mpp"]
    for number in range(5):
        name = f"Doe_{number}"
        cv2.imwrite(str(folder / f"{name}.png"), pixels(number))
        rows = [f"{20 + 30 * n},{40 + number},{'positive' if n % 3 == 0 else 'negative'}" for n in range(9)]
        (folder / f"{name}.csv").write_text("\n".join(["x,y,label", *rows]), encoding="utf-8")
        lines.append(f"Jane Doe {number % 4},{name}.png,{name}.csv,,,0.25")
    write_slide(folder / "Doe_slide.tif")
    region_file(folder / "Doe.geojson")
    lines.append("Jane Doe 0,Doe_slide.tif,,Doe.geojson,,")
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def made(ki67: Run, source: Path, tmp_path: Path) -> Path:
    done = ki67(
        "dataset", "export", source / "list.csv", tmp_path / "set", *SAID, "--date", "2026-01-02", "--json", "--quiet"
    )
    assert done.code == 0, done.stderr
    assert (done.json["pictures"], done.json["patients"]) == (6, 4)
    return tmp_path / "set"


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "items.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_no_byte_of_it_names_a_patient(source: Path, made: Path) -> None:
    words = [b"DOE", b"Doe", b"JANE", b"Jane", b"1961-02", b"S26-0815", b"Aperio", b"private", str(source).encode()]
    words += [word.decode().encode("utf-16-le") for word in words[:5]]
    for path in made.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [word for word in words if word in content] == [], path.name
            assert not any(part in str(path.relative_to(made)) for part in ("Doe", "slide.tif"))


def test_neither_label_nor_overview_comes_along(source: Path, made: Path) -> None:
    with tifffile.TiffFile(source / "Doe_slide.tif") as private:
        hidden = [page.asarray() for page in private.pages[2:]]
    (picture,) = [row["picture"] for row in table(made) if row["kind"] == "slide"]
    with tifffile.TiffFile(made / picture) as public:
        shapes = [page.shape for page in public.pages]
        assert all(page.shape not in {one.shape for one in hidden} for page in public.pages)
        for page in public.pages:
            assert not set(page.tags.keys()) & {270, 306, 315, 316, 42112, 65000}
    assert shapes == sorted(shapes, reverse=True)
    content = (made / picture).read_bytes()
    assert all(one.tobytes()[:300] not in content for one in hidden)


def test_pixels_of_fields_are_the_same_and_those_of_slides_nearly(ki67: Run, source: Path, made: Path) -> None:
    with (made.parent / "set.key.csv").open(newline="", encoding="utf-8") as stream:
        key = {row["name"]: Path(row["picture"]) for row in csv.DictReader(stream)}
    for row in table(made):
        given = 0.25 if row["kind"] == "field" else None
        with open_slide(made / row["picture"]) as public, open_slide(key[row["name"]], given) as own:
            assert public.size_px == own.size_px
            assert public.mpp == pytest.approx(own.mpp)
            one, other = (slide.read(slide.bounds_um, slide.mpp).astype(int) for slide in (public, own))
            assert np.abs(one - other).max() <= (0 if row["kind"] == "field" else 8)


def test_a_patient_is_in_one_split_and_named_anew(made: Path) -> None:
    rows = table(made)
    assert len({row["patient"] for row in rows}) == 4
    for patient in {row["patient"] for row in rows}:
        assert len({row["split"] for row in rows if row["patient"] == patient}) == 1
    assert all(row["name"].startswith(row["patient"]) for row in rows)
    assert [row["positive"] for row in rows if row["kind"] == "field"] == ["3"] * 5


def test_croissant_reads_it(made: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = mlcroissant.Dataset(jsonld=str(made / "croissant.json"))
        assert not data.metadata.issues.errors
        assert not data.metadata.issues.warnings
        records = list(data.records(record_set="items"))
    assert len(records) == 6
    assert records[0]["items/patient"] == b"P001"
    assert {record["items/width_px"] for record in records} == {320, 2250}


def test_it_is_sound_and_every_change_is_found(ki67: Run, made: Path) -> None:
    sound = ki67("dataset", "check", made, "--json", "--quiet")
    assert (sound.code, sound.json["sound"], sound.json["cells"]) == (0, True, 45)

    field = next(row for row in table(made) if row["kind"] == "field")
    cells = made / field["cells"]
    cells.write_text(cells.read_text() + "5,5,positive\n")
    (made / "extra.txt").write_text("x")
    (made / next(row["picture"] for row in table(made) if row["kind"] == "slide")).unlink()
    text = (made / "items.csv").read_text().splitlines()
    told = ki67("dataset", "check", made, "--json", "--quiet")
    assert told.code == 1
    problems = "\n".join(told.json["problems"])
    for said in (
        f"{field['cells']}: was changed",
        "extra.txt: does not belong",
        "is missing",
        "has 4 positive cells",
    ):
        assert said in problems

    other = next(row for row in table(made) if row["patient"] != field["patient"])
    moved = [line.replace(f",{field['patient']},", f",{other['patient']},") for line in text]
    (made / "items.csv").write_text("\n".join(moved))
    if field["split"] != other["split"]:
        assert f"{other['patient']}: is in" in ki67("dataset", "check", made).stdout


def test_evaluate_reads_it_back(ki67: Run, made: Path, tmp_path: Path) -> None:
    fields = [row for row in table(made) if row["kind"] == "field"]
    answers = ["image,x,y,label"]
    for row in fields:
        lines = (made / row["cells"]).read_text().splitlines()[1:]
        answers += [f"{row['name']},{line}" for line in lines]
    (tmp_path / "theirs.csv").write_text("\n".join(answers))
    words = ("--layout", "points", "--predictions", tmp_path / "theirs.csv", "--json", "--quiet")
    done = ki67("evaluate", "cells", made / "fields", *words)
    assert done.code == 0, done.stderr
    assert (done.json["cells"], done.json["classes"]["positive"]["f1"], done.json["index_mae_points"]) == (
        45,
        1.0,
        0.0,
    )

    slide = next(row for row in table(made) if row["kind"] == "slide")
    region = ki67(
        "evaluate", "idc-region", made / slide["picture"], made / slide["regions"], made / slide["regions"], "--json"
    )
    assert region.json["dice"] == 1
    assert region.json["true_area_mm2"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("patient,", "who,"), "lacks the column 'patient'"),
        (lambda text: text + "\nX,gone.png,,,,", "which is not there"),
        (lambda text: text + "\nX,Doe_0.png,,,,", "twice"),
        (lambda text: text.replace(",,0.25", ",holiday,0.25"), "has the split 'holiday'"),
        (
            lambda text: text.replace(",,0.25", ",train,0.25", 1).replace(
                "slide.tif,,Doe.geojson,,", "slide.tif,,,test,"
            ),
            "two splits",
        ),
        (lambda _: "patient,picture", "holds no picture"),
    ],
)
def test_a_list_that_makes_no_sense_is_said(
    ki67: Run, source: Path, tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    path = source / "list.csv"
    path.write_text(change(path.read_text()))
    done = ki67("dataset", "export", path, tmp_path / "set", *SAID, "--quiet")
    assert done.code == 1
    assert said in done.stderr
    assert not (tmp_path / "set").exists()


def test_labels_outside_and_a_folder_in_use_are_said(ki67: Run, source: Path, tmp_path: Path) -> None:
    (source / "Doe_1.csv").write_text("x,y,label\n900,5,positive\n")
    words = ("dataset", "export", source / "list.csv", tmp_path / "set", *SAID, "--quiet")
    assert "1 of 1 labels outside" in ki67(*words).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["private"]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("x")
    assert "is not empty" in ki67(*words).stderr


def test_a_folder_that_is_no_data_set_is_said(ki67: Run, made: Path, tmp_path: Path) -> None:
    assert ki67("dataset", "check", tmp_path).code == 1
    (made / "SHA256SUMS").write_text("../x  y\n")
    assert "no sum of a file" in ki67("dataset", "check", made).stderr
