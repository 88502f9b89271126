"""The last stage: bring structures together that single blocks hardly know, but many neighbours do.

Serial sections some µm apart share tissue architecture, not nuclei. A B-spline that is free at every control point
then follows noise: on real sections it was no better than the affine map it started from. What helps there is first
an affine map that joins the structures as well as the light, then a smooth field made of what neighbouring blocks
agree on, held back wherever they are not sure.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ki67.errors import RegistrationError
from ki67.registration.coarse import about, tissue_centre_um
from ki67.registration.images import Image, Section, structure
from ki67.registration.local import BLOCK_PX, STRIDE_PX, Blocks, blocks_mpp, compare_warped, local_map
from ki67.registration.transform import DisplacementField, Transform
from ki67.registration.warp import Matrix, Warped, mutual_information, warp, warp_by

# Neighbours are averaged over this many strides (Gaussian sigma) to read a shift, and the shifts once more to a
# field: what bends within some 60 pixels (200 µm on a section of 3 mm) is left alone. Measured on the real pairs
# (docs/decisions/009): 1 with 1.5 to 2 serves all six directions, less follows noise, more loses the deformation.
READ_STRIDES, FIELD_STRIDES = 1.0, 1.5
# Peaks of averaged surfaces stand this far out by chance; what is above counts with its square, up to a limit.
CHANCE_SIGMA, SURE_SIGMA = 2.5, 5.5
# Weight of "stay where you are" against the blocks around: that of one block half a sigma above chance.
STAY_WEIGHT = 0.25
# A block that points further away than this found something else.
REACH_PX = 12.0
# The settling affine map: blur of the light, size and blur of the structures, in pixels of the blocks' images, and
# how much the structures' correlation counts beside the mutual information of the light.
LIGHT_BLUR_PX = 2.5
STRUCTURE_PX, STRUCTURE_BLUR_PX = 40.0, 5.0
STRUCTURE_WEIGHT = 0.3
# First step at the rim of the section, and the end of the search.
FIRST_STEP_UM, LAST_STEP_UM = 20.0, 0.3
EVALUATIONS = 250


def settle(fixed: Section, moving: Section, matrix: Matrix) -> Matrix:
    """Bring an affine map to the nearest place where light and structures agree best.

    Mutual information of the light and correlation of the structures, over all tissue and without chance: from nearby
    starts it ends at the same place, where elastix's samples leave a scatter of half a pixel.

    Parameters
    ----------
    fixed, moving
        The sections.
    matrix
        Map (3, 3) from fixed µm to moving µm, right to some tens of µm.

    Returns
    -------
    Map (3, 3) from fixed µm to moving µm.
    """
    mpp = blocks_mpp(fixed, moving)
    f, m = fixed.at(mpp), moving.at(mpp)
    f_light, m_light = _light(f), _light(m)
    f_structure, m_structure = _structure(f), _structure(m)
    centre, half_um = tissue_centre_um(fixed), max(fixed.size_um) / 2

    def moved(values: NDArray[np.float64]) -> Matrix:
        linear = np.eye(2) + values[:4].reshape(2, 2) / half_um
        return np.asarray(matrix @ about(centre, linear, (centre[0] + values[4], centre[1] + values[5])))

    def cost(values: NDArray[np.float64]) -> float:
        light = warp(f, m_light, moved(values))
        structures = warp(f, m_structure, moved(values)).density
        either = ((f.tissue | light.tissue) & light.valid)[::2, ::2]
        both = f.tissue & light.tissue
        information = mutual_information(f_light.density[::2, ::2][either], light.density[::2, ::2][either])
        return -information - STRUCTURE_WEIGHT * _cosine(f_structure.density[both], structures[both])

    start = np.zeros((7, 6))
    start[1:] = np.eye(6) * FIRST_STEP_UM
    options = {"initial_simplex": start, "maxfev": EVALUATIONS, "xatol": LAST_STEP_UM, "fatol": 1e-6}
    return moved(optimize.minimize(cost, np.zeros(6), method="Nelder-Mead", options=options).x)


def follow_blocks(fixed: Section, moving: Section, transform: Transform) -> Transform:
    """Add to a transform the smooth field that neighbouring blocks agree on.

    Raises
    ------
    RegistrationError
        Where too few blocks have tissue on both sections.
    """
    blocks = _both_ways(fixed, moving, transform)
    if len(blocks) == 0 or min(blocks.cells.max(axis=0)) < 1:
        raise RegistrationError("too little tissue lies on both sections")
    known = local_map(blocks, READ_STRIDES)
    weight = np.clip(known.sigma - CHANCE_SIGMA, 0, SURE_SIGMA - CHANCE_SIGMA) ** 2
    weight[np.hypot(*known.shifts_um.T) > REACH_PX * blocks.mpp] = 0
    rows, columns = blocks.cells.max(axis=0) + 1
    sums, weights = np.zeros((rows, columns, 2)), np.zeros((rows, columns))
    at = blocks.cells[:, 0], blocks.cells[:, 1]
    sums[at], weights[at] = known.shifts_um * weight[:, None], weight
    sums = ndimage.gaussian_filter(sums, (FIELD_STRIDES, FIELD_STRIDES, 0), mode="constant")
    weights = ndimage.gaussian_filter(weights, FIELD_STRIDES, mode="constant") + STAY_WEIGHT
    # The lattice begins a quarter of a block from the corner.
    origin_um = BLOCK_PX // 4 * blocks.mpp
    vectors = (sums / weights[..., None]).astype(np.float32)
    return _composed(transform, DisplacementField((origin_um, origin_um), STRIDE_PX * blocks.mpp, vectors))


def _composed(transform: Transform, added: DisplacementField) -> Transform:
    """The transform after a field; on the finer grid of the two, if it has a field of its own."""
    own = transform.displacement
    if own is None:
        return Transform(transform.matrix, added)
    rows, columns = own.vectors_um.shape[:2]
    y, x = np.mgrid[0:rows, 0:columns]
    points = np.column_stack([x.ravel(), y.ravel()]) * own.spacing_um + np.array(own.origin_um)
    first = added.at(points)
    vectors = (first + own.at(points + first)).reshape(rows, columns, 2).astype(np.float32)
    return Transform(transform.matrix, replace(own, vectors_um=vectors))


def _both_ways(fixed: Section, moving: Section, transform: Transform) -> Blocks:
    """The blocks of either section compared with the other, so that neither comes first."""
    mpp = blocks_mpp(fixed, moving)
    f, m = fixed.at(mpp), moving.at(mpp)
    warped = warp_by(f, m, transform)
    there = compare_warped(f, warped)
    turned_round = Section(warped.density, warped.tissue & warped.valid, f.mpp, f.size_um, m.name)
    back = compare_warped(turned_round, Warped(f.density, f.tissue, np.ones(f.tissue.shape, bool)))
    surfaces = np.asarray((there.surfaces + back.surfaces[:, ::-1, ::-1]) / 2, np.float32)
    return replace(there, surfaces=surfaces)


def _light(section: Section) -> Section:
    return replace(section, density=np.asarray(cv2.GaussianBlur(section.density, (0, 0), LIGHT_BLUR_PX), np.float32))


def _structure(section: Section) -> Section:
    weight = section.tissue.astype(np.float32)
    return replace(section, density=structure(section.density, weight, STRUCTURE_PX, STRUCTURE_BLUR_PX))


def _cosine(a: Image, b: Image) -> float:
    """Correlation about zero of two samples (N,); 0 where one of them is empty."""
    norm = float(np.sqrt(float(a @ a) * float(b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0
