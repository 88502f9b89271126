"""Measures agree with scikit-learn and with sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from ki67.evaluation.calibration import calibration_error
from ki67.evaluation.idc import RATE_ROWS, bootstrap_over_patients, summarise, table2
from ki67.fields.metrics import (
    AS_GOOD,
    alike,
    area_thresholds,
    best_threshold,
    cross_fitted_balanced_accuracy,
    fit_temperature,
    rank_auc,
)


def drawn(count: int = 600, seed: int = 0, decimals: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    # Few decimals: ties are what rank measures get wrong.
    scores = np.clip(generator.normal(0.35 + 0.3 * labels, 0.2), 0, 1).round(decimals)
    return labels, scores, generator.integers(0, 12, count)


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    labels, scores, _ = drawn()
    assert rank_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert np.isnan(rank_auc(np.ones(4), np.arange(4)))


def test_the_threshold_has_the_highest_balanced_accuracy_of_all() -> None:
    labels, scores, _ = drawn()
    false_positive, true_positive, _ = roc_curve(labels, scores)
    best = ((true_positive - false_positive + 1) / 2)[1:].max()
    assert balanced_accuracy_score(labels, scores >= best_threshold(labels, scores)) == pytest.approx(best)
    with pytest.raises(ValueError, match="both classes"):
        best_threshold([1, 1], [0.2, 0.3])


def test_a_rare_class_weighs_as_much_as_a_common_one_in_the_threshold() -> None:
    # A hundred of common tissue far off, ten of a rare class that looks like carcinoma.
    classes = np.repeat([0, 1, 2], [100, 10, 20])
    scores = np.concatenate([np.linspace(0, 0.2, 100), np.linspace(0.58, 0.65, 10), np.linspace(0.6, 1, 20)])
    truth = classes == 2
    assert best_threshold(truth, scores) < 0.62
    apart = best_threshold(truth, scores, alike(classes))
    assert np.mean(scores[classes == 1] < apart) > 0.5
    two = np.where(classes == 2, 1, 0)
    assert best_threshold(truth, scores, alike(two)) == best_threshold(truth, scores)


def test_of_thresholds_as_good_the_one_nearest_to_even_odds_can_be_taken() -> None:
    truth = np.arange(400) >= 200
    scores = np.concatenate([np.linspace(0, 0.1, 199), [0.44], [0.3], np.linspace(0.8, 1, 199)])
    # Both cuts that leave one patch wrong are best; half a point less between them is as good.
    assert best_threshold(truth, scores) == pytest.approx(0.2)
    assert best_threshold(truth, scores, near=0.5) == pytest.approx(0.62)
    overlapping = np.concatenate([np.linspace(0, 0.4, 200), np.linspace(0.3, 1, 200)])
    apart = best_threshold(truth, overlapping, near=0.5)
    best = balanced_accuracy_score(truth, overlapping >= best_threshold(truth, overlapping))
    assert balanced_accuracy_score(truth, overlapping >= apart) >= best - AS_GOOD - 1e-9
    assert apart >= best_threshold(truth, overlapping)


def test_table_2_from_its_four_counts() -> None:
    rates = table2(80, 10, 90, 20)
    assert rates["sensitivity"] == pytest.approx(0.8)
    assert rates["specificity"] == pytest.approx(0.9)
    assert rates["balanced_accuracy"] == pytest.approx(0.85)
    assert rates["accuracy"] == pytest.approx(0.85)
    assert rates["positive_likelihood_ratio"] == pytest.approx(8.0)
    assert rates["negative_likelihood_ratio"] == pytest.approx(0.2 / 0.9)
    assert rates["ppv"] == pytest.approx(80 / 90)
    assert rates["npv"] == pytest.approx(90 / 110)
    assert rates["diagnostic_index"] == pytest.approx(1.7)
    assert rates["youden"] == pytest.approx(0.7)
    assert rates["fpr"] == pytest.approx(0.1)
    assert rates["fnr"] == pytest.approx(0.2)


def test_what_cannot_be_computed_is_none_and_never_a_number() -> None:
    rates = table2(5, 0, 0, 5)
    assert rates["specificity"] is None
    assert rates["positive_likelihood_ratio"] is None
    assert table2(5, 0, 5, 5)["positive_likelihood_ratio"] is None


def test_the_bootstrap_draws_patients_not_patches() -> None:
    labels, scores, member = drawn(decimals=4)
    intervals = bootstrap_over_patients(labels, scores, member, 0.5, replicates=200)
    assert set(intervals) == set(RATE_ROWS)
    low, high = intervals["auc"] or (1, 0)
    assert low < roc_auc_score(labels, scores) < high
    # Every patch four times over, by the same patients, is no more knowledge.
    again = bootstrap_over_patients(np.tile(labels, 4), np.tile(scores, 4), np.tile(member, 4), 0.5, replicates=200)
    assert again["auc"] == pytest.approx([low, high])
    assert bootstrap_over_patients(labels, scores, np.zeros_like(member), 0.5)["auc"] is None


def test_weighted_auc_of_the_bootstrap_is_the_auc_of_the_repeated_patches() -> None:
    labels, scores, member = drawn(200)
    generator = np.random.default_rng(3)
    times = np.bincount(generator.integers(0, 12, 12), minlength=12)
    repeated = np.repeat(np.arange(200), times[member])
    expected = roc_auc_score(labels[repeated], scores[repeated])
    one = bootstrap_over_patients(labels, scores, member, 0.5, seed=3, replicates=1)["auc"]
    assert one == pytest.approx([expected, expected])


def test_summary_holds_pooled_figures_and_each_patient() -> None:
    labels, scores, member = drawn()
    result = summarise(labels, scores, member.astype(str), 0.5)
    assert result["pooled"]["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert result["pooled"]["patients"] == len(result["per_patient"]) == 12
    assert sum(entry["patches"] for entry in result["per_patient"].values()) == 600


def test_calibration_error_by_hand() -> None:
    labels = np.array([1, 1, 0, 0])
    scores = np.array([0.95, 0.95, 0.25, 0.25])
    assert calibration_error(labels, scores) == pytest.approx((2 * 0.05 + 2 * 0.25) / 4)


def test_temperature_undoes_a_known_scaling() -> None:
    generator = np.random.default_rng(1)
    margins = generator.normal(0, 2, 40_000)
    labels = generator.random(40_000) < 1 / (1 + np.exp(-margins))
    assert fit_temperature(labels, 3 * margins) == pytest.approx(3, rel=0.05)


def test_a_threshold_from_other_patients_flatters_less() -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, 240)
    scores = generator.random(240)
    best = balanced_accuracy_score(labels, scores >= best_threshold(labels, scores))
    held_out = cross_fitted_balanced_accuracy(labels, scores, generator.integers(0, 20, 240))
    assert held_out < best
    assert held_out == pytest.approx(0.5, abs=0.08)


def test_each_patient_has_the_threshold_that_calls_as_much_as_is_labelled() -> None:
    labels = np.tile(np.arange(20) < 8, 3)
    labels[40:] = np.arange(20) < 5
    rising = np.linspace(0.99, 0.04, 20)
    scores = np.concatenate([rising, rising / 2, rising])
    found = area_thresholds(labels, scores, np.repeat(["a", "b", "few"], 20))
    assert found == pytest.approx([(rising[7] + rising[8]) / 4, (rising[7] + rising[8]) / 2])
    for threshold, part in zip(found, (slice(20, 40), slice(0, 20)), strict=True):
        assert (scores[part] >= threshold).sum() == labels[part].sum()
