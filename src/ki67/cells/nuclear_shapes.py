"""Outlines of nuclei along the edges of their pixels, and the shape numbers ImageJ derives from them.

All nuclei of a tile are worked on side by side, since a slide has hundreds of thousands of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Values = NDArray[np.float64]
Numbers = NDArray[np.intp]

# Drawing does not need every pixel corner: leave out what is within this distance of the simplified line.
_DRAWING_TOLERANCE_PX = 0.75
# Outlines are traced from the left end of the highest row, ImageJ's corners counted from the second one after it.
_FIRST_COUNTED = 2
# Hulls whose calipers are laid at once: their corners' distances stay within a core's own cache.
_BATCH = 128


@dataclass(frozen=True)
class Outlines:
    """Corners (K, 2) of the outlines of N nuclei, one outline after the other, and how many each has, (N,)."""

    corners: Points
    counts: Numbers

    @property
    def starts(self) -> Numbers:
        """Where each outline begins."""
        return np.asarray(np.cumsum(self.counts) - self.counts, np.intp)

    def split(self, points: NDArray[Any]) -> list[NDArray[Any]]:
        """Points, one for each corner, as one array (K, 2) for each nucleus."""
        ends = np.cumsum(self.counts).tolist()
        return [points[start:end] for start, end in zip(self.starts.tolist(), ends, strict=True)]


@dataclass(frozen=True)
class Shapes:
    """Shapes of N nuclei in pixels: ImageJ's Perim., convex area, Feret and MinFeret, each (N,), and the outlines."""

    perimeter: Values
    convex_area: Values
    feret: Values
    min_feret: Values
    outlines: Outlines


def shapes_of(stack: NDArray[np.bool_]) -> Shapes:
    """Outlines and shape numbers of 4-connected masks (N, H, W) with empty edges, see :func:`trace`."""
    outlines = trace(stack)
    hull = _padded([cv2.convexHull(one)[:, 0] for one in outlines.split(outlines.corners.astype(np.int32))])
    widths = [_feret(hull[first : first + _BATCH]) for first in range(0, len(hull), _BATCH)]
    feret, min_feret = (np.concatenate(values) for values in zip(*widths, strict=True))
    return Shapes(traced_perimeter(outlines), _polygon_area(hull), feret, min_feret, outlines)


def trace(stack: NDArray[np.bool_]) -> Outlines:
    """Outer outlines of 4-connected masks (N, H, W) with empty edges, along pixel edges, clockwise on screen.

    Only points where an outline turns are given, as in ImageJ's traced selections; holes are not. The corner of the
    pixel in row 1 and column 1 is the origin. One walker for each nucleus, all taking a step at a time.
    """
    count, height, width = stack.shape
    around, step = _around_corners(stack), np.array([1, width, -1, -width])
    goal = np.arange(count) * height * width + stack.reshape(count, -1).argmax(axis=1)
    walker, place, heading = np.arange(count, dtype=np.min_scalar_type(count)), goal, np.zeros(count, np.intp)
    taken = [(walker, place, np.ones(count, np.bool_))]
    while len(walker):
        place = place + step.take(heading)
        ahead = _HEADINGS.take(around.take(place) + heading)
        turned, on = ahead != heading, (place != goal) | (ahead != 0)
        if not on.all():
            walker, place, ahead, turned, goal = (values[on] for values in (walker, place, ahead, turned, goal))
        heading = ahead
        taken.append((walker, place, turned))
    owner, places, corner = (np.concatenate(values) for values in zip(*taken, strict=True))
    owner, places = owner[corner], places[corner].astype(np.int32)
    row, x = np.divmod(places[np.argsort(owner, kind="stable")], np.int32(width))
    return Outlines(np.column_stack([x, row % height]) - 1.0, np.bincount(owner, minlength=count))


def _headings() -> Numbers:
    """Where a walker with the nucleus on its right turns: right, down, left or up (0 to 3; y points down).

    Indexed by four times what :func:`_around_corners` says, plus the heading so far. It turns right where the pixel
    ahead on its right is empty, and left where both ahead are not.
    """
    code, heading = np.divmod(np.arange(64), 4)
    # Lower right, lower left, upper left, upper right: walking to the right the first is on the right side, ...
    right, left = code >> heading & 1, code >> (heading - 1) % 4 & 1
    return np.asarray((heading + np.where(right, np.where(left, 3, 0), 1)) % 4, np.intp)


_HEADINGS = _headings()


def _around_corners(stack: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which pixels around the upper left corner of each pixel are set: 4 lower right, 8 lower left, 16, 32 above."""
    solid, width = stack.view(np.uint8).ravel(), stack.shape[2]
    around = solid * np.uint8(4)
    around[1:] |= solid[:-1] * np.uint8(8)
    around[width:] |= solid[:-width] * np.uint8(32)
    around[width + 1 :] |= solid[: -width - 1] * np.uint8(16)
    return around


def traced_perimeter(outlines: Outlines) -> Values:
    """Perimeters (N,) in pixels by ImageJ's rule for traced selections (``PolygonRoi.getTracedPerimeter``).

    The length along pixel edges less 2 - √2 for each corner that is cut; of the corners of a staircase with steps of
    one pixel only every second is. Which ones depends on where one begins: as ImageJ's wand and Analyze Particles do,
    at the corner after the right end of the highest row.
    """
    counts, starts = outlines.counts, outlines.starts
    x, y = np.ascontiguousarray(outlines.corners.T)
    number = np.arange(len(x))
    before = number - 1
    before[starts] = starts + counts - 1
    turned = number + _FIRST_COUNTED
    turned -= np.where(turned < np.repeat(starts + counts, counts), 0, np.repeat(counts, counts))
    sides = (np.abs(x - x[before]) + np.abs(y - y[before]))[turned]
    # A corner is cut after a side longer than a pixel, and after it every second one until the next such side.
    whole = sides > 1
    whole[starts] = True
    cut = (number - np.maximum.accumulate(np.where(whole, number, 0))) & 1 == 0
    length = np.add.reduceat(sides, starts)
    return np.asarray(length - np.add.reduceat(cut.astype(np.intp), starts) * (2.0 - np.sqrt(2.0)), np.float64)


def drawn_outlines(outlines: Outlines, places: NDArray[np.floating[Any]]) -> list[NDArray[np.float32]]:
    """Outlines with fewer corners (K, 2) for drawing and export, moved to where each nucleus lies, (N, 2)."""
    moved = outlines.split((outlines.corners + np.repeat(places, outlines.counts, axis=0)).astype(np.float32))
    drawn = (cv2.approxPolyDP(one, _DRAWING_TOLERANCE_PX, True)[:, 0] for one in moved)
    return [line if len(line) >= 3 else whole for line, whole in zip(drawn, moved, strict=True)]


def _padded(polygons: list[NDArray[np.int32]]) -> Points:
    """Polygons in one array (N, K, 2), the last corner of each repeated."""
    counts = np.array([len(polygon) for polygon in polygons])
    last = (np.cumsum(counts) - 1)[:, None]
    index = np.minimum((last - counts[:, None] + 1) + np.arange(counts.max()), last)
    return np.asarray(np.concatenate(polygons)[index], np.float64)


def _polygon_area(polygons: Points) -> Values:
    x, y = np.moveaxis(polygons, -1, 0)
    doubled = (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    return np.asarray(np.abs(doubled) / 2, np.float64)


def _feret(hulls: Points) -> tuple[Values, Values]:
    """Largest and smallest caliper widths of convex polygons (N, K, 2); the smallest is across one of the sides."""
    # Nuclei along the last axis, along which all of this runs: they are many, corners few.
    x, y = np.ascontiguousarray(np.moveaxis(hulls, 0, -1).swapaxes(0, 1))
    x, y = x - x.min(axis=0), y - y.min(axis=0)
    columns, rows = x.astype(np.int32), y.astype(np.int32)
    apart = (columns[:, None] - columns) ** 2 + (rows[:, None] - rows) ** 2
    dx, dy = np.roll(x, -1, axis=0) - x, np.roll(y, -1, axis=0) - y
    length = np.sqrt(dx**2 + dy**2)
    across = x[:, None] * (-dy / np.maximum(length, 1.0)) + y[:, None] * (dx / np.maximum(length, 1.0))
    width = np.where(length > 0, across.max(axis=0) - across.min(axis=0), np.inf)
    return np.sqrt(apart.max(axis=(0, 1)), dtype=np.float64), width.min(axis=0)
