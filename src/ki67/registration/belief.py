"""Where a map may be believed: place by place on the H&E section, and over a region.

A registration is judged as a whole by :mod:`ki67.registration.quality`. That says nothing of a piece of tissue that
lies elsewhere on the Ki-67 slide, or of the far side of a tear: the rest of the section carries the verdict. Here
each cell of the blocks' lattice is asked: does its tissue lie on tissue, and do the structures around it agree there?

What the structures say must be read against what they say elsewhere on the same pair. Sections that share every
gland agree by 10 to 20 standard deviations wherever the map is right, and by 0 to 3 where it is not; sections that
share little agree by 2 to 10 where it is right. A place is therefore given up only where it agrees much less than the
rest does, and no better than chance. Where the rest says little too, nothing is known: the place is kept, with a
large error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from ki67.geometry import UM2_PER_MM2, area_mm2, as_multipolygon
from ki67.registration.images import Mask, Section
from ki67.registration.local import STRIDE_PX, Blocks, blocks_mpp, local_map, support
from ki67.registration.transform import Transform
from ki67.registration.warp import warp_by
from ki67.slides.mask_polygons import outline_um

CONFIRMED_SUPPORT: Final = 3.0
"""Standard deviations from which the structures around a place confirm the map there: on wrong maps 1.2 on the
average, above 3 in one place of a hundred."""

GIVEN_UP_SHARE, GROWN_SHARE = 0.25, 0.4
"""A place is given up where its structures agree less than this share of what is usual on the pair (and no better
than chance); the zone grows to where they agree less than the second, since neighbours are averaged."""

NARROW_STRIDES, WIDE_STRIDES, NARROW_SUPPORT = 1.0, 2.0, 6.0
"""Strides over which neighbours are averaged, and the usual support from which the narrow average serves: on the real
sections at hand it is 3.3, 3.7 and 11, on simulated ones 8 to 10."""

LEAST_ZONE_CELLS: Final = 3
"""Fewer cells that disagree are chance, or one gland that only one section has."""

CELL_TISSUE_SHARE: Final = 0.25
"""Less tissue in a cell of the lattice is its rim: nothing is asked of it."""

LANDING_UM: Final = 100.0
"""Tissue may land this far beside tissue: masks of two stains differ by that much where fat or pale stroma begins."""

LEAST_ADRIFT_MM2: Final = 0.05
"""Smaller areas that land on glass are holes, vessels and rims."""

RIM_PX: Final = 2
"""Pixels of the blocks' images beside tissue that is lost which are lost as well."""

ERROR_FACTOR: Final = 3.0
"""Error at a place in units of the shift that remains there, which is an average over the places around it."""

ERROR_SUPPORT: Final = 8.0
"""Support from which the remaining shift is read as surely as the images allow."""


WORTH_A_WORD: Final = 0.03
"""Share of a region, or of the section's tissue, from which what has no believable place is unusual: as for pen,
folds and focus. A lobule of fat that one mask takes for tissue is less."""


@dataclass(frozen=True)
class LocalBelief:
    """What is believed of each place of the H&E section, on a lattice of square cells from the slide's corner on.

    Parameters
    ----------
    cell_um
        Edge of a cell.
    tissue, confirmed
        bool (R, C): cells that hold tissue; cells where the structures around confirm the map.
    lands
        float (R, C): share of the cell's tissue that lies on tissue of the Ki-67 section.
    error_um
        float (R, C): estimated error of the map there; NaN where there is no tissue, or no registration.
    """

    cell_um: float
    tissue: Mask
    confirmed: Mask
    lands: NDArray[np.float64]
    error_um: NDArray[np.float64]

    def over(self, region: BaseGeometry) -> dict[str, Any]:
        """What is believed over a region in H&E µm: ``on_tissue``, ``confirmed`` (shares), ``error_um`` (median).

        Weighted by the area of the region in each cell that holds tissue; shares of a region without tissue are None.
        """
        rows, columns = np.nonzero(self.tissue)
        corners = np.column_stack([columns, rows]) * self.cell_um
        boxes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + self.cell_um, corners[:, 1] + self.cell_um)
        weight = shapely.area(shapely.intersection(boxes, region))
        total = float(weight.sum())
        if total <= 0:
            return {"on_tissue": None, "confirmed": None, "error_um": None}
        error = self.error_um[rows, columns]
        known = np.isfinite(error) & (weight > 0)
        return {
            "on_tissue": float((self.lands[rows, columns] * weight).sum() / total),
            "confirmed": float(weight[self.confirmed[rows, columns]].sum() / total),
            "error_um": _weighted_median(error[known], weight[known]) if known.any() else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; rows of the lattice from top to bottom."""
        return {
            "cell_um": self.cell_um,
            "tissue": self.tissue.astype(int).tolist(),
            "confirmed": self.confirmed.astype(int).tolist(),
            "lands": np.round(self.lands, 3).tolist(),
            "error_um": [[None if math.isnan(v) else round(v, 1) for v in row] for row in self.error_um.tolist()],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LocalBelief:
        """Build the belief again from :meth:`to_dict`."""
        return cls(
            float(data["cell_um"]),
            np.array(data["tissue"], bool),
            np.array(data["confirmed"], bool),
            np.array(data["lands"], np.float64),
            np.array([[math.nan if v is None else v for v in row] for row in data["error_um"]], np.float64),
        )


def _weighted_median(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    return float(values[order][min(int(half), len(values) - 1)])


def judge_places(
    fixed: Section, moving: Section, transform: Transform, blocks: Blocks
) -> tuple[LocalBelief, MultiPolygon]:
    """What is believed place by place, and the tissue that is given up.

    Parameters
    ----------
    fixed, moving, transform
        The sections and the map between them.
    blocks
        Compared under this map, or under the one before its last stage.

    Returns
    -------
    The belief, and the part of the fixed section, in µm, where the map is not believed: its tissue lies on glass, or
    its structures do not agree although those of the rest do.
    """
    mpp = blocks_mpp(fixed, moving)
    f = fixed.at(mpp)
    warped = warp_by(f, moving.at(mpp), transform)
    share = on_lattice(f.tissue)
    tissue = share >= CELL_TISSUE_SHARE
    adrift = adrift_mask(f.tissue, warped.tissue, mpp)
    lands = np.where(tissue, 1 - on_lattice(f.tissue & adrift) / np.maximum(share, 1e-6), 1.0)
    shift_um = on_cells(np.hypot(*local_map(blocks).shifts_um.T), blocks, tissue.shape)
    agree = agreement_map(blocks, tissue.shape)
    given_up = _with_rim(given_up_cells(agree), tissue, np.isfinite(agree))
    given_up |= cut_off_cells(agree, tissue, given_up | (lands < 0.5))
    # A mask at another resolution ends a pixel or two further out.
    adrift |= ndimage.binary_dilation(adrift, np.ones((3, 3)), RIM_PX) & ~f.tissue
    lost = as_multipolygon(shapely.union(outline_um(given_up, STRIDE_PX * mpp), outline_um(adrift, mpp)))
    gone = given_up | (lands < 0.5)
    confirmed = tissue & ~gone & (agree >= CONFIRMED_SUPPORT)
    error = np.where(tissue & ~gone, local_error_um(shift_um, agree, mpp), np.nan)
    return LocalBelief(STRIDE_PX * mpp, tissue, confirmed, lands, error), lost


def on_lattice(mask: Mask) -> NDArray[np.float64]:
    """Share of each cell of the blocks' lattice that a mask of the blocks' pixels covers."""
    rows, columns = (-(-side // STRIDE_PX) for side in mask.shape)
    padded = np.zeros((rows * STRIDE_PX, columns * STRIDE_PX), np.float64)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(rows, STRIDE_PX, columns, STRIDE_PX).mean(axis=(1, 3)))


def on_cells(values: NDArray[np.float64], blocks: Blocks, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Values (N,) of the blocks on the lattice; NaN where there is no block."""
    placed = np.full(shape, np.nan)
    placed[blocks.cells[:, 0], blocks.cells[:, 1]] = values
    return placed


def agreement_map(blocks: Blocks, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Support of each cell, averaged as narrowly as the pair allows; NaN where there is no block.

    Averaged over few neighbours a seam is sharp, but on sections that share little each cell then knows nothing.
    """
    for strides in (NARROW_STRIDES, WIDE_STRIDES):
        found = support(blocks, strides)
        sure = found[found >= CONFIRMED_SUPPORT]
        if sure.size and np.median(sure) >= NARROW_SUPPORT:
            break
    return on_cells(found, blocks, shape)


def _usual(support: NDArray[np.float64]) -> float | None:
    """Support of the cells that confirm the map (median); None where none does."""
    sure = support[np.isfinite(support) & (support >= CONFIRMED_SUPPORT)]
    return float(np.median(sure)) if sure.size else None


def given_up_cells(support: NDArray[np.float64]) -> Mask:
    """Cells whose structures agree much less than those of the pair's other cells, and no better than chance."""
    usual = _usual(support)
    if usual is None:
        return np.zeros(support.shape, bool)
    filled = np.where(np.isfinite(support), support, np.inf)
    seeds = filled < min(CONFIRMED_SUPPORT, GIVEN_UP_SHARE * usual)
    zone = ndimage.binary_propagation(seeds, np.ones((3, 3)), mask=filled < GROWN_SHARE * usual)
    labels, count = ndimage.label(zone, np.ones((3, 3)))
    sizes = ndimage.sum_labels(seeds, labels, np.arange(1, count + 1))
    return np.asarray(np.isin(labels, 1 + np.flatnonzero(sizes >= LEAST_ZONE_CELLS)))


def cut_off_cells(support: NDArray[np.float64], tissue: Mask, gone: Mask) -> Mask:
    """Islands that are cut off by what is gone from their piece of tissue, and have nothing to say for themselves.

    The map is continuous, so what hangs together with confirmed tissue shares its place. Beyond a tear it does not:
    an island must agree by itself, or it is as lost as what lies between.
    """
    usual = _usual(support)
    if usual is None or not gone.any():
        return np.zeros(support.shape, bool)
    around = np.ones((3, 3))
    pieces, _ = ndimage.label(tissue, around)
    islands, count = ndimage.label(tissue & ~gone, around)
    torn = np.unique(pieces[gone & tissue])
    cut = np.zeros(support.shape, bool)
    for number in range(1, count + 1):
        island = islands == number
        agree = support[island & np.isfinite(support)]
        if not np.isin(pieces[island][0], torn):
            continue
        if agree.size == 0 or float(np.median(agree)) < min(CONFIRMED_SUPPORT, GROWN_SHARE * usual):
            cut |= island
    return cut


def _with_rim(given_up: Mask, tissue: Mask, known: Mask) -> Mask:
    """The zones given up with the tissue to which they are the nearest that can be asked."""
    if not given_up.any():
        return given_up
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(given_up | (tissue & ~known & given_up[rows, columns]))


def adrift_mask(tissue: Mask, landing: Mask, mpp: float) -> Mask:
    """Tissue that lands on glass: further than :data:`LANDING_UM` from any tissue, in areas that are worth a word."""
    reach = max(1, round(LANDING_UM / mpp))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    near = cv2.dilate(landing.astype(np.uint8), kernel) > 0
    core = tissue & ~near
    labels, count = ndimage.label(core)
    sizes = ndimage.sum_labels(core, labels, np.arange(1, count + 1)) * mpp**2 / UM2_PER_MM2
    core = np.isin(labels, 1 + np.flatnonzero(sizes >= LEAST_ADRIFT_MM2))
    # Back to where the tissue it lands beside begins.
    grown = cv2.dilate(core.astype(np.uint8), kernel) > 0
    return np.asarray(grown & tissue & ~landing)


def local_error_um(shift_um: NDArray[np.float64], support: NDArray[np.float64], mpp: float) -> NDArray[np.float64]:
    """Estimated error of the map at each place, from the remaining shift and how surely it is known.

    Meant to be no smaller than the truth (how often it is: docs/decisions/017).
    """
    known = np.clip(np.nan_to_num(support, nan=1.0) / ERROR_SUPPORT, 1 / 16, 1)
    return np.asarray(ERROR_FACTOR * np.fmax(np.nan_to_num(shift_um), mpp / 2) / np.sqrt(known))


def parts_of(belief: LocalBelief, region: BaseGeometry, left_out: BaseGeometry) -> list[dict[str, Any]]:
    """Belief in each connected part of a region in H&E µm, the largest first.

    ``area_mm2``, ``unregistered_mm2`` (of it), and as :meth:`LocalBelief.over` says of the whole part.
    """
    parts = sorted(as_multipolygon(region).geoms, key=lambda part: -part.area)
    return [
        {"area_mm2": area_mm2(part), "unregistered_mm2": area_mm2(part & left_out), **belief.over(part)}
        for part in parts
    ]
