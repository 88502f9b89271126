"""Sections in pieces: tissue that the map of the whole section does not explain gets a map of its own.

Pieces of tissue float apart, are laid down in another order or upside down, one is lost, a section tears: one map
then serves one piece, and the rest of the tissue lies on glass or on structures that are not its own
(:mod:`ki67.registration.belief`). What is left is taken zone by zone, the largest first, and looked for among the
tissue of the Ki-67 section that nothing lies on yet, by the same search as a whole section. It is believed only as a
whole section is: by its structures, against chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from scipy import ndimage

from ki67.geometry import UM2_PER_MM2, RectUm
from ki67.progress import counted
from ki67.registration.belief import LANDING_UM, judge_places
from ki67.registration.coarse import Pose, find_pose
from ki67.registration.images import Mask, Section
from ki67.registration.local import SIDE_PX, coherence, compare, consensus
from ki67.registration.quality import MAXIMUM_STRETCH, Judged, required_sigma
from ki67.registration.steps import RIVALS, STAGES, Stage, rigid_part, stages
from ki67.registration.transform import Transform, apply_matrix
from ki67.registration.warp import Matrix, drawn
from ki67.vocabulary import RegistrationMode

LEAST_PIECE_MM2: Final = 0.12
"""Smaller zones are crumbs: they have too few structures to be told from chance."""

MOST_TRIES: Final = 4
"""Single pieces of the Ki-67 section that are tried where the search over all of them fails."""

AROUND_UM: Final = 250.0
"""Glass around a part, and tissue around where a pose puts it: as far as the blocks look."""

FINEST_MPP: Final = 2.0
"""Finer than this, sections some µm apart have nothing in common."""

PIECE_STAGES: Final[dict[RegistrationMode, tuple[Stage, ...]]] = {**STAGES, RegistrationMode.deformable: ("local",)}
"""Fine stages of a piece. elastix samples at random what a piece's map is settled on pixel by pixel in a third of
the time; its spline is for whole sections."""

WHOLE_SHARE: Final = 0.85
"""A piece of tissue that lies with so much of it on one map belongs to it; with less than the rest, it does not."""


@dataclass(frozen=True)
class Part:
    """Tissue of the fixed section with its map.

    Parameters
    ----------
    transform
        Between the slides, in µm.
    witness
        The map before its last stage, where that was fitted to the blocks; else the same.
    zone
        bool (H, W): the tissue, in the fixed section's pixels.
    """

    transform: Transform
    witness: Transform
    zone: Mask


@dataclass(frozen=True)
class Divided:
    """All parts that were found, and the tissue that has none, in the fixed section's pixels."""

    parts: tuple[Part, ...]
    left: Mask


def divide(
    fixed: Section, moving: Section, whole: Part | None, most: int, mode: RegistrationMode, given: Sequence[Part] = ()
) -> Divided:
    """Find maps for what the map of the whole, or the maps given, do not explain.

    Parameters
    ----------
    fixed, moving
        The sections.
    whole
        The map of the whole with the tissue on which it is believed; None where it is believed nowhere.
    most
        No more parts than this.
    mode
        The most flexible map allowed.
    given
        Parts that are known already (by hand).
    """
    parts = list(given) or [] if whole is None else [replace(whole, zone=_whole_pieces(fixed, whole.zone))]
    free = moving.tissue.copy()
    for part in parts:
        free &= ~_image(fixed, moving, part)
    taken = np.logical_or.reduce([part.zone for part in parts]) if parts else np.zeros_like(fixed.tissue)
    todo = _zones(fixed.tissue & ~taken, fixed.mpp)
    left = np.zeros_like(fixed.tissue)
    with counted("looking for pieces of tissue that lie elsewhere", None) as one_more:
        while todo and len(parts) < most:
            zone = todo.pop(0)
            enough = _area_mm2(free, moving.mpp) >= LEAST_PIECE_MM2
            found = _find(fixed, moving, zone, free, mode) if enough else None
            one_more()
            if found is None:
                left |= zone
                continue
            parts.append(found)
            free &= ~_image(fixed, moving, found)
            todo = sorted([*todo, *_zones(zone & ~found.zone, fixed.mpp)], key=lambda mask: -int(mask.sum()))
    taken = np.logical_or.reduce([part.zone for part in parts]) if parts else left
    parts.sort(key=lambda part: -int(part.zone.sum()))
    return Divided(tuple(parts), fixed.tissue & ~taken)


def worth_dividing(fixed: Section, moving: Section, whole: Part | None) -> bool:
    """Whether tissue is left that a map of its own may explain, beside the whole's map or without one."""
    if whole is not None:
        here = replace(whole, zone=_whole_pieces(fixed, whole.zone))
        if not _zones(fixed.tissue & ~here.zone, fixed.mpp):
            return False
        reach = 2 * max(1, round(LANDING_UM / moving.mpp)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        beside = moving.tissue & (cv2.dilate(_image(fixed, moving, here).astype(np.uint8), kernel) == 0)
        return bool(_zones(beside, moving.mpp))
    return max(len(_zones(section.tissue, section.mpp)) for section in (fixed, moving)) > 1


def _area_mm2(mask: Mask, mpp: float) -> float:
    return float(mask.sum()) * mpp**2 / UM2_PER_MM2


def _zones(mask: Mask, mpp: float) -> list[Mask]:
    """Connected zones of a mask that are worth a search, the largest first."""
    labels, count = ndimage.label(mask)
    zones = [labels == number for number in range(1, count + 1)]
    return sorted((z for z in zones if _area_mm2(z, mpp) >= LEAST_PIECE_MM2), key=lambda zone: -int(zone.sum()))


def _whole_pieces(fixed: Section, zone: Mask) -> Mask:
    """The zone with all of the pieces of tissue that it nearly fills, and without those of which it has but a rim."""
    labels, count = ndimage.label(fixed.tissue)
    result = zone & fixed.tissue
    for number in range(1, count + 1):
        piece = labels == number
        share = float(result[piece].mean())
        if share >= WHOLE_SHARE:
            result |= piece & ~_zones_of(piece & ~result, fixed.mpp)
        elif share <= 1 - WHOLE_SHARE:
            result &= ~piece
    return np.asarray(result, bool)


def _zones_of(mask: Mask, mpp: float) -> Mask:
    zones = _zones(mask, mpp)
    return np.logical_or.reduce(zones) if zones else np.zeros_like(mask)


def _image(fixed: Section, moving: Section, part: Part) -> Mask:
    """Pixels of the moving section on which a part lies."""
    rows, columns = np.nonzero(part.zone)
    if rows.size == 0:
        return np.zeros_like(moving.tissue)
    points = np.asarray((np.column_stack([columns, rows]) + 0.5) * fixed.mpp, np.float64)
    place = np.floor(part.transform.map_points(points) / moving.mpp).astype(int)
    height, width = moving.tissue.shape
    inside = (place >= 0).all(axis=1) & (place[:, 0] < width) & (place[:, 1] < height)
    image = np.zeros(moving.tissue.shape, np.uint8)
    image[place[inside, 1], place[inside, 0]] = 1
    # Stretched by a turn, single pixels between the mapped ones stay empty.
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0)


def by_hand_part(
    fixed: Section, moving: Section, zone: Mask, matrix: Matrix, mode: RegistrationMode, reach_um: float
) -> Part:
    """A zone where a person put it: refined, unless that carries it further than ``reach_um`` (0: as it is)."""
    start = Transform(matrix)
    placed = Part(start, start, zone)
    close = close_up(fixed, moving, zone, moving.tissue, matrix) if reach_um > 0 else None
    if close is None:
        return placed
    found = _refined(fixed, zone, close, mode)
    rows, columns = np.nonzero(zone)
    points = np.asarray((np.column_stack([columns, rows])[::8] + 0.5) * fixed.mpp, np.float64)
    moved_um = np.hypot(*(found.transform.map_points(points) - start.map_points(points)).T)
    return found if float(np.median(moved_um)) <= reach_um else placed


# --- the search for one part ----------------------------------------------------------------------------------------


def _find(fixed: Section, moving: Section, zone: Mask, free: Mask, mode: RegistrationMode) -> Part | None:
    """The believable map of a zone onto free tissue, or None."""
    tries = [free]
    pieces = _zones(free, moving.mpp)
    if len(pieces) > 1:
        size = int(zone.sum()) * fixed.mpp**2
        tries += sorted(pieces, key=lambda piece: abs(math.log(int(piece.sum()) * moving.mpp**2 / size)))[:MOST_TRIES]
    for among in tries:
        best = _best_pose(fixed, moving, zone, free, _proposals(fixed, moving, zone, among))
        if best is not None:
            return _refined(fixed, zone, best, mode)
    return None


def _rect(section: Section, mask: Mask) -> RectUm | None:
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * section.mpp
    return section.snapped(*(edges + AROUND_UM * np.array([-1, -1, 1, 1])).tolist())


def _proposals(fixed: Section, moving: Section, zone: Mask, among: Mask) -> list[Matrix]:
    """Poses of a zone among tissue of the moving section, between the slides."""
    here, there = _rect(fixed, zone), _rect(moving, among)
    if here is None or there is None:
        return []
    f, m = fixed.part(zone, here, fixed.mpp), moving.part(among, there, moving.mpp)
    if not (f.tissue.any() and m.tissue.any()):
        return []
    poses = find_pose(f, m).rivals(f)[:RIVALS]
    corners = (here.x_um, here.y_um), (there.x_um, there.y_um)
    return [Transform(pose.matrix).reframed(*corners).matrix for pose in poses]


@dataclass(frozen=True)
class Close:
    """Both sections around a pose, at the resolution at which a part of this size is registered."""

    fixed: Section
    moving: Section
    corners_um: tuple[tuple[float, float], tuple[float, float]]
    pose: Pose
    blocks: int = 0


def close_up(fixed: Section, moving: Section, zone: Mask, free: Mask, matrix: Matrix) -> Close | None:
    """A zone of the fixed section and where a pose puts it on the moving one, as finely as its size asks for."""
    here = _rect(fixed, zone)
    if here is None:
        return None
    left, top, right, bottom = here.bounds_um
    corners = apply_matrix(matrix, np.array([[left, top], [right, top], [left, bottom], [right, bottom]]))
    edges = [*(corners.min(axis=0) - AROUND_UM), *(corners.max(axis=0) + AROUND_UM)]
    there = moving.snapped(*(float(edge) for edge in edges))
    if there is None:
        return None
    longest = max(here.width_um, here.height_um, there.width_um, there.height_um)
    mpp = max(FINEST_MPP, longest / SIDE_PX)
    f, m = fixed.part(zone, here, mpp), moving.part(free, there, mpp)
    if not (f.tissue.any() and m.tissue.any()):
        return None
    places = (here.x_um, here.y_um), (there.x_um, there.y_um)
    local = Transform(matrix).reframed((-places[0][0], -places[0][1]), (-places[1][0], -places[1][1])).matrix
    return Close(f, m, places, Pose(local, 0.0, "piece"))


def _best_pose(fixed: Section, moving: Section, zone: Mask, free: Mask, poses: list[Matrix]) -> Close | None:
    """The pose that the blocks agree with most, as proposed or refined by them; None where it may be chance."""
    best: Close | None = None
    for matrix in poses:
        close = close_up(fixed, moving, zone, free, matrix)
        if close is None:
            continue
        blocks = compare(close.fixed, close.moving, Transform(close.pose.matrix))
        options = [close.pose.matrix]
        found = consensus(blocks)
        if found is not None:
            options.append(close.pose.matrix @ found)
        for option in options:
            seen = coherence(compare(close.fixed, close.moving, Transform(option)))
            low, high = Transform(option).scales
            if low < 1 / MAXIMUM_STRETCH or high > MAXIMUM_STRETCH:
                continue
            if best is None or seen.sigma > best.pose.score:
                best = Close(
                    close.fixed, close.moving, close.corners_um, Pose(option, seen.sigma, "piece"), seen.blocks
                )
    if best is None or best.pose.score < required_sigma(best.blocks):
        return None
    return best


def _refined(fixed: Section, zone: Mask, best: Close, mode: RegistrationMode) -> Part:
    """The fine stages from a pose, and the tissue on which the result is believed."""
    start = rigid_part(best.pose.matrix, best.fixed) if mode == "rigid" else best.pose.matrix
    judged, _ = stages(Judged(best.fixed, best.moving, Transform(start)), mode, [], PIECE_STAGES[mode])
    _, lost = judge_places(best.fixed, best.moving, judged.transform, (judged.witness or judged).blocks)
    he, ki67 = best.corners_um
    believed = zone.copy()
    if not lost.is_empty:
        there = fixed.snapped(he[0], he[1], he[0] + best.fixed.size_um[0], he[1] + best.fixed.size_um[1])
        if there is not None:
            shape = best.fixed.density.shape
            gone = drawn(lost, shape, best.fixed.mpp).astype(np.uint8)
            top, left = round(there.y_um / fixed.mpp), round(there.x_um / fixed.mpp)
            height, width = round(there.height_um / fixed.mpp), round(there.width_um / fixed.mpp)
            scaled = cv2.resize(gone, (width, height), interpolation=cv2.INTER_NEAREST) > 0
            believed[top : top + height, left : left + width] &= ~scaled
    before = (judged.witness or judged).transform
    return Part(judged.transform.reframed(he, ki67), before.reframed(he, ki67), believed)
