"""Patches lie where the outlines say, evenly, no slide dominating, and no patient on two sides."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from idc_scene import PINK, PURPLE
from ki67.annotations import UNCLASSIFIED, Region, Regions, write_regions
from ki67.errors import AnnotationError, DataSetError, RegionError, SlideError
from ki67.fields import patch_sampling as sampling
from ki67.fields.patch_sampling import SampleOptions, find_places, sample, spread_draw
from ki67.fields.patches import read_facts, read_patches
from ki67.fields.slide_list import SlideEntry, read_slide_list, split_by_patient
from ki67.slides import PixelFrame, open_slide, tissue_mask

WriteSlide = Callable[..., Path]
MPP = 2.0
OPTIONS = SampleOptions(patch_px=16, mpp=MPP, per_class=60)
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
        write_regions(path, regions, PixelFrame(MPP))
        return SlideEntry(patient, slide, path, split, None, number)

    return make


def test_a_patch_takes_the_class_that_covers_it(entry: Callable[..., SlideEntry]) -> None:
    options = replace(OPTIONS, classes=("DCIS", "IDC"), stride_px=8)
    one = entry()
    with open_slide(one.slide) as slide:
        from ki67.annotations import read_regions

        places = find_places(slide, read_regions(one.regions, PixelFrame(MPP)), tissue_mask(slide), options)
    edge = options.patch_um
    boxes = shapely.box(*places.corners_um.T, *(places.corners_um + edge).T)
    shares = np.stack([shapely.area(shapely.intersection(boxes, box)) / edge**2 for box in (DCIS_BOX, IDC_BOX)])
    assert set(places.labels.tolist()) == {0, 1, 2}
    assert (shares[0][places.labels == 1] >= 0.75 - 1e-9).all()
    assert (shares[1][places.labels == 2] >= 0.75 - 1e-9).all()
    assert (shares.sum(axis=0)[places.labels == 0] <= 0.25 + 1e-9).all()
    assert places.corners_um.min() >= 0
    assert (places.corners_um + edge <= [1600, 1200]).all()


def test_a_patch_larger_than_a_duct_takes_the_class_of_its_core(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    # The duct is 100 px wide.
    wide = replace(OPTIONS, classes=("DCIS", "IDC"), patch_px=128, stride_px=8)
    with pytest.raises(DataSetError, match="no slide gave a patch of DCIS"):
        sample([entry()], tmp_path / "whole", wide)
    sample([entry()], tmp_path / "core", replace(wide, core_px=16))
    facts = read_facts(tmp_path / "core")
    assert facts is not None
    assert (facts.patch_px, facts.core_px) == (128, 16)
    corners = np.array([row.place[1:] for row in read_patches(tmp_path / "core") if row.label == 1 and row.place])
    middle_um = (corners + 64) * MPP
    assert len(corners) > 20
    left, top, right, bottom = DCIS_BOX.buffer(16 / 4 * MPP + MPP).bounds
    assert ((middle_um >= [left, top]) & (middle_um <= [right, bottom])).all()


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
    assert (facts.patch_px, facts.core_px, facts.mpp, facts.classes) == (16, 16, MPP, ("other", "IDC"))
    chosen = read_patches(tmp_path / "out", tmp_path / "out" / "index-val.csv")
    assert {row.patient for row in chosen} == {"p2"}


def test_table_1_counts_slides_and_patches_per_split_and_class(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    entries = [entry("p1", "train", 1), entry("p1", "train", 2), entry("p2", "val", 3)]
    result = sample(entries, tmp_path / "out", replace(OPTIONS, per_class=20))
    train, val, test = result["table"]
    assert (train["split"], train["patients"], train["slides"], train["patches"]) == ("train", 1, 2, 80)
    assert train["classes"] == {"other": 40, "IDC": 40}
    assert train["class_slides"] == {"other": 2, "IDC": 2}
    assert (val["slides"], val["patches"], val["classes"]) == (1, 40, {"other": 20, "IDC": 20})
    assert (test["split"], test["slides"], test["patches"]) == ("test", 0, 0)


def test_table_1_counts_slides_that_gave_nothing(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    bare = entry("p2", "val", 2)
    write_regions(bare.regions, Regions([Region("Fat", DCIS_BOX, "1")]), PixelFrame(MPP))
    result = sample([entry(), bare], tmp_path / "out", replace(OPTIONS, rest=None, classes=("DCIS", "IDC")))
    train, val, _ = result["table"]
    assert (train["slides"], train["slides_without_patches"], train["class_slides"]["IDC"]) == (1, 0, 1)
    assert (val["slides"], val["slides_without_patches"], val["patches"]) == (0, 1, 0)
    assert f"{bare.slide}: gave no patch of DCIS, IDC" in result["warnings"]
    assert f"{bare.regions}: no region of DCIS, IDC" in result["warnings"]


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
    drawn = corners[spread_draw(np.arange(1600), 40, 100, np.random.default_rng(0))]
    counts = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=5)[0]
    # A plain draw of 100 would leave squares between about 0 and 9.
    assert counts.min() >= 2
    assert counts.max() <= 6
    few = spread_draw(np.array([5, 3]), 40, 100, np.random.default_rng(0))
    assert few.tolist() == [3, 5]


def test_a_class_that_no_slide_shows_is_told(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no slide gave a patch of Normal"):
        sample([entry()], tmp_path / "out", replace(OPTIONS, classes=("Normal", "IDC")))


def test_regions_that_are_no_class_are_named_with_or_without_a_rest(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    one = entry()
    options = replace(OPTIONS, classes=("DCIS", "IDC"), rest=None)
    assert sample([one], tmp_path / "a", options)["warnings"] == []
    draw_regions(one, "IDC", "DCIS", "Fat")
    assert "left out: Fat (1)" in sample([one], tmp_path / "b", options)["warnings"][-1]
    assert "'other': Fat (1)" in sample([one], tmp_path / "c", replace(options, rest="other"))["warnings"][-1]


def draw_regions(one: SlideEntry, *labels: str) -> None:
    """Draw the first label on the tumour, the others on the duct."""
    boxes = [IDC_BOX, *(DCIS_BOX for _ in labels[1:])]
    write_regions(
        one.regions, Regions(Region(*pair, str(pair)) for pair in zip(labels, boxes, strict=True)), PixelFrame(MPP)
    )


def counts(one: SlideEntry, options: SampleOptions, out: Path) -> dict[str, int]:
    (row, *_) = sample([one], out, options)["table"]
    found: dict[str, int] = row["classes"]
    return found


@pytest.mark.parametrize("label", ["Tumor", "tumour", "Invasive carcinoma", UNCLASSIFIED])
def test_tumour_is_taken_by_the_labels_that_score_takes(
    entry: Callable[..., SlideEntry], tmp_path: Path, label: str
) -> None:
    one = entry()
    draw_regions(one, "IDC")
    expected = counts(one, OPTIONS, tmp_path / "a")
    draw_regions(one, label)
    assert counts(one, OPTIONS, tmp_path / "b") == expected


def test_tumour_under_a_second_name_is_neither_tumour_nor_rest(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    one, options = entry(), replace(OPTIONS, per_class=9000)
    draw_regions(one, "IDC", "Fat")
    before = counts(one, options, tmp_path / "a")
    draw_regions(one, "IDC", "Tumor")
    after = sample([one], tmp_path / "b", options)
    assert after["table"][0]["classes"]["IDC"] == before["IDC"]
    assert after["table"][0]["classes"]["other"] < before["other"]
    assert "left out: Tumor (1)" in after["warnings"][-1]


def test_regions_off_the_slide_clipped_or_absent_are_told(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    one = entry()
    write_regions(one.regions, Regions([Region("IDC", shapely.box(5000, 0, 6000, 500), "1")]), PixelFrame(MPP))
    with pytest.raises(RegionError, match="lies outside the slide"):
        sample([one], tmp_path / "out", OPTIONS)
    write_regions(one.regions, Regions(), PixelFrame(MPP))
    with pytest.raises(AnnotationError, match="holds no region"):
        sample([one], tmp_path / "out", OPTIONS)
    write_regions(one.regions, Regions([Region("IDC", shapely.box(300, -100, 900, 780), "1")]), PixelFrame(MPP))
    assert "outside the slide and is left out" in sample([one], tmp_path / "out", OPTIONS)["warnings"][0]


def test_patches_finer_than_a_slide_are_refused(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"has pixels of 2 µm, the patches are to have 1 µm"):
        sample([entry()], tmp_path / "out", replace(OPTIONS, mpp=1.0))
    assert sample([entry()], tmp_path / "out", replace(OPTIONS, mpp=1.9))["patches"] > 0


def test_a_slide_without_a_pixel_size_names_the_lists_column(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    one = entry()
    field = tmp_path / "field.png"
    Image.fromarray(np.full((60, 80, 3), 240, np.uint8)).save(field)
    with pytest.raises(SlideError, match="in the column mpp of the list"):
        sample([replace(one, slide=field)], tmp_path / "out", OPTIONS)


def test_a_second_sampling_leaves_nothing_of_the_first(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    out = tmp_path / "out"
    sample([entry("p1", "train", 1), entry("p2", "test", 2)], out, replace(OPTIONS, rest="a, b"))
    assert (out / "index-test.csv").exists()
    sample([entry("p2", "train", 1), entry("p3", "val", 2)], out, OPTIONS)
    assert {path.name for path in out.iterdir()} == {
        "p2", "p3", "index.csv", "index-train.csv", "index-val.csv", "patches.json"
    }  # fmt: skip
    named = {row.path for row in read_patches(out, out / "index.csv")}
    assert named == {row.path for row in read_patches(out)}


def test_a_refused_sampling_leaves_the_earlier_one_as_it_was(
    entry: Callable[..., SlideEntry], tmp_path: Path
) -> None:
    out, one = tmp_path / "out", entry()
    sample([one], out, OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(DataSetError, match="no slide gave"):
        sample([one], out, replace(OPTIONS, classes=("Normal", "IDC")))
    one.regions.write_text("{")
    with pytest.raises(AnnotationError):
        sample([one], out, OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_folder_with_anything_else_in_it_is_refused(
    entry: Callable[..., SlideEntry], patch_folder: Path, tmp_path: Path
) -> None:
    # The public set has an index, too, but no sampling wrote it.
    with pytest.raises(DataSetError, match="which 'ki67 idc sample' did not write"):
        sample([entry()], patch_folder, OPTIONS)
    assert len(read_patches(patch_folder)) == 24
    sample([entry()], tmp_path / "out", OPTIONS)
    (tmp_path / "out" / "p1" / "notes.txt").write_text("mine")
    with pytest.raises(DataSetError, match=r"p1/notes\.txt"):
        sample([entry()], tmp_path / "out", OPTIONS)


def test_a_sampling_that_was_killed_is_known_and_cleared_away(
    entry: Callable[..., SlideEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed(*arguments: object) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    write = sampling._write_patches
    monkeypatch.setattr(sampling, "_write_patches", killed)
    with pytest.raises(KeyboardInterrupt):
        sample([entry("p9"), entry()], out, OPTIONS)
    monkeypatch.undo()
    with pytest.raises(DataSetError, match="was cut short"):
        read_facts(out)
    sample([entry()], out, OPTIONS)
    assert not (out / "p9").exists()
    assert read_facts(out) is not None


def test_a_class_name_may_hold_a_comma(entry: Callable[..., SlideEntry], tmp_path: Path) -> None:
    sample([entry()], tmp_path / "out", replace(OPTIONS, rest="fat, stroma"))
    rows = read_patches(tmp_path / "out", tmp_path / "out" / "index.csv")
    assert {row.columns["class"] for row in rows} == {"fat, stroma", "IDC"}


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ("DCIS",)},
        {"rest": "idc"},
        {"rest": " "},
        {"classes": ("IDC", "a\x1b[2J")},
        {"cover": 0.4},
        {"patch_px": 0},
        *({"core_px": core_px} for core_px in (0, 7, 18)),
        *({"mpp": mpp} for mpp in (math.nan, math.inf, -1.0)),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected IDC|numbers above|a core must be|that can be shown"):
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
        (("p1,a.svs,a.geojson,learn",), "line 2 has the split 'learn'"),
        (("p1,a.svs,,train",), "line 2 has no regions"),
        (("../p1,a.svs,a.geojson,train",), "cannot be a folder's name"),
        (("p1,a.svs,a.geojson,train", "p2,b.svs,b.geojson,"), "some slides have a split"),
        (("p1,a.svs,a.geojson,train", "p2,./a.svs,b.geojson,val"), "lists the slide .*a.svs twice, for patient p1"),
        (("p1,a.svs,a.geojson,train", "P1,b.svs,b.geojson,val"), "names the patients p1 and P1"),
        ((), "names no slide"),
        (("p1,a\0.svs,a.geojson,train",), "line 2 has a slide with a NUL"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, lines: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(DataSetError, match=complaint):
        read_slide_list(write_list(tmp_path, *lines))


def test_a_list_without_a_column_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="lacks the column 'regions'"):
        read_slide_list(write_list(tmp_path, "a,b", header="patient,slide"))
    with pytest.raises(DataSetError, match="does not exist"):
        read_slide_list(tmp_path / "nowhere.csv")


def test_a_link_to_itself_in_a_list_is_left_to_the_opening_of_slides(tmp_path: Path) -> None:
    (tmp_path / "a.svs").symlink_to("a.svs")
    (entry,) = read_slide_list(write_list(tmp_path, "p1,a.svs,a.geojson,train"))
    assert entry.slide.name == "a.svs"


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
    assert {row["split"] for row in outcome.json["table"] if row["patches"]} == {"train", "val"}
    with (tmp_path / "out" / "index.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == outcome.json["patches"] == 40
    assert ki67(*words, "--cover", 0.3).code == 2
