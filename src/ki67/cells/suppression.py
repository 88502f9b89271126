"""Of candidates that overlap, keep the likeliest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree

MINIMUM_DISTANCE_UM = 2.5
"""Two nuclei are never closer than this, centre to centre: half the width of a small lymphocyte's nucleus."""


def suppress(
    x_um: NDArray[np.float64],
    y_um: NDArray[np.float64],
    radius_um: NDArray[np.float64],
    score: NDArray[np.float64],
    overlap: float,
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Two candidates are the same nucleus where their centres are closer than ``overlap`` times the sum of their radii,
    or than :data:`MINIMUM_DISTANCE_UM`. The one with the higher score stays; ties go to the upper, then the left,
    then the larger one, so that the result does not depend on the order given.

    Returns
    -------
    NDArray
        Indices of those kept, best first.
    """
    count = len(score)
    if count == 0:
        return np.empty(0, np.intp)
    order = np.lexsort((-radius_um, x_um, y_um, -score))
    places = np.column_stack([x_um[order], y_um[order]])
    neighbours = _overlapping(places, radius_um[order], overlap)
    starts, members = neighbours.indptr, neighbours.indices
    free = np.ones(count, bool)
    kept = []
    for index in range(count):
        if free[index]:
            kept.append(index)
            free[members[starts[index] : starts[index + 1]]] = False
    return order[kept]


def _overlapping(places: NDArray[np.float64], radius_um: NDArray[np.float64], overlap: float) -> csr_matrix:
    # Every pair is found from its larger member, within twice that one's radius.
    reach = np.maximum(2 * overlap * radius_um, MINIMUM_DISTANCE_UM)
    found = cKDTree(places).query_ball_point(places, reach)
    first = np.repeat(np.arange(len(places)), [len(row) for row in found])
    second = np.fromiter((index for row in found for index in row), np.intp, len(first))
    distance = np.hypot(*(places[first] - places[second]).T)
    limit = np.maximum(overlap * (radius_um[first] + radius_um[second]), MINIMUM_DISTANCE_UM)
    near = distance < limit
    first, second = first[near], second[near]
    ones = np.ones(2 * len(first), bool)
    shape = (len(places), len(places))
    return coo_matrix((ones, (np.r_[first, second], np.r_[second, first])), shape).tocsr()
