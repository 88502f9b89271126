"""Registration of an H&E section and a Ki-67 section, from slides or from plain images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ki67.errors import RegistrationError, TissueError
from ki67.registration import fine
from ki67.registration.by_hand import ByHand, Landmarks, fit_landmarks
from ki67.registration.coarse import Coarse, Pose, find_pose, tissue_centre_um
from ki67.registration.images import Section, section_from_rgb
from ki67.registration.local import coherence, compare, consensus
from ki67.registration.quality import MAXIMUM_STRETCH, Judged, RegistrationQuality, assess
from ki67.registration.refinement import follow_blocks, settle
from ki67.registration.transform import Transform
from ki67.registration.warp import Matrix, warp

if TYPE_CHECKING:
    from ki67.slides import Slide, TissueMask

Mode = Literal["rigid", "affine", "deformable"]
Stage = Literal["rigid", "affine", "spline", "local"]

# Longest side of the images that are registered. A section of 20 mm is then seen at 16 µm/px: serial sections
# share tissue architecture down to a few nuclei, not single nuclei.
WORK_SIDE_PX = 1280
# Finer than this, sections some µm apart have nothing in common.
FINEST_MPP = 2.0
# Distance between B-spline control points.
GRID_UM = 400.0
# Poses that the blocks decide between.
RIVALS = 5
# Below this the blocks' verdict is chance (the best of five wrong poses reaches 3 to 4).
UNDECIDED_SIGMA = 4.0
# The coarse pose has a scale; only the affine stage may keep it, a rigid map has none (as in the paper).
STAGES: dict[Mode, tuple[Stage, ...]] = {
    "rigid": ("rigid",),
    "affine": ("affine",),
    "deformable": ("affine", "spline", "local"),
}
# What a stage makes of the map.
KINDS: dict[Stage, Mode] = {"rigid": "rigid", "affine": "affine", "spline": "deformable", "local": "deformable"}
# A B-spline is given only to sections of which this share knows its shift: on the real serial sections at hand it is
# 0.05 to 0.5, and the spline followed noise; on simulated ones, which share every gland, 0.82 and more.
SPLINE_SURE_SHARE = 0.7
# A stage may lose this little of the blocks' agreement, which is measured to about a tenth.
KEPT_AGREEMENT = 0.9
# Mutual information may fall by this share where the blocks lie closer together than before: measured on simulated
# pairs, it moves by a few thousandths either way on stages that halve the error.
KEPT_INFORMATION = 0.98
MINIMUM_JACOBIAN = 0.3
MAXIMUM_JACOBIAN = 3.0
# A refinement that carries the tissue further than this from where a person put it has found something else: twice
# what a nudge on the screen is off by, as a share of the slide's longest side, and at least this many µm.
HAND_REACH_SHARE, HAND_REACH_UM = 0.02, 100.0
# A landmark this far from where the others put it is likely mistyped.
LANDMARK_OFF_UM = 250.0


def register(
    he: Slide,
    ki67: Slide,
    he_tissue: TissueMask,
    ki67_tissue: TissueMask,
    *,
    mode: Mode = "deformable",
    by_hand: ByHand | None = None,
) -> tuple[Transform, RegistrationQuality]:
    """Register two slides.

    Parameters
    ----------
    he, ki67
        The slides.
    he_tissue, ki67_tissue
        Their tissue masks.
    mode
        The most flexible map allowed: "rigid" (the paper's), "affine" or "deformable". A stage that does not
        improve the agreement, or is implausible, is left out.
    by_hand
        Landmarks or a nudge; None registers automatically.

    Returns
    -------
    Transform from H&E µm to Ki-67 µm, and its quality. Look at ``quality.accepted``.

    Raises
    ------
    TissueError
        Where one of the slides has no tissue.
    """
    return register_sections(*sections(he, ki67, he_tissue, ki67_tissue), mode=mode, by_hand=by_hand)


def sections(
    fixed: Slide, moving: Slide, fixed_tissue: TissueMask | None = None, moving_tissue: TissueMask | None = None
) -> tuple[Section, Section]:
    """Both slides as sections at the common pixel size at which they are registered.

    Without a tissue mask everything darker than the glass is taken for tissue, which suits plain fields.
    """
    sides_um = [side for s in (fixed, moving) for side in (s.bounds_um.width_um, s.bounds_um.height_um)]
    mpp = max(FINEST_MPP, fixed.mpp, moving.mpp, max(sides_um) / WORK_SIDE_PX)
    return _section(fixed, fixed_tissue, mpp), _section(moving, moving_tissue, mpp)


def _section(slide: Slide, tissue: TissueMask | None, mpp: float) -> Section:
    size_um = slide.bounds_um.width_um, slide.bounds_um.height_um
    mask = None if tissue is None else tissue.mask
    return section_from_rgb(slide.thumbnail(mpp), mpp, size_um, mask, str(slide.path))


def register_sections(
    fixed: Section, moving: Section, *, mode: Mode = "deformable", by_hand: ByHand | None = None
) -> tuple[Transform, RegistrationQuality]:
    """Register two sections at the same pixel size; as :func:`register`."""
    for section in (fixed, moving):
        if not section.tissue.any():
            raise TissueError(section.name, "has no tissue to register", "Check that this is the right slide.")
    by_hand = by_hand or ByHand()
    warnings: list[str] = []
    if by_hand.landmarks is None:
        coarse = _arbitrate(fixed, moving, find_pose(fixed, moving))
    else:
        coarse = _from_landmarks(fixed, moving, by_hand.landmarks, mode, warnings)
    start = _rigid_part(coarse.best.matrix, fixed) if mode == "rigid" else coarse.best.matrix
    judged, kept = Judged(fixed, moving, Transform(start)), "landmarks"
    if by_hand.landmarks is None:
        judged, kept = _stages(judged, mode, warnings)
    if by_hand.nudged:
        judged, kept = _nudged(judged, by_hand), "nudged"
    if kept in ("landmarks", "nudged") and not by_hand.as_given:
        judged, kept = _refined(judged, mode, kept, warnings)
    if judged.transform.mirrored:
        warnings.append("one of the sections is mounted upside down (mirrored)")
    return judged.transform, assess(judged, coarse, kept, tuple(warnings))


def _stages(judged: Judged, mode: Mode, warnings: list[str]) -> tuple[Judged, str]:
    """The fine stages of a mode, and the last one kept; what is left out is told in ``warnings``."""
    fixed, moving = judged.fixed, judged.moving
    kept = "coarse"
    for stage in STAGES[mode]:
        if stage == "spline" and judged.sure_share < SPLINE_SURE_SHARE:
            continue
        try:
            found = _stage(fixed, moving, judged.transform, stage)
            # What is fitted to the blocks cannot be judged by them.
            candidate = Judged(fixed, moving, found, witness=judged if stage == "local" else None)
        except RegistrationError as error:
            warnings.append(f"the {stage} stage was left out: {error}")
            continue
        problem = _problem(judged, candidate)
        if problem:
            warnings.append(f"the {stage} stage was left out: {problem}")
        else:
            judged, kept = candidate, KINDS[stage]
    return judged, kept


def _from_landmarks(fixed: Section, moving: Section, landmarks: Landmarks, mode: Mode, warnings: list[str]) -> Coarse:
    matrix = fit_landmarks(landmarks, rigid=mode == "rigid")
    off_um = landmarks.residuals_um(matrix)
    worst = int(off_um.argmax())
    if off_um[worst] > LANDMARK_OFF_UM:
        warnings.append(
            f"landmark pair {worst + 1} lies {off_um[worst]:.0f} µm from where the others put it (all pairs: median "
            f"{np.median(off_um):.0f} µm); check the file"
        )
    pose = Pose(matrix, coherence(compare(fixed, moving, Transform(matrix))).sigma, "landmarks")
    return Coarse(pose, None, (pose,))


def _nudged(judged: Judged, by_hand: ByHand) -> Judged:
    transform = judged.transform
    x_um, y_um = transform.map_points(_tissue_points(judged.fixed)).mean(axis=0)
    moved = Transform(by_hand.nudge((float(x_um), float(y_um))) @ transform.matrix, transform.displacement)
    return Judged(judged.fixed, judged.moving, moved)


def _refined(placed: Judged, mode: Mode, kept: str, warnings: list[str]) -> tuple[Judged, str]:
    """The fine stages from where a person put the section, unless they fail or carry it away from there."""
    fixed, moving = placed.fixed, placed.moving
    refined, stage = _stages(Judged(fixed, moving, Transform(placed.transform.matrix)), mode, warnings)
    if stage == "coarse":
        return placed, kept
    points = _tissue_points(fixed)
    apart = refined.transform.map_points(points) - placed.transform.map_points(points)
    moved_um = float(np.median(np.hypot(*apart.T)))
    if moved_um > max(HAND_REACH_UM, HAND_REACH_SHARE * max(fixed.size_um)):
        warnings.append(f"the refinement moved the section by {moved_um:.0f} µm and was left out")
        return placed, kept
    return refined, stage


def _tissue_points(section: Section) -> NDArray[np.float64]:
    """Centres of the tissue's pixels (N, 2) in µm, every eighth in either direction where there are so many."""
    step = 8 if section.tissue[::8, ::8].any() else 1
    rows, columns = np.nonzero(section.tissue[::step, ::step])
    return (np.column_stack([columns, rows]).astype(np.float64) * step + 0.5) * section.mpp


def _arbitrate(fixed: Section, moving: Section, coarse: Coarse) -> Coarse:
    """Let the blocks decide between the best poses, as they are and refined by what most blocks agree on.

    A wrong pose may share outline and pale parts with the true one, but not the structures in their places. The
    scores of the poses returned are standard deviations above chance.
    """
    judged: list[Pose] = []
    for pose in coarse.rivals(fixed)[:RIVALS]:
        blocks = compare(fixed, moving, Transform(pose.matrix))
        options = [Pose(pose.matrix, coherence(blocks).sigma, pose.way)]
        found = consensus(blocks)
        if found is not None:
            refined = pose.matrix @ found
            sigma = coherence(compare(fixed, moving, Transform(refined))).sigma
            options.append(Pose(refined, sigma, pose.way))
        judged.append(max(options, key=lambda option: option.score))
    judged.sort(key=lambda pose: -pose.score)
    if judged[0].score < UNDECIDED_SIGMA:
        # The blocks know nothing: the coarse order stands.
        return coarse
    return Coarse(judged[0], judged[1] if len(judged) > 1 else None, tuple(judged))


def _stage(fixed: Section, moving: Section, transform: Transform, stage: Stage) -> Transform:
    if stage == "local":
        if transform.displacement is None:
            transform = Transform(settle(fixed, moving, transform.matrix))
        return follow_blocks(fixed, moving, transform)
    warped = warp(fixed, moving, transform.matrix)
    mask = fixed.tissue | warped.tissue
    if stage == "rigid":
        start = _rigid_part(transform.matrix, fixed)
        warped = warp(fixed, moving, start)
        return Transform(start @ fine.rigid(fixed, warped, mask))
    if stage == "affine":
        return Transform(transform.matrix @ fine.affine(fixed, warped, mask))
    return Transform(transform.matrix, fine.deformable(fixed, warped, mask, GRID_UM))


def _rigid_part(matrix: Matrix, fixed: Section) -> Matrix:
    """The nearest map without stretch that takes the middle of the tissue to the same place."""
    left, _, right = np.linalg.svd(matrix[:2, :2])
    middle = np.array(tissue_centre_um(fixed))
    rigid = np.eye(3)
    rigid[:2, :2] = left @ right
    rigid[:2, 2] = matrix[:2, :2] @ middle + matrix[:2, 2] - rigid[:2, :2] @ middle
    return rigid


def _problem(before: Judged, after: Judged) -> str:
    """Why a stage's result must not be kept; empty where it may."""
    smallest, largest = after.transform.scales
    if smallest < 1 / MAXIMUM_STRETCH or largest > MAXIMUM_STRETCH:
        return f"it stretches the tissue by {smallest:.2f} to {largest:.2f}"
    if after.transform.displacement is not None:
        jacobian = after.transform.displacement.jacobian()
        if jacobian.min() < MINIMUM_JACOBIAN or jacobian.max() > MAXIMUM_JACOBIAN:
            return f"it changes local areas by {jacobian.min():.2f} to {jacobian.max():.2f}"
    had, has = before.coherence.sigma, after.coherence.sigma
    if has < KEPT_AGREEMENT * had:
        return f"the structures agree less, {has:.1f} instead of {had:.1f} standard deviations above chance"
    was, now = before.similarity.mutual_information, after.similarity.mutual_information
    if now < was and not (now >= KEPT_INFORMATION * was and _closer(before, after)):
        return f"mutual information fell from {was:.3f} to {now:.3f}"
    return ""


def _closer(before: Judged, after: Judged) -> bool:
    """Whether the blocks that know their shift lie closer together than before."""
    had_um, has_um = before.local.error_um(), after.local.error_um()
    return had_um is not None and has_um is not None and has_um < had_um
