"""Figures of a cell evaluation: reliability diagram, index against the labels, Bland–Altman plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.evaluation.plots import FAINT, INK, MARK, Figure, new_axes, save

_SMALLEST_DOT: Final = 12.0
_LARGEST_DOT: Final = 200.0
"""Area in points² of the dot of the bin with the most cells."""


def draw_cell_figures(folder: str | Path, result: Mapping[str, Any]) -> None:
    """Write ``reliability.png``, ``index.png`` and ``bland_altman.png``.

    Parameters
    ----------
    folder
        Where to.
    result
        What :func:`ki67.evaluation.cells.evaluate_cells` found. Fields without a labelled tumour cell have no index
        and are not drawn.
    """
    rows = [row for row in result["per_image"] if row["gold_percent"] is not None]
    # As in the figures: a field where no tumour cell was found counts as index 0.
    pairs = np.array([(row["gold_percent"], row["index_percent"] or 0.0) for row in rows], np.float64).reshape(-1, 2)
    drawn = {
        "reliability": _reliability(result["reliability"]),
        "index": _index(pairs, result),
        "bland_altman": _bland_altman(pairs, result),
    }
    for name, figure in drawn.items():
        save(figure, Path(folder) / f"{name}.png")


def _reliability(reliability: Mapping[str, Any]) -> Figure:
    error = reliability["expected_calibration_error"]
    figure, axes = new_axes(f"Expected calibration error {error:.3f}", "probability", "share of cells that are right")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":")
    if bins := reliability["bins"]:
        probability, right, cells = (
            np.array([row[name] for row in bins], np.float64) for name in ("probability", "right", "cells")
        )
        axes.plot(probability, right, color=INK, linewidth=1)
        axes.scatter(
            probability, right, s=_SMALLEST_DOT + _LARGEST_DOT * cells / cells.max(), color=INK, label="cells in it"
        )
        axes.legend(loc="upper left", frameon=False, title="area of a dot", markerscale=0.6)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    return figure


def _index(pairs: NDArray[np.float64], result: Mapping[str, Any]) -> Figure:
    icc, mean_error = result["index_icc"], result["index_mae_points"]
    title = "No field with a labelled tumour cell"
    if len(pairs):
        agreement = "not defined" if icc is None else f"{icc:.3f}"
        title = f"ICC(2,1) {agreement}, mean absolute error {mean_error:.1f} points"
    figure, axes = new_axes(title, "index by the labels (%)", "index found (%)")
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1, linestyle=":")
    axes.plot(pairs[:, 0], pairs[:, 1], "o", color=INK)
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    return figure


def _bland_altman(pairs: NDArray[np.float64], result: Mapping[str, Any]) -> Figure:
    """Difference against mean (Bland and Altman, Lancet 1986;327:307-310)."""
    title = "No field with a labelled tumour cell"
    limits = [result[f"index_{name}_points"] for name in ("lower", "upper")] if len(pairs) > 1 else []
    if len(pairs):
        said = "95 % limits {:.1f} to {:.1f}".format(*limits) if limits else "no limits from one field"
        title = f"Bias {result['index_bias_points']:.1f} points, {said}"
    figure, axes = new_axes(title, "mean of both indices (%)", "found - labels (points)")
    axes.axhline(0, color=FAINT, linewidth=1, linestyle=":")
    if len(pairs):
        axes.plot(pairs.mean(axis=1), pairs[:, 1] - pairs[:, 0], "o", color=INK)
        axes.axhline(result["index_bias_points"], color=MARK, linewidth=1.2)
        for limit in limits:
            axes.axhline(limit, color=MARK, linewidth=1, linestyle="--")
    return figure
