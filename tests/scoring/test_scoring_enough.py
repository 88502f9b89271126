import numpy as np
import pytest

from ki67.scoring.enough import fewer_cells
from ki67.scoring.hot_spots import HotSpot
from ki67.scoring.local import TumourCells

SPOT = HotSpot(
    x_um=0, y_um=0, radius_um=100, positive=400, cells=500, index_percent=80, tissue_index_percent=75,
    tissue_ci95_percent=(70, 80),
)  # fmt: skip


def cells(total=4000, seed=1):
    """A hot middle in a cold plain."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1000, 1000, (total, 2))
    return TumourCells(points, rng.random(total) < np.where(np.hypot(*points.T) < 300, 0.8, 0.1))


def test_a_range_holds_as_many_draws_as_it_says():
    tissue, rng = cells(), np.random.default_rng(2)
    row = next(row for row in fewer_cells(tissue, []) if row.cells == 500)
    drawn = [100 * tissue.positive[rng.choice(4000, 500, replace=False)].mean() for _ in range(2000)]
    held = np.mean([row.random_percent[0] <= index <= row.random_percent[1] for index in drawn])
    assert 0.94 <= held <= 0.98


def test_more_cells_narrow_the_range_and_the_hot_spot_is_high_first():
    rows = fewer_cells(cells(), [SPOT])
    widths = [high - low for low, high in (row.random_percent for row in rows)]
    assert widths == sorted(widths, reverse=True)
    first, last = rows[0], rows[-1]
    assert first.hot_spot_first_percent == pytest.approx(80, abs=12)
    assert last.hot_spot_first_percent < first.hot_spot_first_percent
    low, high = first.hot_spot_first_ci95_percent
    assert low < first.hot_spot_first_percent < high


def test_only_numbers_that_there_are_and_no_hot_spot_no_first():
    rows = fewer_cells(cells(total=900), [])
    assert [row.cells for row in rows] == [100, 200, 500]
    assert all(row.hot_spot_first_percent is None and row.hot_spot_first_ci95_percent is None for row in rows)
    assert fewer_cells(cells(total=100), []) == ()
