import numpy as np
import pytest

from ki67.cells.index_deviation import PatientIndex, fit_index_deviation


def patients(bias, between, number=200, cells=2000, seed=3):
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(number):
        truth = rng.uniform(0.05, 0.6)
        gold = rng.binomial(cells, truth)
        logit = np.log((gold + 0.5) / (cells - gold + 0.5)) + rng.normal(bias, between)
        found = round(cells / (1 + np.exp(-logit)))
        rows.append(PatientIndex(f"set {place % 2}", str(place), (found, cells - found), (gold, cells - gold)))
    return rows


def test_finds_the_bias_and_how_patients_differ():
    found = fit_index_deviation(patients(0.2, 0.3, number=1000))
    assert found.bias == pytest.approx(0.2, abs=0.05)
    assert found.between == pytest.approx(0.3, abs=0.05)
    assert (found.patients, found.groups) == (1000, 2)


def test_what_averages_out_is_told_from_what_does_not():
    rng = np.random.default_rng(4)
    rows = []
    for place in range(300):
        cells = int(rng.choice([60, 4000]))
        truth = rng.uniform(0.1, 0.6)
        gold, found = rng.binomial(cells, truth, 2)
        rows.append(PatientIndex("a", str(place), (found, cells - found), (gold, cells - gold)))
    fitted = fit_index_deviation(rows)
    assert fitted.between < 0.06
    # Two independent draws: twice the variance of one.
    assert fitted.per_cell == pytest.approx(2.0, abs=0.35)


def test_few_patients_tell_nothing():
    assert fit_index_deviation(patients(0.2, 0.3, number=7)) is None


def test_patients_without_cells_do_not_count():
    rows = patients(0.0, 0.2, number=20)
    nothing = PatientIndex("set 0", "empty", (0, 0), (10, 20))
    assert fit_index_deviation([*rows, nothing]) == fit_index_deviation(rows)


def test_goes_into_the_card_as_plain_numbers():
    assert set(fit_index_deviation(patients(0.1, 0.2, number=20)).to_dict()) == {
        "bias", "between", "per_cell", "patients", "groups",
    }  # fmt: skip
