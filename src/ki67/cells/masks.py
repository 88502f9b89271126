"""Pixels of one nucleus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mask:
    """Pixels of one nucleus in its bounding box; ``left``, ``top`` is the box's first pixel in the tile."""

    pixels: NDArray[np.bool_]
    left: int
    top: int
