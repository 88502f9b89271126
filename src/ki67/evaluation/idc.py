"""IDC patches against their labels: every row of the paper's Table 2, with intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.evaluation.calibration import calibration_error
from ki67.fields.metrics import rank_auc
from ki67.fields.patches import load_pixels, read_patches, rows_for_model
from ki67.idc import IdcModel, load_model
from ki67.idc.classes import with_tumour
from ki67.idc.model import patient_mark

REPLICATES = 2000
"""Bootstrap draws; the limits of a 95 % interval then move by less than half a point between seeds."""

SEED = 2020
INTERVAL_PERCENT = (2.5, 97.5)

RATE_ROWS = (
    "auc",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "accuracy",
    "positive_likelihood_ratio",
    "negative_likelihood_ratio",
    "ppv",
    "npv",
    "diagnostic_index",
    "youden",
    "fpr",
    "fnr",
)
"""Rows of Table 2 of Feng et al. 2020, and the AUC; the diagnostic index is sensitivity + specificity."""

_SURROUNDINGS_NOTE = (
    "each patch is judged in the light of the other patches of its section among those given, as on a slide; "
    "patch_alone is the network by itself"
)
_ALONE_NOTE = "each patch is judged by itself: the model has no surroundings, or the names tell no places"

Rates = dict[str, float | None]


def evaluate_idc(
    directory: str | Path,
    index: str | Path | None = None,
    model: IdcModel | None = None,
    *,
    seed: int = SEED,
    figures: str | Path | None = None,
) -> dict[str, Any]:
    """Compare a model with the labels of patches.

    Patches smaller than the model's input, cut off at a section's edge, are padded with white. Where the model
    listens to the surroundings and the patches' names tell their places, each is judged in the light of the others
    of its section that are among the patches given, as on a slide; what the network says of each patch alone is
    given beside.

    Parameters
    ----------
    directory
        Folder of patches, ``<patient>/<0|1>/*.png``, at the model's resolution; its ``patches.json``, where there is
        one, tells which label is which class.
    index
        CSV with the columns ``patient``, ``label``, ``file``: the patches to use. None uses all.
    model
        None takes the shipped one. Patches are called invasive at and above its card's threshold.
    seed
        Of the bootstrap.
    figures
        Folder for pictures of the ROC curve, the calibration and the confusion; None draws none.

    Returns
    -------
    dict
        ``pooled``: the rows of Table 2, ``brier``, ``calibration_error`` (weighted by the patches' own share of
        classes), counts and ``threshold``; ``patch_alone``: ``pooled`` and ``intervals`` of patches judged each by
        itself; ``with_surroundings``: whether they were used; ``intervals``: 95 % percentile intervals over patients
        of the same names; ``per_patient``: one entry per patient; ``confusion``: patches by label and by the class
        called; ``warnings``. What is undefined (one class only, division by zero) is None.

    Raises
    ------
    MissingExtraError
        Where figures are asked for and the extra ``figures`` is not installed.
    DataSetError
        Where the folder, the index (with the line) or an image is missing or malformed, or the patches are not of
        the model's size, resolution or classes.
    ModelError
        Where the model is missing or damaged.
    """
    if figures is not None:
        # Here, so that the work is not done in vain where matplotlib is missing.
        from ki67.evaluation.idc_figures import draw_figures
    used = load_model() if model is None else model
    rows = rows_for_model(read_patches(directory, index), directory, used.card)
    classes = used.card.classes
    numbers = np.array([row.label for row in rows], dtype=np.int64)
    alone = used.all_probabilities(load_pixels(rows, used.card.patch_px)).astype(np.float64)
    tumour = used.card.tumour_output
    labels = (numbers == tumour).astype(np.int64)
    patients = np.array([row.patient for row in rows])
    card, informed = used.card, None
    if card.surroundings is not None:
        places = [row.place for row in rows]
        informed = card.surroundings.of_patches(alone[:, tumour], places, card.mpp, card.patch_um)
    scores = alone[:, tumour] if informed is None else informed
    threshold = used.card.threshold_alone if informed is None else used.card.threshold
    result = summarise(labels, scores, patients, threshold, seed=seed)
    by_itself = (
        result
        if informed is None
        else summarise(labels, alone[:, tumour], patients, used.card.threshold_alone, seed=seed)
    )
    result |= {
        "with_surroundings": informed is not None,
        "patch_alone": {name: by_itself[name] for name in ("pooled", "intervals")},
        "confusion": confusion(
            numbers, called_classes(with_tumour(alone, tumour, scores), tumour, threshold), classes
        ),
        "model": used.card.name,
        "model_sha256": used.sha256,
    }
    result["notes"].append(_SURROUNDINGS_NOTE if informed is not None else _ALONE_NOTE)
    seen = sum(patient_mark(patient) in used.card.patients_trained_on for patient in np.unique(patients).tolist())
    result["warnings"] = (
        [f"the model was trained on {seen} of these patients: the figures flatter it"] if seen else []
    )
    if figures is not None:
        draw_figures(figures, labels, scores, result)
    return result


def called_classes(probabilities: NDArray[np.float64], tumour: int, threshold: float) -> NDArray[np.int64]:
    """Call IDC at and above its threshold, else the most probable other class, (N,).

    Parameters
    ----------
    probabilities
        Of each class, (N, classes).
    tumour, threshold
        Number of IDC, and the probability it is called at.
    """
    others = probabilities.copy()
    others[:, tumour] = -1.0
    return np.where(probabilities[:, tumour] >= threshold, tumour, others.argmax(axis=1)).astype(np.int64)


def confusion(
    numbers: NDArray[np.int64], called: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count patches by label (outer) and by the class called (inner).

    Parameters
    ----------
    numbers, called
        Label and called class of each patch, (N,).
    classes
        Names.
    """
    return {
        name: {other: int(((numbers == i) & (called == j)).sum()) for j, other in enumerate(classes)}
        for i, name in enumerate(classes)
    }


def summarise(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    patients: NDArray[np.str_],
    threshold: float,
    *,
    seed: int = SEED,
) -> dict[str, Any]:
    """Measures of given probabilities; the part of :func:`evaluate_idc` that needs no model.

    Parameters
    ----------
    labels, scores, patients
        0 or 1, probability of class 1 and patient of each patch, (N,) each.
    threshold
        Class 1 is called at and above it.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``pooled``, ``intervals``, ``per_patient``, ``notes``.
    """
    names, member = np.unique(patients, return_inverse=True)
    per_patient = {}
    for place, name in enumerate(names):
        own = member == place
        per_patient[str(name)] = _measures(labels[own], scores[own], threshold)
    pooled = _measures(labels, scores, threshold) | {
        "brier": float(np.mean((scores - labels) ** 2)),
        "calibration_error": calibration_error(labels, scores),
        "patients": len(names),
        "threshold": threshold,
    }
    return {
        "pooled": pooled,
        "intervals": bootstrap_over_patients(labels, scores, member, threshold, seed=seed),
        "per_patient": per_patient,
        "notes": [
            "pooled over patches; patches below the model's size are padded with white",
            f"intervals: percentile bootstrap over patients, {REPLICATES} draws, seed {seed}",
        ],
    }


def table2(true_positive: float, false_positive: float, true_negative: float, false_negative: float) -> Rates:
    """Rows of Table 2 from the four counts; None where a row is undefined.

    Parameters
    ----------
    true_positive, false_positive, true_negative, false_negative
        Counts of patches.

    Returns
    -------
    dict
        Everything in :data:`RATE_ROWS` but the AUC.
    """
    sensitivity = _ratio(true_positive, true_positive + false_negative)
    specificity = _ratio(true_negative, true_negative + false_positive)
    total = true_positive + false_positive + true_negative + false_negative
    both = None if sensitivity is None or specificity is None else sensitivity + specificity
    fpr = None if specificity is None else 1 - specificity
    fnr = None if sensitivity is None else 1 - sensitivity
    return {
        "balanced_accuracy": None if both is None else both / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "accuracy": _ratio(true_positive + true_negative, total),
        "positive_likelihood_ratio": None if sensitivity is None or fpr is None else _ratio(sensitivity, fpr),
        "negative_likelihood_ratio": None if fnr is None or specificity is None else _ratio(fnr, specificity),
        "ppv": _ratio(true_positive, true_positive + false_positive),
        "npv": _ratio(true_negative, true_negative + false_negative),
        "diagnostic_index": both,
        "youden": None if both is None else both - 1,
        "fpr": fpr,
        "fnr": fnr,
    }


def bootstrap_over_patients(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    member: NDArray[np.int64],
    threshold: float,
    *,
    seed: int = SEED,
    replicates: int = REPLICATES,
) -> dict[str, list[float] | None]:
    """95 % percentile intervals: patients, with all their patches, are drawn with replacement.

    Parameters
    ----------
    labels, scores
        0 or 1 and probability, (N,).
    member
        Number of each patch's patient, (N,).
    threshold
        Class 1 is called at and above it.
    seed, replicates
        Of the bootstrap.

    Returns
    -------
    dict
        [lower, upper] for each of :data:`RATE_ROWS`; None with fewer than two patients, or where a row is undefined
        in more than 5 % of the draws.
    """
    count = int(member.max()) + 1
    if count < 2:
        return dict.fromkeys(RATE_ROWS)
    curve = _Curve(labels, scores, member)
    calls = _calls_by_patient(labels, scores >= threshold, member, count)
    generator = np.random.default_rng(seed)
    values: dict[str, list[float]] = {name: [] for name in RATE_ROWS}
    for _ in range(replicates):
        times = np.bincount(generator.integers(0, count, count), minlength=count)
        rates: Rates = table2(*(float(cell) for cell in times @ calls))
        rates["auc"] = curve.auc(times)
        for name, value in rates.items():
            if value is not None:
                values[name].append(value)
    enough = 0.95 * replicates
    return {
        name: [float(limit) for limit in np.percentile(found, INTERVAL_PERCENT)] if len(found) >= enough else None
        for name, found in values.items()
    }


class _Curve:
    """AUC for many weightings of the same patients, with one sort."""

    def __init__(self, labels: NDArray[np.int64], scores: NDArray[np.float64], member: NDArray[np.int64]) -> None:
        order = np.argsort(scores, kind="stable")
        self._member = member[order]
        self._positive = labels[order] == 1
        ordered = scores[order]
        self._starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0]))

    def auc(self, times: NDArray[np.int64]) -> float | None:
        weight = times[self._member].astype(np.float64)
        positive = np.add.reduceat(np.where(self._positive, weight, 0.0), self._starts)
        negative = np.add.reduceat(np.where(self._positive, 0.0, weight), self._starts)
        pairs = positive.sum() * negative.sum()
        if pairs == 0:
            return None
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / pairs)


def _calls_by_patient(
    labels: NDArray[np.int64], called: NDArray[np.bool_], member: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """True positives, false positives, true negatives, false negatives of each patient, (patients, 4)."""
    truth = labels == 1
    cells = [called & truth, called & ~truth, ~called & ~truth, ~called & truth]
    return np.stack([np.bincount(member[cell], minlength=count) for cell in cells], axis=1)


def _measures(labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    zero = np.zeros(len(labels), dtype=np.int64)
    calls = _calls_by_patient(labels, scores >= threshold, zero, 1)[0]
    auc = rank_auc(labels, scores)
    names = ("true_positive", "false_positive", "true_negative", "false_negative")
    counts: Mapping[str, int] = {name: int(cell) for name, cell in zip(names, calls, strict=True)}
    return {
        "auc": None if np.isnan(auc) else auc,
        **table2(*(float(cell) for cell in calls)),
        "patches": len(labels),
        "positive_patches": int(labels.sum()),
        **counts,
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
