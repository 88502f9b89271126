"""Agreement of many cases' Ki-67 indices with a gold standard, and of several readers with one another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
from ki67.evaluation.limits import (
    LIMITS_Z,
    Limits,
    between_reader_between_modality_limits,
    between_reader_limits,
    within_reader_limits,
)
from ki67.evaluation.readings import (
    CAUSES,
    LAYOUT,
    OTHER_CAUSE,
    Reading,
    by_modality,
    by_reader,
    read_readings,
)
from ki67.files import write_text
from ki67.scoring.cut_offs import CUT_OFFS, CutOff

MINIMUM_CASES: Final = 3
"""With two cases a correlation is always ±1 and says nothing."""

DISCREPANCY_POINTS: Final = 5.0
"""Difference beyond which a case is reviewed; PMC6382355 (997 cases) reviewed those."""

_NAMES_SHOWN: Final = 5

Indices = NDArray[np.float64]


def evaluate_index(
    gold_csv: str | Path,
    scores_csv: str | Path,
    *,
    figures: str | Path | None = None,
    discrepancy_points: float = DISCREPANCY_POINTS,
) -> dict[str, Any]:
    """Compare scores with a gold standard, case by case.

    Both files are CSV with a header and the columns ``case`` (or ``slide``) and ``index_percent`` (0 to 100); the
    rows may be in any order. The scores may be of several readers (column ``reader``), each with every case: the
    figures on top are then those of the readers' mean for each case. They may also be of two modalities (column
    ``modality``: on glass and on the screen, without and with the program), each read by the same readers. A column
    ``cause`` says why a score is off (:data:`ki67.evaluation.readings.CAUSES`, or ``other``). Differences are
    score − gold in percentage points.

    Parameters
    ----------
    gold_csv
        The standard.
    scores_csv
        The scores; the same cases.
    figures
        Folder for ``agreement.svg``; None draws nothing.
    discrepancy_points
        Difference beyond which a score is listed for review.

    Returns
    -------
    dict
        ``of``: what is compared, and the figures of :func:`compare_indices`. With several readers also ``readers``,
        those figures of each, and ``between_readers``: :func:`compare_readers`; ``limits_of_agreement``: of one
        reader against the gold (``reader_to_gold``) and of two readers (``between_readers``), each with
        ``bias_points``, ``bias_ci95_points``, ``lower_points``, ``upper_points`` (:mod:`ki67.evaluation.limits`; the
        interval of the bias is None between readers, where it is 0 by definition). With two modalities
        all this is in ``modalities`` under the name of each, and ``between_modalities`` has the limits of the second
        less the first, of the ``same_reader`` and of an ``other_reader`` (None of a single one). ``discrepancies``:
        :func:`review_discrepancies`.

    Raises
    ------
    DataSetError
        Where a file cannot be read, lacks a column, holds no index where one is expected, names a case twice, or the
        two files do not hold the same cases.
    """
    gold_path, scores_path = Path(gold_csv), Path(scores_csv)
    gold = _read_gold(gold_path)
    readings = read_readings(scores_path)
    modalities = by_modality(scores_path, readings)
    names = sorted(gold)
    reference = np.array([gold[name] for name in names])
    ratings: dict[str, dict[str, Indices]] = {}
    for modality, own in modalities.items():
        for reader, scores in by_reader(own).items():
            _require_same_cases(gold_path, gold, scores_path, scores)
            ratings.setdefault(modality, {})[reader] = np.array([scores[name] for name in names])
    result: dict[str, Any]
    if len(ratings) == 1:
        result = _compare_readers_to_gold(reference, ratings[""])
    else:
        each = {modality: _compare_readers_to_gold(reference, own) for modality, own in ratings.items()}
        result = {"modalities": each, "between_modalities": _between_modalities(ratings)}
    result["discrepancies"] = review_discrepancies(gold, readings, discrepancy_points)
    if figures is not None:
        from ki67.evaluation.index_figure import agreement_svg

        drawn = {
            ", ".join(filter(None, (reader, modality))): values
            for modality, own in ratings.items()
            for reader, values in own.items()
        }
        write_text(Path(figures) / "agreement.svg", agreement_svg(reference, drawn))
    return result


def _compare_readers_to_gold(reference: Indices, by_reader: Mapping[str, Indices]) -> dict[str, Any]:
    ratings = np.column_stack(list(by_reader.values()))
    several = len(by_reader) > 1
    result: dict[str, Any] = {"of": f"mean of {len(by_reader)} readers" if several else "scores"}
    result |= compare_indices(reference, ratings.mean(axis=1))
    if several:
        result["readers"] = {reader: compare_indices(reference, own) for reader, own in by_reader.items()}
        result["between_readers"] = compare_readers(ratings)
        result["limits_of_agreement"] = {
            "reader_to_gold": asdict(within_reader_limits(ratings - reference[:, None])),
            "between_readers": asdict(between_reader_limits(ratings)),
        }
    return result


def _between_modalities(ratings: Mapping[str, Mapping[str, Indices]]) -> dict[str, Any]:
    (name, first), (other, second) = ratings.items()
    a, b = (np.column_stack([own[reader] for reader in first]) for own in (first, second))
    several = len(first) > 1
    return {
        "difference": f"{other} − {name}",
        "same_reader": asdict(within_reader_limits(b - a)) if several else _plain_limits((b - a)[:, 0]),
        "other_reader": asdict(between_reader_between_modality_limits(a, b)) if several else None,
    }


def _plain_limits(difference: Indices) -> dict[str, Any]:
    """Bland and Altman's limits of one reader's differences (N,)."""
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    of_mean = LIMITS_Z * spread / math.sqrt(len(difference))
    limits = Limits(bias, (bias - of_mean, bias + of_mean), bias - LIMITS_Z * spread, bias + LIMITS_Z * spread)
    return asdict(limits)


def review_discrepancies(
    gold: Mapping[str, float], readings: Sequence[Reading], beyond_points: float = DISCREPANCY_POINTS
) -> dict[str, Any]:
    """Scores that are farther from the gold index than ``beyond_points``, and why, as far as it was found.

    Returns
    -------
    dict
        ``beyond_points``; ``scores``, their number; ``by_cause``: of each cause that was found ``scores``,
        ``percent`` of those reviewed, and ``published_percent`` (:data:`ki67.evaluation.readings.CAUSES`; None for
        ``other``);
        ``not_reviewed``, number without a cause; ``listed``, farthest first: ``case``, ``reader``, ``modality``,
        ``difference_points``, ``cause``.
    """
    differences = [(reading.index_percent - gold[reading.case], reading) for reading in readings]
    beyond = [pair for pair in differences if abs(pair[0]) > beyond_points]
    causes = Counter(reading.cause for _, reading in beyond)
    reviewed = len(beyond) - causes[""]
    return {
        "beyond_points": beyond_points,
        "scores": len(beyond),
        "by_cause": {
            cause: {
                "scores": causes[cause],
                "percent": 100 * causes[cause] / reviewed,
                "published_percent": CAUSES.get(cause),
            }
            for cause in (*CAUSES, OTHER_CAUSE)
            if causes[cause]
        },
        "not_reviewed": causes[""],
        "listed": [
            {
                "case": reading.case,
                "reader": reading.reader,
                "modality": reading.modality,
                "difference_points": difference,
                "cause": reading.cause or None,
            }
            for difference, reading in sorted(beyond, key=lambda pair: -abs(pair[0]))
        ],
    }


def compare_indices(reference: Indices, found: Indices, cut_offs: Sequence[CutOff] = CUT_OFFS) -> dict[str, Any]:
    """Agreement of indices (N,) with their reference (N,), both in percent.

    Returns
    -------
    dict
        ``cases``; ``mae_points``, ``rmse_points``; ``icc``, ``icc_ci95``: :func:`~ki67.evaluation.agreement.icc_a1`;
        ``icc_consistency``: :func:`~ki67.evaluation.agreement.icc_c1`; ``pearson``, ``spearman``;
        ``bland_altman_bias_points``, ``bland_altman_sd_points``, ``bland_altman_lower_points`` and
        ``bland_altman_upper_points``: bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307-310);
        ``positive_rate_accuracy_percent``: :func:`positive_rate_accuracy`;
        ``cut_offs``: by the id of each of ``cut_offs`` ``kappa`` (linear weights) and ``discordant``, the number of
        cases in another class. A correlation is None where one of the two does not vary.
    """
    difference = found - reference
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    ratings = np.column_stack([reference, found])
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
        "positive_rate_accuracy_percent": positive_rate_accuracy(reference, found),
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


def positive_rate_accuracy(reference: Indices, found: Indices) -> float | None:
    """100 less the mean of abs(found − reference) / reference in percent, over the cases with a reference above 0.

    One reading of the paper's "accuracy of the positive rate" (90.2 %), for which it gives no formula. The other, the
    share of cells rightly classed, takes cells and not indices: ``cells_rightly_classed_percent`` of
    :func:`ki67.evaluation.cells.evaluate_cells`. None where no reference is above 0.
    """
    counted = reference > 0
    if not counted.any():
        return None
    return 100 - 100 * float((np.abs(found - reference)[counted] / reference[counted]).mean())


def pearson(first: Indices, second: Indices) -> float | None:
    """Pearson's correlation; None where one of the two does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def _read_gold(path: Path) -> dict[str, float]:
    gold: dict[str, float] = {}
    for reading in read_readings(path):
        if reading.case in gold:
            raise DataSetError(path, f"names the case {reading.case!r} twice", "Give a standard of one reader.")
        gold[reading.case] = reading.index_percent
    return gold


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
        raise DataSetError(gold_csv, f"holds {len(gold)} cases, at least {MINIMUM_CASES} are needed", LAYOUT)
