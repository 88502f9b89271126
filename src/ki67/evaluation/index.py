"""Agreement of many cases' Ki-67 indices with a gold standard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.errors import DataSetError
from ki67.evaluation.csv_rows import read_rows

COLUMNS: Final = ("case", "index_percent")
"""Columns of both files; others are ignored."""

MINIMUM_CASES: Final = 3
"""With two cases a correlation is always ±1 and says nothing."""

LIMITS_Z: Final = 1.96
"""Bland and Altman's limits of agreement: bias ± 1.96 standard deviations of the differences."""

_NAMES_SHOWN: Final = 5


def evaluate_index(gold_csv: str | Path, scores_csv: str | Path) -> dict[str, Any]:
    """Compare scores with a gold standard, case by case.

    Both files are CSV with a header and the columns ``case`` and ``index_percent`` (0 to 100); the rows may be in any
    order. Differences are score − gold in percentage points.

    Parameters
    ----------
    gold_csv
        The standard.
    scores_csv
        The scores; the same cases.

    Returns
    -------
    dict
        ``cases``; ``mae_points`` and ``rmse_points``; ``icc``: :func:`icc_2_1`; ``pearson``;
        ``bland_altman_bias_points``, ``bland_altman_sd_points``,
        ``bland_altman_lower_points`` and ``bland_altman_upper_points``: bias and 95 %
        limits of agreement (Bland and Altman, Lancet 1986;327:307-310). ``icc`` and ``pearson`` are None where all
        indices are equal.

    Raises
    ------
    DataSetError
        Where a file cannot be read, lacks a column, holds no index where one is expected, names a case twice, or the
        two files do not hold the same cases.
    """
    gold, scores = _read_indices(Path(gold_csv)), _read_indices(Path(scores_csv))
    _require_same_cases(Path(gold_csv), gold, Path(scores_csv), scores)
    names = sorted(gold)
    reference = np.array([gold[name] for name in names])
    found = np.array([scores[name] for name in names])
    difference = found - reference
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    return {
        "cases": len(names),
        "mae_points": float(np.abs(difference).mean()),
        "rmse_points": float(np.sqrt((difference**2).mean())),
        "icc": icc_2_1(np.column_stack([reference, found])),
        "pearson": pearson(reference, found),
        "bland_altman_bias_points": bias,
        "bland_altman_sd_points": spread,
        "bland_altman_lower_points": bias - LIMITS_Z * spread,
        "bland_altman_upper_points": bias + LIMITS_Z * spread,
    }


def icc_2_1(ratings: NDArray[np.float64]) -> float | None:
    """Intraclass correlation ICC(2,1): two-way random effects, absolute agreement, single rating.

    ``(MSR − MSE) / (MSR + (k − 1) MSE + k (MSC − MSE) / n)`` with the mean squares of rows, columns and error of the
    two-way analysis of variance (Shrout and Fleiss, Psychol Bull 1979;86:420-428; ICC(A,1) of McGraw and Wong,
    Psychol Methods 1996;1:30-46). A constant offset between the raters lowers it, unlike a correlation.

    Parameters
    ----------
    ratings
        (n cases, k raters), n and k at least 2.

    Returns
    -------
    float or None
        None where all ratings are equal, for which it is not defined.
    """
    n, k = ratings.shape
    mean = ratings.mean()
    rows, columns = ratings.mean(axis=1, keepdims=True), ratings.mean(axis=0, keepdims=True)
    msr = k * float(((rows - mean) ** 2).sum()) / (n - 1)
    msc = n * float(((columns - mean) ** 2).sum()) / (k - 1)
    mse = float(((ratings - rows - columns + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    denominator = msr + (k - 1) * mse + k * (msc - mse) / n
    return (msr - mse) / denominator if denominator > 0 else None


def pearson(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Pearson's correlation; None where one of the two does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def _read_indices(path: Path) -> dict[str, float]:
    indices: dict[str, float] = {}
    for row in read_rows(path, COLUMNS, _LAYOUT):
        name = row.text("case")
        if name in indices:
            raise row.error(f"names the case {name!r} again")
        indices[name] = row.number("index_percent", 0, 100)
    return indices


_LAYOUT: Final = "Give a CSV file with the columns case,index_percent."


def _require_same_cases(gold_csv: Path, gold: dict[str, float], scores_csv: Path, scores: dict[str, float]) -> None:
    for path, there, other, here in ((scores_csv, scores, gold_csv, gold), (gold_csv, gold, scores_csv, scores)):
        missing = sorted(set(here) - set(there))
        if missing:
            shown = ", ".join(missing[:_NAMES_SHOWN]) + (", …" if len(missing) > _NAMES_SHOWN else "")
            raise DataSetError(
                path,
                f"lacks {len(missing)} cases that {other.name} holds ({shown})",
                "Give both files the same cases.",
            )
    if len(gold) < MINIMUM_CASES:
        raise DataSetError(gold_csv, f"holds {len(gold)} cases, at least {MINIMUM_CASES} are needed", _LAYOUT)
