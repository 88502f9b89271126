"""Chart of what fewer cells would have given, as SVG within the page: sharp at any size, in its own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 44
_STEPS_PERCENT: Final = (1, 2, 5, 10, 20, 50)
_SHIFT_PX = 7


def fewer_cells_chart(rows: Sequence[Mapping[str, Any]], index_percent: float) -> Markup:
    """Draw ranges over the number of cells.

    Parameters
    ----------
    rows
        ``fewer_cells`` of ``score.json``, at least one.
    index_percent
        The index on all cells, a line across.
    """
    ends = [end for row in rows for end in row["random_percent"]] + [index_percent]
    ends += [end for row in rows for end in (row["hot_spot_first_ci95_percent"] or ())]
    step = next((s for s in _STEPS_PERCENT if (max(ends) - min(ends)) / s <= 6), _STEPS_PERCENT[-1])
    low, high = math.floor(min(ends) / step) * step, math.ceil(max(ends) / step) * step
    high = high if high > low else low + step

    def y(percent: float) -> float:
        share: float = (high - percent) / (high - low)
        return _TOP + share * (_HEIGHT - _TOP - _BOTTOM)

    def x(place: int) -> float:
        return _LEFT + (place + 0.5) / len(rows) * (_WIDTH - _LEFT - _RIGHT)

    label = "Index and its range by the number of tumour cells counted"
    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">']
    for percent in range(low, high + step, step):
        parts.append(f'<path class="grid-line" d="M{_LEFT} {y(percent):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 8, y(percent) + 4, f"{percent} %", "end"))
    parts.append(f'<path class="all-cells" d="M{_LEFT} {y(index_percent):.1f}H{_WIDTH - _RIGHT}"/>')
    for place, row in enumerate(rows):
        parts.append(_text(x(place), _HEIGHT - _BOTTOM + 18, f"{row['cells']:,}", "middle"))
        low_px, high_px = (y(end) for end in row["random_percent"])
        parts.append(_range("random", x(place) - _SHIFT_PX, low_px, high_px))
        if row["hot_spot_first_percent"] is not None:
            low_px, high_px = (y(end) for end in row["hot_spot_first_ci95_percent"])
            middle_px = y(row["hot_spot_first_percent"])
            parts.append(_range("hot-first", x(place) + _SHIFT_PX, low_px, high_px, middle_px))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 6, "tumour cells counted", "middle"))
    parts.append("</svg>")
    return Markup("".join(parts))  # noqa: S704 - numbers and words of this module only


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _range(name: str, x: float, low: float, high: float, middle: float | None = None) -> str:
    line = (
        f'<path class="{name}" d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"/>'
    )
    dot = "" if middle is None else f'<circle class="{name}" cx="{x:.1f}" cy="{middle:.1f}" r="3.5"/>'
    return line + dot
