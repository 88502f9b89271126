"""Block by block: how far, and how surely, each part of one section still lies beside its counterpart.

Small blocks of one section's structure are looked for in their surroundings on the other (normalised
cross-correlation). On a true pair the blocks agree with one another on a smooth map; on different tissue each
block finds its chance maximum somewhere else. That share of agreeing blocks tells a pair from no pair, and what
is left of their shifts tells how exact the registration is where.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ki67.registration.images import Mask, Section, structure
from ki67.registration.warp import Warped

# A block of 48 px holds enough structures to be found again and is small enough to move as one piece.
BLOCK_PX = 48
STRIDE_PX = 32
# Looked for this far each way.
SEARCH_PX = 20
# Surroundings against which local contrast is measured.
STRUCTURE_SIGMA_PX = 10.0
SMOOTH_PX = 1.5
# A block needs this share of tissue on both sections.
BLOCK_TISSUE_SHARE = 0.5
# A block agrees when it lies within this distance of the common map.
AGREE_PX = 4.0
CONSENSUS_DRAWS = 400
CONSENSUS_SEED = 20


@dataclass(frozen=True)
class Blocks:
    """Shifts found block by block.

    Parameters
    ----------
    centres_um
        float64 (N, 2), in the fixed frame.
    shifts_um
        float64 (N, 2): a structure at ``centre`` of the fixed section lies at ``centre + shift`` of the moving
        section as it was brought into the fixed frame.
    peaks
        float64 (N,): correlation at the best shift.
    mpp
        Pixel size at which they were found.
    """

    centres_um: NDArray[np.float64]
    shifts_um: NDArray[np.float64]
    peaks: NDArray[np.float64]
    mpp: float

    def __len__(self) -> int:
        return len(self.peaks)


@dataclass(frozen=True)
class Consensus:
    """The affine map most blocks agree on.

    Parameters
    ----------
    matrix
        float64 (3, 3): fixed µm to the frame of the warped moving section.
    agree
        bool (N,): the blocks that agree.
    share
        Their share; 0 where there are too few blocks.
    """

    matrix: NDArray[np.float64]
    agree: Mask
    share: float


def match_blocks(fixed: Section, warped: Warped, search_px: int = SEARCH_PX) -> Blocks:
    """Find each block of the fixed section on the warped moving one."""
    f = structure(fixed.density, fixed.tissue.astype(np.float32), STRUCTURE_SIGMA_PX, SMOOTH_PX)
    both = (warped.tissue & warped.valid).astype(np.float32)
    m = structure(warped.density, both, STRUCTURE_SIGMA_PX, SMOOTH_PX)
    usable = cv2.boxFilter(fixed.tissue.astype(np.float32) * both, -1, (BLOCK_PX, BLOCK_PX))
    height, width = f.shape
    half = BLOCK_PX // 2
    margin = half + search_px
    centres, shifts, peaks = [], [], []
    for row in range(margin, height - margin, STRIDE_PX):
        for column in range(margin, width - margin, STRIDE_PX):
            if usable[row, column] < BLOCK_TISSUE_SHARE:
                continue
            block = f[row - half : row + half, column - half : column + half]
            around = m[row - margin : row + margin, column - margin : column + margin]
            found = cv2.matchTemplate(around, block, cv2.TM_CCOEFF_NORMED)
            peak, (dx, dy) = _peak(found)
            centres.append((column, row))
            shifts.append((dx - search_px, dy - search_px))
            peaks.append(peak)
    if not peaks:
        empty = np.zeros((0, 2))
        return Blocks(empty, empty, np.zeros(0), fixed.mpp)
    return Blocks(
        np.array(centres, np.float64) * fixed.mpp,
        np.array(shifts, np.float64) * fixed.mpp,
        np.array(peaks, np.float64),
        fixed.mpp,
    )


def _peak(found: NDArray[np.float32]) -> tuple[float, tuple[float, float]]:
    """Largest value and its place (x, y), to a fraction of a pixel by a parabola in each direction."""
    _, peak, _, (x, y) = cv2.minMaxLoc(found)
    height, width = found.shape
    fx, fy = float(x), float(y)
    if 0 < x < width - 1:
        fx += _vertex(*(float(value) for value in found[y, x - 1 : x + 2]))
    if 0 < y < height - 1:
        fy += _vertex(*(float(value) for value in found[y - 1 : y + 2, x]))
    return float(peak), (fx, fy)


def _vertex(before: float, at: float, after: float) -> float:
    bend = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def consensus(blocks: Blocks, agree_px: float = AGREE_PX) -> Consensus:
    """Affine map that most blocks agree on, by random draws of three (RANSAC), refitted to those that agree."""
    none = Consensus(np.eye(3), np.zeros(len(blocks), bool), 0.0)
    if len(blocks) < 6:
        return none
    generator = np.random.default_rng(CONSENSUS_SEED)
    source = np.column_stack([blocks.centres_um, np.ones(len(blocks))])
    target = blocks.centres_um + blocks.shifts_um
    tolerance_um = agree_px * blocks.mpp
    # Draw sharp blocks more often: they are right more often.
    weight = np.clip(blocks.peaks, 0.01, None) ** 2
    best = none.agree
    for _ in range(CONSENSUS_DRAWS):
        chosen = generator.choice(len(blocks), 3, replace=False, p=weight / weight.sum())
        if abs(np.linalg.det(source[chosen])) < (3 * BLOCK_PX * blocks.mpp) ** 2:
            continue
        affine = np.linalg.solve(source[chosen], target[chosen])
        if np.abs(affine[:2] - np.eye(2)).max() > 0.2:
            continue
        agree = np.hypot(*(source @ affine - target).T) < tolerance_um
        if agree.sum() > best.sum():
            best = agree
    if best.sum() < 4:
        return none
    for _ in range(3):
        affine = np.linalg.lstsq(source[best], target[best], rcond=None)[0]
        best = np.hypot(*(source @ affine - target).T) < tolerance_um
        if best.sum() < 4:
            return none
    matrix = np.eye(3)
    matrix[:2] = affine.T
    return Consensus(matrix, best, float(best.mean()))
