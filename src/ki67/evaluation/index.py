"""Agreement of many cases' Ki-67 indices with a gold standard, and of several readers with one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.errors import DataSetError
from ki67.evaluation.agreement import (
    Estimate,
    Ratings,
    fleiss_kappa,
    icc_a1,
    icc_ak,
    icc_c1,
    krippendorff_alpha,
    spearman,
    weighted_kappa,
)
from ki67.evaluation.csv_rows import read_rows
from ki67.files import write_text
from ki67.scoring.cut_offs import CUT_OFFS, CutOff

NAMES: Final = ("case", "slide")
"""Columns of which both files have one; a gold standard made by ``ki67 gold make`` names slides."""

MINIMUM_CASES: Final = 3
"""With two cases a correlation is always ±1 and says nothing."""

LIMITS_Z: Final = 1.96
"""Bland and Altman's limits of agreement: bias ± 1.96 standard deviations of the differences."""

_NAMES_SHOWN: Final = 5
_LAYOUT: Final = "Give a CSV file with the columns case,index_percent (slide in place of case will do)."

Indices = NDArray[np.float64]


def evaluate_index(
    gold_csv: str | Path, scores_csv: str | Path, *, figures: str | Path | None = None
) -> dict[str, Any]:
    """Compare scores with a gold standard, case by case.

    Both files are CSV with a header and the columns ``case`` (or ``slide``) and ``index_percent`` (0 to 100); the
    rows may be in any order. The scores may be of several readers (column ``reader``), each with every case: the
    figures on top are then those of the readers' mean for each case. Differences are score − gold in percentage
    points.

    Parameters
    ----------
    gold_csv
        The standard.
    scores_csv
        The scores; the same cases.
    figures
        Folder for ``agreement.svg``; None draws nothing.

    Returns
    -------
    dict
        ``of``: what is compared, and the figures of :func:`compare_indices`. With several readers also ``readers``,
        those figures of each, and ``between_readers``: :func:`compare_readers`.

    Raises
    ------
    DataSetError
        Where a file cannot be read, lacks a column, holds no index where one is expected, names a case twice, or the
        two files do not hold the same cases.
    """
    gold_path, scores_path = Path(gold_csv), Path(scores_csv)
    gold = _read_indices(gold_path)[""]
    by_reader = _read_indices(scores_path, with_readers=True)
    for scores in by_reader.values():
        _require_same_cases(gold_path, gold, scores_path, scores)
    names = sorted(gold)
    reference = np.array([gold[name] for name in names])
    ratings = np.array([[scores[name] for scores in by_reader.values()] for name in names])
    several = len(by_reader) > 1
    mean = ratings.mean(axis=1)
    result: dict[str, Any] = {"of": f"mean of {len(by_reader)} readers" if several else "scores"}
    result |= compare_indices(reference, mean)
    if several:
        columns = zip(by_reader, ratings.T, strict=True)
        result["readers"] = {reader: compare_indices(reference, own) for reader, own in columns}
        result["between_readers"] = compare_readers(ratings)
    if figures is not None:
        from ki67.evaluation.index_figure import agreement_svg

        svg = agreement_svg(reference, dict(zip(by_reader, ratings.T, strict=True)))
        write_text(Path(figures) / "agreement.svg", svg)
    return result


def compare_indices(reference: Indices, found: Indices, cut_offs: Sequence[CutOff] = CUT_OFFS) -> dict[str, Any]:
    """Agreement of indices (N,) with their reference (N,), both in percent.

    Returns
    -------
    dict
        ``cases``; ``mae_points``, ``rmse_points``; ``icc``, ``icc_ci95``: :func:`~ki67.evaluation.agreement.icc_a1`;
        ``icc_consistency``: :func:`~ki67.evaluation.agreement.icc_c1`; ``pearson``, ``spearman``;
        ``bland_altman_bias_points``, ``bland_altman_sd_points``, ``bland_altman_lower_points`` and
        ``bland_altman_upper_points``: bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307-310);
        ``positive_rate_accuracy_percent``: 100 less the mean of abs(score − gold) / gold in percent, where the
        gold index is above 0: one reading of the paper's "accuracy of the positive rate" (it gives no formula);
        ``cut_offs``: by the id of each of ``cut_offs`` ``kappa`` (linear weights) and ``discordant``, the number of
        cases in another class. A correlation is None where one of the two does not vary.
    """
    difference = found - reference
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    ratings = np.column_stack([reference, found])
    above_none = reference > 0
    relative = np.abs(difference[above_none]) / reference[above_none]
    return {
        "cases": len(reference),
        "mae_points": float(np.abs(difference).mean()),
        "rmse_points": float(np.sqrt((difference**2).mean())),
        "icc": _value(icc_a1(ratings)),
        "icc_ci95": _interval(icc_a1(ratings)),
        "icc_consistency": _value(icc_c1(ratings)),
        "pearson": pearson(reference, found),
        "spearman": spearman(reference, found),
        "bland_altman_bias_points": bias,
        "bland_altman_sd_points": spread,
        "bland_altman_lower_points": bias - LIMITS_Z * spread,
        "bland_altman_upper_points": bias + LIMITS_Z * spread,
        "positive_rate_accuracy_percent": 100 - 100 * float(relative.mean()) if len(relative) else None,
        "cut_offs": {
            cut_off.id: _at_cut_off(cut_off.classify(ratings), len(cut_off.classes)) for cut_off in cut_offs
        },
    }


def compare_readers(ratings: Ratings) -> dict[str, Any]:
    """Agreement of readers with one another, whatever the gold standard; ratings (n cases, k readers) in percent.

    Returns
    -------
    dict
        ``icc`` and ``icc_ci95`` (absolute agreement of one reader), ``icc_consistency``, ``icc_mean`` (of the mean of
        all k), ``krippendorff_alpha`` (interval), ``sd_points`` (mean standard deviation between readers of a
        case), ``cut_offs``: Fleiss' kappa at each published cut-off.
    """
    return {
        "icc": _value(icc_a1(ratings)),
        "icc_ci95": _interval(icc_a1(ratings)),
        "icc_consistency": _value(icc_c1(ratings)),
        "icc_mean": _value(icc_ak(ratings)),
        "krippendorff_alpha": krippendorff_alpha(ratings),
        "sd_points": float(ratings.std(axis=1, ddof=1).mean()),
        "cut_offs": {cut_off.id: fleiss_kappa(cut_off.classify(ratings)) for cut_off in CUT_OFFS},
    }


def _at_cut_off(classes: NDArray[np.int64], kinds: int) -> dict[str, float | int | None]:
    first, second = classes.T
    return {"kappa": weighted_kappa(first, second, kinds), "discordant": int((first != second).sum())}


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _interval(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None else (estimate.low, estimate.high)


def pearson(first: Indices, second: Indices) -> float | None:
    """Pearson's correlation; None where one of the two does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def _read_indices(path: Path, *, with_readers: bool = False) -> dict[str, dict[str, float]]:
    """Index of each case, for each reader in the file's order; the reader is ``""`` where the file names none."""
    indices: dict[str, dict[str, float]] = {}
    for row in read_rows(path, ("index_percent",), _LAYOUT):
        name = row.text(next((column for column in NAMES if column in row.values), NAMES[0]))
        named = with_readers and "reader" in row.values
        own = indices.setdefault(row.text("reader") if named else "", {})
        if name in own:
            raise row.error(f"names the case {name!r} again")
        own[name] = row.number("index_percent", 0, 100)
    if not indices:
        raise DataSetError(path, "holds no case", _LAYOUT)
    return indices


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
