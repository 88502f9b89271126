"""Hot spots: the places with the highest index, each a circle that holds a given number of tumour cells.

A maximum over many windows is higher than the tissue there is: by chance alone, some window of 500 cells on a section
of index 20 % has 27 %. So beside the plain index of the spot stands what the tissue there has by the empirical Bayes
estimate of Efron and Morris (J Am Stat Assoc 1975;70:311-319): the windows of the whole section tell how much the
index truly varies, and each one is drawn towards the mean by the share of its spread that is chance. It is not biased
by the choice of the largest (Efron, J Am Stat Assoc 2011;106:1602-1614).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from shapely.geometry.base import BaseGeometry

from ki67.scoring.intervals import Z_95
from ki67.scoring.local import Points, TumourCells, cover_points

HOT_SPOT_CELLS: Final = 500
"""Tumour cells of a hot spot: one high-power field of up to 500 nuclei (Leung et al., npj Breast Cancer 2016;
2:16014). The index falls with this number (33 % at 100, 18 % at 1,020 cells; Focke et al., Breast Cancer Res Treat
2016), so it is always told with it."""

SPOTS: Final = 3
"""Hot spots that are told, from the hottest on."""

STEP_UM: Final = 100.0
"""Distance of the places that are tried first: half the radius of 500 cells of a dense carcinoma."""

REFINED_STEP_UM: Final = 10.0
"""Distance of the places tried around the best of them."""

LARGEST_RADIUS_UM: Final = 1000.0
"""A spot that needs a larger circle is scattered cells, not a hot spot."""


class HotSpot(BaseModel):
    """One hot spot: a circle in µm of the slide, its tumour cells and their index."""

    model_config = ConfigDict(frozen=True)

    x_um: float
    y_um: float
    radius_um: float
    positive: int
    cells: int
    index_percent: float
    """Of the cells in the circle, as they were counted."""
    tissue_index_percent: float
    """Of the tissue there, without the gain of having been chosen as the highest of many."""
    tissue_ci95_percent: tuple[float, float]


def find_hot_spots(
    cells: TumourCells, region: BaseGeometry, number: int = HOT_SPOT_CELLS, spots: int = SPOTS
) -> list[HotSpot]:
    """Return circles of the ``number`` nearest tumour cells with the highest index, hottest first, not overlapping.

    Parameters
    ----------
    cells
        Tumour cells of the region.
    region
        The region in µm of the slide; middles of spots lie in it.
    number
        Tumour cells of a spot.
    spots
        Most spots to return; fewer where no more fit that are above the section's index, none where there are fewer
        cells than one spot needs.
    """
    if len(cells) < number:
        return []
    candidates = cover_points(region, STEP_UM)
    if not len(candidates):
        candidates = cells.points_um.mean(axis=0, keepdims=True)
    share, radius = _nearest(cells, candidates, number)
    compact = radius <= LARGEST_RADIUS_UM
    prior = _prior(share[compact], number, len(cells)) if compact.any() else (0.0, 0.0, 0.0)
    found: list[HotSpot] = []
    free = compact & (share > cells.positive.mean())
    while len(found) < spots and free.any():
        best = int(np.flatnonzero(free)[np.argmax(share[free])])
        spot = _spot(*_refined(cells, candidates[best], number, found), number, prior)
        found.append(spot)
        apart = np.hypot(candidates[:, 0] - spot.x_um, candidates[:, 1] - spot.y_um)
        free &= apart > radius + spot.radius_um
    return sorted(found, key=lambda spot: -spot.index_percent)


def _nearest(cells: TumourCells, places: Points, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of positive cells among the ``number`` nearest to each place, and how far the last of them lies."""
    share, radius = np.empty(len(places)), np.empty(len(places))
    at_once = max(1, 4_000_000 // number)  # keeps the neighbours of one go within 50 MB
    for start in range(0, len(places), at_once):
        part = slice(start, start + at_once)
        distance, neighbour = cells.tree.query(places[part], k=[*range(1, number + 1)])
        share[part] = cells.positive[neighbour].mean(axis=1)
        radius[part] = distance[:, -1]
    return share, radius


def _prior(share: NDArray[np.float64], number: int, cells: int) -> tuple[float, float, float]:
    """Mean and true variance of the index over windows, and the error of that variance.

    What is left of the windows' variance beside that of counting is true; as many windows tell of it as fit without
    sharing a cell.
    """
    mean = float(share.mean())
    chance = mean * (1 - mean) / number
    return mean, max(0.0, float(share.var()) - chance), float(share.var()) * math.sqrt(2 * number / cells)


def _refined(
    cells: TumourCells, start: NDArray[np.float64], number: int, others: list[HotSpot]
) -> tuple[float, float, float, float]:
    """Best place (x, y, radius, share) around a candidate that touches none of the spots found before."""
    steps = np.arange(-STEP_UM / 2, STEP_UM / 2 + REFINED_STEP_UM / 2, REFINED_STEP_UM)
    dx, dy = np.meshgrid(steps, steps)
    places = start + np.column_stack([dx.ravel(), dy.ravel()])
    share, radius = _nearest(cells, places, number)
    for other in others:
        share[np.hypot(places[:, 0] - other.x_um, places[:, 1] - other.y_um) <= radius + other.radius_um] = -1.0
    best = int(np.argmax(share))
    if share[best] < 0:  # of all places only the candidate itself is known to be free
        best, places = 0, start[None]
        share, radius = _nearest(cells, places, number)
    return float(places[best, 0]), float(places[best, 1]), float(radius[best]), float(share[best])


def _spot(
    x_um: float, y_um: float, radius_um: float, share: float, number: int, prior: tuple[float, float, float]
) -> HotSpot:
    mean, true_variance, error = prior
    chance = max(share * (1 - share), mean * (1 - mean)) / number
    kept, at_most = (v / (v + chance) if v > 0 else 0.0 for v in (true_variance, true_variance + error))
    tissue = mean + kept * (share - mean)
    reach = Z_95 * math.sqrt(at_most * chance)
    return HotSpot(
        x_um=x_um,
        y_um=y_um,
        radius_um=radius_um,
        positive=round(share * number),
        cells=number,
        index_percent=100 * share,
        tissue_index_percent=100 * tissue,
        tissue_ci95_percent=(100 * max(0.0, tissue - reach), 100 * min(1.0, tissue + reach)),
    )
