"""How far off a registration may be, and what it might have been instead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ki67.registration.coarse import about, turned
from ki67.registration.warp import Matrix

DRAWS, DRAW_SEED = 200, 67
# Twice the remaining shift of the blocks, over the root of the share of blocks that know it: on simulated pairs the
# true median error was 0.05 to 0.8 of that, on the six directions of the real ones at hand 0.16 to 0.73, with the
# error of the landmarks in it (docs/decisions/009).
ERROR_FACTOR = 2.0
# Median length of a two-dimensional Gaussian in units of its standard deviation (Rayleigh): sqrt(2 ln 2).
MEDIAN_PER_SIGMA = math.sqrt(2 * math.log(2))


def estimated_error_um(local_error_um: float | None, sure_share: float, mpp: float) -> float | None:
    """Estimate of the registration's median error in µm; None where no part of the section knows its shift.

    Parameters
    ----------
    local_error_um
        Median remaining shift of the blocks that know it.
    sure_share
        Share of the blocks that do, 0 to 1.
    mpp
        µm per pixel of the blocks: what is less than half a pixel cannot be seen.
    """
    if local_error_um is None or sure_share <= 0:
        return None
    return ERROR_FACTOR * max(local_error_um, mpp / 2) / math.sqrt(sure_share)


def draw_motions(error_um: float, points_um: NDArray[np.float64]) -> list[Matrix]:
    """Small motions by which a registration with this median error may be wrong.

    A shift (Gaussian in x and y) and a turn about the middle of the points that moves them by as much as the shift
    does; together their median is ``error_um``. The same input gives the same motions.

    Parameters
    ----------
    error_um
        Median error.
    points_um
        Points (N, 2) of the region on the Ki-67 slide.

    Returns
    -------
    :data:`DRAWS` matrices (3, 3), Ki-67 µm to Ki-67 µm.
    """
    generator = np.random.default_rng(DRAW_SEED)
    middle = points_um.mean(axis=0)
    radius_um = max(1.0, float(np.sqrt(((points_um - middle) ** 2).sum(axis=1).mean())))
    # The shift moves a point by a variance of 2 sigma^2, the turn on average by one sigma^2 more.
    sigma_um = error_um / MEDIAN_PER_SIGMA * math.sqrt(2.0 / 3.0)
    motions = []
    for dx, dy, turn in generator.normal(0.0, sigma_um, (DRAWS, 3)):
        linear = turned(turn / radius_um, mirrored=False)
        start = float(middle[0]), float(middle[1])
        motions.append(about(start, linear, (start[0] + dx, start[1] + dy)))
    return motions
