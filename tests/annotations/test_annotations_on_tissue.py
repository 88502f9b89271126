"""Whether a region lies on tissue, and what its numbers look like where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Point, box

from ki67.annotations import judge_on_tissue, places_in
from ki67.domain import Verdict
from ki67.slides import PixelFrame, TissueMask

MASK = np.zeros((500, 600), bool)
MASK[200:400, 250:500] = True
MASK[20:60, 20:60] = True
TISSUE = TissueMask(MASK, 10.0)
"""A piece of 2.5 x 2 mm and a small one, on a slide of 6 x 5 mm."""

DRAWN = Point(3700, 3000).buffer(700)


def test_an_outline_on_the_tissue_is_usual() -> None:
    check = judge_on_tissue(DRAWN, TISSUE, PixelFrame(0.25))

    assert check.verdict is Verdict.usual
    assert check.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("mpp", "scale", "said"),
    [
        (
            0.25,
            0.5,
            "at 2 times the size 100% would lie on it: its numbers look like pixels of a level 2 times smaller)",
        ),
        (0.25, 0.25, "pixels of a level 4 times smaller, or micrometres)"),
        (0.4, 0.4, "at 2.5 times the size 100% would lie on it: its numbers look like micrometres)"),
        (0.25, 2.0, "at 0.5 times the size 100% would lie on it: its numbers look like pixels 2 times finer)"),
    ],
)
def test_numbers_of_another_scale_are_recognised(mpp: float, scale: float, said: str) -> None:
    region = affinity.scale(DRAWN, scale, scale, origin=(0, 0))

    check = judge_on_tissue(region, TISSUE, PixelFrame(mpp))

    assert check.verdict is Verdict.unusable
    assert "of the region lies beside the tissue, expected at most 40%" in check.text
    assert said in check.text


def test_the_scale_is_sought_from_where_other_programs_count() -> None:
    frame = PixelFrame(0.25, (4000.0, 2000.0))
    region = affinity.scale(DRAWN, 0.5, 0.5, origin=(1000, 500))

    assert "at 2 times the size 100%" in judge_on_tissue(region, TISSUE, frame).text


@pytest.mark.parametrize("region", [box(0, 0, 6000, 5000), box(2400, 1000, 5900, 4900), box(100, 100, 900, 900)])
def test_a_box_around_whole_pieces_of_tissue_is_usual(region: shapely.Polygon) -> None:
    assert judge_on_tissue(region, TISSUE, PixelFrame(0.25)).verdict is Verdict.usual


def test_half_beside_the_tissue_is_said_and_no_more() -> None:
    check = judge_on_tissue(box(1700, 2500, 3300, 3500), TISSUE, PixelFrame(0.25))

    assert check.verdict is Verdict.unusual
    assert check.value == pytest.approx(0.5, abs=0.01)


def test_far_from_any_tissue_no_scale_is_made_up() -> None:
    check = judge_on_tissue(box(5500, 100, 5900, 150), TISSUE, PixelFrame(0.25))

    assert check.verdict is Verdict.unusable
    assert "times the size" not in check.text


def test_places_lie_in_every_part_however_small() -> None:
    parts = [box(0, 0, 1000, 1000), *(box(x, 5000, x + 1, 5001) for x in range(0, 1000, 10))]

    places = places_in(MultiPolygon(parts))

    assert 15_000 < len(places) < 25_000
    assert all(shapely.contains_xy(part, places).any() for part in parts)
    assert len(places_in(MultiPolygon())) == 0
