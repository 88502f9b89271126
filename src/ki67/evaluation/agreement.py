"""Agreement of readers: intraclass correlations, kappas, Krippendorff's alpha.

Ratings are (n cases, k readers), float64. A measure is None where it is not defined, as for equal ratings everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Ratings = NDArray[np.float64]
UPPER: Final = 0.975
"""Quantile of the upper end of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MeanSquares:
    """Two-way analysis of variance without repeats: mean squares of cases, readers and error."""

    cases: float
    readers: float
    error: float
    n: int
    k: int


def mean_squares(ratings: Ratings) -> MeanSquares:
    """Mean squares of ratings (n cases, k readers), n and k at least 2."""
    n, k = ratings.shape
    mean = ratings.mean()
    rows, columns = ratings.mean(axis=1, keepdims=True), ratings.mean(axis=0, keepdims=True)
    return MeanSquares(
        cases=k * float(((rows - mean) ** 2).sum()) / (n - 1),
        readers=n * float(((columns - mean) ** 2).sum()) / (k - 1),
        error=float(((ratings - rows - columns + mean) ** 2).sum()) / ((n - 1) * (k - 1)),
        n=n,
        k=k,
    )


def icc_a1(ratings: Ratings) -> Estimate | None:
    """ICC(A,1): two-way, absolute agreement, single rating; Shrout and Fleiss call it ICC(2,1).

    ``(MSR − MSE) / (MSR + (k − 1) MSE + k (MSC − MSE) / n)`` with an F interval (McGraw and Wong, Psychol Methods
    1996;1:30-46, tables 4 and 7; Shrout and Fleiss, Psychol Bull 1979;86:420-428). A constant offset between the
    readers lowers it, unlike a correlation.
    """
    ms = mean_squares(ratings)
    n, k = ms.n, ms.k
    value = _icc_a1(ms)
    if value is None:
        return None
    if value >= 1:
        return Estimate(1.0, 1.0, 1.0)
    ratio = k * value / (n * (1 - value))
    a, b = ratio * ms.readers, (1 + ratio * (n - 1)) * ms.error
    freedom = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1))) if a + b > 0 else 1.0
    rest = k * ms.readers + (k * n - k - n) * ms.error
    below, above = stats.f.ppf(UPPER, n - 1, freedom), stats.f.ppf(UPPER, freedom, n - 1)
    low = n * (ms.cases - below * ms.error) / (below * rest + n * ms.cases)
    high = n * (above * ms.cases - ms.error) / (rest + n * above * ms.cases)
    return Estimate(value, float(low), float(high))


def _icc_a1(ms: MeanSquares) -> float | None:
    total = ms.cases + (ms.k - 1) * ms.error + ms.k * (ms.readers - ms.error) / ms.n
    return (ms.cases - ms.error) / total if total > 0 else None


def icc_a1_over_cases(ratings: Ratings, draws: NDArray[np.int64]) -> Estimate | None:
    """:func:`icc_a1` with an interval for these very readers, a bootstrap over cases.

    The F interval takes the readers for draws from all there are. With two of them it hangs on the one difference
    between their means: at a bias of 2 points and a spread of 1 it goes from 0.65 to 1.00 around an ICC of 0.99. To
    hold one program against one standard it is of no use.

    Parameters
    ----------
    ratings
        (n cases, k readers).
    draws
        Cases of each draw, (draws, n).
    """
    value = _icc_a1(mean_squares(ratings))
    drawn = [found for found in (_icc_a1(mean_squares(ratings[own])) for own in draws) if found is not None]
    if value is None or not drawn:
        return None
    low, high = np.quantile(drawn, [1 - UPPER, UPPER])
    return Estimate(value, float(low), float(high))


def icc_c1(ratings: Ratings) -> Estimate | None:
    """ICC(C,1): two-way, consistency, single rating; Shrout and Fleiss call it ICC(3,1).

    ``(MSR − MSE) / (MSR + (k − 1) MSE)`` with an F interval (McGraw and Wong 1996). Offsets of readers do not count.
    """
    ms = mean_squares(ratings)
    if ms.cases + (ms.k - 1) * ms.error <= 0:
        return None
    if ms.error == 0:
        return Estimate(1.0, 1.0, 1.0)
    freedom = ms.n - 1, (ms.n - 1) * (ms.k - 1)
    ratio = ms.cases / ms.error
    low = ratio / float(stats.f.ppf(UPPER, *freedom))
    high = ratio * float(stats.f.ppf(UPPER, *freedom[::-1]))
    values = [(f - 1) / (f + ms.k - 1) for f in (ratio, low, high)]
    return Estimate(*values)


def icc_ak(ratings: Ratings) -> Estimate | None:
    """ICC(A,k): absolute agreement of the mean of all k readers, by Spearman and Brown from :func:`icc_a1`."""
    single = icc_a1(ratings)
    if single is None:
        return None
    k = ratings.shape[1]
    # Below -1/(k - 1) the formula leaves its range; a lower end there says nothing.
    floor = -1 / (k - 1) + 1e-9
    value, low, high = (max(v, floor) for v in (single.value, single.low, single.high))
    return Estimate(*(k * v / (1 + (k - 1) * v) for v in (value, low, high)))


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Rank correlation, equal values sharing their mean rank; None where one of the two does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


def krippendorff_alpha(ratings: Ratings) -> float | None:
    """Krippendorff's alpha for interval data; NaN is a missing rating.

    Hayes and Krippendorff, Commun Methods Meas 2007;1:77-89:
    ``1 − D_o / D_e``: mean squared difference within cases over that of all ratings paired at random. Cases with
    fewer than two ratings do not count.
    """
    counted = ratings[np.isfinite(ratings).sum(axis=1) >= 2]
    values = counted[np.isfinite(counted)]
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    # The sum of squared differences of all ordered pairs of m values is 2 m times their squared deviations.
    within = sum(2 * len(own) * float(((own - own.mean()) ** 2).sum()) / (len(own) - 1)
                 for own in (row[np.isfinite(row)] for row in counted)) / len(values)  # fmt: skip
    expected = 2 * float(((values - values.mean()) ** 2).sum()) / (len(values) - 1)
    return 1 - within / expected


def fleiss_kappa(classes: NDArray[np.int64]) -> float | None:
    """Fleiss' kappa of classes (n cases, k readers), 0, 1, … (Psychol Bull 1971;76:378-382)."""
    k = classes.shape[1]
    counts = np.stack([(classes == kind).sum(axis=1) for kind in range(int(classes.max()) + 1)], axis=1)
    observed = float(((counts**2).sum(axis=1) - k).mean()) / (k * (k - 1))
    expected = float((counts.mean(axis=0) / k) @ (counts.mean(axis=0) / k))
    return (observed - expected) / (1 - expected) if expected < 1 else None


def weighted_kappa(first: NDArray[np.int64], second: NDArray[np.int64], kinds: int) -> float | None:
    """Cohen's kappa with linear weights of two readers' classes 0 to ``kinds`` − 1 (Psychol Bull 1968;70:213-220).

    With two classes it is the unweighted kappa.
    """
    table = np.zeros((kinds, kinds))
    np.add.at(table, (first, second), 1)
    return kappa_of_table(table)


def kappa_of_table(table: NDArray[Any]) -> float | None:
    """:func:`weighted_kappa` of the share, or number, of cases in each pair of classes (kinds, kinds)."""
    if not table.sum():
        return None
    table = table / table.sum()
    weights = np.abs(np.subtract.outer(np.arange(len(table)), np.arange(len(table))))
    expected = float((weights * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    return 1 - float((weights * table).sum()) / expected if expected > 0 else None
