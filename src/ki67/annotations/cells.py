"""Cells as QuPath detections, streamed to a file of any length."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import repeat, zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from shapely.geometry import Polygon

from ki67.annotations.coordinates import COORDINATE_DECIMALS, rings_px
from ki67.annotations.regions import Rgb
from ki67.errors import AnnotationError, PixelSizeError
from ki67.files import atomic_path
from ki67.slides import PixelFrame
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

CELL_CLASSES: Final[dict[str, tuple[str, Rgb]]] = {
    # QuPath counts "Tumor: Positive" and "Tumor: Negative" into its "Positive %" by these very names;
    # red and green are Feng et al. 2020, Fig 5.
    POSITIVE.label: ("Tumor: Positive", (255, 0, 0)),
    NEGATIVE.label: ("Tumor: Negative", (0, 170, 0)),
    OTHER.label: ("Other", (150, 150, 150)),
}
"""QuPath class name and colour of each label of the cell table."""


def write_cells_geojson(
    path: str | Path,
    x_um: ArrayLike,
    y_um: ArrayLike,
    labels: Iterable[str],
    frame: PixelFrame,
    outlines: Iterable[Polygon | None] | None = None,
    *,
    colors: Mapping[str, Rgb] | None = None,
) -> None:
    """Write cells as QuPath detections, one at a time, whole or not at all.

    The features are written as they come: with generators for labels and outlines the memory does not grow with
    the number of cells.

    Parameters
    ----------
    path
        The GeoJSON file to write; QuPath opens it by dragging it onto the slide.
    x_um, y_um
        Centres in µm in the slide's frame, (N,).
    labels
        ``positive``, ``negative`` or ``other``, one per cell.
    frame
        How other programs count pixels on the slide (``Slide.frame``).
    outlines
        Nucleus outlines in µm, one per cell; None for a cell (or for all) writes its centre as a point.
    colors
        RGB per label, where they are not to be those of :data:`CELL_CLASSES`.

    Raises
    ------
    AnnotationError
        Where a label is unknown, a position is not finite or the columns differ in length; names the cell's number.
    PixelSizeError
        Where the frame's ``mpp`` is not a positive number.
    WriteError
        Where the file cannot be written.
    """
    mpp = frame.mpp
    if not (math.isfinite(mpp) and mpp > 0):
        raise PixelSizeError(path, f"needs the slide's pixel size, got {mpp} µm", "Give a positive one with --mpp.")
    properties = _properties(colors or {})
    xs, ys = np.asarray(x_um, dtype=np.float64), np.asarray(y_um, dtype=np.float64)
    cells = zip_longest(xs, ys, labels, repeat(None, len(xs)) if outlines is None else outlines, fillvalue=_MISSING)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('{"type":"FeatureCollection","features":[')
        for number, (x, y, label, outline) in enumerate(cells, 1):
            if any(value is _MISSING for value in (x, y, label, outline)):
                raise AnnotationError(path, f"positions, labels and outlines differ in number at cell {number}")
            if label not in properties:
                raise AnnotationError(path, f"cell {number} has the unknown label {label!r}", _LABELS)
            if not (math.isfinite(x) and math.isfinite(y)):
                raise AnnotationError(path, f"cell {number} has the impossible position {x}, {y}")
            geometry = _geometry(float(x), float(y), outline, frame)
            stream.write("\n" if number == 1 else ",\n")
            stream.write(f'{{"type":"Feature","geometry":{geometry},"properties":{properties[label]}}}')
        stream.write("\n]}\n")


_MISSING: Final[Any] = object()
_LABELS: Final = f"Known labels are {', '.join(CELL_CLASSES)}."


def _properties(colors: Mapping[str, Rgb]) -> dict[str, str]:
    return {
        label: _json(
            {"objectType": "detection", "classification": {"name": name, "color": list(colors.get(label, color))}}
        )
        for label, (name, color) in CELL_CLASSES.items()
    }


def _geometry(x_um: float, y_um: float, outline: Polygon | None, frame: PixelFrame) -> str:
    if outline is None or outline.is_empty:
        point = np.round(frame.to_px([x_um, y_um]), COORDINATE_DECIMALS).tolist()
        return _json({"type": "Point", "coordinates": point})
    return _json({"type": outline.geom_type, "coordinates": rings_px(outline, frame)})


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
