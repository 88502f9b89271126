"""Whether a region lies on the tissue of its slide, and at which other scale it would."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from ki67.domain import Check, Verdict
from ki67.geometry import polygons_of
from ki67.slides import PixelFrame, TissueMask

UNUSUAL_SHARE: Final = 0.4
"""Off tissue, of a region that does not hold whole pieces of it. Of 286 outlines as people draw them on 22 simulated
sections (tight, loose by up to 0.3 mm, hulls, boxes) 1 lay farther off; of 264 squares and discs of 0.2 to 1 mm about
a place in the tumour 14 did, on sections hardly larger than that."""

UNUSABLE_SHARE: Final = 0.7
"""Off tissue; of the same 550 regions none, of outlines at half their size 40 %, at a quarter of it 95 %."""

WHOLE_PIECES_SHARE: Final = 0.9
"""Of the tissue that a region touches: with more it was drawn around whole pieces, glass and all, which is fine."""

FITTING_SHARE: Final = 0.9
"""On tissue, of a region at another scale that explains why it lies off it."""

_SCALES: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 0.5, 0.25)
"""How much coarser or finer than level 0 the pixels of another level, or of another scan, are."""

_SAME_SCALE: Final = 0.02
_BETTER_BY: Final = 0.05
"""Share by which a region must lie better at another scale for that to be said."""


_PLACES: Final = 20_000
_PLACES_LOOKED_AT: Final = 400_000
"""Places in a region, and at most in the box around one of its parts."""


def places_in(region: BaseGeometry) -> NDArray[np.float64]:
    """Places (N, 2) spread evenly over a region, in µm; at least one in each part."""
    step = np.sqrt(max(region.area, 1e-12) / _PLACES)
    found = [_places_in_part(part, step) for part in polygons_of(region)]
    return np.concatenate(found) if found else np.empty((0, 2))


def _places_in_part(part: Polygon, step: float) -> NDArray[np.float64]:
    left, top, right, bottom = part.bounds
    step = max(step, np.sqrt((right - left) * (bottom - top) / _PLACES_LOOKED_AT))
    x, y = np.meshgrid(np.arange(left + step / 2, right, step), np.arange(top + step / 2, bottom, step))
    places = np.column_stack([x.ravel(), y.ravel()])
    shapely.prepare(part)
    inside = places[shapely.contains_xy(part, places)]
    return inside if len(inside) else np.asarray(shapely.get_coordinates(shapely.point_on_surface(part)))


def on_tissue(places_um: NDArray[np.float64], tissue: TissueMask) -> NDArray[np.bool_]:
    """Whether places (N, 2) in µm lie on tissue; beyond the slide there is none."""
    column, row = (np.floor(places_um / tissue.mpp).astype(np.int64)).T
    height, width = tissue.mask.shape
    within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    found = np.zeros(len(places_um), bool)
    found[within] = tissue.mask[row[within], column[within]]
    return found


def judge_on_tissue(region: BaseGeometry, tissue: TissueMask, frame: PixelFrame) -> Check:
    """Judge how much of a region lies beside the tissue.

    A region that holds nearly all of the pieces that it touches (a box around a section, say) is usual however much
    glass is in it.

    Parameters
    ----------
    region
        In µm in the slide's frame.
    tissue
        Of the same slide.
    frame
        How the region's file counts pixels: from there it would be scaled.
    """
    name, usual = "region_on_tissue", (1.0 - UNUSUAL_SHARE, 1.0)
    places = places_in(region)
    share = float(on_tissue(places, tissue).mean()) if len(places) else 0.0
    off = 1.0 - share
    if off <= UNUSUAL_SHARE or _share_of_pieces(region, places, tissue, share) >= WHOLE_PIECES_SHARE:
        return Check(name, Verdict.usual, value=share, usual=usual)
    verdict = Verdict.unusable if off > UNUSABLE_SHARE else Verdict.unusual
    text = (
        f"{off:.0%} of the region lies beside the tissue, expected at most {UNUSUAL_SHARE:.0%}"
        f"{likely_scale(places, tissue, frame)}"
    )
    return Check(name, verdict, text, share, usual)


def _share_of_pieces(region: BaseGeometry, places: NDArray[np.float64], tissue: TissueMask, share: float) -> float:
    """Part of the tissue pieces touched by a region that lies in it."""
    pieces, _ = ndimage.label(tissue.mask)
    on = places[on_tissue(places, tissue)]
    column, row = np.floor(on / tissue.mpp).astype(np.int64).T
    touched = np.unique(pieces[row, column])
    size_um2 = float(np.isin(pieces, touched[touched > 0]).sum()) * tissue.mpp**2
    return share * float(region.area) / size_um2 if size_um2 else 0.0


def likely_scale(places: NDArray[np.float64], tissue: TissueMask, frame: PixelFrame) -> str:
    """Clause that names the scale at which a region would lie on tissue; empty where there is none such."""
    origin_um = frame.to_um((0.0, 0.0))
    scales = file_scales(frame.mpp)
    moved = {scale: origin_um + scale * (places - origin_um) for scale in scales}
    shares = {scale: float(on_tissue(own, tissue).mean()) for scale, own in moved.items()}
    least = max(FITTING_SHARE, float(on_tissue(places, tissue).mean()) + _BETTER_BY)
    fitting = [scale for scale, share in shares.items() if share >= least]
    if not fitting:
        return ""
    # Made small enough anything fits somewhere: the largest that does says most.
    best = max(fitting)
    return f" (at {best:.3g} times the size {shares[best]:.0%} would lie on it: its numbers look like {scales[best]})"


def file_scales(mpp: float) -> dict[float, str]:
    """Factors between level-0 pixels and what else a file's numbers may be, and what that is."""
    scales = {
        scale: f"pixels of a level {scale:g} times smaller" if scale > 1 else f"pixels {1 / scale:g} times finer"
        for scale in _SCALES
    }
    of_um = 1.0 / mpp
    for scale, what in scales.items():
        if abs(scale * mpp - 1.0) < _SAME_SCALE:
            return scales | {scale: f"{what}, or micrometres"}
    return scales if abs(of_um - 1.0) < _SAME_SCALE else scales | {of_um: "micrometres"}
