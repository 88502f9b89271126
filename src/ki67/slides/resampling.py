"""Exact area averaging onto any pixel grid, one axis after the other.

An output pixel that covers [a, b] of the source axis is the mean of the source over [a, b], source pixels counted by
the part of them that lies inside. Nothing depends on where a block begins, so that neighbouring reads join without a
seam and a read at another resolution does not shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Positions carry the float noise of µm / mpp; half a millionth of a pixel is far below anything visible.
POSITION_DECIMALS: Final = 6
# Ties (x.5, common when averaging 2 or 4 values) would otherwise round by float noise.
ROUNDING: Final = 0.5 + 1e-3
ALIGNED_PX: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a read: output pixel i covers [start + i * step, start + (i + 1) * step] source pixels."""

    start: float
    step: float
    count: int

    def part(self, first: int, count: int) -> Axis:
        """Output pixels ``first`` to ``first + count``."""
        return Axis(self.start + first * self.step, self.step, count)

    @property
    def source_range(self) -> tuple[int, int]:
        """First source pixel needed and the one after the last; one more on each side when interpolating."""
        margin = 1 if self.step < 1 else 0
        start = round(self.start, POSITION_DECIMALS)
        end = round(self.start + self.step * self.count, POSITION_DECIMALS)
        return int(np.floor(start)) - margin, int(np.ceil(end)) + margin

    @property
    def whole_step(self) -> int | None:
        """The step, where output pixels are made of whole source pixels."""
        step = round(self.step)
        drift = abs(self.step - step) * self.count
        aligned = abs(self.start - round(self.start)) < ALIGNED_PX and drift < ALIGNED_PX
        return step if aligned and step >= 1 else None

    @property
    def first_step(self) -> int | None:
        """Number of steps from the source's edge to the first output pixel; None off that grid, or before it."""
        steps = round(self.start / self.step)
        return steps if steps >= 0 and abs(self.start - steps * self.step) < ALIGNED_PX else None


def resample(block: NDArray[np.uint8], rows: Axis, columns: Axis, limits: tuple[int, int]) -> NDArray[np.uint8]:
    """Average (or, below one source pixel a step, interpolate linearly) a block onto the output grid.

    Parameters
    ----------
    block
        (h, w, 3), exactly the source pixels of ``rows.source_range`` and ``columns.source_range``.
    rows, columns
        The output grid.
    limits
        Height and width of the source level: interpolation does not reach beyond them.

    Returns
    -------
    NDArray
        (rows.count, columns.count, 3) uint8.
    """
    steps = rows.whole_step, columns.whole_step
    if steps == (1, 1):
        return np.ascontiguousarray(block[: rows.count, : columns.count])
    if steps[0] is not None and steps[1] is not None:
        fitting = block[: rows.count * steps[0], : columns.count * steps[1]]
        averaged = cv2.resize(fitting, (columns.count, rows.count), interpolation=cv2.INTER_AREA)
        return np.asarray(averaged, dtype=np.uint8)
    height, width = block.shape[:2]
    down = _weights(rows, height, limits[0]) @ block.reshape(height, width * 3).astype(np.float32)
    across = np.ascontiguousarray(down.reshape(rows.count, width, 3).transpose(1, 0, 2))
    done = _weights(columns, width, limits[1]) @ across.reshape(width, rows.count * 3)
    pixels = np.clip(np.floor(done + ROUNDING), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(columns.count, rows.count, 3).transpose(1, 0, 2))


def _weights(axis: Axis, length: int, limit: int) -> sparse.csr_matrix:
    first = axis.source_range[0]
    make = _area_weights if axis.step >= 1 else _linear_weights
    index, weight, output = make(axis, limit)
    inside = np.clip(index - first, 0, length - 1)
    return sparse.csr_matrix((weight.astype(np.float32), (output, inside)), shape=(axis.count, length))


Entries = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def _area_weights(axis: Axis, _limit: int) -> Entries:
    edges = np.round(axis.start + axis.step * np.arange(axis.count + 1), POSITION_DECIMALS)
    begin, end = edges[:-1], edges[1:]
    reach = int(np.ceil(axis.step)) + 1
    index = np.floor(begin).astype(np.int64)[:, None] + np.arange(reach)
    covered = np.minimum(index + 1, end[:, None]) - np.maximum(index, begin[:, None])
    weight = np.clip(covered, 0.0, None)
    weight /= weight.sum(axis=1, keepdims=True)
    output = np.repeat(np.arange(axis.count), reach)
    used = weight.ravel() > 0
    return index.ravel()[used], weight.ravel()[used], output[used]


def _linear_weights(axis: Axis, limit: int) -> Entries:
    centre = axis.start + axis.step * (np.arange(axis.count) + 0.5)
    position = np.round(centre - 0.5, POSITION_DECIMALS)
    left = np.floor(position).astype(np.int64)
    fraction = position - left
    index = np.stack([left, left + 1], axis=1)
    # A centre inside the slide is not mixed with the white beyond its edge.
    inside = (centre >= 0) & (centre <= limit)
    index = np.where(inside[:, None], np.clip(index, 0, limit - 1), index)
    weight = np.stack([1 - fraction, fraction], axis=1)
    return index.ravel(), np.asarray(weight.ravel(), dtype=np.float64), np.repeat(np.arange(axis.count), 2)
