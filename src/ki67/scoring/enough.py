"""How many cells are enough: what would have been found on fewer of them, at random or from the hot spot on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from ki67.scoring.hot_spots import HotSpot
from ki67.scoring.intervals import wilson_interval
from ki67.scoring.local import TumourCells

STEPS: Final = (100, 200, 500, 1000, 2000, 5000)
"""Numbers of tumour cells that people count; 500 is the least, 1,000 what is recommended (Dowsett et al., J Natl
Cancer Inst 2011;103:1656-1664)."""


class FewerCells(BaseModel):
    """What counting so many tumour cells would have given, in percent."""

    model_config = ConfigDict(frozen=True)

    cells: int
    random_percent: tuple[float, float]
    """95 % of the indices of so many cells drawn at random from all that were counted."""
    hot_spot_first_percent: float | None
    """Index of the so many cells nearest to the middle of the hottest spot; None where there is no hot spot."""
    hot_spot_first_ci95_percent: tuple[float, float] | None
    """Wilson's interval of it, as one who counted no more would print."""


def fewer_cells(cells: TumourCells, spots: Sequence[HotSpot], steps: Sequence[int] = STEPS) -> tuple[FewerCells, ...]:
    """What fewer cells would have given, for each number that is less than there are.

    At random without replacement the number of positive cells is hypergeometric; its quantiles 0.025 and 0.975 are
    told. From the hottest spot on, cells are taken by their distance from its middle.

    Parameters
    ----------
    cells
        Tumour cells of the region.
    spots
        Its hot spots, the hottest first.
    steps
        Numbers of cells.
    """
    positive, total = int(cells.positive.sum()), len(cells)
    in_turn = None
    if spots:
        away = np.hypot(*(cells.points_um - (spots[0].x_um, spots[0].y_um)).T)
        in_turn = np.cumsum(cells.positive[np.argsort(away, kind="stable")])
    found = []
    for number in steps:
        if number >= total:
            break
        low, high = stats.hypergeom.ppf((0.025, 0.975), total, positive, number)
        first = None if in_turn is None else int(in_turn[number - 1])
        interval = None if first is None else wilson_interval(first, number)
        found.append(
            FewerCells(
                cells=number,
                random_percent=(100 * float(low) / number, 100 * float(high) / number),
                hot_spot_first_percent=None if first is None else 100 * first / number,
                hot_spot_first_ci95_percent=None if interval is None else (100 * interval[0], 100 * interval[1]),
            )
        )
    return tuple(found)
