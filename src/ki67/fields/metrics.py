"""Measures of a two-class test, from scores and labels (numpy only)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import rankdata


def rank_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve as the normalised Mann–Whitney statistic; ties count half.

    Parameters
    ----------
    labels
        0 or 1, (N,).
    scores
        Larger means class 1, (N,).

    Returns
    -------
    float
        NaN where one class is absent.
    """
    truth = np.asarray(labels, dtype=bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(np.asarray(scores, dtype=np.float64))
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


AS_GOOD = 0.005
"""Balanced accuracies this close are one: with some thousands of patches chance makes as much."""


def alike(classes: ArrayLike) -> NDArray[np.float64]:
    """Weights that let every class weigh the same, however many there are of each, (N,)."""
    _, member, counts = np.unique(np.asarray(classes), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[member], np.float64)


def best_threshold(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, near: float | None = None
) -> float:
    """Threshold with the highest balanced accuracy (Youden's index), midway between two scores.

    Parameters
    ----------
    labels
        0 or 1, (N,), both present.
    scores
        Larger means class 1, (N,).
    weights
        How much each counts for the specificity (:func:`alike`, of several other classes); None lets all count alike.
    near
        Of the thresholds that are as good but for :data:`AS_GOOD`, the one nearest to this; None takes the best.

    Returns
    -------
    float
        Class 1 is what lies at or above it.

    Raises
    ------
    ValueError
        Where one class is absent.
    """
    order = np.argsort(np.asarray(scores, dtype=np.float64), kind="stable")
    sorted_scores = np.asarray(scores, dtype=np.float64)[order]
    truth = np.asarray(labels, dtype=bool)[order]
    if truth.all() or not truth.any():
        raise ValueError("a threshold needs patches of both classes")
    # Cutting before place i calls scores[i:] positive.
    sensitivity = 1.0 - np.concatenate([[0], np.cumsum(truth)]) / truth.sum()
    others = np.where(truth, 0.0, 1.0 if weights is None else np.asarray(weights, dtype=np.float64)[order])
    others /= others.max()
    specificity = np.concatenate([[0], np.cumsum(others)]) / others.sum()
    cuts = np.flatnonzero(np.diff(sorted_scores) > 0) + 1
    if len(cuts) == 0:
        return float(sorted_scores[0])
    right = (sensitivity + specificity)[cuts] / 2
    between = (sorted_scores[cuts - 1] + sorted_scores[cuts]) / 2
    if near is None:
        return float(between[int(np.argmax(right))])
    as_good = between[right >= right.max() - AS_GOOD]
    return float(as_good[int(np.argmin(np.abs(as_good - near)))])


def fit_temperature(labels: ArrayLike, logits: ArrayLike) -> float:
    """Temperature that minimises the cross-entropy, with all classes weighing the same.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017. The classes weigh the same because
    they did in training: the probabilities refer to an even share, whatever the share in the patches at hand.

    Parameters
    ----------
    labels
        Number of the class, (N,).
    logits
        (N, classes); or, for two classes, logit of class 1 minus logit of class 0, (N,).

    Returns
    -------
    float
        Between 0.1 and 10; logits are divided by it.
    """
    truth = np.asarray(labels, dtype=np.int64)
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 1:
        values = np.stack([np.zeros_like(values), values], axis=1)
    weights = 1.0 / np.bincount(truth, minlength=values.shape[1]).clip(min=1)[truth]
    weights /= weights.sum()
    chosen = np.arange(len(truth)), truth

    def loss(log_temperature: float) -> float:
        scaled = values / np.exp(log_temperature)
        return float(np.sum(weights * (logsumexp(scaled, axis=1) - scaled[chosen])))

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def cross_fitted_balanced_accuracy(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> float | None:
    """Balanced accuracy where each patient is called at a threshold chosen on other patients.

    A threshold chosen on the patients it is then measured on flatters the figure; this one does not.

    Parameters
    ----------
    labels, scores, patients
        0 or 1, score and patient of each patch, (N,).
    weights
        By which thresholds are chosen (:func:`best_threshold`).
    folds
        Groups of patients.
    seed
        Of the grouping.

    Returns
    -------
    float or None
        Pooled over all patches; None where the patients are too few to choose a threshold on others.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    names, member = np.unique(np.asarray(patients), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names))[member] % folds
    called = np.zeros(len(truth), dtype=bool)
    for number in range(min(folds, len(names))):
        held_out = fold == number
        if len(np.unique(truth[~held_out])) < 2:
            return None
        rest = None if weights is None else np.asarray(weights)[~held_out]
        called[held_out] = values[held_out] >= best_threshold(truth[~held_out], values[~held_out], rest)
    return float((np.mean(called[truth]) + np.mean(~called[~truth])) / 2)


def area_thresholds(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, least: int = 8
) -> NDArray[np.float64]:
    """Threshold of each patient at which as many patches are called as are labelled, in rising order.

    Where the called area is the labelled one differs from patient to patient: these are how much.

    Parameters
    ----------
    labels, scores, patients
        0 or 1, score and patient of each patch, (N,).
    least
        Patients with fewer patches of either label are passed over.

    Returns
    -------
    numpy.ndarray
        float64 (patients,), midway between the last score that is called and the first that is not.
    """
    truth, values, member = np.asarray(labels, bool), np.asarray(scores, np.float64), np.asarray(patients)
    found = []
    for patient in np.unique(member):
        here, wanted = np.sort(values[member == patient])[::-1], int(truth[member == patient].sum())
        if least <= wanted <= len(here) - least:
            found.append((here[wanted - 1] + here[wanted]) / 2)
    return np.sort(np.array(found, np.float64))
