"""Registration of an H&E section and a Ki-67 section, from slides or from plain images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon

from ki67.errors import RegistrationError, TissueError
from ki67.progress import counted
from ki67.registration.belief import judge_places
from ki67.registration.by_hand import MINIMUM_PAIRS, ByHand, Landmarks, fit_landmarks
from ki67.registration.coarse import Coarse, Pose, find_pose
from ki67.registration.divide import Divided, Part, by_hand_part, divide, worth_dividing
from ki67.registration.images import Section, section_from_rgb
from ki67.registration.local import coherence, compare
from ki67.registration.pieces import Piece, PiecewiseTransform
from ki67.registration.quality import InPieces, Judged, RegistrationQuality, assess
from ki67.registration.seams import assemble
from ki67.registration.steps import STAGES, arbitrate, rigid_part, stages
from ki67.registration.store import MAXIMUM_PIECES
from ki67.registration.transform import Transform
from ki67.registration.warp import drawn
from ki67.vocabulary import RegistrationMode

if TYPE_CHECKING:
    from ki67.slides import Slide, TissueMask

# Longest side of the images that are registered. A section of 20 mm is then seen at 16 µm/px: serial sections
# share tissue architecture down to a few nuclei, not single nuclei.
WORK_SIDE_PX = 1280
# Finer than this, sections some µm apart have nothing in common.
FINEST_MPP = 2.0
# A refinement that carries the tissue further than this from where a person put it has found something else: twice
# what a nudge on the screen is off by, as a share of the slide's longest side, and at least this many µm.
HAND_REACH_SHARE, HAND_REACH_UM = 0.02, 100.0
# Landmarks that one map brings no nearer together than this lie on pieces that moved on their own.
LANDMARK_APART_UM = 150.0
# A landmark this far from where the others put it is likely mistyped.
LANDMARK_OFF_UM = 250.0


def register(
    he: Slide,
    ki67: Slide,
    he_tissue: TissueMask,
    ki67_tissue: TissueMask,
    *,
    mode: RegistrationMode = RegistrationMode.deformable,
    by_hand: ByHand | None = None,
) -> tuple[PiecewiseTransform, RegistrationQuality]:
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
    Transform from H&E µm to Ki-67 µm, and its quality. Look at ``quality.accepted``, and at what is ``unregistered``:
    tissue of the H&E section where this map is not believed.

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
    section = section_from_rgb(slide.thumbnail(mpp), mpp, size_um, mask, str(slide.path))
    return replace(section, detail=slide.read)


def register_sections(
    fixed: Section,
    moving: Section,
    *,
    mode: RegistrationMode = RegistrationMode.deformable,
    by_hand: ByHand | None = None,
) -> tuple[PiecewiseTransform, RegistrationQuality]:
    """Register two sections at the same pixel size; as :func:`register`."""
    for section in (fixed, moving):
        if not section.tissue.any():
            raise TissueError(section.name, "has no tissue to register", "Check that this is the right slide.")
    by_hand = by_hand or ByHand()
    warnings: list[str] = []
    if by_hand.landmarks is not None and not by_hand.nudged:
        given = _parts_by_hand(fixed, moving, by_hand, mode)
        if given:
            pose = Pose(given[0].transform.matrix, 0.0, "landmarks")
            found = _assembled(fixed, moving, divide(fixed, moving, None, MAXIMUM_PIECES, mode, given), pose)
            if found is not None:
                return found
    with counted("registration: pose, refinement, belief", len(STAGES[mode]) + 1) as one_more:
        if by_hand.landmarks is None:
            coarse = arbitrate(fixed, moving, find_pose(fixed, moving))
        else:
            coarse = _from_landmarks(fixed, moving, by_hand.landmarks, mode, warnings)
        start = rigid_part(coarse.best.matrix, fixed) if mode == RegistrationMode.rigid else coarse.best.matrix
        judged, kept = Judged(fixed, moving, Transform(start)), "landmarks"
        if by_hand.landmarks is None:
            judged, kept = stages(judged, mode, warnings, before_each=one_more)
        if by_hand.nudged:
            judged, kept = _nudged(judged, by_hand), "nudged"
        if kept in ("landmarks", "nudged") and not by_hand.as_given:
            judged, kept = _refined(judged, mode, kept, warnings, one_more)
        if judged.transform.mirrored:
            warnings.append("one of the sections is mounted upside down (mirrored)")
        belief, lost = judge_places(fixed, moving, judged.transform, (judged.witness or judged).blocks)
        one_more()
    quality = assess(judged, coarse, kept, tuple(warnings), belief, lost)
    if not by_hand.nudged and not by_hand.as_given:
        found = _in_pieces(judged, coarse.best, quality.accepted, lost, mode)
        if found is not None:
            return found
    # Where nothing is believed as a whole, the map is kept as it is, for those who insist on it.
    return PiecewiseTransform((Piece(judged.transform),), lost if quality.accepted else MultiPolygon()), quality


def _parts_by_hand(fixed: Section, moving: Section, by_hand: ByHand, mode: RegistrationMode) -> list[Part]:
    """The pieces of tissue that landmarks fix, each by its own pairs; none where one map fits all pairs."""
    landmarks = by_hand.landmarks
    if landmarks is None:
        return []
    off_um = landmarks.residuals_um(fit_landmarks(landmarks, rigid=mode == RegistrationMode.rigid))
    if off_um.max() <= LANDMARK_APART_UM:
        return []
    pieces, _ = ndimage.label(fixed.tissue)
    # A landmark beside the tissue belongs to the nearest piece.
    rows, columns = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    place = np.clip((landmarks.he_um / fixed.mpp).astype(int), 0, np.array(pieces.shape[::-1]) - 1)
    owner = pieces[rows[place[:, 1], place[:, 0]], columns[place[:, 1], place[:, 0]]]
    reach_um = 0.0 if by_hand.as_given else max(HAND_REACH_UM, HAND_REACH_SHARE * max(fixed.size_um))
    parts = []
    for piece in np.unique(owner):
        own = Landmarks(landmarks.he_um[owner == piece], landmarks.ki67_um[owner == piece])
        if len(own.he_um) < MINIMUM_PAIRS:
            continue
        matrix = fit_landmarks(own, rigid=True)
        if own.residuals_um(matrix).max() > LANDMARK_APART_UM:
            # Mistyped rather than moved: the whole is fitted, and the pair named.
            return []
        parts.append(by_hand_part(fixed, moving, pieces == piece, matrix, mode, reach_um))
    return parts if len(parts) > 1 else []


def _in_pieces(
    judged: Judged, pose: Pose, accepted: bool, lost: MultiPolygon, mode: RegistrationMode
) -> tuple[PiecewiseTransform, RegistrationQuality] | None:
    """The section in pieces, where one map does not serve it and several do; None otherwise."""
    fixed, moving = judged.fixed, judged.moving
    before = (judged.witness or judged).transform
    explained = fixed.tissue & ~drawn(lost, fixed.tissue.shape, fixed.mpp)
    whole = Part(judged.transform, before, explained) if accepted else None
    if not worth_dividing(fixed, moving, whole):
        return None
    divided = divide(fixed, moving, whole, MAXIMUM_PIECES, mode)
    if len(divided.parts) == (0 if whole is None else 1):
        return None
    return _assembled(fixed, moving, divided, pose)


def _assembled(
    fixed: Section, moving: Section, divided: Divided, pose: Pose
) -> tuple[PiecewiseTransform, RegistrationQuality] | None:
    """The transform of a divided section, judged; None where no part of it is believable."""
    try:
        transform, belief, placed = assemble(fixed, moving, divided)
    except RegistrationError:
        return None
    errors = [one.judged.error_um for one in placed]
    known = [error for error in errors if error is not None]
    facts = InPieces(
        fixed,
        moving,
        transform,
        tuple(one.facts() for one in placed),
        max(known) if len(known) == len(errors) else None,
    )
    warnings = [f"the sections lie in {len(placed)} pieces that moved on their own"] if len(placed) > 1 else []
    warnings += [f"{sum(one.part.transform.mirrored for one in placed)} of them upside down (mirrored)"] * any(
        one.part.transform.mirrored for one in placed
    )
    main = placed[0].judged
    coarse = Coarse(pose, None, (pose,))
    return transform, assess(main, coarse, "pieces", tuple(warnings), belief, transform.unregistered, facts)


def _from_landmarks(
    fixed: Section, moving: Section, landmarks: Landmarks, mode: RegistrationMode, warnings: list[str]
) -> Coarse:
    matrix = fit_landmarks(landmarks, rigid=mode == RegistrationMode.rigid)
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


def _refined(
    placed: Judged, mode: RegistrationMode, kept: str, warnings: list[str], one_more: Callable[[], None]
) -> tuple[Judged, str]:
    """The fine stages from where a person put the section, unless they fail or carry it away from there."""
    fixed, moving = placed.fixed, placed.moving
    start = Judged(fixed, moving, Transform(placed.transform.matrix))
    refined, stage = stages(start, mode, warnings, before_each=one_more)
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
