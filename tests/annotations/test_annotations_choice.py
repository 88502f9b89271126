"""Which regions of a file are counted, and what the user is told of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapely.geometry import Polygon, box

from ki67.annotations import UNCLASSIFIED, Region, Regions, choose_regions, is_not_tumour
from ki67.errors import RegionError

FILE = Path("he.geojson")


def regions(*labels: str) -> Regions:
    return Regions(Region(label, box(10 * i, 0, 10 * i + 5, 5), str(i)) for i, label in enumerate(labels))


def test_idc_is_counted_and_what_is_left_out_is_named() -> None:
    chosen, warnings = choose_regions(regions("IDC", "DCIS", "IDC"), None, FILE)

    assert [region.region_id for region in chosen] == ["0", "2"]
    assert warnings == ["he.geojson: counted 'IDC'; left out 'DCIS'"]


def test_idc_comes_before_other_programs_names_for_it() -> None:
    chosen, _ = choose_regions(regions("Tumor", "IDC"), None, FILE)

    assert chosen.labels == ("IDC",)


def test_qupaths_tumor_is_taken_where_there_is_no_idc() -> None:
    chosen, warnings = choose_regions(regions("tumor"), None, FILE)

    assert chosen.labels == ("tumor",)
    assert warnings == []


def test_regions_without_a_label_are_taken_with_a_word() -> None:
    chosen, warnings = choose_regions(regions(UNCLASSIFIED), None, FILE)

    assert len(chosen) == 1
    assert "no label" in warnings[0]


def test_the_label_asked_for_wins() -> None:
    chosen, _ = choose_regions(regions("IDC", "DCIS"), "dcis", FILE)

    assert chosen.labels == ("DCIS",)


@pytest.mark.parametrize("labels", [("DCIS",), ("DCIS", UNCLASSIFIED), ()])
def test_no_tumour_region_is_refused_with_what_was_found(labels: tuple[str, ...]) -> None:
    with pytest.raises(RegionError, match="--label") as refusal:
        choose_regions(regions(*labels), None, FILE)

    assert all(label in str(refusal.value) for label in labels)


def drawn(*regions: tuple[str, Polygon]) -> Regions:
    return Regions(Region(label, geometry, str(number)) for number, (label, geometry) in enumerate(regions))


TUMOUR = box(0, 0, 1000, 1000)


@pytest.mark.parametrize("label", ["Ignore*", "Necrosis", "ignore", "Stroma", "Tumor: Necrosis", "DCIS", "Artefact*"])
def test_what_is_no_tumour_is_cut_out_of_it_and_said_so(label: str) -> None:
    chosen, warnings = choose_regions(drawn(("Tumor", TUMOUR), (label, box(100, 100, 300, 300))), None, FILE)

    assert chosen.union().area == pytest.approx(1e6 - 4e4)
    assert warnings == [
        f"he.geojson: counted 'Tumor'; left out '{label}'",
        f"he.geojson: cut out of 'Tumor' what is '{label}': 0.04 mm²",
    ]


@pytest.mark.parametrize("label", ["Region*", "Hot spot", "Positive", UNCLASSIFIED])
def test_areas_that_say_nothing_of_the_tissue_are_counted_and_said_so(label: str) -> None:
    chosen, warnings = choose_regions(drawn(("IDC", TUMOUR), (label, box(900, 0, 1100, 1000))), None, FILE)

    assert chosen.union().equals(TUMOUR)
    assert warnings == [
        "he.geojson: counted 'IDC'",
        f"he.geojson: '{label}' lies over 0.1 mm² of 'IDC', counted all the same",
    ]


def test_areas_around_the_tumour_are_left_out_and_no_more_is_said() -> None:
    around = [("Region*", box(-100, -100, 1100, 1100)), (UNCLASSIFIED, box(-9, -9, 2000, 2000))]
    chosen, warnings = choose_regions(drawn(*around, ("IDC", TUMOUR)), None, FILE)

    assert chosen.union().equals(TUMOUR)
    assert warnings == [f"he.geojson: counted 'IDC'; left out 'Region*', '{UNCLASSIFIED}'"]


def test_the_inner_one_of_nested_areas_holds() -> None:
    nested = [(("Tumor", "Necrosis")[depth % 2], box(depth, depth, 100 - depth, 100 - depth)) for depth in range(4)]

    chosen, warnings = choose_regions(drawn(*nested), None, FILE)

    assert [region.geometry.area for region in chosen] == [100**2 - 98**2, 96**2 - 94**2]
    assert warnings[2] == "he.geojson: counted all the same, being the inner one, region 2 (Tumor) inside 'Necrosis'"


def test_a_tumour_drawn_in_its_stroma_is_counted_though_the_lines_cross_a_little() -> None:
    chosen, _ = choose_regions(drawn(("Stroma", box(5, -500, 1500, 1500)), ("Tumor", TUMOUR)), None, FILE)

    assert chosen.union().equals(TUMOUR)


def test_a_region_of_which_nothing_is_left_is_named() -> None:
    regions = drawn(("Tumor", TUMOUR), ("Tumor", box(2000, 0, 2100, 100)), ("Ignore*", box(2000, 0, 2100, 100)))

    chosen, warnings = choose_regions(regions, None, FILE)

    assert [region.region_id for region in chosen] == ["0"]
    assert warnings[2] == "he.geojson: nothing is left of region 1 (Tumor)"


def test_tumour_that_is_ignored_altogether_is_refused() -> None:
    with pytest.raises(RegionError, match=r"nothing is left of 'Tumor': all of it lies under 'Ignore\*'"):
        choose_regions(drawn(("Tumor", TUMOUR), ("Ignore*", TUMOUR)), None, FILE)


def test_a_class_asked_for_is_counted_whatever_it_is() -> None:
    regions = drawn(("Stroma", TUMOUR), ("Necrosis", box(0, 0, 10, 10)), ("Tumor", box(20, 20, 40, 40)))

    chosen, warnings = choose_regions(regions, "stroma", FILE)

    assert chosen.union().area == pytest.approx(1e6 - 100)
    assert "'Tumor' lies over 0.0004 mm² of 'stroma', counted all the same" in warnings[1]


def test_names_that_break_lines_or_turn_text_around_are_shown_plainly() -> None:
    label = "Hot\nspot\u202e <b>" + "x" * 200

    _, warnings = choose_regions(drawn(("IDC", TUMOUR), (label, box(9, 9, 99, 99))), None, FILE)

    assert "'Hot spot <b>xxx" in warnings[1]
    assert all(line.isprintable() and len(line) < 150 for line in warnings)


@pytest.mark.parametrize(
    ("label", "expected"),
    [("Region*", False), ("Region", False), ("Anything*", True), ("Immune cells", True), ("Tumor: Positive", False)],
)
def test_which_classes_are_no_tumour(label: str, *, expected: bool) -> None:
    assert is_not_tumour(label) is expected
