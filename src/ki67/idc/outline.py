"""From the heat map to the outline of the invasive region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon
from skimage.filters import apply_hysteresis_threshold
from skimage.measure import find_contours

from ki67.annotations import Region, Regions
from ki67.geometry import UM2_PER_MM2, polygons_of
from ki67.idc.heatmap import HeatMap
from ki67.idc.model import TUMOUR_CLASS, IdcModel

SIMPLIFY_SHARE = 0.15
"""Vertices may move by this share of a heat map pixel when outlines are simplified: not visible, half the file."""

FINE_FACTOR = 4
"""The smoothed map is interpolated this many times finer before it is contoured, so that outlines are round."""

OUTSIDE = 0.0
"""Probability beyond the tissue."""


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
    smooth = smoothed(heatmap, options.smoothing_um)
    seed = threshold + options.seed_margin * (1 - threshold)
    kept = apply_hysteresis_threshold(smooth, threshold, seed)
    # Places below the threshold keep their value, so that the contour runs between pixels.
    level = np.where(kept | (smooth < threshold), smooth, np.nextafter(threshold, 0, dtype=np.float64))
    region = contour(level, threshold, heatmap.mpp)
    polygons = [_fill_holes(polygon, options.min_hole_mm2) for polygon in polygons_of(region)]
    polygons = [polygon for polygon in polygons if polygon.area >= options.min_area_mm2 * UM2_PER_MM2]
    polygons.sort(key=lambda polygon: (-polygon.area, polygon.bounds))
    return Regions([Region(TUMOUR_CLASS, polygon, f"idc-{place}") for place, polygon in enumerate(polygons, start=1)])


def smoothed(heatmap: HeatMap, smoothing_um: float) -> NDArray[np.float64]:
    """Smooth the probabilities over tissue only (normalised convolution); zero outside tissue.

    Parameters
    ----------
    heatmap
        Heat map with NaN outside tissue.
    smoothing_um
        Standard deviation of the Gaussian.

    Returns
    -------
    numpy.ndarray
        float64 (H, W) without NaN.
    """
    tissue = heatmap.tissue
    values = np.where(tissue, heatmap.probability, 0.0).astype(np.float64)
    sigma = smoothing_um / heatmap.mpp
    if sigma <= 0:
        return np.where(tissue, values, OUTSIDE)
    weight = ndimage.gaussian_filter(tissue.astype(np.float64), sigma, mode="constant")
    total = ndimage.gaussian_filter(values, sigma, mode="constant")
    return np.where(tissue, total / np.maximum(weight, np.finfo(np.float64).tiny), OUTSIDE)


def contour(level: NDArray[np.float64], threshold: float, mpp: float) -> MultiPolygon:
    """Outline where a map reaches a threshold, between pixels (marching squares on the interpolated map).

    Parameters
    ----------
    level
        float64 (H, W).
    threshold
        Level of the outline.
    mpp
        µm per pixel of the map.

    Returns
    -------
    shapely.MultiPolygon
        Valid polygons with holes in µm; pixel (r, c) has its centre at ((c + 0.5) * mpp, (r + 0.5) * mpp).
    """
    # A frame outside the map closes every contour at the slide's edge.
    framed = np.pad(level, 1, constant_values=OUTSIDE)
    fine = ndimage.zoom(framed, FINE_FACTOR, order=1, mode="nearest", grid_mode=True)
    step = mpp / FINE_FACTOR
    result = Polygon()
    rings = []
    for points in find_contours(fine, threshold):
        if len(points) >= 4:
            xy = (points[:, ::-1] + 0.5) * step - mpp
            rings.append(Polygon(xy))
    # A ring lies inside or outside another, never across it: what an odd number of rings surrounds is region.
    for ring in sorted(rings, key=lambda ring: -ring.area):
        result = shapely.symmetric_difference(result, shapely.make_valid(ring))
    height, width = level.shape
    inside = shapely.intersection(result, shapely.box(0, 0, width * mpp, height * mpp))
    simple = shapely.make_valid(shapely.simplify(inside, SIMPLIFY_SHARE * mpp, preserve_topology=True))
    return MultiPolygon(list(polygons_of(simple)))


def _fill_holes(polygon: Polygon, min_hole_mm2: float) -> Polygon:
    holes = [ring for ring in polygon.interiors if Polygon(ring).area >= min_hole_mm2 * UM2_PER_MM2]
    return Polygon(polygon.exterior, holes)
