"""The agreement of indices as SVG: scores over gold, and Bland and Altman's plot beside it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ki67.evaluation.limits import LIMITS_Z

INK, FAINT, MARK = "#1f4e79", "#9a9a9a", "#c0392b"
# Wong, Nat Methods 2011;8:441: eight colours that people with any colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
MARKERS = ("M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "M-3-3H3V3H-3Z", "M0-4L4 0 0 4-4 0Z", "M-4 3H4L0-4Z")
"""Disc, square, diamond and triangle as paths, for readers of one colour."""

_SIDE: Final = 340
_LEFT, _TOP, _BOTTOM, _RIGHT = 58, 30, 46, 14
_WIDTH, _HEIGHT = 2 * (_LEFT + _SIDE + _RIGHT), _TOP + _SIDE + _BOTTOM
_MOST_TICKS: Final = 7
_LINE: Final = 15
"""Pixels from one line of text to the next."""


def agreement_svg(reference: NDArray[np.float64], scores: Mapping[str, NDArray[np.float64]]) -> str:
    """Scores over gold, and Bland and Altman's plot (Lancet 1986;327:307-310) beside it.

    Parameters
    ----------
    reference
        Gold index of each case in percent, (N,).
    scores
        Indices (N,) of each reader; a single one may have no name.
    """
    readers = list(scores.values())
    top = max(float(part.max()) for part in (reference, *readers)) * 1.05 + 1
    left = _Panel(_LEFT, (0, top), (0, top))
    differences = np.concatenate([own - reference for own in readers])
    bias, spread = float(differences.mean()), float(differences.std(ddof=1))
    limits = bias - LIMITS_Z * spread, bias + LIMITS_Z * spread
    means = np.concatenate([(own + reference) / 2 for own in readers])
    right = _Panel(2 * _LEFT + _SIDE + _RIGHT, _around(means), _around(np.append(differences, limits)))
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [
        f'<svg {frame} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        left.axes("score over gold", "gold index (%)", "score (%)"),
        left.line((0, 0), (top, top), FAINT),
        right.axes(
            "Bland and Altman, 95 % limits of agreement", "mean of score and gold (%)", "score − gold (points)"
        ),
    ]
    for number, (name, own) in enumerate(scores.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        parts += [left.marker(*place, marker, colour) for place in zip(reference, own, strict=True)]
        parts += [
            right.marker(*place, marker, colour) for place in zip((own + reference) / 2, own - reference, strict=True)
        ]
        if len(scores) > 1:
            y = _TOP + _LINE * (number + 1)
            parts.append(_path(marker, colour, _LEFT + 10, y - 4) + _text(_LEFT + 20, y, name, "start"))
    for value, colour, told in ((bias, INK, "bias "), (limits[0], MARK, ""), (limits[1], MARK, "")):
        parts.append(right.across(value, colour, f"{told}{value:+.1f}", dashed=colour == MARK))
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Panel:
    """A square plot: where its left edge is, and the values at its edges, low before high."""

    left: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a pair of values."""
        shares = [(value - low) / (high - low) for value, (low, high) in ((x, self.x_range), (y, self.y_range))]
        return self.left + shares[0] * _SIDE, _TOP + (1 - shares[1]) * _SIDE

    def axes(self, title: str, x_name: str, y_name: str) -> str:
        """Both axes with their ticks and names, and the title."""
        bottom, middle = _TOP + _SIDE, self.left + _SIDE / 2
        parts = [f'<path d="M{self.left} {_TOP}V{bottom}h{_SIDE}" fill="none" stroke="#000000"/>']
        parts += [_text(middle, _TOP - 12, title, "middle"), _text(middle, bottom + 38, x_name, "middle")]
        turned = f'transform="rotate(-90 {self.left - 42} {_TOP + _SIDE / 2})"'
        parts.append(_text(self.left - 42, _TOP + _SIDE / 2, y_name, "middle", turned))
        for value in _ticks(*self.x_range):
            x, _ = self.place(value, self.y_range[0])
            parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="#000000"/>')
            parts.append(_text(x, bottom + 19, f"{value:g}", "middle"))
        for value in _ticks(*self.y_range):
            _, y = self.place(self.x_range[0], value)
            parts.append(f'<path d="M{self.left} {y:.1f}h-5" stroke="#000000"/>')
            parts.append(_text(self.left - 8, y + 4, f"{value:g}", "end"))
        return "".join(parts)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, extra: str = "") -> str:
        """A straight line between two pairs of values."""
        (x0, y0), (x1, y1) = self.place(*start), self.place(*end)
        return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{colour}"{extra}/>'

    def across(self, y: float, colour: str, text: str, *, dashed: bool) -> str:
        """A line across at a value, with a word above its right end."""
        low, high = self.x_range
        x_px, y_px = self.place(high, y)
        line = self.line((low, y), (high, y), colour, ' stroke-dasharray="5 4"' if dashed else "")
        return line + _text(x_px, y_px - 4, text, "end", f'fill="{colour}"')

    def marker(self, x: float, y: float, marker: str, colour: str) -> str:
        """A marker at a pair of values."""
        return _path(marker, colour, *self.place(x, y))


def _path(marker: str, colour: str, x: float, y: float) -> str:
    return f'<path transform="translate({x:.1f} {y:.1f})" d="{marker}" fill="{colour}" fill-opacity="0.8"/>'


def _text(x: float, y: float, text: str, anchor: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{html.escape(text)}</text>'


def _around(values: NDArray[np.float64]) -> tuple[float, float]:
    """Range of values with a twentieth more on each side."""
    low, high = float(values.min()), float(values.max())
    more = max((high - low) / 20, 0.5)
    return low - more, high + more


def _ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within a range, seven at most."""
    decade = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
    step = next(size * decade for size in (1, 2, 5, 10) if (high - low) / (size * decade) <= _MOST_TICKS)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
