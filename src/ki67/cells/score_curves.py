"""From a network's score to the probability that a cell is what it is called.

A logistic curve for each class (Platt, Advances in Large Margin Classifiers, 1999) over the score of that class
alone: where positive and negative score alike, either is a guess, however sure it is that there is a tumour cell.
Every data set weighs the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Curve = tuple[float, float]
"""Slope and intercept: the probability is ``expit(slope * score + intercept)``."""

# A little weight on a flat curve keeps the fit finite where every cell is right.
_RIDGE = 1e-3


def fit_curve(score: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> Curve:
    """Fit by maximum likelihood.

    Parameters
    ----------
    score, right, weight
        Score of each cell, whether a labelled cell of its class was there, and its weight, (N,).
    """
    share = weight / weight.sum()

    def loss(curve: NDArray[np.float64]) -> float:
        margin = curve[0] * score + curve[1]
        likelihood = np.logaddexp(0.0, np.where(right, -margin, margin))
        return float((share * likelihood).sum() + _RIDGE * (curve[0] / 10) ** 2)

    found = minimize(loss, np.array([5.0, -2.0]), method="BFGS").x
    return float(found[0]), float(found[1])


def probability(score: NDArray[np.float64], curve: Curve) -> NDArray[np.float64]:
    """Probability of being right at each score."""
    return np.asarray(expit(curve[0] * score + curve[1]))
