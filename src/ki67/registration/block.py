"""Several sections of one block: each is reached by the way on which least is lost.

H&E and an antibody that stains few cells share little, and are registered less surely than two antibodies with each
other. So every two sections of the block are registered, and each is reached from the H&E through those sections
whose estimated errors add up to least, in squares; mostly that is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import shapely
from scipy.sparse.csgraph import shortest_path
from shapely.geometry import MultiPolygon

from ki67.errors import RegistrationError
from ki67.geometry import as_multipolygon
from ki67.registration.belief import judge_places
from ki67.registration.coarse import Coarse, Pose
from ki67.registration.images import Section
from ki67.registration.pieces import Piece, PiecewiseTransform
from ki67.registration.quality import InPieces, Judged, RegistrationQuality, assess
from ki67.registration.transform import DisplacementField, Points, Transform, apply_matrix, map_region
from ki67.registration.warp import Matrix

Registered = tuple[PiecewiseTransform, RegistrationQuality]
Pairs = Mapping[tuple[int, int], Registered]
"""Every two sections, the first number less than the second: the map from the first to the second."""

# Distance of the places at which a way is kept, in µm and as a share of the longest side: sections bend more gently.
GRID_UM, GRID_SHARE = 40.0, 1 / 300
# A way must be better by more than the estimates are known to.
WORTH_A_DETOUR: Final = 0.8


@dataclass(frozen=True)
class Reached:
    """How a section is reached from the first.

    Parameters
    ----------
    transform
        From the first section's µm to its own.
    quality
        How good that is. Of a way through others the estimated error is that of its steps together.
    through
        Numbers of the sections between, in order; empty for the direct way.
    """

    transform: PiecewiseTransform
    quality: RegistrationQuality
    through: tuple[int, ...] = ()


def ways(pairs: Pairs, count: int) -> dict[int, tuple[int, ...]]:
    """Numbers of the sections through which each is reached from section 0, for sections 1 to ``count`` - 1.

    Only believed registrations are steps of a way; without one, or where the best is hardly better than the direct
    one, the direct one stays.
    """
    square_um2 = np.full((count, count), np.inf)
    for (a, b), (_, quality) in pairs.items():
        if quality.accepted and quality.estimated_error_um is not None:
            square_um2[a, b] = square_um2[b, a] = quality.estimated_error_um**2
    total, before = shortest_path(square_um2, return_predecessors=True, indices=0)
    found = {}
    for section in range(1, count):
        steps: list[int] = []
        at = int(before[section])
        while at > 0:
            steps.insert(0, at)
            at = int(before[at])
        better = total[section] < WORTH_A_DETOUR**2 * square_um2[0, section]
        found[section] = tuple(steps) if better else ()
    return found


def reach(fixed: Section, moving: Section, section: int, through: tuple[int, ...], pairs: Pairs) -> Reached:
    """The map from the first section to another, through those between, and its quality.

    Parameters
    ----------
    fixed, moving
        The first section and the one to be reached, at one pixel size.
    section
        Number of the latter.
    through
        As :func:`ways` gives it.
    pairs
        Every two sections registered.
    """
    direct = Reached(*pairs[0, section])
    if not through:
        return direct
    steps = list(pairwise((0, *through, section)))
    try:
        parts = _step(pairs, *steps[0])
        for step in steps[1:]:
            further = [_after(first, second) for first in parts for second in _step(pairs, *step)]
            parts = [part for part in further if part is not None]
        pieces = [Piece(_resampled(fixed, part), part.here, part.there) for part in parts]
    except RegistrationError:
        # A field that folds has no way back.
        return direct
    if not pieces:
        return direct
    pieces.sort(key=lambda piece: -(math.inf if piece.he is None else piece.he.area))
    main = pieces[0]
    judged = Judged(fixed, moving, main.transform)
    belief, adrift = judge_places(fixed, moving, main.transform, judged.blocks)
    lost = adrift if main.he is None else as_multipolygon(adrift & main.he)
    pose = Pose(main.transform.matrix, judged.coherence.sigma, "through others")
    errors_um = [pairs[min(a, b), max(a, b)][1].estimated_error_um or 0.0 for a, b in steps]
    transform = PiecewiseTransform(tuple(pieces), lost)
    # Like the pieces of a section each step was believed on its own: only folds and stretch are left to be refused.
    steps_believed = InPieces(fixed, moving, transform, (), math.hypot(*errors_um))
    quality = assess(judged, Coarse(pose, None, (pose,)), "through others", (), belief, lost, steps_believed)
    return Reached(transform, quality, through)


@dataclass(frozen=True)
class _Part:
    """A piece of tissue's way from one section to another, there and back; it holds ``here`` and ``there``."""

    forward: Callable[[Points], Points]
    back: Callable[[Points], Points]
    matrix: Matrix
    here: MultiPolygon | None
    there: MultiPolygon | None


def _step(pairs: Pairs, a: int, b: int) -> list[_Part]:
    """The registration of two sections as a step from the first to the second, however it was made."""
    parts = []
    for piece in pairs[min(a, b), max(a, b)][0].pieces:
        way = piece.transform
        if a < b:
            parts.append(_Part(way.map_points, way.inverse_points, way.matrix, piece.he, piece.ki67))
        else:
            back = np.asarray(np.linalg.inv(way.matrix), np.float64)
            parts.append(_Part(way.inverse_points, way.map_points, back, piece.ki67, piece.he))
    return parts


def _after(first: _Part, second: _Part) -> _Part | None:
    """One part of a way after another; None where no tissue takes both."""
    here = _both(first.here, _carried(second.here, first.back))
    there = _both(_carried(first.there, second.forward), second.there)
    if any(domain is not None and domain.is_empty for domain in (here, there)):
        return None
    return _Part(
        lambda points: second.forward(first.forward(points)),
        lambda points: first.back(second.back(points)),
        second.matrix @ first.matrix,
        here,
        there,
    )


def _carried(domain: MultiPolygon | None, way: Callable[[Points], Points]) -> MultiPolygon | None:
    if domain is None or domain.is_empty:
        return domain
    return as_multipolygon(shapely.make_valid(map_region(domain, way)))


def _both(a: MultiPolygon | None, b: MultiPolygon | None) -> MultiPolygon | None:
    if a is None or b is None:
        return b if a is None else a
    return as_multipolygon(shapely.make_valid(a) & shapely.make_valid(b))


def _resampled(fixed: Section, part: _Part) -> Transform:
    """One transform that maps the first section as a way does."""
    width_um, height_um = fixed.size_um
    spacing_um = max(GRID_UM, GRID_SHARE * max(fixed.size_um))
    y, x = np.mgrid[0 : height_um + spacing_um : spacing_um, 0 : width_um + spacing_um : spacing_um]
    grid = np.column_stack([x.ravel(), y.ravel()])
    back = np.asarray(np.linalg.inv(part.matrix), np.float64)
    vectors = apply_matrix(back, part.forward(grid)) - grid
    field = DisplacementField((0.0, 0.0), spacing_um, vectors.reshape(*x.shape, 2).astype(np.float32))
    return Transform(part.matrix, field)
