"""Pixels of one section in the frame of the other, and how well the two agree there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67.geometry import polygons_of
from ki67.registration.images import Image, Mask, Section
from ki67.registration.pieces import PiecewiseTransform
from ki67.registration.transform import Transform

# Bins of the joint histogram: with some 50,000 pixels, 24 x 24 leaves about 90 a cell.
HISTOGRAM_BINS = 24
# A mix of colours that varies by less than this share of the strongest one is rounding.
SMALLEST_COLUMN = 1e-4

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Warped:
    """The moving section in the fixed frame.

    Parameters
    ----------
    density, tissue
        As in :class:`~ki67.registration.images.Section`, at the fixed section's shape and pixel size.
    valid
        bool (H, W): where the moving slide says something; everywhere if its section lies free on the glass.
    """

    density: Image
    tissue: Mask
    valid: Mask


def pixel_matrix(mpp: float) -> Matrix:
    """Matrix from pixel centres (x, y) to µm: centre of pixel 0 lies at half a pixel."""
    return np.array([[mpp, 0, 0.5 * mpp], [0, mpp, 0.5 * mpp], [0, 0, 1]])


def warp(fixed: Section, moving: Section, matrix: Matrix) -> Warped:
    """Bring the moving section into the fixed frame by a matrix (fixed µm to moving µm)."""
    to_px = np.linalg.inv(pixel_matrix(moving.mpp)) @ matrix @ pixel_matrix(fixed.mpp)
    size = (fixed.density.shape[1], fixed.density.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    density = cv2.warpAffine(moving.density, to_px[:2], size, flags=flags)
    tissue = cv2.warpAffine(moving.tissue_share, to_px[:2], size, flags=flags) >= 0.5
    if moving.free:
        return Warped(density, tissue, np.ones(density.shape, bool))
    inside = cv2.warpAffine(np.ones(moving.density.shape, np.float32), to_px[:2], size, flags=flags)
    return Warped(density, tissue, inside > 0.99)


def warp_by(fixed: Section, moving: Section, transform: Transform) -> Warped:
    """Bring the moving section into the fixed frame by a whole transform."""
    if transform.displacement is None:
        return warp(fixed, moving, transform.matrix)
    height, width = fixed.density.shape
    rows, columns = np.mgrid[0:height, 0:width]
    points = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1) * fixed.mpp
    place = transform.map_points(points) / moving.mpp - 0.5
    map_x = place[:, 0].reshape(height, width).astype(np.float32)
    map_y = place[:, 1].reshape(height, width).astype(np.float32)
    density = cv2.remap(moving.density, map_x, map_y, cv2.INTER_LINEAR)
    tissue = cv2.remap(moving.tissue_share, map_x, map_y, cv2.INTER_LINEAR) >= 0.5
    if moving.free:
        return Warped(density, tissue, np.ones(density.shape, bool))
    inside = cv2.remap(np.ones(moving.density.shape, np.float32), map_x, map_y, cv2.INTER_LINEAR)
    return Warped(density, tissue, inside > 0.99)


def warp_pieces(fixed: Section, moving: Section, transform: PiecewiseTransform) -> Warped:
    """Bring the moving section into the fixed frame piece by piece; elsewhere there is bare glass."""
    if len(transform.pieces) == 1 and transform.pieces[0].he is None:
        return warp_by(fixed, moving, transform.main)
    shape = fixed.density.shape
    density, tissue, valid = np.zeros(shape, np.float32), np.zeros(shape, bool), np.ones(shape, bool)
    for piece in transform.pieces:
        part = warp_by(fixed, moving, piece.transform)
        here = np.ones(shape, bool) if piece.he is None else drawn(piece.he, shape, fixed.mpp)
        density[here], tissue[here], valid[here] = part.density[here], part.tissue[here], part.valid[here]
    return Warped(density, tissue, valid)


def drawn(geometry: BaseGeometry, shape: tuple[int, ...], mpp: float) -> Mask:
    """Pixels (H, W) whose centres about lie in a geometry in µm."""
    mask = np.zeros(shape[:2], np.uint8)
    for polygon in polygons_of(geometry):
        # Each polygon on its own: filled together, what overlaps would count as a hole.
        rings = [polygon.exterior, *polygon.interiors]
        corners = [np.rint(np.array(ring.coords) / mpp - 0.5).astype(np.int32) for ring in rings]
        part = np.zeros_like(mask)
        cv2.fillPoly(part, corners, 1)
        mask |= part
    return mask > 0


def mutual_information(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mutual information in nats of two samples with values from 0 to 1 (N,).

    Plain plug-in estimate from a joint histogram, less its bias for independent data
    (Miller-Madow: (bins - 1)^2 / 2N over the bins in use).
    """
    if a.size < HISTOGRAM_BINS**2:
        return 0.0
    top = HISTOGRAM_BINS - 1
    index = np.rint(a * top).astype(np.int32) * HISTOGRAM_BINS + np.rint(b * top).astype(np.int32)
    joint = np.bincount(index, minlength=HISTOGRAM_BINS**2).reshape(HISTOGRAM_BINS, HISTOGRAM_BINS) / a.size
    row, column = joint.sum(axis=1), joint.sum(axis=0)
    used = joint > 0
    value = float((joint[used] * np.log(joint[used] / np.outer(row, column)[used])).sum())
    bias = ((row > 0).sum() - 1) * ((column > 0).sum() - 1) / (2 * a.size)
    return max(0.0, value - float(bias))


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Normalised cross-correlation of two samples (N,): 0 where one of them is flat."""
    if a.size < 2:
        return 0.0
    x = a.astype(np.float64) - a.mean(dtype=np.float64)
    y = b.astype(np.float64) - b.mean(dtype=np.float64)
    norm = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else 0.0


def canonical_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Largest correlation between any mix of the columns of ``a`` (N, P) and any mix of those of ``b`` (N, Q).

    The first canonical correlation (Hotelling, Biometrika 28:321, 1936), 0 to 1; 0 where one of them is flat.
    """
    bases = []
    for columns in (a, b):
        centred = columns.astype(np.float64) - columns.mean(axis=0, dtype=np.float64)
        left, singular, _ = np.linalg.svd(centred, full_matrices=False)
        bases.append(left[:, singular > max(SMALLEST_COLUMN * float(singular.max(initial=0.0)), 1e-12)])
    if min(base.shape[1] for base in bases) == 0:
        return 0.0
    return float(min(1.0, np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)[0]))


def dice(a: Mask, b: Mask) -> float:
    """Dice overlap of two masks, 0 to 1."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 0.0
