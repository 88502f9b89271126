"""One-to-one matching of found and labelled nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Pairs = NDArray[np.intp]


def match(truth_um: NDArray[np.float64], found_um: NDArray[np.float64], radius_um: float) -> tuple[Pairs, Pairs]:
    """Match points one to one within a radius: most pairs first, then the least total distance (Hungarian method).

    Parameters
    ----------
    truth_um, found_um
        Points (N, 2) and (M, 2) in µm.
    radius_um
        Largest distance of a pair.

    Returns
    -------
    tuple
        Indices of the matched points in both.
    """
    if len(truth_um) == 0 or len(found_um) == 0:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distance = cdist(truth_um, found_um)
    # A pair out of reach costs more than all pairs within reach together, so it never replaces one of them.
    out_of_reach = radius_um * (min(distance.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(distance <= radius_um, distance, out_of_reach))
    near = distance[rows, columns] <= radius_um
    return rows[near], columns[near]


def count_matches(truth_um: NDArray[np.float64], found_um: NDArray[np.float64], radius_um: float) -> int:
    """Number of matched pairs."""
    return len(match(truth_um, found_um, radius_um)[0])
