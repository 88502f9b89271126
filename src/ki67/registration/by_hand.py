"""Registration by hand: pairs of landmarks, or a nudge to what was found automatically."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ki67.errors import FileError, RegistrationError
from ki67.files import read_text
from ki67.registration.coarse import about, turned
from ki67.registration.transform import apply_matrix
from ki67.registration.warp import Matrix
from ki67.slides import PixelFrame

LANDMARK_COLUMNS = ("he_x", "he_y", "ki67_x", "ki67_y")
LANDMARKS_WAY_OUT = (
    f"Give one pair a line under the header {','.join(LANDMARK_COLUMNS)}, in pixels of the full resolution of each "
    "slide."
)
# Two pairs fix a turn, a shift and a scale; an affine map is fixed by three and steadied by one more.
MINIMUM_PAIRS, AFFINE_PAIRS = 2, 4
# Three points on a line fix no affine map: their spread across must be this share of that along.
MINIMUM_SPREAD_SHARE = 0.05
# Without stretch two pairs that fit mirrored fit unmirrored as well; from three on the better one counts.
MIRROR_PAIRS = 3

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Landmarks:
    """Places seen on both sections.

    Parameters
    ----------
    he_um, ki67_um
        float64 (N, 2), N at least 2; row i of one belongs to row i of the other.
    """

    he_um: Points
    ki67_um: Points

    def residuals_um(self, matrix: Matrix) -> Points:
        """Distance (N,) of each mapped H&E landmark from its partner."""
        return np.asarray(np.hypot(*(apply_matrix(matrix, self.he_um) - self.ki67_um).T))


@dataclass(frozen=True)
class ByHand:
    """What a person says about the registration.

    Parameters
    ----------
    landmarks
        Pairs of places that take the place of the automatic search, or None.
    shift_um
        Moves the region on the Ki-67 slide by so much to the right and down.
    rotate_deg
        Turns it on the Ki-67 slide, clockwise on the screen, about the middle of the tissue.
    as_given
        Take the result as it is; otherwise the fine stages start from it.
    """

    landmarks: Landmarks | None = None
    shift_um: tuple[float, float] = (0.0, 0.0)
    rotate_deg: float = 0.0
    as_given: bool = False

    @property
    def nudged(self) -> bool:
        """Whether there is a shift or a turn."""
        return self.shift_um != (0.0, 0.0) or self.rotate_deg != 0.0

    def nudge(self, middle_um: tuple[float, float]) -> Matrix:
        """The shift and the turn about a place on the Ki-67 slide, as a matrix (3, 3) from Ki-67 µm to Ki-67 µm."""
        target = middle_um[0] + self.shift_um[0], middle_um[1] + self.shift_um[1]
        return about(middle_um, turned(math.radians(self.rotate_deg), mirrored=False), target)


def fit_landmarks(landmarks: Landmarks, *, rigid: bool) -> Matrix:
    """Least-squares map (3, 3) from H&E µm to Ki-67 µm through landmarks.

    Without stretch where ``rigid``; else with one scale from two pairs, affine from four pairs that do not lie on a
    line. Turn, scale and mirroring by Umeyama (IEEE TPAMI 13:376, 1991).

    Raises
    ------
    RegistrationError
        Where all landmarks of a slide coincide.
    """
    he, ki67 = landmarks.he_um, landmarks.ki67_um
    for points, slide in ((he, "H&E"), (ki67, "Ki-67")):
        if np.ptp(points, axis=0).max() <= 0:
            msg = f"all landmarks of the {slide} slide are the same place. Give at least two that are far apart"
            raise RegistrationError(msg)
    spread = np.linalg.svd(he - he.mean(axis=0), compute_uv=False)
    if not rigid and len(he) >= AFFINE_PAIRS and spread[1] > MINIMUM_SPREAD_SHARE * spread[0]:
        homogeneous = np.column_stack([he, np.ones(len(he))])
        matrix = np.eye(3)
        matrix[:2] = np.linalg.lstsq(homogeneous, ki67, rcond=None)[0].T
        return matrix
    return _similarity(he, ki67, scaled=not rigid)


def _similarity(he: Points, ki67: Points, *, scaled: bool) -> Matrix:
    centre, target = he.mean(axis=0), ki67.mean(axis=0)
    source = he - centre
    left, values, right = np.linalg.svd((ki67 - target).T @ source)
    signs = np.ones(2)
    if len(he) < MIRROR_PAIRS and np.linalg.det(left @ right) < 0:
        signs[1] = -1.0
    linear = left @ np.diag(signs) @ right
    if scaled:
        linear = linear * float((values * signs).sum() / (source**2).sum())
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = target - linear @ centre
    return matrix


def read_landmark_pairs(
    path: str | Path,
    he: PixelFrame,
    ki67: PixelFrame,
    he_size_um: tuple[float, float],
    ki67_size_um: tuple[float, float],
) -> Landmarks:
    """Landmarks from a CSV with the columns ``he_x,he_y,ki67_x,ki67_y``.

    In pixels of level 0 as QuPath shows them: ``he`` and ``ki67`` tell where on the slide 0, 0 lies.

    Raises
    ------
    FileError
        With the line that is wrong: not a number, outside its slide, fewer than two pairs.
    """
    source = Path(path)
    try:
        rows = list(csv.reader(read_text(source, FileError, LANDMARKS_WAY_OUT, "landmarks").splitlines()))
    except csv.Error as error:
        raise FileError(source, f"cannot be read as landmarks: {error}", LANDMARKS_WAY_OUT) from error
    header = tuple(cell.strip().lower() for cell in rows[0]) if rows else ()
    if header != LANDMARK_COLUMNS:
        found = f"line 1: found the columns {','.join(header)!r}, expected {','.join(LANDMARK_COLUMNS)!r}"
        raise FileError(source, found, LANDMARKS_WAY_OUT)
    limit = np.array([*he_size_um, *ki67_size_um])
    pairs = []
    for number, row in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in row):
            he_px, ki67_px = np.split(_pair(source, number, row), 2)
            pairs.append(np.concatenate([he.to_um(he_px), ki67.to_um(ki67_px)]))
            if not ((pairs[-1] >= 0) & (pairs[-1] <= limit)).all():
                raise FileError(source, f"line {number}: {','.join(row)} lies outside the slide", LANDMARKS_WAY_OUT)
    if len(pairs) < MINIMUM_PAIRS:
        raise FileError(source, f"has {len(pairs)} pairs, at least {MINIMUM_PAIRS} expected", LANDMARKS_WAY_OUT)
    values = np.array(pairs)
    return Landmarks(values[:, :2], values[:, 2:])


def _pair(source: Path, number: int, row: list[str]) -> NDArray[np.float64]:
    try:
        values = np.array([float(cell) for cell in row])
    except ValueError as error:
        raise FileError(source, f"line {number}: {error}", LANDMARKS_WAY_OUT) from error
    if values.shape != (len(LANDMARK_COLUMNS),) or not np.isfinite(values).all():
        raise FileError(source, f"line {number}: found {','.join(row)!r}, expected four numbers", LANDMARKS_WAY_OUT)
    return values
