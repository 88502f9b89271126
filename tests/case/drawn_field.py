"""A field with brown and blue nuclei on a grid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

MPP = 0.25


def draw_field(path: Path) -> None:
    pixels = np.full((800, 800, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, 760, 80) for y in range(60, 760, 80)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), pixels[..., ::-1])
