"""The steps of a registration: poses judged by the blocks, then the fine stages, each kept only if it improves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ki67.errors import RegistrationError
from ki67.registration import fine
from ki67.registration.coarse import Coarse, Pose, tissue_centre_um
from ki67.registration.images import Section
from ki67.registration.local import coherence, compare, consensus
from ki67.registration.quality import MAXIMUM_STRETCH, Judged
from ki67.registration.refinement import follow_blocks, settle
from ki67.registration.transform import Transform
from ki67.registration.warp import Matrix, warp
from ki67.vocabulary import RegistrationMode

Stage = Literal["rigid", "affine", "spline", "local"]

# Distance between B-spline control points.
GRID_UM = 400.0
# Poses that the blocks decide between.
RIVALS = 5
# Below this the blocks' verdict is chance (the best of five wrong poses reaches 3 to 4).
UNDECIDED_SIGMA = 4.0
# The coarse pose has a scale; only the affine stage may keep it, a rigid map has none (as in the paper).
STAGES: dict[RegistrationMode, tuple[Stage, ...]] = {
    RegistrationMode.rigid: ("rigid",),
    RegistrationMode.affine: ("affine",),
    RegistrationMode.deformable: ("affine", "spline", "local"),
}
# What a stage makes of the map.
KINDS: dict[Stage, RegistrationMode] = {
    "rigid": RegistrationMode.rigid,
    "affine": RegistrationMode.affine,
    "spline": RegistrationMode.deformable,
    "local": RegistrationMode.deformable,
}
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


def stages(
    judged: Judged,
    mode: RegistrationMode,
    warnings: list[str],
    given: tuple[Stage, ...] | None = None,
    *,
    before_each: Callable[[], None] | None = None,
) -> tuple[Judged, str]:
    """The fine stages of a mode (or those given), and the last one kept; ``warnings`` tells what is left out."""
    fixed, moving = judged.fixed, judged.moving
    kept = "coarse"
    for stage in given or STAGES[mode]:
        if before_each is not None:
            before_each()
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


def arbitrate(fixed: Section, moving: Section, coarse: Coarse) -> Coarse:
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
        start = rigid_part(transform.matrix, fixed)
        warped = warp(fixed, moving, start)
        return Transform(start @ fine.rigid(fixed, warped, mask))
    if stage == "affine":
        return Transform(transform.matrix @ fine.affine(fixed, warped, mask))
    return Transform(transform.matrix, fine.deformable(fixed, warped, mask, GRID_UM))


def rigid_part(matrix: Matrix, fixed: Section) -> Matrix:
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
