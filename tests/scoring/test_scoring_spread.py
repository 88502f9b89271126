"""The spread of the index comes from the cells that a moved region gains and loses, and from nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from shapely.geometry import Point, Polygon, box

from ki67.scoring import index_spread, outline_spread
from ki67.scoring.spread import widened

REGION = box(0, 0, 1000, 1000)


def table(x_um: list[float], y_um: list[float], labels: list[str], excluded: list[str] | None = None) -> pa.Table:
    return pa.table({"x_um": x_um, "y_um": y_um, "label": labels, "excluded": excluded or [""] * len(labels)})


def shift(dx_um: float, dy_um: float) -> np.ndarray:
    motion = np.eye(3)
    motion[:2, 2] = dx_um, dy_um
    return motion


def test_without_motion_the_index_stays() -> None:
    cells = table([10, 500, 990, 1010], [500] * 4, ["positive", "negative", "negative", "positive"])
    assert index_spread(cells, REGION, [shift(0, 0)] * 5) == pytest.approx((100 / 3, 100 / 3))


def test_a_moved_region_gains_and_loses_cells_at_its_edge() -> None:
    cells = table([10, 500, 990, 1010], [500] * 4, ["positive", "negative", "negative", "positive"])
    right = index_spread(cells, REGION, [shift(15, 0)])
    left = index_spread(cells, REGION, [shift(-15, 0)])
    assert right == pytest.approx((100 / 3, 100 / 3))
    assert left == pytest.approx((50.0, 50.0))
    low, high = index_spread(cells, REGION, [shift(15, 0), shift(-15, 0)]) or (0, 0)
    assert 100 / 3 < low < high < 50


def test_other_cells_do_not_count() -> None:
    cells = table([500, 990], [500, 500], ["positive", "other"])
    assert index_spread(cells, REGION, [shift(-50, 0)]) == (100.0, 100.0)


def test_a_cell_that_is_left_out_does_not_come_back_when_the_region_is_moved() -> None:
    labels, left_out = ["negative", "positive", "positive"], ["", "fold", "focus"]
    cells = table([500, 500, 1010], [500] * 3, labels, left_out)
    assert index_spread(cells, REGION, [shift(15, 0), shift(0, 0)]) == (0.0, 0.0)


def test_a_region_with_holes_and_every_cell_agree_with_a_direct_count() -> None:
    generator = np.random.default_rng(5)
    region = Point(500, 500).buffer(400).difference(Polygon(Point(450, 520).buffer(150)))
    points = generator.uniform(0, 1000, (3000, 2))
    labels = generator.choice(["positive", "negative", "other"], 3000)
    angle = 0.04
    motion = np.array([[np.cos(angle), -np.sin(angle), 12.0], [np.sin(angle), np.cos(angle), -9.0], [0, 0, 1]])
    found = index_spread(table(points[:, 0].tolist(), points[:, 1].tolist(), labels.tolist()), region, [motion])
    back = np.linalg.inv(motion)
    inside = np.array([region.contains(Point(*(back[:2, :2] @ point + back[:2, 2]))) for point in points])
    positive, negative = (int((inside & (labels == name)).sum()) for name in ("positive", "negative"))
    expected = 100 * positive / (positive + negative)
    assert found == pytest.approx((expected, expected))


def test_no_tumour_cell_has_no_spread() -> None:
    assert index_spread(table([500], [500], ["other"]), REGION, [shift(1, 1)]) is None


def test_a_part_that_was_not_counted_may_hold_any_index() -> None:
    assert widened((20.0, 22.0), 0.0) == (20.0, 22.0)
    low, high = widened((20.0, 22.0), 0.25) or (0.0, 0.0)
    assert (low, high) == pytest.approx((15.0, 41.5))
    assert widened(None, 0.25) is None


def test_a_tighter_outline_holds_the_cells_that_are_surely_carcinoma() -> None:
    # The middle of the carcinoma is twice as positive as the rim, which a tighter outline leaves out.
    probability = np.concatenate([np.full(1000, 0.9), np.full(1000, 0.4)])
    positive = np.concatenate([np.arange(1000) < 400, np.arange(1000) < 200])
    assert outline_spread(positive, probability, [0.2, 0.3]) == pytest.approx((30, 30))
    assert outline_spread(positive, probability, [0.5]) == pytest.approx((40, 40))
    low, high = outline_spread(positive, probability, [0.2, 0.5]) or (0, 0)
    assert 30 <= low < high <= 40


def test_an_outline_that_holds_too_few_cells_takes_the_most_probable_ones() -> None:
    probability = np.linspace(1, 0, 1000)
    positive = np.arange(1000) < 250
    assert outline_spread(positive, probability, [0.99]) == pytest.approx((50, 50))
    assert outline_spread(positive[:400], probability[:400], [0.5]) is None
    assert outline_spread(positive, probability, []) is None
    unknown = np.where(np.arange(1000) < 600, probability, np.nan)
    assert outline_spread(positive, unknown, [0.0]) == pytest.approx((25000 / 600, 25000 / 600))
