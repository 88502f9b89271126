import math

import numpy as np
import pytest

from ki67.scoring.intervals import ModelDeviation, combined_interval, corrected_share, wilson_interval

SURE = ModelDeviation(bias=0.0, between=0.0, per_cell=0.0, patients=40)


def test_a_model_without_errors_leaves_the_share():
    share, (low, high) = corrected_share(200, 1000, SURE)
    assert low == pytest.approx(share) == pytest.approx(high)
    assert share == pytest.approx(0.2, abs=0.001)


def test_a_model_that_finds_too_much_is_corrected_downwards():
    high_by = ModelDeviation(bias=0.3, between=0.2, per_cell=0.0, patients=40)
    share, (low, high) = corrected_share(200, 1000, high_by)
    assert low < share < high
    assert math.log(share / (1 - share)) == pytest.approx(math.log(0.25) - 0.3, abs=0.002)


def test_the_interval_of_the_model_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    deviation = ModelDeviation(bias=0.2, between=0.3, per_cell=0.8, patients=200)
    held = 0
    for truth in rng.uniform(0.05, 0.6, 1000):
        cells = int(rng.integers(300, 3000))
        spread = math.sqrt(0.3**2 + 0.8 / (cells * truth * (1 - truth)))
        found = math.log(truth / (1 - truth)) + rng.normal(0.2, spread)
        positive = round(cells / (1 + math.exp(-found)))
        _, (low, high) = corrected_share(positive, cells, deviation)
        held += low <= truth <= high
    assert 930 <= held <= 970


def test_more_cells_do_not_take_away_what_differs_from_patient_to_patient():
    deviation = ModelDeviation(bias=0.0, between=0.3, per_cell=1.0, patients=40)
    few, many = (corrected_share(n // 5, n, deviation)[1] for n in (500, 500_000))
    widest = corrected_share(100_000, 500_000, ModelDeviation(0.0, 0.3, 0.0, 40))[1]
    assert few[1] - few[0] > many[1] - many[0] == pytest.approx(widest[1] - widest[0], rel=0.01)


def test_causes_add_up_and_the_combined_interval_is_wider_than_each():
    share = 200.5 / 1001
    parts = [(share, wilson_interval(200, 1000)), (share, (0.15, 0.26)), (share, (0.19, 0.21))]
    low, high = combined_interval(share, parts)
    assert low < min(part[1][0] for part in parts)
    assert high > max(part[1][1] for part in parts)
    assert (low, high) != combined_interval(share, parts[:1])


def test_one_cause_alone_keeps_its_limits():
    low, high = combined_interval(0.2, [(0.2, (0.15, 0.26))])
    assert (low, high) == (pytest.approx(0.15), pytest.approx(0.26))


def test_no_positive_cell_leaves_a_lower_limit_of_nothing():
    share, model = corrected_share(0, 1000, ModelDeviation(0.0, 0.2, 0.5, 40))
    low, high = combined_interval(share, [(share, wilson_interval(0, 1000)), (share, model)])
    assert low == 0.0
    assert share < high < 0.02
