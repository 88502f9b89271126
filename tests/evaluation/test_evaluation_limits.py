"""Limits of agreement of several readers and cases, against what follows from their definitions."""

from itertools import permutations

import numpy as np
import pytest

from ki67.evaluation.limits import (
    LIMITS_Z,
    Limits,
    between_reader_between_modality_limits,
    between_reader_limits,
    within_reader_limits,
)

RANDOM = np.random.default_rng(3)
NONE = np.zeros((5, 4))


def variance(limits: Limits) -> float:
    return ((limits.upper_points - limits.bias_points) / LIMITS_Z) ** 2


def test_two_readers_differ_as_all_pairs_of_them_do_on_average() -> None:
    ratings = RANDOM.normal(20, 5, (7, 4))
    pairs = [ratings[:, a] - ratings[:, b] for a, b in permutations(range(4), 2)]

    assert variance(between_reader_limits(ratings)) == pytest.approx(np.mean(np.square(pairs)))


def test_the_variance_of_one_difference_is_the_sum_of_its_parts() -> None:
    of_readers, of_cases = RANDOM.normal(0, 3, 4), RANDOM.normal(0, 6, 5)
    limits = within_reader_limits(2 + of_readers + of_cases[:, None])

    expected = of_readers.var(ddof=1) + of_cases.var(ddof=1)
    assert limits.bias_points == pytest.approx(2 + of_readers.mean() + of_cases.mean())
    assert variance(limits) == pytest.approx(expected)
    of_mean = of_readers.var(ddof=1) / 4 + of_cases.var(ddof=1) / 5
    assert limits.bias_ci95_points is not None
    assert limits.bias_ci95_points[1] - limits.bias_points == pytest.approx(LIMITS_Z * of_mean**0.5)


def test_another_reader_in_another_modality_brings_the_difference_between_readers() -> None:
    of_readers, of_cases = RANDOM.normal(0, 3, 4), RANDOM.normal(0, 6, 5)
    first = of_readers + of_cases[:, None]
    limits = between_reader_between_modality_limits(first, first + 3)

    assert limits.bias_points == pytest.approx(3)
    assert limits.bias_ci95_points == pytest.approx((3, 3))
    assert variance(limits) == pytest.approx(2 * of_readers.var(ddof=1))


def test_readers_or_cases_that_take_a_modality_in_their_own_way_count() -> None:
    glass, screen = RANDOM.normal(0, 3, 4), RANDOM.normal(0, 5, 4)
    of_readers = between_reader_between_modality_limits(NONE + glass, NONE + screen)
    assert variance(of_readers) == pytest.approx(glass.var(ddof=1) + screen.var(ddof=1))

    cases, changed = RANDOM.normal(0, 3, (5, 1)), RANDOM.normal(0, 5, (5, 1))
    of_cases = between_reader_between_modality_limits(NONE + cases, NONE + changed)
    assert variance(of_cases) == pytest.approx((changed - cases).var(ddof=1))


def test_limits_hold_the_differences_of_readers_and_cases_not_seen() -> None:
    def readings(cases: int, readers: int) -> tuple[np.ndarray, np.ndarray]:
        case, reader = RANDOM.normal(25, 12, (cases, 1)), RANDOM.normal(0, 2, readers)
        return tuple(
            case + reader + shift
            + RANDOM.normal(0, 2, (cases, 1)) + RANDOM.normal(0, 1.5, readers) + RANDOM.normal(0, 3, (cases, readers))
            for shift in (0, 2)
        )  # fmt: skip

    limits = between_reader_between_modality_limits(*readings(200, 40))
    first, second = readings(200, 40)
    others = np.concatenate([second[:, a] - first[:, (a + 1) % 40] for a in range(40)])

    held = ((others > limits.lower_points) & (others < limits.upper_points)).mean()
    assert held == pytest.approx(0.95, abs=0.03)
