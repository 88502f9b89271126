"""At which score a nucleus is counted: chosen by cross-validation, never on validation fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ki67.vocabulary import CLASSES, NEGATIVE, POSITIVE

Counts = dict[str, tuple[float, float, float]]
"""By data set: hits, cells found, cells labelled."""

# A cross-validated F1 this much below the best is not measurably worse on a score of fields.
_NEARLY_AS_GOOD = 0.006


def choose_thresholds(
    counts_at: Callable[[int, float], Counts], steps: Sequence[float]
) -> tuple[tuple[float, float], dict[str, Any]]:
    """Thresholds of both classes: F1 nearly the best over the data sets, and as many cells found as there are.

    Where F1 hardly changes, the number of cells decides: it is what the index is made of.

    Parameters
    ----------
    counts_at
        Gives the counts of a class (its number) at a threshold, on fields the model had not seen.
    steps
        Thresholds to choose among.

    Returns
    -------
    tuple
        Thresholds of positive and negative; F1 by data set at those (``f1``) and at all (``by_threshold``).
    """
    chosen = []
    figures: dict[str, Any] = {}
    for label in (POSITIVE, NEGATIVE):
        scores, imbalance = {}, {}
        for step in steps:
            counts = counts_at(label, step)
            by_group = {name: 2 * hits / max(found + truth, 1) for name, (hits, found, truth) in counts.items()}
            scores[step] = float(np.mean(list(by_group.values())))
            balance = [np.log((found + 1) / (truth + 1)) for _, found, truth in counts.values()]
            imbalance[step] = abs(float(np.mean(balance)))
            figures[f"{CLASSES[label]} at {step}"] = {name: round(value, 4) for name, value in by_group.items()}
        best = max(scores.values())
        chosen.append(min((s for s in steps if scores[s] >= best - _NEARLY_AS_GOOD), key=lambda s: (imbalance[s], s)))
    kept = {CLASSES[label]: figures[f"{CLASSES[label]} at {chosen[label - 1]}"] for label in (POSITIVE, NEGATIVE)}
    return (chosen[0], chosen[1]), {"f1": kept, "by_threshold": figures}
