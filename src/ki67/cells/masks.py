"""Pixels of one nucleus, and of many side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mask:
    """Pixels of one nucleus in its bounding box; ``left``, ``top`` is the box's first pixel in the tile."""

    pixels: NDArray[np.bool_]
    left: int
    top: int


def stacked(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Masks of any size in one array (N, H, W), the first pixel of each in row 1, column 1, and its edges empty."""
    height, width = (max(mask.shape[axis] for mask in masks) + 2 for axis in (0, 1))
    stack = np.zeros((len(masks), height, width), np.bool_)
    for place, mask in zip(stack, masks, strict=True):
        place[1 : mask.shape[0] + 1, 1 : mask.shape[1] + 1] = mask
    return stack
