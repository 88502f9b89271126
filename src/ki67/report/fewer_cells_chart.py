"""Chart of what fewer cells would have given: its marks, and those as SVG within the page, sharp at any size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Literal

from markupsafe import Markup

from ki67.report.words import Words

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 44
_STEPS_PERCENT: Final = (1, 2, 5, 10, 20, 50)
_SHIFT_PX = 7
CAP_PX = 4
DOT_PX = 3.5


@dataclass(frozen=True)
class Line:
    """A line across, of a kind that has its colour."""

    kind: Literal["grid-line", "all-cells"]
    left: float
    right: float
    y: float


@dataclass(frozen=True)
class Range:
    """An upright line with caps, and a dot where it has a middle."""

    kind: Literal["random", "hot-first"]
    x: float
    low: float
    high: float
    middle: float | None = None


@dataclass(frozen=True)
class Text:
    """Words at the left of, in the middle of or before a place."""

    x: float
    y: float
    text: str
    anchor: Literal["middle", "end"]


def chart_marks(
    rows: Sequence[Mapping[str, Any]], index_percent: float, words: Words
) -> Iterator[Line | Range | Text]:
    """Marks of the chart, in :data:`WIDTH` by :data:`HEIGHT` with y down.

    Parameters
    ----------
    rows
        ``fewer_cells`` of ``score.json``, at least one.
    index_percent
        The index on all cells, a line across.
    words
        The language.
    """
    ends = [end for row in rows for end in row["random_percent"]] + [index_percent]
    ends += [end for row in rows for end in (row["hot_spot_first_ci95_percent"] or ())]
    step = next((s for s in _STEPS_PERCENT if (max(ends) - min(ends)) / s <= 6), _STEPS_PERCENT[-1])
    low, high = math.floor(min(ends) / step) * step, math.ceil(max(ends) / step) * step
    high = high if high > low else low + step

    def y(percent: float) -> float:
        share: float = (high - percent) / (high - low)
        return _TOP + share * (HEIGHT - _TOP - _BOTTOM)

    def x(place: int) -> float:
        return _LEFT + (place + 0.5) / len(rows) * (WIDTH - _LEFT - _RIGHT)

    for percent in range(low, high + step, step):
        yield Line("grid-line", _LEFT, WIDTH - _RIGHT, y(percent))
        yield Text(_LEFT - 8, y(percent) + 4, f"{percent} %", "end")
    yield Line("all-cells", _LEFT, WIDTH - _RIGHT, y(index_percent))
    for place, row in enumerate(rows):
        yield Text(x(place), HEIGHT - _BOTTOM + 18, words.number(row["cells"], ","), "middle")
        yield Range("random", x(place) - _SHIFT_PX, *(y(end) for end in row["random_percent"]))
        if row["hot_spot_first_percent"] is not None:
            bottom, top = (y(end) for end in row["hot_spot_first_ci95_percent"])
            yield Range("hot-first", x(place) + _SHIFT_PX, bottom, top, y(row["hot_spot_first_percent"]))
    yield Text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, words("fewer.axis"), "middle")


def fewer_cells_chart(rows: Sequence[Mapping[str, Any]], index_percent: float, words: Words) -> Markup:
    """Draw :func:`chart_marks` as SVG."""
    label = escape(words("fewer.alt"))
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    parts += [_svg(mark) for mark in chart_marks(rows, index_percent, words)]
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - numbers and escaped words only


def _svg(mark: Line | Range | Text) -> str:
    if isinstance(mark, Line):
        return f'<path class="{mark.kind}" d="M{mark.left} {mark.y:.1f}H{mark.right}"/>'
    if isinstance(mark, Text):
        return f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}">{escape(mark.text)}</text>'
    x, low, high = mark.x, mark.low, mark.high
    caps = "".join(f"M{x - CAP_PX:.1f} {end:.1f}h{2 * CAP_PX}" for end in (low, high))
    line = f'<path class="{mark.kind}" d="M{x:.1f} {low:.1f}V{high:.1f}{caps}"/>'
    if mark.middle is None:
        return line
    return line + f'<circle class="{mark.kind}" cx="{x:.1f}" cy="{mark.middle:.1f}" r="{DOT_PX}"/>'
