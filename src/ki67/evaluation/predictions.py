"""Cells that another program found on labelled fields: points or outlines, in one file or one for each field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError
from ki67.fields.labelled_fields import LABEL_SUFFIXES, LabelledField, read_labels
from ki67.vocabulary import CLASSES

LAYOUT: Final = (
    "Give a CSV file with the columns image,x,y,label and perhaps probability, x and y in pixels of the field (the "
    "centre of the first one is 0, 0), label positive, negative or other; or a folder with one file for each field, "
    "of its name: a CSV of x,y,label or a GeoJSON of points or outlines as QuPath writes them."
)
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True)
class FoundCells:
    """What a program found on one field: places (N, 2) in µm, classes (N,), and probabilities, NaN where not said."""

    places_um: NDArray[np.float64]
    labels: NDArray[np.object_]
    probability: NDArray[np.float64]


def read_predictions(path: str | Path, fields: Sequence[LabelledField]) -> tuple[dict[str, FoundCells], list[str]]:
    """Read what was found on each field, and warnings; a field that is not named counts as one without a cell.

    Raises
    ------
    DataSetError, AnnotationError
        Where a file cannot be read, a line makes no sense, or a cell is of a field that is not there.
    """
    source = Path(path)
    by_name = {field.name: field for field in fields}
    if source.is_dir():
        found = {name: _of_file(file, by_name[name]) for name, file in _files(source, by_name).items()}
    else:
        found = _of_table(source, by_name)
    if not found:
        raise DataSetError(source, "holds nothing of these fields", LAYOUT)
    nothing = FoundCells(np.empty((0, 2)), np.empty(0, object), np.empty(0))
    missing = [name for name in by_name if name not in found]
    shown = ", ".join(missing[:_NAMES_SHOWN]) + (", …" if len(missing) > _NAMES_SHOWN else "")
    warnings = [f"{source.name}: says nothing of {len(missing)} fields ({shown}); they count as empty"]
    return {name: found.get(name, nothing) for name in by_name}, warnings if missing else []


def _files(folder: Path, by_name: dict[str, LabelledField]) -> dict[str, Path]:
    """File of each field that has one; a further suffix (``NAME.geojson.gz``) is taken off as a whole."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in LABEL_SUFFIXES if path.name.lower().endswith(end)), None)
        name = path.name[: -len(suffix)] if suffix else ""
        if name in by_name:
            if name in files:
                raise DataSetError(path, f"and {files[name].name} are both of the field {name}", "Remove one.")
            files[name] = path
    return files


def _of_file(path: Path, field: LabelledField) -> FoundCells:
    points = read_labels(path, field.mpp)
    places = np.concatenate([points[name] for name in CLASSES])
    labels = np.repeat(np.array(CLASSES, object), [len(points[name]) for name in CLASSES])
    return FoundCells(places, labels, np.full(len(places), np.nan))


def _of_table(path: Path, by_name: dict[str, LabelledField]) -> dict[str, FoundCells]:
    rows: dict[str, list[tuple[float, float, str, float]]] = {}
    for row in read_rows(path, ("image", "x", "y", "label"), LAYOUT):
        image = row.text("image")
        name = image if image in by_name else Path(image).stem
        if name not in by_name:
            raise row.error(f"names the field {image!r}, which is not in the data set")
        rows.setdefault(name, []).append(_cell(row, by_name[name]))
    return {name: _cells(own) for name, own in rows.items()}


def _cell(row: Row, field: LabelledField) -> tuple[float, float, str, float]:
    label = row.text("label").lower()
    if label not in CLASSES:
        raise row.error(f"has the label {label!r}, expected {', '.join(CLASSES)}")
    x, y = (row.number(name, -_FARTHEST_PX, _FARTHEST_PX) for name in ("x", "y"))
    probability = row.number_or_none("probability", 0, 1)
    return (x + 0.5) * field.mpp, (y + 0.5) * field.mpp, label, math.nan if probability is None else probability


_FARTHEST_PX: Final = 1e6


def _cells(rows: list[tuple[float, float, str, float]]) -> FoundCells:
    x, y, labels, probability = zip(*rows, strict=True)
    return FoundCells(
        np.column_stack([x, y]).astype(np.float64), np.array(labels, object), np.array(probability, float)
    )
