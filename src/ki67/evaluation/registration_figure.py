"""Both sections one upon the other with their landmarks, before and after registration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.evaluation.plots import Figure, save
from ki67.registration import PiecewiseTransform, Transform
from ki67.registration.images import Section
from ki67.registration.warp import warp_pieces

_FIXED, _MOVING = "#00724a", "#c4266b"
"""Landmarks of the fixed and of the moving section; the sections themselves are drawn in the same two colours."""
_SIZE_INCHES: Final = (12.0, 5.6)


def draw_registration(
    path: str | Path,
    sections: tuple[Section, Section],
    transform: PiecewiseTransform,
    landmarks_um: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Write the figure as PNG.

    Parameters
    ----------
    path
        The file.
    sections
        Fixed and moving section at the pixel size they were registered at.
    transform
        Fixed µm to moving µm.
    landmarks_um
        Landmarks (N, 2) of the fixed and of the moving section, in µm of their own slides.
    """
    fixed, moving = sections
    there, other = landmarks_um
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    steps = (
        ("before: corner on corner", PiecewiseTransform.whole(Transform.identity()), other),
        ("after registration", transform, transform.inverse_points(other)),
    )
    for axes, (title, map_, moved) in zip(panels, steps, strict=True):
        _panel(axes, fixed, _overlay(fixed, moving, map_), there, moved)
        off_um = float(np.nanmedian(np.hypot(*(moved - there).T)))
        axes.set_title(f"{title}, median {off_um:.3g} µm apart", loc="left", fontsize=11)
    panels[0].legend(loc="lower left", frameon=True, fontsize=9)
    save(figure, path)


def _overlay(fixed: Section, moving: Section, transform: PiecewiseTransform) -> NDArray[np.float32]:
    """RGB (H, W, 3), 0 to 1: the fixed section draws green, the moving one purple; grey where both lie."""
    a, b = fixed.density, warp_pieces(fixed, moving, transform).density
    return np.asarray(np.clip(1 - 0.8 * np.dstack([a, b, a]), 0, 1), np.float32)


def _panel(
    axes: Any, fixed: Section, picture: NDArray[np.float32], there: NDArray[np.float64], moved: NDArray[np.float64]
) -> None:
    width_um, height_um = fixed.size_um
    axes.imshow(picture, extent=(0, width_um, height_um, 0))
    for (x0, y0), (x1, y1) in zip(there, moved, strict=True):
        axes.plot([x0, x1], [y0, y1], color="black", linewidth=0.8)
    axes.scatter(*there.T, s=14, facecolor="none", edgecolor=_FIXED, linewidth=1.4, label="fixed section")
    axes.scatter(*moved.T, s=14, marker="x", color=_MOVING, linewidth=1.2, label="moving section")
    axes.set(xlim=(0, width_um), ylim=(height_um, 0), xlabel="µm", ylabel="µm")
