"""From proximity maps to nuclei: where a map peaks, there is a centre."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

MAP_STEPS = 2048.0
"""Maps are kept in steps of 1/2048, so that the last bit, which may depend on where a tile ends, decides nothing."""

LEAST_PEAK = 0.10
"""Fainter peaks are neither counted nor kept as other nuclei."""

# A light smoothing joins the two halves of a flat peak; a peak is the highest within 2 pixels of the maps (2 µm).
_SMOOTHING_PX, _SMOOTHING_REACH = 0.8, 5
_REACH_PX = 2


@dataclass(frozen=True)
class Peaks:
    """Centres in pixels of the maps (centre of the first pixel: 0.5) and the maps' values there, (N, classes)."""

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    values: NDArray[np.float64]

    def of_class(self, label: int, threshold: float) -> NDArray[np.bool_]:
        """Whether peaks are tumour nuclei of a class at a threshold: see :func:`tumour_labels`."""
        return np.asarray(tumour_labels(self.values, threshold, threshold) == label)


def tumour_labels(
    scores: NDArray[np.float64], positive_threshold: float, negative_threshold: float
) -> NDArray[np.int8]:
    """Labels (N,) from the scores of other, positive and negative, (N, 3).

    Positive and negative together must reach the threshold of the likelier of the two.
    """
    positive = scores[:, POSITIVE] >= scores[:, NEGATIVE]
    tumour = scores[:, POSITIVE] + scores[:, NEGATIVE]
    counted = tumour >= np.where(positive, positive_threshold, negative_threshold)
    return np.where(counted, np.where(positive, POSITIVE, NEGATIVE), OTHER).astype(np.int8)


def find_peaks(maps: NDArray[np.float32]) -> Peaks:
    """Local maxima of the highest of the maps (classes, H, W), to a fraction of a pixel by a parabola."""
    whole = np.round(maps.astype(np.float32) * np.float32(MAP_STEPS))
    smooth = [cv2.GaussianBlur(plane, (_SMOOTHING_REACH, _SMOOTHING_REACH), _SMOOTHING_PX) for plane in whole]
    stack = np.stack([np.round(plane).astype(np.int16) for plane in smooth])
    highest = stack.max(axis=0)
    window = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)
    # What comes before a pixel in reading order must be lower, so that of equal neighbours one is taken.
    before = window.copy()
    before[_REACH_PX, _REACH_PX:] = 0
    before[_REACH_PX + 1 :] = 0
    peak = (highest >= cv2.dilate(highest, window)) & (highest > cv2.dilate(highest, before))
    y, x = np.nonzero(peak & (highest >= LEAST_PEAK * MAP_STEPS))
    across, down = _vertex(highest, y, x, 0, 1), _vertex(highest, y, x, 1, 0)
    return Peaks(x + 0.5 + across, y + 0.5 + down, stack[:, y, x].T / MAP_STEPS)


def _vertex(
    image: NDArray[np.int16], y: NDArray[np.intp], x: NDArray[np.intp], down: int, across: int
) -> NDArray[np.float64]:
    """Where the parabola through a peak and its two neighbours has its vertex, within half a pixel."""
    height, width = image.shape
    low = image[np.maximum(y - down, 0), np.maximum(x - across, 0)].astype(np.float64)
    high = image[np.minimum(y + down, height - 1), np.minimum(x + across, width - 1)].astype(np.float64)
    bend = 2.0 * image[y, x] - low - high
    return np.clip(np.where(bend > 0, (high - low) / (2 * np.maximum(bend, 1.0)), 0.0), -0.5, 0.5)
