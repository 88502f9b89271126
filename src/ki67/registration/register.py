"""Registration of an H&E section and a Ki-67 section, from slides or from plain images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ki67.errors import RegistrationError, TissueError
from ki67.registration import fine
from ki67.registration.coarse import Coarse, Pose, find_pose
from ki67.registration.images import Section, section_from_rgb
from ki67.registration.local import coherence, compare, consensus
from ki67.registration.quality import MAXIMUM_STRETCH, RegistrationQuality, assess, measure
from ki67.registration.transform import Transform
from ki67.registration.warp import Matrix, warp

if TYPE_CHECKING:
    from ki67.slides import Slide, TissueMask

Mode = Literal["rigid", "affine", "deformable"]

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
STAGES: dict[Mode, tuple[Mode, ...]] = {
    "rigid": ("rigid",),
    "affine": ("affine",),
    "deformable": ("affine", "deformable"),
}
# A stage may lose this little of the blocks' agreement, which is measured to about a tenth.
KEPT_AGREEMENT = 0.9
MINIMUM_JACOBIAN = 0.3
MAXIMUM_JACOBIAN = 3.0


def register(
    he: Slide,
    ki67: Slide,
    he_tissue: TissueMask,
    ki67_tissue: TissueMask,
    *,
    mode: Mode = "deformable",
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

    Returns
    -------
    Transform from H&E µm to Ki-67 µm, and its quality. Look at ``quality.accepted``.

    Raises
    ------
    TissueError
        Where one of the slides has no tissue.
    """
    return register_sections(*sections(he, ki67, he_tissue, ki67_tissue), mode=mode)


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
    fixed: Section, moving: Section, *, mode: Mode = "deformable"
) -> tuple[Transform, RegistrationQuality]:
    """Register two sections at the same pixel size; as :func:`register`."""
    for section in (fixed, moving):
        if not section.tissue.any():
            raise TissueError(section.name, "has no tissue to register", "Check that this is the right slide.")
    coarse = _arbitrate(fixed, moving, find_pose(fixed, moving))
    transform = Transform(coarse.best.matrix)
    kept = "coarse"
    warnings: list[str] = []
    stages = STAGES[mode]
    if mode == "rigid":
        transform = Transform(_rigid_part(coarse.best.matrix, fixed))
    for stage in stages:
        try:
            candidate = _stage(fixed, moving, transform, stage)
        except RegistrationError as error:
            warnings.append(f"the {stage} stage was left out: {error}")
            continue
        problem = _problem(fixed, moving, transform, candidate)
        if problem:
            warnings.append(f"the {stage} stage was left out: {problem}")
        else:
            transform, kept = candidate, stage
    if transform.mirrored:
        warnings.append("one of the sections is mounted upside down (mirrored)")
    return transform, assess(fixed, moving, transform, coarse, kept, tuple(warnings))


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


def _stage(fixed: Section, moving: Section, transform: Transform, stage: Mode) -> Transform:
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
    rows, columns = np.nonzero(fixed.tissue)
    middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) * fixed.mpp
    rigid = np.eye(3)
    rigid[:2, :2] = left @ right
    rigid[:2, 2] = matrix[:2, :2] @ middle + matrix[:2, 2] - rigid[:2, :2] @ middle
    return rigid


def _problem(fixed: Section, moving: Section, before: Transform, after: Transform) -> str:
    """Why a stage's result must not be kept; empty where it may."""
    smallest, largest = after.scales
    if smallest < 1 / MAXIMUM_STRETCH or largest > MAXIMUM_STRETCH:
        return f"it stretches the tissue by {smallest:.2f} to {largest:.2f}"
    if after.displacement is not None:
        jacobian = after.displacement.jacobian()
        if jacobian.min() < MINIMUM_JACOBIAN or jacobian.max() > MAXIMUM_JACOBIAN:
            return f"it changes local areas by {jacobian.min():.2f} to {jacobian.max():.2f}"
    had = coherence(compare(fixed, moving, before)).sigma
    has = coherence(compare(fixed, moving, after)).sigma
    if has < KEPT_AGREEMENT * had:
        return f"the structures agree less, {has:.1f} instead of {had:.1f} standard deviations above chance"
    was, now = measure(fixed, moving, before), measure(fixed, moving, after)
    if now.mutual_information < was.mutual_information:
        return f"mutual information fell from {was.mutual_information:.3f} to {now.mutual_information:.3f}"
    return ""
