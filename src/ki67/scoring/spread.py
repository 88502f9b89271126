"""How much the index would change had the region been carried over a little differently, or drawn more tightly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67.vocabulary import MINIMUM_CELLS, POSITIVE, TUMOUR_CLASSES

SPREAD_QUANTILES = (0.025, 0.975)
"""Of the drawn indices: what lies between them is 95 %."""

SPREAD_COLUMNS = ("x_um", "y_um", "label", "excluded")
"""What the spread needs of the cell table."""

_TUMOUR = pa.array(TUMOUR_CLASSES)
# Geometry objects of points are twenty times as large as their coordinates.
_AT_ONCE = 50_000
_SQUARE_UM = 100.0
"""Side of squares of which all points are near a line, or far from it, but for a few."""


def index_spread(
    table: pa.Table, region: BaseGeometry, motions: Sequence[NDArray[np.float64]]
) -> tuple[float, float] | None:
    """95 % spread of the index in percent over motions of the region.

    Cells are those of the table: what lies further outside the region than was counted does not come in, nor do
    cells that count nowhere (``excluded``: under pen, in a fold, out of focus).

    Parameters
    ----------
    table
        Cell table with ``x_um``, ``y_um``, ``label``, ``excluded``, cells around the region included.
    region
        Region on the slide in µm.
    motions
        Matrices (3, 3) that move the region, in µm of the slide.

    Returns
    -------
    Lower and upper end; None where no draw holds a tumour cell.
    """
    counted = table.filter(pc.and_(pc.is_in(table["label"], _TUMOUR), pc.equal(table["excluded"], "")))
    points = np.column_stack([np.asarray(counted["x_um"]), np.asarray(counted["y_um"])])
    positive = np.asarray(pc.equal(counted["label"], POSITIVE.label))
    reach_um = max((_reach_um(motion, region) for motion in motions), default=0.0)
    shapely.prepare(region)
    inside = shapely.contains_xy(region, points)
    # Only cells nearer to the edge than any motion reaches can change sides.
    near = _near(points, shapely.boundary(region), reach_um)
    sure = inside & ~near
    sure_cells, sure_positive = int(sure.sum()), int(positive[sure].sum())
    at_edge, positive_there = points[near], positive[near]
    indices = []
    for motion in motions:
        back = np.linalg.inv(motion)
        there = shapely.contains_xy(region, at_edge @ back[:2, :2].T + back[:2, 2])
        total = sure_cells + int(there.sum())
        if total:
            indices.append(100.0 * (sure_positive + int(positive_there[there].sum())) / total)
    if not indices:
        return None
    low, high = np.quantile(indices, SPREAD_QUANTILES)
    return float(low), float(high)


def outline_spread(
    positive: NDArray[np.bool_], probability: NDArray[np.float64], thresholds: Sequence[float]
) -> tuple[float, float] | None:
    """95 % spread of the index in percent over outlines drawn at these thresholds.

    Each outline holds the cells at and above its threshold; where these are fewer than an index needs, as many of
    the most probable as it needs. Cells below the threshold that the region was drawn at were not counted and do not
    come in.

    Parameters
    ----------
    positive
        Of each counted tumour cell, (N,).
    probability
        That a cell's place is carcinoma, (N,); NaN where that is not known.
    thresholds
        What outlines could as well have been drawn at; each is as likely as the others.

    Returns
    -------
    Lower and upper end; None without thresholds, and with fewer tumour cells than an index needs.
    """
    known = ~np.isnan(probability)
    rising = np.sort(probability[known])
    if len(rising) < MINIMUM_CELLS or not thresholds:
        return None
    order = np.argsort(-probability[known], kind="stable")
    found = np.cumsum(positive[known][order])
    inside = np.maximum(len(rising) - np.searchsorted(rising, np.asarray(thresholds), side="left"), MINIMUM_CELLS)
    low, high = np.quantile(100.0 * found[inside - 1] / inside, SPREAD_QUANTILES)
    return float(low), float(high)


def _near(points: NDArray[np.float64], edge: BaseGeometry, reach_um: float) -> NDArray[np.bool_]:
    """Points (N, 2) within a distance of a line: whole squares are asked first, then the points of those that are."""
    shapely.prepare(edge)
    if not len(points):
        return np.zeros(0, bool)
    squares = np.floor(points / _SQUARE_UM).astype(np.int64)
    corner = squares.min(axis=0)
    across = int(squares[:, 0].max() - corner[0]) + 1
    number, of = np.unique((squares[:, 1] - corner[1]) * across + squares[:, 0] - corner[0], return_inverse=True)
    middles = shapely.points((np.column_stack([number % across, number // across]) + corner + 0.5) * _SQUARE_UM)
    asked = np.flatnonzero(shapely.dwithin(edge, middles, reach_um + _SQUARE_UM)[of])
    near = np.zeros(len(points), bool)
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        near[part] = shapely.dwithin(edge, shapely.points(points[part]), reach_um)
    return near


def widened(spread: tuple[float, float] | None, unknown_share: float) -> tuple[float, float] | None:
    """Spread of the index of a whole region of which part was not counted, whatever the index is there.

    The part may hold no positive cell, or nothing else: with a share u of the region unknown, an index p of the rest
    leaves (1 - u) p to (1 - u) p + 100 u. Cells are taken to be as dense in the part as in the rest.

    Parameters
    ----------
    spread
        Lower and upper end in percent for the part that was counted; None where that is not known.
    unknown_share
        Share of the region that was not counted, 0 to 1.
    """
    if spread is None:
        return None
    low, high = spread
    return low * (1 - unknown_share), high * (1 - unknown_share) + 100.0 * unknown_share


def _reach_um(motion: NDArray[np.float64], region: BaseGeometry) -> float:
    left, top, right, bottom = region.bounds
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    return float(np.hypot(*(corners @ motion[:2, :2].T + motion[:2, 2] - corners).T).max())
