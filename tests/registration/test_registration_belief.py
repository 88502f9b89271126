"""What is believed place by place, and over a region."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from registration_scene import HE, IHC, MPP, draw_tissue, make_section, stain
from shapely.geometry import MultiPolygon, box

from ki67.annotations import Region, Regions
from ki67.domain import Verdict
from ki67.errors import RegistrationError
from ki67.registration import LocalBelief, PiecewiseTransform, Transform, carry_over
from ki67.registration.belief import cut_off_cells, given_up_cells, judge_places, parts_of
from ki67.registration.images import Section
from ki67.registration.local import compare
from ki67.registration.pieces import Piece

SIDE_PX = 600
SIDE_UM = SIDE_PX * MPP
WHOLE = PiecewiseTransform.whole(Transform.identity())


def torn(shift_px: int) -> tuple[Section, Section]:
    """A section, and the next one torn in the middle, its right half so much further down."""
    density = draw_tissue(3, SIDE_PX)
    other = density.copy()
    half = SIDE_PX // 2
    other[:, half:] = np.roll(density[:, half:], shift_px, axis=0)
    return make_section(stain(density, HE, 1), "he"), make_section(stain(other, IHC, 2), "ki67")


def judged(shift_px: int) -> tuple[LocalBelief, MultiPolygon]:
    fixed, moving = torn(shift_px)
    return judge_places(fixed, moving, Transform.identity(), compare(fixed, moving, Transform.identity()))


def test_where_the_map_is_right_everything_is_believed() -> None:
    belief, lost = judged(0)
    assert lost.is_empty
    assert belief.confirmed[belief.tissue].mean() > 0.7
    assert np.isfinite(belief.error_um[belief.tissue]).all()


def test_the_far_side_of_a_tear_is_given_up_although_the_rest_agrees() -> None:
    # 60 px are 480 µm: the far side lands on tissue, which looks like any other.
    _, lost = judged(60)
    left, right = box(0, 0, SIDE_UM * 0.4, SIDE_UM), box(SIDE_UM * 0.6, 0, SIDE_UM, SIDE_UM)
    tissue = box(SIDE_UM * 0.6, SIDE_UM * 0.3, SIDE_UM * 0.7, SIDE_UM * 0.7)
    assert shapely.area(lost & tissue) > 0.9 * tissue.area
    assert shapely.area(lost & right) > 5 * shapely.area(lost & left)


def test_tissue_that_lands_on_glass_is_given_up() -> None:
    density = draw_tissue(3, SIDE_PX)
    other = density.copy()
    other[:, SIDE_PX // 2 :] = 0
    fixed, moving = make_section(stain(density, HE, 1), "he"), make_section(stain(other, IHC, 2), "ki67")
    blocks = compare(fixed, moving, Transform.identity())
    belief, lost = judge_places(fixed, moving, Transform.identity(), blocks)
    assert lost.bounds[0] == pytest.approx(SIDE_UM / 2, abs=120)
    right = belief.over(box(SIDE_UM * 0.6, SIDE_UM * 0.3, SIDE_UM * 0.7, SIDE_UM * 0.7))
    left = belief.over(box(SIDE_UM * 0.3, SIDE_UM * 0.3, SIDE_UM * 0.4, SIDE_UM * 0.7))
    assert right["on_tissue"] < 0.1
    assert left["on_tissue"] > 0.9


def test_sections_that_share_little_lose_nothing_where_little_is_known() -> None:
    # As on the real serial sections: 5 standard deviations on the average, 1.5 in a corner.
    support = np.full((12, 12), 5.0)
    support[8:, 8:] = 1.5
    assert not given_up_cells(support).any()
    # The same corner among structures that agree by 15 is another tissue.
    assert given_up_cells(np.where(support == 5.0, 15.0, support))[8:, 8:].all()


def test_an_island_beyond_a_tear_must_speak_for_itself() -> None:
    support = np.full((12, 12), 10.0)
    tissue = np.ones((12, 12), bool)
    gone = np.zeros_like(tissue)
    gone[4:6] = True
    support[:4] = np.nan
    support[3, :2] = 2.4, 2.6  # all that can be asked of the island above
    np.testing.assert_array_equal(cut_off_cells(support, tissue, gone), np.arange(12)[:, None] < np.full(12, 4))
    support[3, :2] = 9.0
    assert not cut_off_cells(support, tissue, gone).any()
    # A piece of tissue of its own, from which nothing is gone, is none of this one's islands.
    support[3, :2] = 2.5
    gone[4], tissue[4] = False, False
    assert not cut_off_cells(support, tissue, gone).any()
    # Where nothing was given up nothing is cut off, however little is known.
    assert not cut_off_cells(support, np.ones_like(tissue), np.zeros_like(tissue)).any()


def test_a_region_without_doubt_is_carried_over_as_it_is() -> None:
    region = Regions([Region("IDC", box(1500, 1500, 2500, 2500), "a")])
    belief, _ = judged(0)
    carried = carry_over(region, WHOLE, belief, insist=False)
    assert carried.regions.union().equals(WHOLE.main.map_geometry(region.union()))
    assert carried.left_out_mm2 == 0
    assert carried.check().verdict is Verdict.usual


def test_what_is_not_registered_is_cut_off_and_said() -> None:
    belief, _ = judged(0)
    partly = PiecewiseTransform((Piece(Transform.identity()),), MultiPolygon([box(2300, 0, 5000, 5000)]))
    region = Regions(
        [Region("IDC", box(1500, 1500, 2500, 2500), "a"), Region("IDC", box(2400, 2600, 2500, 2700), "gone")]
    )
    carried = carry_over(region, partly, belief, insist=False)
    assert [one.region_id for one in carried.regions] == ["a"]
    assert carried.regions.area_mm2 == pytest.approx(0.8)
    assert carried.left_out_mm2 == pytest.approx(0.21)
    check = carried.check()
    assert check.verdict is Verdict.unusual
    assert "0.21 mm²" in check.text
    assert [part["unregistered_mm2"] for part in carried.parts] == pytest.approx([0.2, 0.01])


def test_a_region_that_is_mostly_not_registered_stops_the_case_with_the_ways_out() -> None:
    belief, _ = judged(0)
    mostly = PiecewiseTransform((Piece(Transform.identity()),), MultiPolygon([box(1900, 0, 5000, 5000)]))
    region = Regions([Region("IDC", box(1500, 1500, 2500, 2500), "a")])
    with pytest.raises(RegistrationError, match=r"60%.*--landmarks.*count --regions.*--use-unaccepted"):
        carry_over(region, mostly, belief, insist=False)
    assert carry_over(region, mostly, belief, insist=True).regions.area_mm2 == pytest.approx(0.4)


def test_parts_of_a_region_are_judged_apart_and_the_belief_is_read_back_as_it_was() -> None:
    belief, _ = judged(0)
    again = LocalBelief.from_dict(belief.to_dict())
    region = MultiPolygon([box(2000, 2000, 2500, 2500), box(0, 0, 100, 100)])
    parts = parts_of(again, region, MultiPolygon())
    assert parts[0]["area_mm2"] == pytest.approx(0.25)
    assert parts[0]["confirmed"] == pytest.approx(1.0)
    assert parts[1]["confirmed"] is None
