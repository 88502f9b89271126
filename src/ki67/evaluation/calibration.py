"""How far probabilities are from what is observed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS: Final = 10
"""Bins of equal width, as Guo et al. (ICML 2017) draw them."""


def calibration_error(right: NDArray[Any], probability: NDArray[np.float64]) -> float:
    """Expected calibration error: mean distance of probability and observed share, over bins of equal width.

    Parameters
    ----------
    right, probability
        0 or 1 and how likely 1 was said to be, (N,). Of nothing the error is 0.
    """
    gaps = np.bincount(_bins(probability), weights=probability - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / max(len(right), 1))


def reliability(right: NDArray[Any], probability: NDArray[np.float64]) -> dict[str, Any]:
    """Points of a reliability diagram, one per bin that holds any, and the expected calibration error."""
    place = _bins(probability)
    bins = [
        {
            "from": index / CALIBRATION_BINS,
            "cells": int(own.sum()),
            "probability": float(probability[own].mean()),
            "right": float(right[own].mean()),
        }
        for index in range(CALIBRATION_BINS)
        if (own := place == index).any()
    ]
    return {"expected_calibration_error": calibration_error(right, probability), "bins": bins}


def _bins(probability: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.minimum((probability * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
