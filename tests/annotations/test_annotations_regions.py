"""Regions in µm, and whether they lie on the slide."""

import pytest
from shapely import affinity
from shapely.geometry import Point, Polygon, box

from ki67.annotations import Region, Regions, check_inside, color_of
from ki67.errors import RegionError
from ki67.geometry import RectUm

SLIDE = RectUm(0, 0, 1000, 800)


def region(geometry: Polygon, label: str = "IDC", region_id: str = "r1") -> Region:
    return Region(label, geometry, region_id)


def test_labels_occur_once_in_order_of_first_region() -> None:
    regions = Regions([region(box(0, 0, 1, 1), label) for label in ("IDC", "DCIS", "IDC")])

    assert regions.labels == ("IDC", "DCIS")
    assert len(regions.with_label("idc")) == 2
    assert len(regions.with_label("Normal")) == 0


def test_overlapping_regions_count_once_in_the_area() -> None:
    regions = Regions([region(box(0, 0, 1000, 1000)), region(box(500, 0, 1500, 1000))])

    assert regions.area_mm2 == pytest.approx(1.5)
    assert regions.bounds_um == RectUm(0, 0, 1500, 1000)


def test_regions_slice_and_compare_like_a_sequence() -> None:
    regions = Regions([region(box(0, 0, 1, 1)), region(box(1, 1, 2, 2))], notes=["a note"])

    assert regions[:1] == Regions([regions[0]])
    assert regions[:1].notes == ("a note",)
    assert hash(regions) == hash(Regions(list(regions)))


def test_no_regions_have_no_bounds_and_no_area() -> None:
    assert Regions().area_mm2 == 0
    with pytest.raises(RegionError, match="no region of somewhere"):
        _ = Regions(source="somewhere").bounds_um


def test_the_papers_colours_mark_the_labels() -> None:
    assert [color_of(label) for label in ("IDC", "DCIS", "Normal")] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert Region("IDC", box(0, 0, 1, 1), "a", color=(1, 2, 3)).display_color == (1, 2, 3)


def test_a_region_inside_the_slide_is_left_as_it_is() -> None:
    regions = Regions([region(Point(400, 400).buffer(100)), region(box(0, 0, 1000, 800))])

    checked, notes = check_inside(regions, SLIDE)

    assert checked == regions
    assert notes == []


def test_a_region_that_sticks_out_is_clipped_and_the_share_stated() -> None:
    regions = Regions([region(box(-100, 0, 900, 800))])

    checked, notes = check_inside(regions, SLIDE)

    assert checked[0].geometry.bounds == (0, 0, 900, 800)
    assert "10.0 % of its area lies outside" in notes[0]


def test_notes_from_the_file_stay_with_those_on_clipping() -> None:
    regions = Regions([region(box(-100, 0, 900, 800))], notes=["feature 1: repaired"])

    _, notes = check_inside(regions, SLIDE)

    assert notes[0] == "feature 1: repaired"
    assert len(notes) == 2


def test_regions_are_mapped_with_their_labels() -> None:
    regions = Regions([region(box(0, 0, 1, 1), "DCIS", "d")])

    moved = regions.map_geometry(lambda geometry: affinity.translate(geometry, 5, 7))

    assert [(one.label, one.region_id, one.geometry.bounds) for one in moved] == [("DCIS", "d", (5, 7, 6, 8))]
    with pytest.raises(RegionError, match=r"region d \(DCIS\) has no area left"):
        regions.map_geometry(lambda geometry: geometry.centroid)


def test_a_clipped_region_may_fall_into_parts() -> None:
    comb = Polygon([(-200, 0), (500, 0), (500, 100), (-100, 100), (-100, 200), (500, 200), (500, 300), (-200, 300)])

    checked, _ = check_inside(Regions([region(comb)]), SLIDE)

    assert checked[0].geometry.geom_type == "MultiPolygon"


def test_one_of_many_regions_beyond_the_edge_is_left_out_and_said() -> None:
    inside = [region(box(x, y, x + 50, y + 50), region_id=f"r{x}-{y}") for x in range(0, 900, 90) for y in (0, 90)]

    checked, notes = check_inside(Regions([*inside, region(box(990, 0, 1040, 50), region_id="edge")]), SLIDE)

    assert len(checked) == len(inside)
    assert notes == ["region edge (IDC): 80 % of it lies outside the slide; left out"]


def test_many_small_regions_beyond_the_edge_are_another_slides() -> None:
    squares = [region(box(x, 0, x + 50, 50), region_id=f"r{x}") for x in range(0, 2000, 60)]

    with pytest.raises(RegionError, match="lies outside the slide"):
        check_inside(Regions(squares), SLIDE)


@pytest.mark.parametrize("geometry", [box(5000, 5000, 6000, 6000), box(900, 0, 2000, 800), box(-500, 0, -1, 9)])
def test_a_region_wholly_or_mostly_outside_is_refused_with_numbers_and_a_hint(geometry: Polygon) -> None:
    regions = Regions([region(box(0, 0, 9, 9)), region(geometry, "DCIS", "r2")], source="drawn.geojson")

    with pytest.raises(RegionError) as caught:
        check_inside(regions, SLIDE)

    text = str(caught.value)
    assert text.startswith("drawn.geojson: region r2 (DCIS) lies outside the slide")
    assert "x 0 to 1000 µm and y 0 to 800 µm" in text
    assert "pixels of the slide's level 0" in text
    assert "pixel size" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("geometry", "mpp", "told"),
    [
        (
            box(900, 700, 1900, 1500),
            0.25,
            "at 0.5 times the size all would lie on the slide: the numbers look like pixels 2 times finer",
        ),
        (box(1900, 700, 3900, 1500), 0.25, "at 0.25 times the size all"),
        (
            box(900, 700, 2900, 1500),
            3.0,
            "at 0.333 times the size all would lie on the slide: the numbers look like micrometres",
        ),
    ],
)
def test_the_scale_at_which_regions_would_fit_is_told(geometry: Polygon, mpp: float, told: str) -> None:
    with pytest.raises(RegionError, match="lies outside the slide") as caught:
        check_inside(Regions([region(geometry)]), SLIDE, mpp)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_that_scale_counts_from_where_the_files_pixels_do() -> None:
    shown = RectUm(500, 0, 1000, 800)

    with pytest.raises(RegionError, match=r"at 0\.5 times the size all"):
        check_inside(Regions([region(box(1400, 0, 2500, 800))]), shown, 0.25)


@pytest.mark.parametrize(
    ("geometry", "mpp"),
    [(box(-500, 0, -1, 9), 0.25), (box(1e5, 0, 1e5 + 50, 50), 0.25), (box(1500, 0, 1900, 800), None)],
)
def test_no_scale_is_told_where_none_fits_or_no_file_was_read(geometry: Polygon, mpp: float | None) -> None:
    with pytest.raises(RegionError, match="lies outside the slide") as caught:
        check_inside(Regions([region(geometry)]), SLIDE, mpp)

    assert "times the size" not in str(caught.value)
