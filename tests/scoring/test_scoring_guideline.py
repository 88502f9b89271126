"""The guideline's global scores: how many fields of each type, which ones, and what they are worth."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from shapely.geometry import Point, box

from ki67.scoring.guideline import (
    TYPES,
    Field,
    GlobalScores,
    allocate_fields,
    global_scores,
    in_steps,
    type_limits,
    weigh,
)
from ki67.scoring.local import TumourCells


@pytest.mark.parametrize(
    ("shares", "fields"),
    [
        ((25, 25, 25, 25), (1, 1, 1, 1)),
        ((60, 30, 10, 0), (2, 1, 1, 0)),  # strictly largest, the others 30, 10 and 0 all differ
        ((60, 20, 20, 0), (1, 1, 1, 0)),  # two of the others are equal
        ((40, 40, 20, 0), (1, 1, 1, 0)),  # no strictly largest
        ((0, 10, 30, 60), (0, 1, 1, 2)),
        ((65, 35, 0, 0), (3, 1, 0, 0)),  # 30 points apart
        ((60, 40, 0, 0), (2, 2, 0, 0)),  # 20 points apart
        ((0, 37.5, 0, 62.5), (0, 1, 0, 3)),  # 25 points apart
        ((0, 0, 100, 0), (0, 0, 4, 0)),
        ((0, 0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_fields_are_allocated_as_the_groups_counter_does(shares: tuple[float, ...], fields: tuple[int, ...]) -> None:
    assert allocate_fields(shares) == fields


def counter(shares: tuple[int, ...]) -> tuple[int, ...]:
    """The rule read once more, in words: every type there one field, and the rest of the sentence by case."""
    fields = [1 if share else 0 for share in shares]
    kinds = sum(fields)
    if kinds == 1:
        return tuple(4 * field for field in fields)
    if kinds == 2:
        (high, low) = sorted((share for share in shares if share), reverse=True)
        extra = {high: 3, low: 1} if high - low >= 25 else {high: 2, low: 2}
        return tuple(extra[share] if share else 0 for share in shares)
    if kinds == 3:
        for place, share in enumerate(shares):
            rest = shares[:place] + shares[place + 1 :]
            if all(share > other for other in rest) and len(set(rest)) == 3:
                fields[place] = 2
    return tuple(fields)


def test_every_composition_in_steps_of_five_percent_is_allocated_by_the_rule() -> None:
    compositions = [shares for shares in product(range(0, 101, 5), repeat=4) if sum(shares) == 100]

    assert len(compositions) == 1771
    assert all(allocate_fields(shares) == counter(shares) for shares in compositions)


@pytest.mark.parametrize("shares", [(50, 50), (50, 50, -1, 1), (float("nan"), 1, 1, 1)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="four shares"):
        allocate_fields(shares)


def field(kind: str, positive: int, cells: int = 100) -> Field:
    return Field(kind, 0.0, 0.0, 100.0, positive, cells)


def test_the_scores_of_a_case_reckoned_by_hand() -> None:
    fields = [field("low", 10), field("medium", 20), field("medium", 30), field("high", 60)]

    unweighted, weighted, counted = weigh(fields, (0, 50, 30, 20))

    assert unweighted == pytest.approx(120 / 400 * 100)
    # 0.5 * 10 % + 0.3 * 25 % + 0.2 * 60 %
    assert weighted == counted == pytest.approx(5 + 7.5 + 12)


def test_a_type_without_a_field_lowers_the_counters_score_and_not_ours() -> None:
    _, weighted, counted = weigh([field("low", 10), field("high", 50)], (0, 40, 20, 40))

    assert counted == pytest.approx(0.4 * 10 + 0.4 * 50)
    assert weighted == pytest.approx((0.4 * 10 + 0.4 * 50) / 0.8)


def test_a_fields_index_is_rounded_half_up_as_the_counter_does() -> None:
    assert field("low", 1, 16).index_percent == 6.3  # 6.25


def halves() -> tuple[TumourCells, object]:
    """4 x 2 mm, 2,000 cells per mm²: no positive cell on the left, half of them on the right."""
    generator = np.random.default_rng(1)
    points = generator.uniform((0, 0), (4000, 2000), (16000, 2))
    return TumourCells(points, (points[:, 0] > 2000) & (generator.random(len(points)) < 0.5)), box(0, 0, 4000, 2000)


def test_fields_are_taken_across_the_spectrum_and_do_not_overlap() -> None:
    cells, region = halves()

    found = global_scores(cells, region)

    assert found is not None
    shares = dict(zip(TYPES, found.shares_percent, strict=True))
    assert shares["negligible"] == pytest.approx(48, abs=3)
    assert shares["high"] == pytest.approx(48, abs=3)
    assert {chosen.type for chosen in found.fields} >= {"negligible", "high"}
    places = np.array([(chosen.x_um, chosen.y_um) for chosen in found.fields])
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert apart[np.triu_indices(len(places), 1)].min() >= 550
    assert found.weighted_percent == pytest.approx(25, abs=5)


def test_without_a_positive_cell_everything_is_negligible() -> None:
    assert type_limits(np.zeros(20)) == pytest.approx((10, 100 / 3, 200 / 3))
    cells, region = halves()

    found = global_scores(TumourCells(cells.points_um, cells.positive & False), region)

    assert found is not None
    assert found.unweighted_percent == 0


def test_shares_are_estimated_in_steps_that_add_up() -> None:
    assert in_steps((2.9, 44.0, 53.1, 0.0)) == (0, 45, 55, 0)
    assert in_steps((1.0, 1.0, 1.0, 97.0)) == (0, 0, 0, 100)
    assert in_steps((25, 25, 25, 25)) == (25, 25, 25, 25)


def test_a_type_that_is_there_but_has_no_field_is_named() -> None:
    half = (50, 0, 0, 50)
    scores = GlobalScores((5.0, 10.0, 20.0), half, half, (2, 0, 0, 2), (), None, None, None)

    assert scores.uncounted == ("negligible", "high")
    assert replace(scores, fields=(field("high", 30),)).uncounted == ("negligible",)


def test_no_nucleus_is_counted_twice() -> None:
    cells, _ = halves()
    small = box(1700, 0, 2300, 600)
    inside = cells.part(np.array([small.contains(Point(place)) for place in cells.points_um]))

    found = global_scores(inside, small, diameter_um=300.0)

    assert found is not None
    for number, first in enumerate(found.fields):
        for second in found.fields[number + 1 :]:
            apart = np.hypot(first.x_um - second.x_um, first.y_um - second.y_um)
            assert apart >= first.radius_um + second.radius_um
