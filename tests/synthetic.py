"""Drawn fields for the cells tests: round nuclei by Beer-Lambert on a tinted background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND = (228.0, 224.0, 214.0)
HEMATOXYLIN = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
DAB = np.array([0.27, 0.57, 0.78]) / np.linalg.norm([0.27, 0.57, 0.78])
GROUND_AMOUNT = 0.03
GROUND = tuple(np.array(BACKGROUND) * 10.0 ** (-GROUND_AMOUNT * HEMATOXYLIN))
"""Colour between the nuclei: tissue without a nucleus is not glass."""
EOSIN = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])


def render(hematoxylin: NDArray[np.float64], dab: NDArray[np.float64], seed: int = 0) -> NDArray[np.uint8]:
    """Picture (H, W, 3) from stain amounts (H, W), slightly blurred and noisy."""
    od = hematoxylin[..., None] * HEMATOXYLIN + dab[..., None] * DAB
    light = cv2.GaussianBlur(np.array(BACKGROUND) * 10.0**-od, (0, 0), 0.8)
    noise = np.random.default_rng(seed).normal(0, 1.5, light.shape)
    return np.clip(np.round(light + noise), 0, 255).astype(np.uint8)


def field(
    size: tuple[int, int] = (480, 640), spacing: int = 48, radius: int = 13, positive_every: int = 3, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """A field at 0.25 µm/px: picture, nucleus centres (N, 2) in pixels, and which of them are DAB positive."""
    rng = np.random.default_rng(seed)
    height, width = size
    hematoxylin, dab = np.full(size, GROUND_AMOUNT), np.zeros(size)
    centres, positive = [], []
    for y in range(spacing // 2, height - radius, spacing):
        for x in range(spacing // 2, width - radius, spacing):
            centre = (x + int(rng.integers(-5, 6)), y + int(rng.integers(-5, 6)))
            brown = len(centres) % positive_every == 0
            cv2.circle(dab if brown else hematoxylin, centre, radius, 0.9 if brown else 0.35, -1)
            centres.append(centre)
            positive.append(brown)
    return render(hematoxylin, dab, seed), np.array(centres, float) + 0.5, np.array(positive)
