"""Pictures of an IDC evaluation: ROC curve, calibration, confusion of classes; a section with its outlines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.annotations import Regions
from ki67.evaluation.plots import FAINT, INK, MARK, Figure, Line2D, ScalarMappable, new_axes, save
from ki67.idc import HeatMap
from ki67.report.overview import heatmap_picture, slide_picture
from ki67.slides import Slide

BINS = 10
PANEL_INCHES = 7.0


def draw_figures(
    folder: str | Path, labels: NDArray[np.int64], scores: NDArray[np.float64], result: Mapping[str, Any]
) -> None:
    """Write ``roc.png``, ``calibration.png`` and ``confusion.png``.

    Parameters
    ----------
    folder
        Where to.
    labels, scores
        1 for IDC, and its probability, (N,).
    result
        What :func:`ki67.evaluation.idc.evaluate_idc` found.
    """
    drawn = {
        "roc": _roc(labels, scores, result),
        "calibration": _calibration(labels, scores, result),
        "confusion": _confusion(result["confusion"]),
    }
    for name, figure in drawn.items():
        save(figure, Path(folder) / f"{name}.png")


def roc_points(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1), (M, 2).

    Parameters
    ----------
    labels, scores
        1 for IDC, and its probability, (N,); both classes are there.
    """
    order = np.argsort(-scores, kind="stable")
    truth = labels[order] == 1
    # Equal scores are called together: only the last of them is a point.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    false, true = np.cumsum(~truth)[last] / (~truth).sum(), np.cumsum(truth)[last] / truth.sum()
    return np.concatenate([[[0.0, 0.0]], np.stack([false, true], axis=1)])


def calibration_points(
    labels: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability, share of IDC and weight of each bin that holds patches.

    Parameters
    ----------
    labels, scores, weights
        1 for IDC, its probability, and weight of each patch, (N,).
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    weight = np.bincount(bins, weights=weights, minlength=BINS).astype(np.float64)
    filled = weight > 0
    mean = np.bincount(bins, weights=weights * scores, minlength=BINS)[filled] / weight[filled]
    share = np.bincount(bins, weights=weights * labels, minlength=BINS)[filled] / weight[filled]
    return mean, share, weight[filled]


def draw_region(
    path: str | Path, slide: Slide, heatmap: HeatMap | None, outlines: Regions, measures: Mapping[str, float]
) -> None:
    """Write a section with its outlines as PNG, beside it the heat map (Fig 3 of Feng et al. 2020).

    Parameters
    ----------
    path
        The file.
    slide
        The section.
    heatmap
        None leaves its panel out.
    outlines
        Regions found and drawn by hand; each label is one entry of the legend.
    measures
        What :func:`ki67.evaluation.idc_regions.compare_regions` gives.
    """
    pictures = [slide_picture(slide, outlines)]
    if heatmap is not None:
        pictures.append(heatmap_picture(slide, heatmap, outlines))
    height, width = pictures[0].shape[:2]
    size = (PANEL_INCHES * len(pictures) + 1, PANEL_INCHES * height / width + 1)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, picture in zip(panels, pictures, strict=True):
        axes.imshow(picture)
        axes.set_axis_off()
    if heatmap is not None:
        figure.colorbar(ScalarMappable(cmap="viridis"), ax=panels, label="probability of IDC", shrink=0.8)
    entries = {region.label: region.display_color for region in outlines}
    lines = [Line2D([], [], color=f"#{bytes(color).hex()}", label=label) for label, color in entries.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)
    areas = f"found {measures['area_mm2']:.2f} mm², by hand {measures['true_area_mm2']:.2f} mm²"
    figure.suptitle(f"Dice {measures['dice']:.3f}; {areas}")
    save(figure, path)


def _roc(labels: NDArray[np.int64], scores: NDArray[np.float64], result: Mapping[str, Any]) -> Figure:
    pooled, interval = result["pooled"], result["intervals"]["auc"]
    if pooled["auc"] is None:
        title = "No ROC curve: the patches are of one class"
    else:
        title = f"AUC {pooled['auc']:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")
    figure, axes = new_axes(title, "1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":")
    if pooled["auc"] is not None:
        axes.plot(*roc_points(labels, scores).T, color=INK, linewidth=1.8)
        axes.plot(pooled["fpr"], pooled["sensitivity"], "o", color=MARK, label=f"threshold {pooled['threshold']:.3f}")
        axes.legend(loc="lower right", frameon=False)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure


def _calibration(labels: NDArray[np.int64], scores: NDArray[np.float64], result: Mapping[str, Any]) -> Figure:
    error = result["pooled"]["calibration_error"]
    figure, axes = new_axes(f"Calibration error {error:.3f}", "probability of IDC", "share of IDC by label")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":")
    # The probabilities refer to an even share of the classes, so that is what they are to be held against, too.
    even = np.where(labels == 1, 0.5 / max(1, labels.sum()), 0.5 / max(1, (1 - labels).sum()))
    for weights, color, name in (
        (even, MARK, "classes weighing the same"),
        (np.ones(len(labels)), INK, "as they are"),
    ):
        mean, share, weight = calibration_points(labels, scores, weights)
        axes.plot(mean, share, color=color, linewidth=1)
        axes.scatter(mean, share, s=12 + 200 * weight / weight.max(), color=color, label=name)
    axes.legend(loc="upper left", frameon=False, title="area: patches in a bin", markerscale=0.6)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    return figure


def _confusion(confusion: Mapping[str, Mapping[str, int]]) -> Figure:
    names = list(confusion)
    counts = np.array([[confusion[name][other] for other in names] for name in names])
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = new_axes("Confusion", "called", "labelled")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{count:,}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=color)
    return figure
