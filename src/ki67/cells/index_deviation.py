"""How far the index of a model is from the truth on patients that it has not seen, and on how many cells.

Wrong cells cancel or add up: what a network misses among the positive and what it calls positive by mistake move the
index together. Error rates of single cells say little of that, the index of whole patients does. On the scale of the
logit, ``log(p / (1 − p))``, the error of a patient's index is taken as normal,

    logit(found) − logit(gold)  ~  N(bias, between² + per_cell / (n p (1 − p)))

``between`` is what differs from patient to patient and stays however many cells are counted (stain, scanner, grade);
``per_cell`` is what averages out: 2 would be two draws of other cells, 0 cells that are all right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

# Added to either class, so that no positive cell has a logit (Haldane, Ann Hum Genet 1956;20:309-311).
_HALF = 0.5
# Found and labelled cells that have nothing in common but the patient: twice the variance of one draw.
_MOST_PER_CELL = 2.0
_PROFILE_STEP = 0.05
# Fewer patients tell nothing of how patients differ.
LEAST_PATIENTS = 8


@dataclass(frozen=True)
class PatientIndex:
    """Tumour cells found in and labelled on one patient's fields by a model that has not seen them.

    ``group`` is the data set; ``found`` and ``gold`` are numbers of positive and negative cells.
    """

    group: str
    patient: str
    found: tuple[int, int]
    gold: tuple[int, int]


@dataclass(frozen=True)
class IndexDeviation:
    """Error of a model's index on the scale of the logit (see the module).

    ``bias`` is how much too high; ``between`` a standard deviation over patients; ``per_cell`` a variance in units of
    that of independent draws; ``patients`` and ``groups`` how many it is known from.
    """

    bias: float
    between: float
    per_cell: float
    patients: int
    groups: int

    def to_dict(self) -> dict[str, float | int]:
        """Plain values for the card."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def fit_index_deviation(patients: Sequence[PatientIndex]) -> IndexDeviation | None:
    """Fit the error of the index by maximum likelihood, every data set with the same weight.

    ``between`` is not the likeliest but the largest value within one standard error of it.

    Parameters
    ----------
    patients
        Counts of patients that the model had not seen; those without a cell found and a cell labelled do not count.

    Returns
    -------
    IndexDeviation or None
        None with fewer than :data:`LEAST_PATIENTS` patients.
    """
    usable = [one for one in patients if sum(one.found) > 0 and sum(one.gold) > 0]
    if len(usable) < LEAST_PATIENTS:
        return None
    found, gold = (np.array([getattr(one, name) for one in usable], np.float64) for name in ("found", "gold"))
    error = _logit(found) - _logit(gold)
    draws = (1 / (gold + _HALF)).sum(axis=1)
    groups, of_group = np.unique([one.group for one in usable], return_inverse=True)
    weight = (len(usable) / len(groups) / np.bincount(of_group))[of_group]

    def at(values: NDArray[np.float64]) -> tuple[float, float]:
        variance = np.exp(2 * values[0]) + np.exp(2 * values[1]) * draws
        bias = float((weight * error / variance).sum() / (weight / variance).sum())
        return bias, float((weight * (np.log(variance) + (error - bias) ** 2 / variance)).sum())

    starts = [np.log([share * error.std() + 1e-3, 0.5]) for share in (0.2, 1.0)]
    bounds = [(-6.0, 2.0), (-4.0, math.log(_MOST_PER_CELL) / 2)]
    runs = [optimize.minimize(lambda v: at(v)[1], start, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(runs, key=lambda run: float(run.fun))
    # Few patients hardly tell what differs between them from what averages out, and on a slide only the first is
    # left: so the most of it that they allow within one standard error (profile likelihood).
    values = best.x
    for between in np.arange(best.x[0], bounds[0][1], _PROFILE_STEP):
        own = optimize.minimize_scalar(
            lambda v, b=between: at(np.array([b, v]))[1], bounds=bounds[1], method="bounded"
        )
        if float(own.fun) > float(best.fun) + 1.0:
            break
        values = np.array([between, float(own.x)])
    return IndexDeviation(
        at(values)[0], float(np.exp(values[0])), float(np.exp(2 * values[1])), len(usable), len(groups)
    )


def _logit(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logit of the share of positive cells, (N,), of counts (N, 2) of positive and negative ones."""
    return np.asarray(np.log((counts[:, 0] + _HALF) / (counts[:, 1] + _HALF)))
