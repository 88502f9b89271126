"""Lines along which a map crosses zero (marching squares; Lorensen and Cline, SIGGRAPH 1987, in the plane)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_TOP, _LEFT, _BOTTOM, _RIGHT = range(4)
_LINES: Final = {
    1: ((_TOP, _LEFT),),
    2: ((_RIGHT, _TOP),),
    3: ((_RIGHT, _LEFT),),
    4: ((_LEFT, _BOTTOM),),
    5: ((_TOP, _BOTTOM),),
    6: ((_RIGHT, _TOP), (_LEFT, _BOTTOM)),
    7: ((_RIGHT, _BOTTOM),),
    8: ((_BOTTOM, _RIGHT),),
    9: ((_TOP, _LEFT), (_BOTTOM, _RIGHT)),
    10: ((_BOTTOM, _TOP),),
    11: ((_BOTTOM, _LEFT),),
    12: ((_LEFT, _RIGHT),),
    13: ((_TOP, _RIGHT),),
    14: ((_LEFT, _TOP),),
}
"""From which side to which a line crosses a square of four neighbouring pixels, by the corners above zero: 1 upper
left, 2 upper right, 4 lower left, 8 lower right. Corners above zero that meet only across are not joined."""


def zero_lines(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Closed lines between what is above zero and what is not.

    Parameters
    ----------
    values
        float64 (H, W), not above zero along its rim; pixel (r, c) lies at x = c, y = r.

    Returns
    -------
    list
        A line (N, 2) each, x before y, its first point again at its end; between pixels by linear interpolation.
    """
    starts, ends = _segments(values > 0)
    places = np.unique(starts)
    # Every place is the start of one segment and the end of one.
    following = np.empty(len(places), np.intp)
    following[np.searchsorted(places, starts)] = np.searchsorted(places, ends)
    points = _crossings(values, places)
    unseen = np.ones(len(places), bool)
    lines = []
    # What simplifying keeps depends on where a line begins: always where the last of its segments ends.
    for first in np.searchsorted(places, ends)[::-1]:
        line, place = [], first
        while unseen[place]:
            unseen[place] = False
            line.append(place)
            place = following[place]
        if line:
            lines.append(points[[*line, first]])
    return lines


def _segments(above: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Start and end of each segment as numbers of pixel edges, square by square from the upper left on."""
    columns = above.shape[1]
    corners = above[:-1, :-1] + 2 * above[:-1, 1:] + 4 * above[1:, :-1] + 8 * above[1:, 1:]
    found = []
    for case, lines in _LINES.items():
        row, column = np.nonzero(corners == case)
        pixel = row * columns + column
        # An edge is numbered by the pixel it begins at: twice that to the right, and one more downwards.
        edges = (2 * pixel, 2 * pixel + 1, 2 * (pixel + columns), 2 * (pixel + 1) + 1)
        found += [(2 * pixel + nth, edges[start], edges[end]) for nth, (start, end) in enumerate(lines)]
    order, starts, ends = (np.concatenate(part) for part in zip(*found, strict=True))
    sequence = np.argsort(order)
    return starts[sequence], ends[sequence]


def _crossings(values: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Where the values cross zero on these edges, (N, 2), x before y."""
    row, column = np.divmod(edges // 2, values.shape[1])
    down = edges % 2
    here, there = values[row, column], values[row + down, column + 1 - down]
    share = here / (here - there)
    return np.column_stack([column + share * (1 - down), row + share * down])
