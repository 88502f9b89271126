"""Outline of a nucleus along the edges of its pixels, and the shape numbers ImageJ derives from it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

# Direction codes of pixel edges, walked with the nucleus on the right: right, down, left, up (y points down).
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
# Drawing does not need every pixel corner: leave out what is within this distance of the simplified line.
_DRAWING_TOLERANCE_PX = 0.75
# Outlines are traced from the left end of the highest row, ImageJ's corners counted from the second one after it.
_FIRST_COUNTED = 2


@dataclass(frozen=True)
class Shape:
    """Shape in pixels: ImageJ's Perim., convex area, Feret and MinFeret, and the outline's corners (K, 2), closed."""

    perimeter: float
    convex_area: float
    feret: float
    min_feret: float
    corners: Points


def shape_of(mask: NDArray[np.bool_]) -> Shape:
    """Outline and shape numbers of one 4-connected mask (H, W)."""
    corners = trace(mask)
    hull = cv2.convexHull(corners.astype(np.int32).reshape(-1, 1, 2)).reshape(-1, 2).astype(np.float64)
    feret, min_feret = _feret(hull)
    return Shape(traced_perimeter(corners), _polygon_area(hull), feret, min_feret, corners)


def trace(mask: NDArray[np.bool_]) -> Points:
    """Corners (K, 2) of the outer outline of a 4-connected mask, along pixel edges, clockwise on screen.

    Only points where the outline turns are given, as in ImageJ's traced selections; holes are not.
    """
    solid = np.pad(mask, 1).tolist()
    row = next(index for index, line in enumerate(solid) if any(line))
    column = solid[row].index(True)
    start = x, y = column, row
    heading = 0
    corners = []
    previous = -1
    while True:
        if heading != previous:
            corners.append((x - 1, y - 1))
            previous = heading
        dx, dy = _STEPS[heading]
        x, y = x + dx, y + dy
        # The two pixels ahead, left and right of the direction of travel.
        if heading == 0:
            left, right = solid[y - 1][x], solid[y][x]
        elif heading == 1:
            left, right = solid[y][x], solid[y][x - 1]
        elif heading == 2:
            left, right = solid[y][x - 1], solid[y - 1][x - 1]
        else:
            left, right = solid[y - 1][x - 1], solid[y - 1][x]
        if not right:
            heading = (heading + 1) % 4
        elif left:
            heading = (heading + 3) % 4
        if (x, y) == start and heading == 0:
            return np.array(corners, np.float64)


def traced_perimeter(corners: Points) -> float:
    """Perimeter in pixels by ImageJ's rule for traced selections (``PolygonRoi.getTracedPerimeter``).

    The length along pixel edges less 2 - √2 for each corner that is cut; of the corners of a staircase with steps of
    one pixel only every second is. Which ones depends on where one begins: as ImageJ's wand and Analyze Particles do,
    at the corner after the right end of the highest row.
    """
    sides = np.roll(np.abs(corners - np.roll(corners, 1, axis=0)).sum(axis=1), -_FIRST_COUNTED)
    cut = 0
    corner = False
    for side in sides.tolist():
        corner = side > 1 or not corner
        cut += corner
    return float(sides.sum() - cut * (2.0 - np.sqrt(2.0)))


def drawn_outline(corners: Points) -> NDArray[np.float32]:
    """Fewer corners (K, 2) for drawing and export."""
    line = cv2.approxPolyDP(corners.astype(np.float32).reshape(-1, 1, 2), _DRAWING_TOLERANCE_PX, closed=True)
    return np.asarray(line.reshape(-1, 2) if len(line) >= 3 else corners, np.float32)


def _polygon_area(points: Points) -> float:
    x, y = points.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _feret(hull: Points) -> tuple[float, float]:
    """Largest and smallest caliper width of a convex polygon (the smallest is across one of its sides)."""
    difference = hull[:, None] - hull[None]
    largest = float(np.sqrt((difference**2).sum(axis=-1).max()))
    sides = np.roll(hull, -1, axis=0) - hull
    normals = np.column_stack([-sides[:, 1], sides[:, 0]]) / np.linalg.norm(sides, axis=1, keepdims=True)
    across = hull @ normals.T
    return largest, float((across.max(axis=0) - across.min(axis=0)).min())
