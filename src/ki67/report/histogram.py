"""How values are spread, as SVG: equal bins, a bar each, its count above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 20, 20, 24, 48
_MOST_BINS: Final = 24
_STEPS: Final = (1.0, 2.0, 5.0)
_LEAST_LABEL_PX: Final = 44.0


def histogram(values: Sequence[float], axis: str, alt: str) -> Markup:
    """Draw how values are spread.

    Parameters
    ----------
    values
        At least one, none below 0.
    axis
        What they are, with their unit, below the axis.
    alt
        What the figure shows, for those who do not see it.
    """
    step, first, last = _bins(values)
    counts = [0] * (last - first)
    for value in values:
        counts[min(int(value / step + 1e-9), last - 1) - first] += 1
    each = (_WIDTH - _LEFT - _RIGHT) / len(counts)
    high = _HEIGHT - _TOP - _BOTTOM
    bottom = _HEIGHT - _BOTTOM
    label_every = max(1, math.ceil(_LEAST_LABEL_PX / each))
    parts = [f'<svg class="chart histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alt)}">']
    parts.append(f'<path class="grid-line" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>')
    for place, count in enumerate(counts):
        x = _LEFT + place * each
        if count:
            tall = high * count / max(counts)
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{bottom - tall:.1f}" width="{each - 2:.1f}" height="{tall:.1f}"/>'
            )
            parts.append(_text(x + each / 2, bottom - tall - 5, str(count)))
    edges = range(0, len(counts) + 1, label_every)
    parts += [_text(_LEFT + place * each, bottom + 18, f"{(first + place) * step:g}") for place in edges]
    parts.append(_text(_WIDTH / 2, _HEIGHT - 6, axis))
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - numbers and escaped words only


def _bins(values: Sequence[float]) -> tuple[float, int, int]:
    """Width of a bin, a round number, and the first and the last edge in it."""
    low, high = min(values), max(values)
    least = max((high - low) / _MOST_BINS, high / 1000, 1e-3)
    decade = 10.0 ** math.floor(math.log10(least))
    step = next(size * decade for size in (*_STEPS, 10.0) if size * decade >= least * (1 - 1e-9))
    first = int(low / step + 1e-9)
    return step, first, max(first + 1, math.ceil(high / step - 1e-9))


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'
