import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ki67.fields.matching import match

POINTS = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=25)


@settings(max_examples=150, deadline=None)
@given(POINTS, POINTS, st.floats(0.5, 6))
def test_matching_in_parts_is_as_good_as_matching_the_whole(truth, found, radius):
    truth, found = np.array(truth).reshape(-1, 2), np.array(found).reshape(-1, 2)
    rows, columns = match(truth, found, radius)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
    distance = cdist(truth, found) if len(truth) and len(found) else np.empty((len(truth), len(found)))
    assert (distance[rows, columns] <= radius).all()
    if distance.size:
        outside = radius * (min(distance.shape) + 1) + 1
        cost = np.where(distance <= radius, distance, outside)
        best_rows, best_columns = linear_sum_assignment(cost)
        best = cost[best_rows, best_columns]
        assert len(rows) == (best < outside).sum()
        assert distance[rows, columns].sum() == pytest.approx(best[best < outside].sum())


def test_a_chain_is_matched_for_most_pairs_not_for_the_nearest():
    truth, found = np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([[2.0, 0.0], [5.5, 0.0]])
    assert [part.tolist() for part in match(truth, found, 2.6)] == [[0, 1], [0, 1]]


def test_no_pair_within_reach():
    assert len(match(np.zeros((1, 2)), np.full((1, 2), 9.0), 2.0)[0]) == 0
