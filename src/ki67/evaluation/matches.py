"""Tumour cells of two sources matched one to one: hits, false alarms, misses, confusion of classes, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.fields.matching import match
from ki67.vocabulary import TUMOUR_CLASSES

Points = Mapping[str, NDArray[np.float64]]
"""Places (N, 2) in µm by class."""

BOOTSTRAP_DRAWS: Final = 2000
"""Draws of whole fields, or slides, with replacement; cells of one field are not independent."""

_BOOTSTRAP_SEED: Final = 1
_INTERVAL: Final = (2.5, 97.5)


def confuse(truth: Points, found: Points, radius_um: float) -> NDArray[np.int64]:
    """Tumour cells matched whatever their class: (2, 2), by the class in the first source and in the second."""
    first, second = (np.concatenate([cells[name] for name in TUMOUR_CLASSES]) for cells in (truth, found))
    row, column = match(first, second, radius_um)
    table = np.zeros((2, 2), np.int64)
    positive = TUMOUR_CLASSES[0]
    cells = (row >= len(truth[positive])).astype(int), (column >= len(found[positive])).astype(int)
    np.add.at(table, cells, 1)
    return table


def detection_counts(truth: Points, found: Points, confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hits, false alarms and misses, (3,), of tumour cells whatever their class."""
    hits = int(confusion.sum())
    labelled, called = (sum(len(cells[name]) for name in TUMOUR_CLASSES) for cells in (truth, found))
    return np.array([hits, called - hits, labelled - hits])


def class_figures(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of (fields, 3) hits, false alarms and misses; None where there is nothing to divide by.

    The interval of F1 is a bootstrap's over fields, None for a single one.
    """
    hits, false, missed = (int(value) for value in counts.sum(axis=0))
    totals = counts[bootstrap_draws(len(counts))].sum(axis=1)
    cells = 2 * totals[:, 0] + totals[:, 1] + totals[:, 2]
    spread = 2 * totals[cells > 0, 0] / cells[cells > 0]
    return {
        "precision": share(hits, hits + false),
        "recall": share(hits, hits + missed),
        "f1": share(2 * hits, 2 * hits + false + missed),
        "f1_ci95": bootstrap_interval(spread) if len(counts) > 1 else None,
        "tp": hits,
        "fp": false,
        "fn": missed,
    }


def bootstrap_draws(number: int) -> NDArray[np.int64]:
    """Which of ``number`` fields or slides each draw takes, (draws, number); the same at every call."""
    return np.random.default_rng(_BOOTSTRAP_SEED).integers(0, number, (BOOTSTRAP_DRAWS, number))


def bootstrap_interval(values: NDArray[np.float64]) -> list[float] | None:
    """95 % percentile interval of a measure's values over the draws (N,); None where there is none."""
    return [float(value) for value in np.percentile(values, _INTERVAL)] if len(values) else None


def share(part: int, whole: int) -> float | None:
    """Part of a whole; None of nothing."""
    return part / whole if whole else None


def percent(positive: int, negative: int) -> float | None:
    """Ki-67 index of counts in percent; None without a cell."""
    return 100.0 * positive / (positive + negative) if positive + negative else None
