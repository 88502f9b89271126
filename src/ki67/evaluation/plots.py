"""What the figures of evaluations share: matplotlib, which only they need, and the house's style."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ki67.errors import MissingExtraError
from ki67.files import atomic_path

try:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
except ModuleNotFoundError as error:
    raise MissingExtraError("figures", "Drawing the figures of an evaluation") from error

SIZE_INCHES = (5.0, 4.6)
DPI = 110
INK, FAINT, MARK = "#1f4e79", "#9a9a9a", "#c0392b"


def new_axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    """Empty figure in the house's style, with a title and the names of its axes."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG."""
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


__all__ = ["DPI", "FAINT", "INK", "MARK", "Axes", "Figure", "Line2D", "ScalarMappable", "new_axes", "save"]
