"""Block by block: how far, and how surely, each part of one section still lies beside its counterpart.

Small blocks of one section's structure are compared with their surroundings on the other (normalised
cross-correlation at every small shift). Serial sections share few single structures, so one block says little;
but on a true pair the correlation surfaces of all blocks, added up, rise at the same shift, and on different tissue
they do not. How far that common peak stands above the rest of the surface (in its standard deviations) tells a pair
from no pair. The fine stages never see these surfaces, so they also judge them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ki67.registration.images import Image, Mask, Section, structure
from ki67.registration.transform import Transform
from ki67.registration.warp import Warped, warp_by

# Longest side of the images compared: on a section of 3 mm 3.5 µm/px, on one of 20 mm 22 µm/px.
SIDE_PX = 900
# Measured on real serial sections (true and wrong poses): 64 px, contrast against 12 px, smoothed by 2.5 px part
# them best; 48 to 96 px do nearly as well.
BLOCK_PX = 64
STRIDE_PX = 32
SEARCH_PX = 32
STRUCTURE_SIGMA_PX = 12.0
SMOOTH_PX = 2.5
# A block needs this share of its area in tissue of both sections.
BLOCK_TISSUE_SHARE = 0.5
# The common peak is looked for this near to the registered place, its chance level this far from it.
PEAK_RADIUS_PX = 4.0
CHANCE_RADIUS_PX = 20.0
# Fewer blocks cannot tell a pair from no pair.
MINIMUM_BLOCKS = 8
# Neighbouring surfaces are averaged over this many strides (Gaussian sigma) for the local map.
LOCAL_SIGMA_STRIDES = 2.0
# Blocks whose averaged peak stands out by this much know their shift.
LOCAL_SIGMA = 4.0
# A place is confirmed where the surface rises within this distance of where the map puts it: what a smooth field may
# have left. At least the common peak's radius, at most a third of the way to where chance is measured.
NEAR_UM, MOST_NEAR_PX = 40.0, 8.0
# A block agrees with a common affine map when it lies this near to it.
AGREE_PX = 4.0
CONSENSUS_DRAWS = 400
CONSENSUS_SEED = 20
# A consensus of a smaller share is chance: the window allows 65 x 65 shifts, 50 of them agree with a given one.
CONSENSUS_SHARE = 0.08
MAXIMUM_CONSENSUS_STRETCH = 0.2


@dataclass(frozen=True)
class Blocks:
    """Correlation surfaces of the blocks.

    Parameters
    ----------
    centres_px
        float64 (N, 2): block centres (x, y), pixels of the fixed image.
    cells
        int (N, 2): row and column in the lattice of blocks.
    surfaces
        float32 (N, S, S): correlation at each shift (dy, dx) from -SEARCH_PX to SEARCH_PX.
    mpp
        µm per pixel.
    """

    centres_px: NDArray[np.float64]
    cells: NDArray[np.int64]
    surfaces: NDArray[np.float32]
    mpp: float

    def __len__(self) -> int:
        return len(self.surfaces)

    @property
    def centres_um(self) -> NDArray[np.float64]:
        """Block centres (N, 2) in µm of the fixed frame."""
        return (self.centres_px + 0.5) * self.mpp

    def shifts_um(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each block's own best shift (N, 2) in µm and its correlation (N,)."""
        return _best_shifts(self.surfaces, self.mpp)


def compare(fixed: Section, moving: Section, transform: Transform) -> Blocks:
    """Compare two sections block by block under a transform, at :data:`SIDE_PX`."""
    mpp = blocks_mpp(fixed, moving)
    f, m = fixed.at(mpp), moving.at(mpp)
    return compare_warped(f, warp_by(f, m, transform))


def blocks_mpp(fixed: Section, moving: Section) -> float:
    """Resolution at which blocks are compared: the longest side of both has :data:`SIDE_PX`."""
    return max(fixed.mpp, moving.mpp, max(*fixed.size_um, *moving.size_um) / SIDE_PX)


def compare_warped(fixed: Section, warped: Warped) -> Blocks:
    """Compare the fixed section with the moving one already in its frame."""
    f = structure(fixed.density, fixed.tissue.astype(np.float32), STRUCTURE_SIGMA_PX, SMOOTH_PX)
    both = warped.tissue & warped.valid
    m = structure(warped.density, both.astype(np.float32), STRUCTURE_SIGMA_PX, SMOOTH_PX)
    common = (fixed.tissue & both).astype(np.float32)
    usable = cv2.boxFilter(common, -1, (BLOCK_PX, BLOCK_PX), borderType=cv2.BORDER_CONSTANT)
    half, margin = BLOCK_PX // 2, BLOCK_PX // 2 + SEARCH_PX
    f, m = np.pad(f, margin), np.pad(m, margin)
    centres, cells, surfaces = [], [], []
    for i, row in enumerate(range(half // 2, usable.shape[0], STRIDE_PX)):
        for j, column in enumerate(range(half // 2, usable.shape[1], STRIDE_PX)):
            if usable[row, column] < BLOCK_TISSUE_SHARE:
                continue
            block = f[
                row + SEARCH_PX : row + SEARCH_PX + BLOCK_PX, column + SEARCH_PX : column + SEARCH_PX + BLOCK_PX
            ]
            around = m[row : row + 2 * margin, column : column + 2 * margin]
            centres.append((column - 0.5, row - 0.5))
            cells.append((i, j))
            surfaces.append(_surface(around, block))
    side = 2 * SEARCH_PX + 1
    return Blocks(
        np.array(centres, np.float64).reshape(-1, 2),
        np.array(cells, np.int64).reshape(-1, 2),
        np.array(surfaces, np.float32).reshape(-1, side, side),
        fixed.mpp,
    )


def _surface(around: Image, block: Image) -> Image:
    surface = cv2.matchTemplate(around, block, cv2.TM_CCOEFF_NORMED)
    # A flat block has no correlation; OpenCV then divides by nothing.
    return np.clip(np.nan_to_num(np.asarray(surface, np.float32), posinf=0, neginf=0), -1, 1)


@dataclass(frozen=True)
class Coherence:
    """The common peak of all blocks.

    Parameters
    ----------
    peak
        Mean correlation at the peak near the registered place.
    sigma
        By how many standard deviations it stands above the mean correlation at wrong shifts.
    blocks
        Number of blocks.
    """

    peak: float
    sigma: float
    blocks: int


def coherence(blocks: Blocks) -> Coherence:
    """Common peak of all blocks; 0 where there are fewer than :data:`MINIMUM_BLOCKS`."""
    if len(blocks) < MINIMUM_BLOCKS:
        return Coherence(0.0, 0.0, len(blocks))
    mean = blocks.surfaces.mean(axis=0, dtype=np.float64)
    near, far = _rings()
    spread = float(mean[far].std())
    peak = float(mean[near].max())
    return Coherence(peak, (peak - float(mean[far].mean())) / spread if spread > 0 else 0.0, len(blocks))


def _rings() -> tuple[Mask, Mask]:
    y, x = np.mgrid[-SEARCH_PX : SEARCH_PX + 1, -SEARCH_PX : SEARCH_PX + 1]
    distance = np.hypot(x, y)
    return distance <= PEAK_RADIUS_PX, distance >= CHANCE_RADIUS_PX


@dataclass(frozen=True)
class LocalMap:
    """What each part of the section says about the registration.

    Parameters
    ----------
    centres_um
        float64 (N, 2), H&E frame.
    shifts_um
        float64 (N, 2): by how much the structures around still lie apart.
    sigma
        float64 (N,): how surely; below :data:`LOCAL_SIGMA` the shift is a guess.
    """

    centres_um: NDArray[np.float64]
    shifts_um: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @property
    def sure(self) -> Mask:
        """The parts that know their shift."""
        return np.asarray(self.sigma >= LOCAL_SIGMA)

    def error_um(self) -> float | None:
        """Median remaining shift where it is known; None where no part knows."""
        if not self.sure.any():
            return None
        return float(np.median(np.hypot(self.shifts_um[self.sure, 0], self.shifts_um[self.sure, 1])))


def local_map(blocks: Blocks, strides: float = LOCAL_SIGMA_STRIDES) -> LocalMap:
    """Average each block's surface with its neighbours' and read off shift and certainty.

    ``strides`` is the Gaussian sigma of that average.
    """
    if len(blocks) == 0:
        return LocalMap(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    averaged = pooled(blocks, strides)
    shifts_um, peaks = _best_shifts(averaged, blocks.mpp)
    flat = averaged.reshape(len(blocks), -1)
    spread = flat.std(axis=1)
    certainty = np.where(spread > 0, (peaks - flat.mean(axis=1)) / np.maximum(spread, 1e-9), 0.0)
    return LocalMap(blocks.centres_um, shifts_um, certainty.astype(np.float64))


def pooled(blocks: Blocks, strides: float) -> NDArray[np.float32]:
    """Each block's surface averaged with its neighbours' (Gaussian, sigma in strides)."""
    rows, columns = blocks.cells.max(axis=0) + 1
    side = blocks.surfaces.shape[1]
    total = np.zeros((rows, columns, side, side), np.float32)
    weight = np.zeros((rows, columns), np.float32)
    at = blocks.cells[:, 0], blocks.cells[:, 1]
    total[at], weight[at] = blocks.surfaces, 1
    total = ndimage.gaussian_filter(total, (strides, strides, 0, 0), mode="constant")
    weight = ndimage.gaussian_filter(weight, strides, mode="constant")
    return np.asarray(total[at] / weight[at][:, None, None], np.float32)


def support(blocks: Blocks, strides: float) -> NDArray[np.float64]:
    """By how many standard deviations the structures around each block (N,) agree better where the map puts them.

    Better than far from there, that is. Averaged over ``strides`` (Gaussian sigma). Over 2 strides about 1 on a wrong
    map (0 to 3), 2 to 10 on serial sections that share little, 10 and more on sections that share every gland.
    """
    if len(blocks) == 0:
        return np.zeros(0)
    surfaces = pooled(blocks, strides)
    y, x = np.mgrid[-SEARCH_PX : SEARCH_PX + 1, -SEARCH_PX : SEARCH_PX + 1]
    distance = np.hypot(x, y)
    near = surfaces[:, distance <= np.clip(NEAR_UM / blocks.mpp, PEAK_RADIUS_PX, MOST_NEAR_PX)].max(axis=1)
    far = surfaces[:, distance >= CHANCE_RADIUS_PX].astype(np.float64)
    spread = far.std(axis=1)
    return np.where(spread > 0, (near - far.mean(axis=1)) / np.maximum(spread, 1e-9), 0.0)


def _best_shifts(surfaces: NDArray[np.float32], mpp: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift (N, 2) in µm of each surface's peak, to a fraction of a pixel by parabolas, and the peaks (N,)."""
    shifts, peaks = np.zeros((len(surfaces), 2)), np.zeros(len(surfaces))
    for index, surface in enumerate(surfaces):
        _, peaks[index], _, (x, y) = cv2.minMaxLoc(np.ascontiguousarray(surface))
        shifts[index] = x + _vertex(surface[y], x) - SEARCH_PX, y + _vertex(surface[:, x], y) - SEARCH_PX
    return shifts * mpp, peaks


def _vertex(line: NDArray[np.float32], at: int) -> float:
    if not 0 < at < len(line) - 1:
        return 0.0
    before, middle, after = (float(value) for value in line[at - 1 : at + 2])
    bend = before - 2 * middle + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def consensus(blocks: Blocks) -> NDArray[np.float64] | None:
    """Affine map that most blocks agree on.

    By random draws of three blocks (RANSAC), refitted to those that agree.

    Returns
    -------
    Matrix (3, 3) in µm, from the fixed frame to the frame of the warped section; None without a consensus.
    """
    if len(blocks) < MINIMUM_BLOCKS:
        return None
    shifts_um, peaks = blocks.shifts_um()
    source = np.column_stack([blocks.centres_um, np.ones(len(blocks))])
    target = blocks.centres_um + shifts_um
    tolerance_um = AGREE_PX * blocks.mpp
    best = _draw(source, target, np.clip(peaks, 0.01, None) ** 2, tolerance_um)
    affine: NDArray[np.float64] = np.zeros((3, 2))
    for _ in range(3):
        if best.mean() < CONSENSUS_SHARE or best.sum() < MINIMUM_BLOCKS:
            return None
        affine = np.asarray(np.linalg.lstsq(source[best], target[best], rcond=None)[0], np.float64)
        best = np.hypot(*(source @ affine - target).T) < tolerance_um
    matrix = np.eye(3)
    matrix[:2] = affine.T
    return matrix


def _draw(
    source: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64], tolerance_um: float
) -> Mask:
    """Blocks that agree with the best of many maps through three blocks; sharp blocks are drawn more often."""
    generator = np.random.default_rng(CONSENSUS_SEED)
    reach_um = float(np.ptp(source[:, :2], axis=0).max())
    best = np.zeros(len(source), bool)
    for _ in range(CONSENSUS_DRAWS):
        chosen = generator.choice(len(source), 3, replace=False, p=weight / weight.sum())
        # Three blocks in a row or close together fix no map.
        if abs(np.linalg.det(source[chosen])) < (reach_um / 4) ** 2:
            continue
        affine = np.linalg.solve(source[chosen], target[chosen])
        if np.abs(affine[:2] - np.eye(2)).max() > MAXIMUM_CONSENSUS_STRETCH:
            continue
        agree = np.hypot(*(source @ affine - target).T) < tolerance_um
        if agree.sum() > best.sum():
            best = agree
    return best
