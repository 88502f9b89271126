"""Figures of whole slides: the region, the heat map, the registration as a checkerboard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Regions
from ki67.geometry import RectUm, polygons_of
from ki67.report.data import HeatMapLike, SlideLike, TransformLike
from ki67.report.drawing import Frame, Picture, draw_regions, draw_scale_bar, frame_of, viridis

OVERVIEW_PX: Final = 1000
"""Longer side of a whole-slide figure: twice what half an A4 page shows on a screen, so that print stays sharp."""

DETAIL_UM: Final = 1500.0
"""Side of the checkerboard's detail: glands and vessels can be followed across squares."""

_SQUARES: Final = 12
"""Squares along the longer side of a checkerboard."""

_NODE_PX: Final = 16
"""The registration is evaluated every 16 pixels of a figure and interpolated between: far below its own grid."""

_HEAT_OPACITY: Final = 0.55

LARGEST_ERROR_UM: Final = 50.0
"""Errors of the registration are told apart up to here in the figure: four cells wide."""


def slide_picture(slide: SlideLike, regions: Regions | None, left_out: Regions | None = None) -> Picture:
    """Whole slide with the regions, and thinner what was left out of them, outlined, and a scale bar."""
    frame = frame_of(slide.bounds_um, OVERVIEW_PX, slide.mpp)
    picture = slide.read(frame.rect_um, frame.mpp).copy()
    if regions is not None:
        draw_regions(picture, frame, regions)
    if left_out is not None:
        draw_regions(picture, frame, left_out, width_px=2)
    return draw_scale_bar(picture, frame.mpp)


def heatmap_picture(slide: SlideLike, heatmap: HeatMapLike, regions: Regions | None) -> Picture:
    """Heat map laid over the slide in grey; outside the tissue the slide stays as it is."""
    frame = frame_of(slide.bounds_um, OVERVIEW_PX, slide.mpp)
    slide_grey = cv2.cvtColor(slide.read(frame.rect_um, frame.mpp), cv2.COLOR_RGB2GRAY)
    picture = np.repeat(slide_grey[:, :, None], 3, axis=2)
    probability = resample(heatmap, frame, picture.shape[:2])
    known = np.isfinite(probability)
    mixed = _HEAT_OPACITY * viridis(probability.astype(np.float64)) + (1 - _HEAT_OPACITY) * picture
    picture = np.where(known[:, :, None], mixed, picture).astype(np.uint8)
    if regions is not None:
        draw_regions(picture, frame, regions)
    return draw_scale_bar(picture, frame.mpp)


def resample(heatmap: HeatMapLike, frame: Frame, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Heat map on a figure's pixels, the nearest value to each pixel's centre; NaN where there is none."""
    rows, columns = (
        np.floor((np.arange(count) + 0.5) * frame.mpp / heatmap.mpp + start / heatmap.mpp).astype(int)
        for count, start in zip(shape, (frame.rect_um.y_um, frame.rect_um.x_um), strict=True)
    )
    height, width = heatmap.probability.shape
    values = heatmap.probability[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))].astype(np.float32)
    values[(rows < 0) | (rows >= height), :] = np.nan
    values[:, (columns < 0) | (columns >= width)] = np.nan
    return values


def warped_he(he: SlideLike, transform: TransformLike, frame: Frame, shape: tuple[int, int]) -> Picture:
    """H&E slide resampled into a frame of the Ki-67 slide; white where no tissue of the H&E slide lies."""
    pieces = getattr(transform, "pieces", None)
    if not pieces:
        return _warped(he, transform, frame, shape)
    picture = np.full((*shape, 3), 255, dtype=np.uint8)
    for piece in pieces:
        if piece.ki67 is None:
            return _warped(he, piece.transform, frame, shape)
        here = _filled(piece.ki67, frame, shape)
        if here.any():
            # Each piece by its own map all over: between the nodes of two maps lies nothing.
            picture[here] = _warped(he, piece.transform, frame, shape)[here]
    return picture


def _filled(geometry: BaseGeometry, frame: Frame, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels of a figure that lie in a geometry in µm."""
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons_of(geometry):
        part = np.zeros_like(mask)
        rings = [polygon.exterior, *polygon.interiors]
        cv2.fillPoly(part, [np.rint(frame.to_px(np.asarray(ring.coords))).astype(np.int32) for ring in rings], 1)
        mask |= part
    return mask > 0


def _warped(he: SlideLike, transform: TransformLike, frame: Frame, shape: tuple[int, int]) -> Picture:
    height, width = shape
    rows, columns = np.mgrid[0 : height + _NODE_PX : _NODE_PX, 0 : width + _NODE_PX : _NODE_PX]
    corner = np.array([frame.rect_um.x_um, frame.rect_um.y_um])
    nodes_um = corner + (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * frame.mpp
    he_um = np.asarray(transform.inverse_points(nodes_um)).reshape(*rows.shape, 2)
    dense = _between_nodes(he_um, height, width)
    source = _rect_around(dense, he.bounds_um, margin_um=4 * frame.mpp)
    if source is None:
        return np.full((height, width, 3), 255, dtype=np.uint8)
    pixels = he.read(source, frame.mpp)
    map_px = ((dense - np.array([source.x_um, source.y_um])) / frame.mpp - 0.5).astype(np.float32)
    picture: Picture = cv2.remap(
        pixels,
        map_px[:, :, 0],
        map_px[:, :, 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255,) * 3,
    )
    return picture


def checkerboard_picture(he: SlideLike, ki67: SlideLike, transform: TransformLike, rect_um: RectUm) -> Picture:
    """Alternate squares of the Ki-67 slide and of the H&E slide warped onto it."""
    frame = frame_of(rect_um, OVERVIEW_PX, max(ki67.mpp, he.mpp))
    fixed = ki67.read(frame.rect_um, frame.mpp)
    warped = warped_he(he, transform, frame, fixed.shape[:2])
    side = max(1, round(max(fixed.shape[:2]) / _SQUARES))
    rows, columns = np.ogrid[: fixed.shape[0], : fixed.shape[1]]
    from_he = ((rows // side + columns // side) % 2).astype(bool)
    return draw_scale_bar(np.where(from_he[:, :, None], warped, fixed), frame.mpp)


@dataclass(frozen=True)
class _ErrorMap:
    """Error of the registration as shares of the largest that is told apart, for :func:`resample`."""

    probability: NDArray[np.float32]
    mpp: float


def error_picture(
    slide: SlideLike, places: Mapping[str, Any], pieces: Regions | None, regions: Regions | None
) -> Picture:
    """H&E slide in grey under the registration's estimated error, dark where it is small; none where it is unknown.

    Parameters
    ----------
    slide
        The H&E slide.
    places
        ``places`` of ``quality.json``.
    pieces
        Pieces that were registered on their own and tissue that was not, to be outlined.
    regions
        The region on the H&E slide.
    """
    rows = [[math.nan if value is None else value for value in row] for row in places["error_um"]]
    share = np.clip(np.array(rows, np.float32) / LARGEST_ERROR_UM, 0, 1)
    picture = heatmap_picture(slide, _ErrorMap(share, float(places["cell_um"])), regions).copy()
    if pieces is not None:
        draw_regions(picture, frame_of(slide.bounds_um, OVERVIEW_PX, slide.mpp), pieces, width_px=2)
    return picture


def detail_rect(ki67: SlideLike, regions: Regions | None) -> RectUm | None:
    """Rectangle of the checkerboard's detail, in the largest part of the region; None on a slide hardly larger."""
    bounds = ki67.bounds_um
    if min(bounds.width_um, bounds.height_um) <= 1.5 * DETAIL_UM:
        return None
    centre = (bounds.x_um + bounds.width_um / 2, bounds.y_um + bounds.height_um / 2)
    if regions is not None and len(regions):
        largest = max(regions.union().geoms, key=lambda polygon: polygon.area)
        point = largest.representative_point()
        centre = (float(point.x), float(point.y))
    left = min(max(centre[0] - DETAIL_UM / 2, bounds.x_um), bounds.right_um - DETAIL_UM)
    top = min(max(centre[1] - DETAIL_UM / 2, bounds.y_um), bounds.bottom_um - DETAIL_UM)
    return RectUm(left, top, DETAIL_UM, DETAIL_UM)


def _between_nodes(nodes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Interpolate (rows, columns, 2) linearly to every pixel; node n lies on pixel n × 16."""
    for axis, count in enumerate((height, width)):
        place = np.arange(count) / _NODE_PX
        first = place.astype(int)
        share = (place - first).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        nodes = np.take(nodes, first, axis) * (1 - share) + np.take(nodes, first + 1, axis) * share
    return nodes


def _rect_around(points_um: NDArray[np.float64], bounds: RectUm, margin_um: float) -> RectUm | None:
    """Smallest rectangle that holds the points, as far as it lies on the slide."""
    left, top = points_um.reshape(-1, 2).min(axis=0) - margin_um
    right, bottom = points_um.reshape(-1, 2).max(axis=0) + margin_um
    around = RectUm.from_bounds(float(left), float(top), float(right), float(bottom))
    return around.intersection(bounds.expanded(margin_um))
