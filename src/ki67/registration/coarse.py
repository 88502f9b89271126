"""Find the pose of one section on the other from nothing: any turn, any shift up to half a slide, mirrored or not.

Two independent ways propose poses, a short refinement brings each to its best, and one score, the same for all,
decides. Way one is the shape of the tissue and its dark and pale parts: normalised cross-correlation over every
shift (Padfield, IEEE TIP 21:2706, 2012, for images whose tissue runs off the field) at every few degrees. Way two
is matched structures: SIFT key points (Lowe, IJCV 60:91, 2004) and a similarity found by RANSAC.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy import fft, optimize

from ki67.jobs import Pool, current
from ki67.registration.images import Image, Section, structure
from ki67.registration.warp import Matrix, mutual_information, warp

# Longest side in pixels at each step. 128 px still show the outline and the large dark and pale parts, and make
# the whole rotation search take seconds.
SEARCH_SIDE_PX = 128
REFINE_SIDE_PX = 320
FEATURE_SIDE_PX = 900
# At 64 px from the centre 5 degrees are 5.6 px: between two steps no structure moves by more than 3 px, which the
# smoothing of the search images bridges.
ROTATION_STEP_DEG = 5.0
SEARCH_SMOOTH_PX = 1.5
STRUCTURE_SIGMA_PX = 8.0
# A field whose tissue runs off the edge must share at least this part of the smaller image ("shift up to half").
MINIMUM_OVERLAP = 0.25
CANDIDATES_PER_WAY = 5
# Two peaks closer than this are one.
SAME_ROTATION_DEG = 12.0
# Pixel sizes written in files are trusted to ten per cent.
MAXIMUM_SCALE_ERROR = 0.12
# Lowe's ratio; looser than his 0.8, because two stains give few good matches and RANSAC sorts them.
MATCH_RATIO = 0.9
MATCH_TOLERANCE_UM_PER_SIDE = 0.012
MINIMUM_MATCHES = 6


@dataclass(frozen=True)
class Pose:
    """One proposed pose.

    Parameters
    ----------
    matrix
        float64 (3, 3), fixed µm to moving µm.
    score
        Agreement (see :func:`agreement`), larger is better.
    way
        "shape", "structure" or "features".
    """

    matrix: Matrix
    score: float
    way: str

    @property
    def mirrored(self) -> bool:
        """Whether the pose flips the section."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)

    @property
    def angle_deg(self) -> float:
        """Direction of the mapped x axis."""
        return math.degrees(math.atan2(self.matrix[1, 0], self.matrix[0, 0]))


@dataclass(frozen=True)
class Coarse:
    """The winner and how it stands against the next best pose elsewhere.

    Parameters
    ----------
    best
        The pose taken.
    runner_up
        The best refined pose that is clearly another one, or None.
    poses
        All refined poses, best first.
    """

    best: Pose
    runner_up: Pose | None
    poses: tuple[Pose, ...]

    def rivals(self, fixed: Section) -> list[Pose]:
        """The poses that differ clearly, best first."""
        kept: list[Pose] = []
        for pose in self.poses:
            if not any(_same(pose, other, fixed) for other in kept):
                kept.append(pose)
        return kept

    @property
    def distinctness(self) -> float:
        """One minus the runner-up's score over the best one's: 0 ambiguous, 1 without rival."""
        if self.runner_up is None or self.best.score <= 0:
            return 1.0 if self.best.score > 0 else 0.0
        return 1.0 - max(0.0, self.runner_up.score) / self.best.score


def find_pose(fixed: Section, moving: Section) -> Coarse:
    """Find the pose of the fixed section on the moving one.

    Parameters
    ----------
    fixed, moving
        Sections at any resolution; they are brought down to a common one.
    """
    mpp = _common_mpp(fixed, moving, REFINE_SIDE_PX)
    f, m = smoothed(fixed.at(mpp), 1.0), smoothed(moving.at(mpp), 1.0)
    with Pool("pose") as pool:
        ways = [*_search(fixed, moving), partial(_features, fixed, moving)]
        proposals = [pose for found in pool.map(_call, ways) for pose in found]
        poses = list(pool.map(partial(refine, f, m), _distinct(proposals)))
    if not poses:
        poses = [Pose(_centred(fixed, moving), 0.0, "shape")]
    poses.sort(key=lambda pose: -pose.score)
    best = poses[0]
    rivals = [pose for pose in poses[1:] if not _same(best, pose, fixed)]
    return Coarse(best, rivals[0] if rivals else None, tuple(poses))


def _common_mpp(fixed: Section, moving: Section, side_px: int) -> float:
    longest_um = max(*fixed.size_um, *moving.size_um)
    return max(fixed.mpp, moving.mpp, longest_um / side_px)


def smoothed(section: Section, sigma_px: float) -> Section:
    """The section with its density smoothed."""
    density = cv2.GaussianBlur(section.density, (0, 0), sigma_px)
    return Section(np.asarray(density, np.float32), section.tissue, section.mpp, section.size_um, section.name)


def agreement(fixed: Section, moving: Section, matrix: Matrix) -> float:
    """How well two sections agree in a pose, in nats; 0 is chance.

    Mutual information of the densities, over the tissue of either section where both slides say something, times
    the share of the tissue that is so covered. Mutual information asks for no particular relation between the
    stains; the share keeps a pose from winning by touching the other slide in one corner.
    """
    warped = warp(fixed, moving, matrix)
    either = (fixed.tissue | warped.tissue) & warped.valid
    n = int(either.sum())
    smaller = min(int(fixed.tissue.sum()), _tissue_area_px(moving, fixed.mpp))
    if n == 0 or smaller == 0:
        return 0.0
    share = min(1.0, n / smaller)
    return share * mutual_information(fixed.density[either], np.clip(warped.density[either], 0, 1))


def _tissue_area_px(section: Section, mpp: float) -> int:
    return int(section.tissue.sum() * (section.mpp / mpp) ** 2)


def tissue_centre_um(section: Section) -> tuple[float, float]:
    """Middle of the tissue; of the slide where there is none."""
    rows, columns = np.nonzero(section.tissue)
    if rows.size == 0:
        return section.size_um[0] / 2, section.size_um[1] / 2
    return (float(columns.mean()) + 0.5) * section.mpp, (float(rows.mean()) + 0.5) * section.mpp


def _centred(fixed: Section, moving: Section) -> Matrix:
    f, m = tissue_centre_um(fixed), tissue_centre_um(moving)
    return np.array([[1.0, 0, m[0] - f[0]], [0, 1.0, m[1] - f[1]], [0, 0, 1]])


def about(centre_um: tuple[float, float], linear: Matrix, to_um: tuple[float, float]) -> Matrix:
    """Matrix that applies ``linear`` (2, 2) about a centre and moves the centre to ``to_um``."""
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.asarray(to_um) - linear @ np.asarray(centre_um)
    return matrix


def turned(angle_rad: float, *, mirrored: bool) -> Matrix:
    """Rotation (2, 2), after a flip of x where mirrored."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    rotation = np.array([[cos, -sin], [sin, cos]])
    return rotation @ np.diag([-1.0, 1.0]) if mirrored else rotation


# --- way one: shape ---------------------------------------------------------------------------------------------


def _search(fixed: Section, moving: Section) -> list[Callable[[], list[Pose]]]:
    """The searches by shape and by structure, each still to be done."""
    mpp = _common_mpp(fixed, moving, SEARCH_SIDE_PX)
    f, m = smoothed(fixed.at(mpp), SEARCH_SMOOTH_PX), smoothed(moving.at(mpp), SEARCH_SMOOTH_PX)
    f_struct = _with_density(f, structure(f.density, _weight(f), STRUCTURE_SIGMA_PX, 0))
    m_struct = _with_density(m, structure(m.density, _weight(m), STRUCTURE_SIGMA_PX, 0))
    return [partial(_rotations, f, m, "shape"), partial(_rotations, f_struct, m_struct, "structure")]


def _call(search: Callable[[], list[Pose]]) -> list[Pose]:
    return search()


def _weight(section: Section) -> Image:
    return section.tissue.astype(np.float32)


def _with_density(section: Section, density: Image) -> Section:
    return Section(density, section.tissue, section.mpp, section.size_um, section.name)


def _rotations(fixed: Section, moving: Section, way: str) -> list[Pose]:
    """Best shift at every rotation and mirroring, the best few that differ."""
    side = math.ceil(math.hypot(*moving.density.shape)) + 2
    shape = tuple(fft.next_fast_len(side + n, real=True) for n in fixed.density.shape)
    correlator = _Correlator(fixed, shape)
    centre = moving.size_um[0] / 2, moving.size_um[1] / 2
    middle = side * fixed.mpp / 2, side * fixed.mpp / 2
    canvas = Section(
        np.zeros((side, side), np.float32), np.zeros((side, side), bool), fixed.mpp, (side * fixed.mpp,) * 2, "canvas"
    )
    poses = []
    for mirrored in (False, True):
        for angle_deg in np.arange(0.0, 360.0, ROTATION_STEP_DEG):
            current().stop_if_cancelled()
            linear = turned(math.radians(angle_deg), mirrored=mirrored)
            matrix = about(middle, linear, centre)
            warped = warp(canvas, moving, matrix)
            score, (dx, dy) = correlator.best(warped.density, None if moving.free else warped.valid)
            shift = np.eye(3)
            shift[:2, 2] = dx * fixed.mpp, dy * fixed.mpp
            poses.append(Pose(matrix @ shift, score, way))
    poses.sort(key=lambda pose: -pose.score)
    return _distinct(poses)[:CANDIDATES_PER_WAY]


class _Correlator:
    """Normalised cross-correlation of one fixed image with many moving ones over every shift."""

    def __init__(self, fixed: Section, shape: tuple[int, ...]) -> None:
        self.shape = shape
        height, width = fixed.density.shape
        mask = np.ones(shape, np.float32) if fixed.free else np.zeros(shape, np.float32)
        mask[:height, :width] = 1
        image = np.zeros(shape, np.float32)
        image[:height, :width] = fixed.density
        self.fixed_shape = (height, width)
        self.area = height * width
        self.spectra = [np.conj(fft.rfft2(part)) for part in (mask, image, image * image)]
        self.all_around = self._overlap(np.ones(shape, np.float32))

    def _back(self, spectrum: np.ndarray) -> np.ndarray:
        return np.asarray(fft.irfft2(spectrum, s=self.shape))

    def _overlap(self, mask: Image) -> tuple[np.ndarray, ...]:
        """At every shift: pixels in common with a moving image's mask; the fixed image's sum and variance there."""
        one = fft.rfft2(mask)
        f_one, f, ff = self.spectra
        count = np.maximum(self._back(f_one * one), 1.0)
        sum_f = self._back(f * one)
        return count, sum_f, np.maximum(self._back(ff * one) - sum_f**2 / count, 0)

    def best(self, density: Image, valid: np.ndarray | None) -> tuple[float, tuple[int, int]]:
        """Largest correlation and its shift (dx, dy) in pixels; ``valid`` None means bare glass all around."""
        height, width = density.shape
        image = np.zeros(self.shape, np.float32)
        image[:height, :width] = density if valid is None else density * valid
        if valid is None:
            count, sum_f, variance_f = self.all_around
        else:
            mask = np.zeros(self.shape, np.float32)
            mask[:height, :width] = valid
            count, sum_f, variance_f = self._overlap(mask)
        g, gg = (fft.rfft2(part) for part in (image, image * image))
        f_one, f, _ = self.spectra
        sum_g = self._back(f_one * g)
        covariance = self._back(f * g) - sum_f * sum_g / count
        variance = variance_f * np.maximum(self._back(f_one * gg) - sum_g**2 / count, 0)
        floor = 1e-6 * float(variance.max()) + 1e-12
        score = covariance / np.sqrt(np.maximum(variance, floor))
        # A correlation over few pixels is large by chance: its spread goes with one over the root of the count.
        smaller = min(self.area, height * width if valid is None else int(valid.sum()))
        share = np.minimum(1.0, count / max(smaller, 1))
        score = np.where(share >= MINIMUM_OVERLAP, score * np.sqrt(share), -1.0)
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        return float(score[row, column]), (self._shift(int(column), 1), self._shift(int(row), 0))

    def _shift(self, index: int, axis: int) -> int:
        """Shift for an index of the transform: the last ones, as many as the fixed image is wide, are negative."""
        return index if index < self.shape[axis] - self.fixed_shape[axis] else index - self.shape[axis]


# --- way two: matched structures --------------------------------------------------------------------------------


def _features(fixed: Section, moving: Section) -> list[Pose]:
    """Poses from matched key points, plain and mirrored; empty where too few match."""
    mpp = _common_mpp(fixed, moving, FEATURE_SIDE_PX)
    f, m = fixed.at(mpp), moving.at(mpp)
    flip = np.diag([-1.0, 1.0, 1.0])
    flip[0, 2] = m.density.shape[1] * mpp
    mirror = Section(np.ascontiguousarray(m.density[:, ::-1]), m.tissue[:, ::-1], mpp, m.size_um, m.name)
    poses = []
    described = _key_points(f)
    for section, back in ((m, np.eye(3)), (mirror, flip)):
        found = _match(described, _key_points(section), mpp, max(*f.size_um))
        if found is not None:
            matrix, inliers = found
            poses.append(Pose(back @ matrix, float(inliers), "features"))
    return poses


def _key_points(section: Section) -> tuple[np.ndarray, np.ndarray | None]:
    """Places in pixels (N, 2) and descriptors (N, 128) of the key points on the tissue."""
    grey = np.rint(255 * np.clip(section.density, 0, 1)).astype(np.uint8)
    grey = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(grey)
    mask = cv2.dilate(section.tissue.astype(np.uint8), np.ones((9, 9), np.uint8))
    points, descriptors = cv2.SIFT.create(nfeatures=4000, contrastThreshold=0.02, sigma=2.0).detectAndCompute(
        grey, mask
    )
    return np.array([point.pt for point in points], np.float64).reshape(-1, 2), descriptors


def _match(
    fixed: tuple[np.ndarray, np.ndarray | None],
    moving: tuple[np.ndarray, np.ndarray | None],
    mpp: float,
    side_um: float,
) -> tuple[Matrix, int] | None:
    """Rigid pose (fixed µm to moving µm) that most matches agree on, and their number."""
    if fixed[1] is None or moving[1] is None or min(len(fixed[0]), len(moving[0])) < MINIMUM_MATCHES:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(fixed[1], moving[1], k=2)
    good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < MATCH_RATIO * p[1].distance]
    if len(good) < MINIMUM_MATCHES:
        return None
    source = (fixed[0][[match.queryIdx for match in good]] + 0.5) * mpp
    target = (moving[0][[match.trainIdx for match in good]] + 0.5) * mpp
    similarity, inliers = cv2.estimateAffinePartial2D(
        source,
        target,
        method=cv2.RANSAC,
        ransacReprojThreshold=MATCH_TOLERANCE_UM_PER_SIDE * side_um,
        maxIters=20000,
        confidence=0.999,
    )
    if similarity is None or int(inliers.sum()) < MINIMUM_MATCHES:
        return None
    scale = math.sqrt(abs(float(np.linalg.det(similarity[:, :2]))))
    if not math.exp(-MAXIMUM_SCALE_ERROR) <= scale <= math.exp(MAXIMUM_SCALE_ERROR):
        return None
    return np.vstack([similarity, (0, 0, 1)]), int(inliers.sum())


# --- refinement and choice --------------------------------------------------------------------------------------


def refine(fixed: Section, moving: Section, pose: Pose) -> Pose:
    """Bring a pose to the nearest maximum of :func:`agreement` (Nelder-Mead over turn, shift and scale)."""
    centre = tissue_centre_um(fixed)
    side_um = max(*fixed.size_um)
    # One unit of each parameter moves the rim of the slide by about one SEARCH step.
    unit_um = side_um / SEARCH_SIDE_PX * 2
    unit_rad = math.radians(ROTATION_STEP_DEG) / 2
    unit_scale = 0.03

    def matrix_of(values: np.ndarray) -> Matrix:
        grown = math.exp(float(np.clip(values[3] * unit_scale, -MAXIMUM_SCALE_ERROR, MAXIMUM_SCALE_ERROR)))
        linear = grown * turned(float(values[2]) * unit_rad, mirrored=False)
        shift = centre[0] + values[0] * unit_um, centre[1] + values[1] * unit_um
        return np.asarray(pose.matrix @ about(centre, linear, shift))

    def cost(values: np.ndarray) -> float:
        current().stop_if_cancelled()
        return -agreement(fixed, moving, matrix_of(values))

    start = np.zeros((5, 4))
    start[1:] = np.eye(4)
    found = optimize.minimize(
        cost,
        np.zeros(4),
        method="Nelder-Mead",
        options={"initial_simplex": start, "maxfev": 160, "xatol": 0.02, "fatol": 1e-5},
    )
    return Pose(matrix_of(found.x), -float(found.fun), pose.way)


def _distinct(poses: list[Pose]) -> list[Pose]:
    """Drop poses of the same way that repeat a better one."""
    kept: list[Pose] = []
    for pose in poses:
        if not any(_near(pose, other) for other in kept):
            kept.append(pose)
    return kept


def _near(a: Pose, b: Pose) -> bool:
    turn = abs((a.angle_deg - b.angle_deg + 180) % 360 - 180)
    return a.way == b.way and a.mirrored == b.mirrored and turn < SAME_ROTATION_DEG


def _same(a: Pose, b: Pose, fixed: Section) -> bool:
    """Whether two poses put the fixed section's corners at about the same places."""
    width, height = fixed.size_um
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    moved = corners @ (a.matrix - b.matrix)[:2].T
    return bool(np.hypot(moved[:, 0], moved[:, 1]).mean() < 0.1 * max(width, height))
