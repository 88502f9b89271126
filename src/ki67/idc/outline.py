"""From the heat map to the outline of the invasive region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Region, Regions
from ki67.geometry import UM2_PER_MM2, fill_holes, polygons_of
from ki67.idc.contours import zero_lines
from ki67.idc.heatmap import HeatMap
from ki67.idc.model import TUMOUR_CLASS, IdcModel

SIMPLIFY_SHARE = 0.2
"""Vertices may move by this share of a pixel of the contoured map when outlines are simplified: not visible."""

PIXELS_PER_SIGMA = 4
"""The map is refined to this many pixels per standard deviation of the smoothing, so that outlines are round."""

TISSUE_WEIGHT = 0.5
"""Share of the Gaussian's weight on tissue at which tissue ends: on a straight edge this is the edge."""

BELOW = -1.0
"""Margin of what is outside the region for good."""

RING_POINTS = 3
"""A ring has more points than this: three, and the first again."""


@dataclass(frozen=True, slots=True)
class OutlineOptions:
    """How the region is drawn.

    Parameters
    ----------
    threshold
        Probability at and above which a place is invasive; None takes the model's.
    seed_margin
        A region needs a core whose probability lies this far above the threshold (hysteresis), or it is dropped.
    smoothing_um
        Standard deviation of the Gaussian that the map is smoothed with, weighted by tissue.
    min_area_mm2, min_hole_mm2
        Smaller regions are dropped, smaller holes are filled.
    """

    threshold: float | None = None
    seed_margin: float = 0.1
    smoothing_um: float = 100.0
    min_area_mm2: float = 0.1
    min_hole_mm2: float = 0.05


DEFAULT_OUTLINE = OutlineOptions()


def outline(heatmap: HeatMap, model: IdcModel | None = None, options: OutlineOptions = DEFAULT_OUTLINE) -> Regions:
    """Outline the invasive carcinoma.

    Parameters
    ----------
    heatmap
        From :func:`ki67.idc.predict`.
    model
        Gives the threshold where ``options`` has none.
    options
        How to draw.

    Returns
    -------
    Regions
        Label ``IDC``, largest first, µm in the slide's frame; empty where nothing reaches the threshold.

    Raises
    ------
    ValueError
        Where neither the options nor a model give a threshold.
    """
    threshold = options.threshold if options.threshold is not None else model.card.threshold if model else None
    if threshold is None:
        raise ValueError("an outline needs a threshold: from the options or from a model")
    margin, mpp = margins(heatmap, threshold, options.smoothing_um)
    kept = ndimage.binary_propagation(margin > options.seed_margin * (1 - threshold), mask=margin > 0)
    # Places below the threshold keep their value, so that the contour runs between pixels.
    region = contour(np.where(kept | (margin < 0), margin, BELOW), mpp)
    polygons = [fill_holes(polygon, options.min_hole_mm2 * UM2_PER_MM2) for polygon in polygons_of(region)]
    polygons = [polygon for polygon in polygons if polygon.area >= options.min_area_mm2 * UM2_PER_MM2]
    polygons.sort(key=lambda polygon: (-polygon.area, polygon.bounds))
    return Regions([Region(TUMOUR_CLASS, polygon, f"idc-{place}") for place, polygon in enumerate(polygons, start=1)])


def margins(heatmap: HeatMap, threshold: float, smoothing_um: float) -> tuple[NDArray[np.float64], float]:
    """How far the smoothed probability lies above the threshold; below 0 outside tissue.

    The map is smoothed over tissue only (normalised convolution) on a grid fine enough for round outlines. Tissue
    ends where half of the Gaussian's weight lies on it, which rounds the steps of the tissue's grid too.

    Parameters
    ----------
    heatmap
        Heat map with NaN outside tissue.
    threshold
        Probability that maps to 0.
    smoothing_um
        Standard deviation of the Gaussian; 0 does not smooth.

    Returns
    -------
    tuple
        float64 (H * n, W * n) without NaN, and its µm per pixel.
    """
    mean, weight, mpp = _smoothed(heatmap, smoothing_um)
    if smoothing_um <= 0:
        return np.where(weight > 0, mean - threshold, BELOW), mpp
    return np.minimum(mean - threshold, weight - TISSUE_WEIGHT), mpp


def probability_at(heatmap: HeatMap, points_um: NDArray[np.float64], smoothing_um: float) -> NDArray[np.float64]:
    """Smoothed probability that the outline is drawn by, at places of the slide.

    Parameters
    ----------
    heatmap
        Heat map with NaN outside tissue.
    points_um
        float64 (N, 2), x and y in µm; NaN gives NaN.
    smoothing_um
        Standard deviation of the Gaussian, as in :class:`OutlineOptions`.

    Returns
    -------
    numpy.ndarray
        float64 (N,), bilinear between pixels; 0 far from tissue.
    """
    mean, _, mpp = _smoothed(heatmap, smoothing_um)
    known = np.isfinite(points_um).all(axis=1)
    result = np.full(len(points_um), np.nan)
    places = points_um[known].T[::-1] / mpp - 0.5
    result[known] = ndimage.map_coordinates(mean, places, order=1, mode="nearest")
    return result


def _smoothed(heatmap: HeatMap, smoothing_um: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Mean probability and weight of the tissue, float64 (H * n, W * n) each, and µm per pixel."""
    factor = max(1, math.ceil(heatmap.mpp * PIXELS_PER_SIGMA / smoothing_um)) if smoothing_um > 0 else 1
    probability = heatmap.probability.repeat(factor, axis=0).repeat(factor, axis=1)
    tissue = ~np.isnan(probability)
    values = np.where(tissue, probability, 0.0).astype(np.float64)
    mpp = heatmap.mpp / factor
    if smoothing_um <= 0:
        return values, tissue.astype(np.float64), mpp
    sigma = smoothing_um / mpp
    weight = ndimage.gaussian_filter(tissue.astype(np.float64), sigma, mode="nearest")
    total = ndimage.gaussian_filter(values, sigma, mode="nearest")
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), weight, mpp


def contour(margin: NDArray[np.float64], mpp: float) -> MultiPolygon:
    """Outline where a map crosses 0, between pixels (marching squares).

    Parameters
    ----------
    margin
        float64 (H, W); inside the region at and above 0.
    mpp
        µm per pixel of the map.

    Returns
    -------
    shapely.MultiPolygon
        Valid polygons with holes in µm; pixel (r, c) has its centre at ((c + 0.5) * mpp, (r + 0.5) * mpp).
    """
    # A frame outside the map closes every contour at the slide's edge.
    framed = np.pad(margin, 1, constant_values=BELOW)
    rings = [
        shapely.make_valid(Polygon((points - 0.5) * mpp))
        for points in zero_lines(framed)
        if len(points) > RING_POINTS
    ]
    # A ring lies inside or outside another, never across it: what an odd number of rings surrounds is region.
    result: BaseGeometry = Polygon()
    for ring in sorted(rings, key=lambda ring: -float(ring.area)):
        result = shapely.symmetric_difference(result, ring)
    height, width = margin.shape
    inside = shapely.intersection(result, shapely.box(0, 0, width * mpp, height * mpp))
    simple = shapely.make_valid(shapely.simplify(inside, SIMPLIFY_SHARE * mpp, preserve_topology=True))
    return MultiPolygon(list(polygons_of(simple)))
