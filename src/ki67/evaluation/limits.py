"""Limits of agreement of indices read by several readers on the same cases, perhaps in two modalities.

Readers and cases are both drawn at random, so limits hold for another reader and another case; Bland and Altman's
own, of one reader's differences, do not know how readers differ. The variances are those of Wen and Gallas, Stat
Biopharm Res 2022 (doi 10.1080/19466315.2022.2063169), by analysis of variance of fully crossed readings, as the FDA's
iMRMC has them (``laWRBM.anova``, ``laBRBM.anova``). iMRMC takes 2 standard deviations, here it is 1.96.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ki67.evaluation.agreement import Ratings, mean_squares

LIMITS_Z: Final = 1.96
"""Standard deviations from bias to either limit of agreement (Bland and Altman, Lancet 1986;327:307-310)."""


@dataclass(frozen=True)
class Limits:
    """Mean difference with its 95 % interval (None where it is 0 by definition), limits of one difference; points."""

    bias_points: float
    bias_ci95_points: tuple[float, float] | None
    lower_points: float
    upper_points: float


def within_reader_limits(differences: Ratings) -> Limits:
    """Limits of the difference that one reader has on one case: to a standard, or between two modalities.

    The differences follow ``d_jk = µ + R_j + C_k + ε_jk`` of random readers and cases; a single one has the variance
    ``σ_R² + σ_C² + σ_ε²``, their mean ``σ_R²/k + σ_C²/n + σ_ε²/nk``.

    Parameters
    ----------
    differences
        (n cases, k readers), n and k at least 2.
    """
    ms = mean_squares(differences)
    of_mean = (ms.readers + ms.cases - ms.error) / (ms.n * ms.k)
    of_one = (ms.k * ms.readers + ms.n * ms.cases + (ms.n * ms.k - ms.n - ms.k) * ms.error) / (ms.n * ms.k)
    return _limits(float(differences.mean()), of_mean, of_one)


def between_reader_limits(ratings: Ratings) -> Limits:
    """Limits of the difference of two readers on one case; the bias is 0, for neither comes first.

    With the readings ``Y_jk = µ + R_j + C_k + ε_jk`` it has the variance ``2 (σ_R² + σ_ε²)``.

    Parameters
    ----------
    ratings
        (n cases, k readers), n and k at least 2.
    """
    ms = mean_squares(ratings)
    return _limits(0.0, None, 2 * ((ms.readers - ms.error) / ms.n + ms.error))


def between_reader_between_modality_limits(first: Ratings, second: Ratings) -> Limits:
    """Limits of the difference of one reader in the second modality and another in the first, on one case.

    By three-way analysis of variance with a fixed modality,
    ``X_ijk = µ + R_j + C_k + m_i + RC_jk + mR_ij + mC_ik + ε_ijk``, it has the variance
    ``2 (σ_R² + σ_RC² + σ_mR² + σ_mC² + σ_ε²)``.

    Parameters
    ----------
    first, second
        Readings of the same n cases by the same k readers, (n, k) each, n and k at least 2.
    """
    n, k = first.shape
    both = np.stack([first, second])
    mean = both.mean()
    reader, case, modality = (both.mean(axis=axes) - mean for axes in ((0, 1), (0, 2), (1, 2)))
    of_pairs = both.mean(axis=0) - mean - reader - case[:, None]
    of_readers = both.mean(axis=1) - mean - reader - modality[:, None]
    of_cases = both.mean(axis=2) - mean - case - modality[:, None]
    rest = both - mean - reader - case[:, None] - modality[:, None, None]
    rest = rest - of_pairs - of_readers[:, None, :] - of_cases[:, :, None]
    error = _square(rest) / ((k - 1) * (n - 1))
    readers, pairs = 2 * n * _square(reader) / (k - 1), 2 * _square(of_pairs) / ((k - 1) * (n - 1))
    reader_modality, case_modality = n * _square(of_readers) / (k - 1), k * _square(of_cases) / (n - 1)
    of_reader = (readers + error - pairs - reader_modality) / (2 * n)
    of_pair, by_reader, by_case = (pairs - error) / 2, (reader_modality - error) / n, (case_modality - error) / k
    of_mean = 2 * (by_reader / k + by_case / n + error / (n * k))
    of_one = 2 * (of_reader + of_pair + by_reader + by_case + error)
    return _limits(float((second - first).mean()), of_mean, of_one)


def _square(values: NDArray[np.float64]) -> float:
    return float((values**2).sum())


def _limits(bias: float, of_mean: float | None, of_one: float) -> Limits:
    """From variances of the mean and of one difference."""
    one = _reach(of_one)
    interval = None if of_mean is None else (bias - _reach(of_mean), bias + _reach(of_mean))
    return Limits(bias, interval, bias - one, bias + one)


def _reach(variance: float) -> float:
    """Distance to either limit; an estimate below 0 stands for none."""
    return LIMITS_Z * math.sqrt(max(0.0, variance))
