"""The region in which cells are counted, and the margin in which they are kept."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon

from ki67.annotations import Region, Regions
from ki67.cells.counted_region import counted_region
from ki67.geometry import RectUm, union_of

SLIDE = RectUm(0, 0, 4000, 4000)


def squares(count: int, step_um: float = 40.0, side_um: float = 20.0) -> list[Polygon]:
    """As many squares as there are cells in what a cell detection exports."""
    x, y = (axis.ravel() * step_um for axis in np.meshgrid(np.arange(count), np.arange(count)))
    return shapely.box(x, y, x + side_um, y + side_um).tolist()


def test_ten_thousand_squares_are_one_region_each() -> None:
    regions = Regions(Region("Tumor", square, str(number)) for number, square in enumerate(squares(100)))

    counted = counted_region(regions, SLIDE, 50.0)

    x, y = np.array([10.0, 30.0, 3970.0]), np.array([10.0, 30.0, 3970.0])
    assert [counted.region_ids[index] for index in counted.locate(x, y)[[0, 2]]] == ["0", "9999"]
    assert counted.locate(x, y)[1] == -1
    assert counted.keeps(x, y).all()
    assert counted.area_mm2 == pytest.approx(4.0)


def test_the_margin_of_many_parts_is_that_of_all_together() -> None:
    parts = [*squares(10), Point(2000, 2000).buffer(300)]

    counted = counted_region(MultiPolygon(parts), SLIDE, 50.0)

    whole = MultiPolygon(parts).buffer(50.0, quad_segs=4).intersection(SLIDE.polygon)
    assert counted.kept.symmetric_difference(whole).intersection(SLIDE.polygon).area < 1e-3 * whole.area


def test_the_margin_of_a_very_fine_outline_holds_all_of_it() -> None:
    angle = np.linspace(0, 2 * np.pi, 50_000, endpoint=False)
    radius = 1000 + 5 * np.sin(angle * 2000)
    fine = Polygon(2000 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))

    counted = counted_region(fine, SLIDE, 50.0)

    assert counted.kept.covers(fine)
    assert not counted.keeps(np.array([2000 + 1060.0]), np.array([2000.0]))[0]


def test_parts_that_meet_are_joined_and_others_left_alone() -> None:
    apart, touching, overlapping = shapely.box(0, 0, 1, 1), shapely.box(5, 0, 6, 1), shapely.box(5.5, 0, 7, 1)
    corner = shapely.box(1, 1, 2, 2)

    whole = union_of([apart, MultiPolygon([touching]), overlapping, corner])

    assert whole.is_valid
    assert len(whole.geoms) == 3
    assert whole.area == pytest.approx(1 + 2 + 1)
    assert union_of([]).is_empty
