"""One-to-one matching of found and labelled nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

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
    near = cKDTree(truth_um).sparse_distance_matrix(cKDTree(found_um), radius_um, output_type="coo_matrix")
    # Points that no chain of pairs within reach connects are matched apart: whole sections stay quick.
    count = len(truth_um) + len(found_um)
    links = coo_array((np.ones(near.nnz), (near.row, near.col + len(truth_um))), shape=(count, count))
    _, group = connected_components(links, directed=False)
    order = np.argsort(group[near.row], kind="stable")
    cuts = np.flatnonzero(np.diff(group[near.row[order]])) + 1
    rows, columns = [], []
    for own in np.split(order, cuts):
        first, row = np.unique(near.row[own], return_inverse=True)
        second, column = np.unique(near.col[own], return_inverse=True)
        # A pair out of reach costs more than all pairs within reach together, so it never replaces one of them.
        out_of_reach = radius_um * (min(len(first), len(second)) + 1) + 1.0
        cost = np.full((len(first), len(second)), out_of_reach)
        cost[row, column] = near.data[own]
        chosen, partner = linear_sum_assignment(cost)
        kept = cost[chosen, partner] < out_of_reach
        rows.append(first[chosen[kept]])
        columns.append(second[partner[kept]])
    matched = np.concatenate(rows).astype(np.intp)
    sort = np.argsort(matched)
    return matched[sort], np.concatenate(columns).astype(np.intp)[sort]


def count_matches(truth_um: NDArray[np.float64], found_um: NDArray[np.float64], radius_um: float) -> int:
    """Number of matched pairs."""
    return len(match(truth_um, found_um, radius_um)[0])
