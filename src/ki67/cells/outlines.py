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
    """Outlines and shape numbers of 4-connected masks as :func:`ki67.cells.masks.stacked` lays them out."""
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
    solid = stack.ravel()
    # Directions: right, down, left, up (y points down), the nucleus on the right; and from where a walker stands the
    # two pixels ahead of it, as offsets.
    step = np.array([1, width, -1, -width])
    left, right = np.array([-width, 0, -1, -width - 1]), np.array([0, -1, -width - 1, -width])
    begin = np.arange(count) * height * width + stack.reshape(count, -1).argmax(axis=1)
    walker, place, heading = np.arange(count), begin, np.zeros(count, np.intp)
    walkers, places = [walker], [begin]
    while len(walker):
        place = place + step[heading]
        turn = np.where(solid[place + right[heading]], np.where(solid[place + left[heading]], 3, 0), 1)
        heading = (heading + turn) % 4
        on = (place != begin[walker]) | (heading != 0)
        if not on.all():
            walker, place, heading, turn = walker[on], place[on], heading[on], turn[on]
        walkers.append(walker[turn != 0])
        places.append(place[turn != 0])
    owner = np.concatenate(walkers)
    order = np.argsort(owner, kind="stable")
    y, x = np.divmod(np.concatenate(places)[order] % (height * width), width)
    return Outlines(np.column_stack([x, y]) - 1.0, np.bincount(owner, minlength=count))


def traced_perimeter(outlines: Outlines) -> Values:
    """Perimeters (N,) in pixels by ImageJ's rule for traced selections (``PolygonRoi.getTracedPerimeter``).

    The length along pixel edges less 2 - √2 for each corner that is cut; of the corners of a staircase with steps of
    one pixel only every second is. Which ones depends on where one begins: as ImageJ's wand and Analyze Particles do,
    at the corner after the right end of the highest row.
    """
    counts, starts = outlines.counts, outlines.starts
    own_start, own_count = np.repeat(starts, counts), np.repeat(counts, counts)
    number = np.arange(len(own_start))
    turned = own_start + (number - own_start + _FIRST_COUNTED) % own_count
    before = own_start + (turned - own_start - 1) % own_count
    sides = np.abs(outlines.corners[turned] - outlines.corners[before]).sum(axis=1)
    # A corner is cut after a side longer than a pixel, and after it every second one until the next such side.
    again = np.maximum.accumulate(np.where((sides > 1) | (number == own_start), number, 0))
    cut = (number - again) % 2 == 0
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
    x, y = np.moveaxis(hulls, -1, 0)
    apart = (x[:, :, None] - x[:, None]) ** 2 + (y[:, :, None] - y[:, None]) ** 2
    side = np.roll(hulls, -1, axis=1) - hulls
    length = np.sqrt((side**2).sum(axis=-1))
    normal = np.stack([-side[..., 1], side[..., 0]], axis=-1) / np.maximum(length, 1.0)[..., None]
    across = x[:, :, None] * normal[:, None, :, 0] + y[:, :, None] * normal[:, None, :, 1]
    width = np.where(length > 0, across.max(axis=1) - across.min(axis=1), np.inf)
    return np.sqrt(apart.max(axis=(1, 2))), width.min(axis=1)
