"""Patches lie where the outlines say, evenly, no slide dominating, and no patient on two sides."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from idc_scene import PINK, PURPLE
from PIL import Image

from ki67.annotations import Region, Regions, write_regions
from ki67.errors import DataSetError
from ki67.idc import read_patches
from ki67.idc.dataset import read_facts
from ki67.idc.sampling import SampleOptions, find_places, sample, spread_draw
from ki67.idc.slide_list import SlideEntry, read_slide_list, split_by_patient
from ki67.slides import open_slide, tissue_mask

WriteSlide = Callable[..., Path]
MPP = 2.0
OPTIONS = SampleOptions(patch_px=16, mpp=MPP, per_class=1000)
IDC_BOX = shapely.box(300, 300, 900, 780)
DCIS_BOX = shapely.box(1200, 300, 1400, 500)


@pytest.fixture
def entry(write_slide: WriteSlide, tmp_path: Path) -> Callable[..., SlideEntry]:
    """A slide of 1600 x 1200 µm: pink tissue with a purple IDC box and a DCIS box."""

    def make(patient: str = "p1", split: str = "train", number: int = 1) -> SlideEntry:
        pixels = np.full((600, 800, 3), 255, np.uint8)
        noise = np.random.default_rng(number).normal(0, 6, (500, 700, 3))
        pixels[50:550, 50:750] = np.clip(np.array(PINK) + noise, 0, 255)
        pixels[150:390, 150:450] = np.clip(np.array(PURPLE) + noise[:240, :300], 0, 255)
        slide = write_slide(pixels, MPP, f"{patient}-{number}.tif")
        regions = Regions([Region("IDC", IDC_BOX, "1"), Region("DCIS", DCIS_BOX, "2")])
        path = tmp_path / f"{patient}-{number}.geojson"
        write_regions(path, regions, MPP)
        return SlideEntry(patient, slide, path, split, None, number)

    return make


def test_a_patch_takes_the_class_that_covers_it(entry: Callable[..., SlideEntry]) -> None:
    options = replace(OPTIONS, classes=("DCIS", "IDC"), stride_px=8)
    one = entry()
    with open_slide(one.slide) as slide:
        from ki67.annotations import read_regions

        places = find_places(slide, read_regions(one.regions, MPP), tissue_mask(slide), options)
    edge = options.patch_um
    boxes = shapely.box(*places.corners_um.T, *(places.corners_um + edge).T)
    shares = np.stack([shapely.area(shapely.intersection(boxes, box)) / edge**2 for box in (DCIS_BOX, IDC_BOX)])
    assert set(places.labels.tolist()) == {0, 1, 2}
    assert (shares[0][places.labels == 1] >= 0.75 - 1e-9).all()
    assert (shares[1][places.labels == 2] >= 0.75 - 1e-9).all()
    assert (shares.sum(axis=0)[places.labels == 0] <= 0.25 + 1e-9).all()
    assert places.corners_um.min() >= 0
    assert (places.corners_um + edge <= [1600, 1200]).all()


def test_the_files_follow_the_published_layout_and_hold_the_slides_pixels(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    result = sample([entry("p1", "train", 1), entry("p2", "val", 2)], tmp_path / "out", OPTIONS)
    rows = read_patches(tmp_path / "out", tmp_path / "out" / "index.csv")
    assert len(rows) == result["patches"]
    assert {(row.path, row.label) for row in rows} == {
        (row.path, row.label) for row in read_patches(tmp_path / "out")
    }
    invasive = next(row for row in rows if row.label == 1)
    with Image.open(invasive.path) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), PURPLE, atol=12)
    facts = read_facts(tmp_path / "out")
    assert facts is not None
    assert (facts.patch_px, facts.mpp, facts.classes) == (16, MPP, ("other", "IDC"))
    chosen = read_patches(tmp_path / "out", tmp_path / "out" / "index-val.csv")
    assert {row.patient for row in chosen} == {"p2"}


def test_table_1_counts_slides_and_patches_per_split_and_class(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    entries = [entry("p1", "train", 1), entry("p1", "train", 2), entry("p2", "val", 3)]
    result = sample(entries, tmp_path / "out", replace(OPTIONS, per_class=20))
    assert result["table"] == [
        {"split": "train", "patients": 1, "slides": 2, "patches": 80, "classes": {"other": 40, "IDC": 40}},
        {"split": "val", "patients": 1, "slides": 1, "patches": 40, "classes": {"other": 20, "IDC": 20}},
    ]


def test_the_same_seed_draws_the_same_patches(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    one = [entry()]
    few = replace(OPTIONS, per_class=15)
    for name, options in (("a", few), ("b", few), ("c", replace(few, seed=1))):
        sample(one, tmp_path / name, options)
    texts = [(tmp_path / name / "index.csv").read_text() for name in "abc"]
    assert texts[0] == texts[1] != texts[2]


def test_the_draw_is_even_over_the_area() -> None:
    x, y = np.meshgrid(np.arange(40.0), np.arange(40.0))
    corners = np.stack([x.ravel(), y.ravel()], axis=1)
    drawn = corners[spread_draw(np.arange(1600), corners, 100, np.random.default_rng(0))]
    counts = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=5)[0]
    # A plain draw of 100 would leave squares between about 0 and 9.
    assert counts.min() >= 2
    assert counts.max() <= 6
    few = spread_draw(np.array([5, 3]), corners, 100, np.random.default_rng(0))
    assert few.tolist() == [3, 5]


def test_a_class_that_no_slide_shows_is_told(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no slide gave a patch of Normal"):
        sample([entry()], tmp_path / "out", replace(OPTIONS, classes=("Normal", "IDC")))


def test_regions_that_are_no_class_are_named(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    one = entry()
    options = replace(OPTIONS, classes=("DCIS", "IDC"), rest=None)
    assert sample([one], tmp_path / "a", options)["warnings"] == []
    regions = Regions([Region("IDC", IDC_BOX, "1"), Region("DCIS", DCIS_BOX, "2"), Region("Fat", DCIS_BOX, "3")])
    write_regions(one.regions, regions, MPP)
    assert "Fat" in sample([one], tmp_path / "b", options)["warnings"][0]


@pytest.mark.parametrize("changes", [{"classes": ("DCIS",)}, {"rest": "idc"}, {"cover": 0.4}, {"patch_px": 0}])
def test_options_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected IDC|must be above"):
        replace(OPTIONS, **changes)


def write_list(folder: Path, *lines: str, header: str = "patient,slide,regions,split") -> Path:
    path = folder / "slides.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_list_is_read_relative_to_its_folder(tmp_path: Path) -> None:
    (first, second) = read_slide_list(write_list(tmp_path, "p1,a.svs,a.geojson,train", "p2,b.svs,b.geojson,val"))
    assert first.slide == tmp_path / "a.svs"
    assert (second.patient, second.split, second.name) == ("p2", "val", "p2-2")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (("p1,a.svs,a.geojson,train", "p1,b.svs,b.geojson,val"), "patient p1 is in split 'train' and in 'val'"),
        (("p1,a.svs,a.geojson,learn",), "line 2: the split is 'learn'"),
        (("p1,a.svs,,train",), "line 2: the regions is empty"),
        (("../p1,a.svs,a.geojson,train",), "cannot be a folder's name"),
        (("p1,a.svs,a.geojson,train", "p2,b.svs,b.geojson,"), "some slides have a split"),
        (("p1,a.svs,a.geojson,train", "p2,./a.svs,b.geojson,val"), "lists the slide .*a.svs twice, for patient p1"),
        (("p1,a.svs,a.geojson,train", "P1,b.svs,b.geojson,val"), "names the patients p1 and P1"),
        ((), "names no slide"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, lines: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(DataSetError, match=complaint):
        read_slide_list(write_list(tmp_path, *lines))


def test_a_list_without_a_column_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"lacks the column\(s\) regions"):
        read_slide_list(write_list(tmp_path, "a,b", header="patient,slide"))
    with pytest.raises(DataSetError, match="cannot be read"):
        read_slide_list(tmp_path / "nowhere.csv")


def test_the_split_is_drawn_by_patient() -> None:
    entries = [SlideEntry(f"p{place % 12}", Path("a"), Path("b"), number=place) for place in range(36)]
    split = split_by_patient(entries)
    sides = {entry.patient: {other.split for other in split if other.patient == entry.patient} for entry in split}
    assert all(len(side) == 1 for side in sides.values())
    assert {entry.split for entry in split} == {"train", "val", "test"}
    assert split == split_by_patient(entries)
    two = split_by_patient(entries[:2])
    assert {entry.split for entry in two} == {"train", "val"}
    with pytest.raises(ValueError, match="at least two patients"):
        split_by_patient(entries[:1])


def test_the_command_prints_table_1_and_json(
    entry: Callable[..., SlideEntry], tmp_path: Path, ki67: Callable[..., object]
) -> None:
    lines = [f"{one.patient},{one.slide.name},{one.regions.name}" for one in (entry("p1"), entry("p2", "", 2))]
    slides = write_list(tmp_path, *lines, header="patient,slide,regions")
    words = ("idc", "sample", slides, tmp_path / "out", "--patch-px", 16, "--mpp", MPP, "--per-class", 10, "--quiet")
    outcome = ki67(*words)
    assert outcome.code == 0, outcome.stderr
    assert "patients" in outcome.stdout
    outcome = ki67(*words, "--json")
    assert {row["split"] for row in outcome.json["table"]} == {"train", "val"}
    with (tmp_path / "out" / "index.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == outcome.json["patches"] == 40
    assert ki67(*words, "--cover", 0.3).code == 2
