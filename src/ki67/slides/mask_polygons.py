"""Masks as polygons in µm."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.geometry import as_multipolygon

HALF_PIXEL: Final = 0.5


def outline_um(mask: NDArray[np.bool_], mpp: float) -> MultiPolygon:
    """Outline of a mask with its holes.

    OpenCV's contours run through pixel centres; half a pixel is added all round, so that a rectangle of pixels comes
    out with exactly its own area.

    Parameters
    ----------
    mask
        (H, W) bool.
    mpp
        µm per pixel.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return MultiPolygon()
    parts = []
    for index, (_, _, child, parent) in enumerate(hierarchy[0]):
        if parent != -1:
            continue
        shape = _filled(contours[index])
        while child != -1:
            # A hole's contour lies on the tissue around it, so its inside is what is missing.
            shape = shape.difference(_filled(contours[child]))
            child = hierarchy[0][child][0]
        parts.append(shape.buffer(HALF_PIXEL, join_style="mitre", cap_style="square"))
    whole = shapely.union_all(parts)
    moved = shapely.transform(whole, lambda points: (points + HALF_PIXEL) * mpp)
    return as_multipolygon(moved)


def _filled(contour: NDArray[np.int32]) -> BaseGeometry:
    points = contour.reshape(-1, 2).astype(float)
    if len(points) == 1:
        return Point(points[0])
    if len(points) == 2:
        return LineString(points)
    return Polygon(points).buffer(0) if not Polygon(points).is_valid else Polygon(points)
