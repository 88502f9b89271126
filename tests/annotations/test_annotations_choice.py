"""Which regions of a file are counted, and what the user is told of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapely.geometry import box

from ki67.annotations import UNCLASSIFIED, Region, Regions, choose_regions
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
