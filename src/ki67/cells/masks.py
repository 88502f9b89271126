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


@dataclass(frozen=True)
class Masks:
    """Pixels of N nuclei, (N, H, W), edges empty; ``left``, ``top`` (N,): where row 1, column 1 lies in the tile."""

    pixels: NDArray[np.bool_]
    left: NDArray[np.intp]
    top: NDArray[np.intp]

    def __getitem__(self, index: NDArray[np.intp]) -> Masks:
        """Some of them."""
        return Masks(self.pixels[index], self.left[index], self.top[index])


def stacked(masks: Sequence[Mask]) -> Masks:
    """Masks of any size side by side, the first pixel of each in row 1, column 1."""
    height, width = (max((mask.pixels.shape[axis] for mask in masks), default=0) + 2 for axis in (0, 1))
    stack = np.zeros((len(masks), height, width), np.bool_)
    for place, mask in zip(stack, masks, strict=True):
        place[1 : mask.pixels.shape[0] + 1, 1 : mask.pixels.shape[1] + 1] = mask.pixels
    left, top = (np.array([getattr(mask, side) for mask in masks], np.intp) for side in ("left", "top"))
    return Masks(stack, left, top)
