"""A picture of the agreement of indices: scores over gold, and Bland and Altman's plot beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ki67.evaluation.index import LIMITS_Z
from ki67.files import atomic_path

SIZE_INCHES = (9.6, 4.6)
DPI = 110
INK, FAINT, MARK = "#1f4e79", "#9a9a9a", "#c0392b"
# Wong, Nat Methods 2011;8:441: eight colours that people with any colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
MARKERS = "osD^vPX*"


def draw_agreement(path: Path, reference: NDArray[np.float64], scores: Mapping[str, NDArray[np.float64]]) -> None:
    """Write :func:`agreement_figure` as PNG."""
    with atomic_path(path) as beside:
        agreement_figure(reference, scores).savefig(beside, dpi=DPI, format="png")


def agreement_figure(reference: NDArray[np.float64], scores: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Scores over gold, and Bland and Altman's plot beside it.

    Parameters
    ----------
    reference
        Gold index of each case in percent, (N,).
    scores
        Indices (N,) of each reader; a single one may have no name.
    """
    figure = Figure(SIZE_INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    top = max(float(reference.max()), *(float(own.max()) for own in scores.values())) * 1.05 + 1
    left.plot([0, top], [0, top], color=FAINT, linewidth=1)
    for number, (name, own) in enumerate(scores.items()):
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number // len(COLOURS) % len(MARKERS)]}
        left.scatter(reference, own, s=22, label=name, alpha=0.8, **style)
        right.scatter((reference + own) / 2, own - reference, s=22, alpha=0.8, **style)
    left.set(xlim=(0, top), ylim=(0, top), aspect="equal", xlabel="gold index (%)", ylabel="score (%)")
    left.set_title("score over gold", fontsize=10)
    if len(scores) > 1:
        left.legend(fontsize=8, frameon=False)
    _limits(right, np.concatenate([own - reference for own in scores.values()]))
    return figure


def _limits(axes: Axes, difference: NDArray[np.float64]) -> None:
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    for value, colour, text in (
        (bias, INK, f"bias {bias:+.1f}"),
        (bias - LIMITS_Z * spread, MARK, f"{bias - LIMITS_Z * spread:+.1f}"),
        (bias + LIMITS_Z * spread, MARK, f"{bias + LIMITS_Z * spread:+.1f}"),
    ):
        axes.axhline(value, color=colour, linewidth=1, linestyle="-" if colour == INK else "--")
        axes.annotate(text, (1.0, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8,
                      color=colour)  # fmt: skip
    axes.set(xlabel="mean of score and gold (%)", ylabel="score − gold (points)")
    axes.set_title("Bland and Altman, 95 % limits of agreement", fontsize=10)
