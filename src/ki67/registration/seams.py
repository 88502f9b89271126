"""Where each part of a divided section holds: seams to a few pixels, domains on both slides, what is given up.

Blocks tell which map explains which tissue, but a block is as wide as a tear is long. Here every pixel of a piece of
tissue that several maps claim goes to the map under which its surroundings agree best, and to one that puts it on
tissue before one that puts it into the gap. A narrow band along a seam stays with no map: which side it lies on is
not sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely import affinity
from shapely.geometry import MultiPolygon

from ki67.errors import RegistrationError
from ki67.geometry import UM2_PER_MM2, as_multipolygon
from ki67.registration.belief import CELL_TISSUE_SHARE, LocalBelief, judge_places
from ki67.registration.divide import LEAST_PIECE_MM2, Divided, Part, close_up
from ki67.registration.images import Image, Mask, Section, structure
from ki67.registration.local import SMOOTH_PX, STRIDE_PX, STRUCTURE_SIGMA_PX, blocks_mpp, coherence, compare
from ki67.registration.pieces import Piece, PiecewiseTransform
from ki67.registration.quality import Judged, required_sigma
from ki67.registration.warp import warp_by
from ki67.slides.mask_polygons import outline_um

SURROUNDINGS_PX: Final = 12.0
"""Pixels (Gaussian sigma) around a pixel whose structures are compared."""

ON_GLASS: Final = 1.5
"""What it costs a pixel to lie on glass, in units of correlation."""

CLAIM: Final = 0.15
"""What it costs to leave the map that the blocks gave a pixel to."""

EVEN_PX: Final = 5.0
"""Labels are evened out over so many pixels (Gaussian sigma)."""

ISLAND_SHARE: Final = 0.25
"""A part of a piece of tissue hangs together; an island beside it has at least so much of its area."""

BAND_UM, BAND_PX = 60.0, 15.0
"""Half the width, at least, of the band along a seam that stays with no map: a seam is found by what lies some pixels
around it (:data:`SURROUNDINGS_PX`), which are the more µm the larger the section."""

UNSURE, UNSURE_PX = 0.3, 60.0
"""Where the map beside explains a pixel that much less well at most, nobody knows its side: it joins the band, so far
from the seam at most. On the wrong side of a seam that lies 77 µm off, in tissue without structures, it is 0.10 to
0.18, on the right side of one 0.5 (median)."""

UNSURE_EDGE_PX: Final = SURROUNDINGS_PX / 2
"""So much beyond what either map explains as well is left too: a side is seen by the surroundings, no sharper."""

RIM_UM: Final = 150.0
"""Glass around its tissue that belongs to a piece, so that an outline drawn generously comes along."""


@dataclass(frozen=True)
class Placed:
    """A part with what its structures say on its own domain."""

    part: Part
    judged: Judged
    belief: LocalBelief
    corner_um: tuple[float, float]
    area_mm2: float

    def facts(self) -> dict[str, Any]:
        """Figures of the piece, for ``quality.json``."""
        witness = self.judged.witness or self.judged
        transform, known = self.part.transform, self.belief.error_um[np.isfinite(self.belief.error_um)]
        return {
            "area_mm2": self.area_mm2,
            "rotation_deg": transform.rotation_deg,
            "mirrored": transform.mirrored,
            "agreement_sigma": witness.coherence.sigma,
            "blocks": witness.coherence.blocks,
            "sure_share": witness.sure_share,
            "local_error_um": float(np.median(known)) if known.size else None,
        }


def assemble(
    fixed: Section, moving: Section, divided: Divided
) -> tuple[PiecewiseTransform, LocalBelief, list[Placed]]:
    """Make one transform of the parts.

    Returns
    -------
    The transform, what is believed of each place of the fixed section, and the parts on their domains, the one with
    most tissue first.

    Raises
    ------
    RegistrationError
        Where no part is believable on its domain.
    """
    mpp = blocks_mpp(fixed, moving)
    f, m = fixed.at(mpp), moving.at(mpp)
    labels, margin = _labels(f, m, divided)
    placed: list[Placed] = []
    lost: list[MultiPolygon] = []
    for number, part in enumerate(divided.parts, start=1):
        found = _judged(fixed, moving, part, labels == number)
        if found is None:
            labels[labels == number] = 0
            continue
        one, given_up = found
        labels[labels == number] = len(placed) + 1
        placed.append(one)
        lost.append(given_up)
    if not placed:
        raise RegistrationError("no piece of tissue has a believable place")
    band = _band(labels, margin, mpp)
    grown = _grown(labels, band, mpp)
    unregistered = [outline_um((grown == 0) & (labels >= 0), mpp), outline_um(band, mpp), *lost]
    pieces, taken = [], MultiPolygon()
    for number, one in enumerate(placed, start=1):
        he = outline_um(grown == number, mpp)
        there = one.part.transform.map_geometry(he)
        pieces.append(Piece(one.part.transform, he, as_multipolygon(there - taken)))
        # Where two pieces end on the same place, it belongs to the larger one.
        tissue = outline_um(labels == number, mpp)
        taken = as_multipolygon(shapely.union(taken, one.part.transform.map_geometry(tissue)))
    transform = PiecewiseTransform(tuple(pieces), as_multipolygon(shapely.union_all(unregistered)))
    return transform, _belief(labels, placed, mpp), placed


def _labels(f: Section, m: Section, divided: Divided) -> tuple[NDArray[np.int16], Image]:
    """Number of the part (from 1) that each pixel of the tissue belongs to; 0 for none, -1 off the tissue.

    And by how much less well the next best part of the same piece of tissue explains it; infinite without another.
    """
    shape = f.tissue.shape
    size = shape[::-1]
    claims = np.zeros(shape, np.int16)
    for number, part in enumerate(divided.parts, start=1):
        claims[cv2.resize(part.zone.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0] = number
    claims[~f.tissue] = -1
    labels = claims.copy()
    margin = np.full(shape, np.inf, np.float32)
    pieces, count = ndimage.label(f.tissue)
    costs: dict[int, Image] = {}
    for piece, where in enumerate(ndimage.find_objects(pieces, count), start=1):
        inside = pieces[where] == piece
        numbers, areas = np.unique(claims[where][inside], return_counts=True)
        least = min(LEAST_PIECE_MM2 * UM2_PER_MM2 / f.mpp**2, 0.2 * inside.sum())
        owners = [int(n) for n, area in zip(numbers, areas, strict=True) if n > 0 and area >= least]
        if not owners:
            labels[where][inside] = 0
        elif len(owners) == 1:
            labels[where][inside] = owners[0]
        else:
            for number in owners:
                if number not in costs:
                    costs[number] = _cost(f, m, divided.parts[number - 1])
            claimed = np.stack([claims[where] == number for number in owners])
            plain = np.stack([costs[number][where] for number in owners])
            best = _even(plain + CLAIM * ~claimed, inside, claimed)
            labels[where][inside] = np.array(owners, np.int16)[best][inside]
            margin[where][inside] = _margin(plain, best)[inside]
    return labels, margin


def _margin(costs: NDArray[np.float64], best: NDArray[np.intp]) -> Image:
    """By how much the cheapest other label of each pixel costs more than its own."""
    own = np.take_along_axis(costs, best[None], axis=0)[0]
    others = np.where(np.arange(len(costs))[:, None, None] == best, np.inf, costs).min(axis=0)
    return np.asarray(others - own, np.float32)


def _cost(f: Section, m: Section, part: Part) -> Image:
    """What it costs each pixel to go the way of a part."""
    warped = warp_by(f, m, part.transform)
    a = structure(f.density, f.tissue.astype(np.float32), STRUCTURE_SIGMA_PX, SMOOTH_PX)
    b = structure(warped.density, (warped.tissue & warped.valid).astype(np.float32), STRUCTURE_SIGMA_PX, SMOOTH_PX)

    def around(image: Image) -> Image:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), SURROUNDINGS_PX), np.float32)

    agree = around(a * b) / np.sqrt(np.maximum(around(a * a) * around(b * b), 1e-6))
    glass = cv2.GaussianBlur((~warped.tissue).astype(np.float32), (0, 0), 1.5)
    return np.asarray(1 - agree + ON_GLASS * glass, np.float32)


def _even(costs: NDArray[np.float64], inside: Mask, claimed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Cheapest label of each pixel, evened out, without stray islands; ``claimed`` as the blocks say, by label."""
    best = costs.argmin(axis=0)
    weight = inside.astype(np.float32)
    shares = [cv2.GaussianBlur((best == n).astype(np.float32) * weight, (0, 0), EVEN_PX) for n in range(len(costs))]
    best = np.stack(shares).argmax(axis=0)
    for number in range(len(costs)):
        stray = _stray(best == number, inside, claimed[number])
        if stray.any() and not stray[inside].all():
            _, (rows, columns) = ndimage.distance_transform_edt(stray | ~inside, return_indices=True)
            best = np.where(stray, best[rows, columns], best)
    return np.asarray(best, np.intp)


def _stray(label: Mask, inside: Mask, claimed: Mask) -> Mask:
    """Islands of a label beside its largest one that are small, or that the blocks did not give to it."""
    islands, count = ndimage.label(label & inside)
    if count < 2:
        return np.zeros_like(inside)
    numbers = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(inside, islands, numbers)
    claims = ndimage.mean(claimed, islands, numbers)
    kept = (sizes == sizes.max()) | ((sizes >= ISLAND_SHARE * sizes.max()) & (claims >= 0.5))
    return np.asarray(np.isin(islands, numbers[~kept]))


def _judged(fixed: Section, moving: Section, part: Part, domain: Mask) -> tuple[Placed, MultiPolygon] | None:
    """A part on its domain (pixels of the blocks' images), and what of it is given up, in µm; None where all is."""
    height, width = fixed.tissue.shape
    zone = cv2.resize(domain.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    close = close_up(fixed, moving, zone & fixed.tissue, moving.tissue, part.transform.matrix)
    if close is None:
        return None
    (x_um, y_um), (there_x, there_y) = close.corners_um
    back = (-x_um, -y_um), (-there_x, -there_y)
    judged = Judged(close.fixed, close.moving, part.transform.reframed(*back))
    # What was fitted to the blocks is judged by the map before.
    witness = Judged(close.fixed, close.moving, part.witness.reframed(*back))
    judged = Judged(close.fixed, close.moving, judged.transform, witness)
    common = coherence(compare(close.fixed, close.moving, witness.transform))
    if common.sigma < required_sigma(common.blocks):
        return None
    belief, lost = judge_places(close.fixed, close.moving, judged.transform, witness.blocks)
    area = float(zone.sum()) * fixed.mpp**2 / UM2_PER_MM2
    moved = as_multipolygon(affinity.translate(lost, x_um, y_um))
    return Placed(part, judged, belief, (x_um, y_um), area), moved


def _band(labels: NDArray[np.int16], margin: Image, mpp: float) -> Mask:
    """Pixels along seams between two parts, and beside them those that either part explains as well, with an edge."""
    near = _between(labels, max(BAND_UM / mpp, BAND_PX))
    unsure = _between(labels, UNSURE_PX) & (margin < UNSURE)
    reached = np.asarray(ndimage.binary_propagation(near, mask=near | unsure))
    return near | (_dilated(reached & ~near, round(UNSURE_EDGE_PX)) & (labels > 0))


def _between(labels: NDArray[np.int16], reach_px: float) -> Mask:
    """Pixels of a part that are within reach of another one."""
    near = np.zeros(labels.shape, np.uint8)
    for number in range(1, int(labels.max()) + 1):
        near += _dilated(labels == number, round(reach_px))
    return np.asarray((near > 1) & (labels > 0))


def _dilated(mask: Mask, reach_px: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def _grown(labels: NDArray[np.int16], band: Mask, mpp: float) -> NDArray[np.int16]:
    """Labels with the glass around the tissue, each pixel as the nearest tissue; -1 further off.

    Glass that is nearest to the band has no map either: where the mask of the tissue is drawn a pixel too narrow, the
    end of a seam lies on it.
    """
    away, (rows, columns) = ndimage.distance_transform_edt(labels < 0, return_indices=True)
    grown = np.where(away <= RIM_UM / mpp, labels[rows, columns], np.int16(-1)).astype(np.int16)
    grown[(away > 0) & (grown > 0) & band[rows, columns]] = 0
    return grown


def _belief(labels: NDArray[np.int16], placed: list[Placed], mpp: float) -> LocalBelief:
    """What is believed of each cell of the whole section's lattice: as the part says to which its middle belongs."""
    rows, columns = (-(-side // STRIDE_PX) for side in labels.shape)
    padded = np.full((rows * STRIDE_PX, columns * STRIDE_PX), -1, np.int16)
    padded[: labels.shape[0], : labels.shape[1]] = labels
    cells = padded.reshape(rows, STRIDE_PX, columns, STRIDE_PX).swapaxes(1, 2).reshape(rows, columns, -1)
    tissue = (cells >= 0).mean(axis=2) >= CELL_TISSUE_SHARE
    confirmed = np.zeros_like(tissue)
    lands, error = np.ones(tissue.shape), np.full(tissue.shape, np.nan)
    for row, column in np.argwhere(tissue):
        cell = cells[row, column]
        number = int(np.bincount(cell[cell >= 0]).argmax())
        if number == 0:
            lands[row, column] = 0.0
            continue
        one = placed[number - 1]
        middle = (np.array([column, row]) + 0.5) * STRIDE_PX * mpp - one.corner_um
        c, r = np.clip(middle // one.belief.cell_um, 0, np.array(one.belief.tissue.shape[::-1]) - 1).astype(int)
        confirmed[row, column] = one.belief.confirmed[r, c]
        lands[row, column], error[row, column] = one.belief.lands[r, c], one.belief.error_um[r, c]
    return LocalBelief(STRIDE_PX * mpp, tissue, confirmed, lands, error)
