"""Measures of agreement, against published tables and by their definitions."""

import numpy as np
import pytest

from ki67.evaluation.agreement import (
    fleiss_kappa,
    icc_a1,
    icc_a1_over_cases,
    icc_ak,
    icc_c1,
    krippendorff_alpha,
    spearman,
    weighted_kappa,
)

# Shrout and Fleiss 1979, Table 2 (six targets, four judges); Table 4: ICC(2,1) = .29, ICC(3,1) = .71, ICC(2,4) = .62.
TEXTBOOK = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_the_textbook_example_has_its_intraclass_correlations_and_intervals() -> None:
    found = [measure(TEXTBOOK) for measure in (icc_a1, icc_c1, icc_ak)]

    # The limits as two independent programs for psychologists print them.
    expected = [(0.290, 0.019, 0.761), (0.715, 0.342, 0.946), (0.620, 0.071, 0.927)]
    for estimate, values in zip(found, expected, strict=True):
        assert estimate is not None
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(values, abs=0.0006)


def test_readers_that_say_the_same_agree_perfectly() -> None:
    same = np.repeat(np.arange(5.0)[:, None], 3, axis=1)

    assert [measure(same).value for measure in (icc_a1, icc_c1, icc_ak)] == [1, 1, 1]  # type: ignore[union-attr]
    assert krippendorff_alpha(same) == 1


def test_what_does_not_vary_has_no_agreement() -> None:
    flat = np.full((4, 2), 7.0)

    assert [icc_a1(flat), icc_c1(flat), icc_ak(flat), krippendorff_alpha(flat)] == [None] * 4
    assert spearman(flat[:, 0], np.arange(4.0)) is None
    assert fleiss_kappa(np.zeros((4, 2), int)) is None
    assert weighted_kappa(np.zeros(4, int), np.zeros(4, int), 2) is None


def test_alpha_is_one_less_observed_over_expected_disagreement_and_takes_missing_ratings() -> None:
    ratings = np.array([[1.0, 2.0], [4.0, 4.0], [5.0, np.nan]])

    # Pairs within cases: (1, 2) twice, (4, 4) twice: mean squared difference 2 / 4. All ordered pairs of 1, 2, 4, 4:
    # (1 + 9 + 9 + 4 + 4 + 0) * 2 / 12.
    assert krippendorff_alpha(ratings) == pytest.approx(1 - 0.5 / (54 / 12))


def test_kappa_of_two_classes_is_cohens() -> None:
    # 20 both 1, 15 both 0, 5 and 10 apart: observed 0.7, expected 0.5 (each marginal: 25 / 50 and 30 / 50).
    first = np.repeat([1, 0, 1, 0], [20, 15, 5, 10])
    second = np.repeat([1, 0, 0, 1], [20, 15, 5, 10])

    assert weighted_kappa(first, second, 2) == pytest.approx((0.7 - 0.5) / 0.5)


def test_linear_weights_forgive_neighbouring_classes() -> None:
    first = np.array([0, 1, 2, 0, 1, 2])

    near, far = np.array([0, 1, 2, 1, 1, 2]), np.array([0, 1, 2, 2, 1, 2])

    assert weighted_kappa(first, near, 3) > weighted_kappa(first, far, 3)  # type: ignore[operator]


def test_the_example_of_fleiss_has_kappa_0_21() -> None:
    # Ten subjects, fourteen raters, five classes: the standard worked example of Fleiss' kappa.
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
              [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    classes = np.array([np.repeat(np.arange(5), row) for row in counts])

    assert fleiss_kappa(classes) == pytest.approx(0.210, abs=0.0005)


def test_over_cases_a_small_bias_leaves_the_interval_of_the_icc_as_narrow_as_the_cases_make_it() -> None:
    random = np.random.default_rng(0)
    gold = random.gamma(2, 12, 40)
    noise = random.normal(0, 1, 40)
    ratings = np.column_stack([gold, gold + noise - noise.mean() + 2])
    draws = random.integers(0, 40, (500, 40))

    of_all_readers, of_these = icc_a1(ratings), icc_a1_over_cases(ratings, draws)

    assert of_all_readers is not None
    assert of_these is not None
    assert of_these.value == of_all_readers.value
    assert of_all_readers.low < 0.8 < 0.95 < of_these.low < of_these.value < of_these.high


def test_ratings_that_do_not_vary_have_no_interval_over_cases() -> None:
    assert icc_a1_over_cases(np.full((4, 2), 7.0), np.zeros((10, 4), np.int64)) is None
