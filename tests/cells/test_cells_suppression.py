import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ki67.cells.suppression import MINIMUM_DISTANCE_UM, suppress

nuclei = st.lists(
    st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(1, 8), st.floats(0, 1)), min_size=1, max_size=40
)


@given(nuclei)
@settings(max_examples=60, deadline=None)
def test_those_kept_do_not_overlap_and_every_other_overlaps_a_better_one(rows):
    x, y, radius, score = np.array(rows).T
    kept = suppress(x, y, radius, score, 0.75)

    def same(i, j):
        return np.hypot(x[i] - x[j], y[i] - y[j]) < max(MINIMUM_DISTANCE_UM, 0.75 * (radius[i] + radius[j]))

    assert not any(same(i, j) for i in kept for j in kept if i != j)
    for lost in set(range(len(x))) - set(kept.tolist()):
        assert any(same(lost, i) and score[i] >= score[lost] for i in kept)


@given(nuclei, st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_order_given_does_not_matter(rows, random):
    rows = list(dict.fromkeys(rows))
    shuffled = rows[:]
    random.shuffle(shuffled)
    results = []
    for order in (rows, shuffled):
        columns = np.array(order).T
        results.append({order[i] for i in suppress(*columns, 0.75).tolist()})
    assert results[0] == results[1]


def test_nothing_in_nothing_out():
    empty = np.empty(0)
    assert len(suppress(empty, empty, empty, empty, 0.75)) == 0
