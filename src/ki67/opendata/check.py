"""Whether a data set is whole and says of itself what is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ki67.annotations import read_regions
from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError, Ki67Error
from ki67.fields.labelled_fields import read_labels
from ki67.files import read_json, read_text, sha256_of
from ki67.opendata.description import COLUMNS, CROISSANT, SUMS, TABLE
from ki67.opendata.export import files_of
from ki67.opendata.items import SPLITS
from ki67.progress import track
from ki67.slides import open_slide
from ki67.vocabulary import CLASSES

_WAY_OUT = "Get the data set again, or make it with: ki67 dataset export LIST.csv DIR."


def check_dataset(directory: str | Path) -> dict[str, Any]:
    """Check every file of a data set against its sums, and its table against pictures and labels.

    Returns
    -------
    dict
        ``sound``; ``problems``, all that were found; ``pictures``, ``patients``, ``cells``.

    Raises
    ------
    DataSetError
        Where the folder is no such data set: its list of sums or its table cannot be read.
    """
    folder = Path(directory)
    problems = [*_against_sums(folder), *_against_croissant(folder)]
    rows = read_rows(folder / TABLE, COLUMNS, _WAY_OUT)
    splits: dict[str, str] = {}
    cells = 0
    for row in track(rows, "Checking", len(rows)):
        patient, split = row.text("patient"), row.text("split")
        if split not in SPLITS:
            problems.append(f"{row.text('name')}: is in the unknown split {split!r}")
        if splits.setdefault(patient, split) != split:
            problems.append(f"{patient}: is in {splits[patient]} and in {split}")
        try:
            cells += _check_row(folder, row, problems)
        except Ki67Error as error:
            problems.append(str(error))
    return {
        "sound": not problems,
        "problems": list(dict.fromkeys(problems)),
        "pictures": len(rows),
        "patients": len(splits),
        "cells": cells,
    }


def _against_sums(folder: Path) -> list[str]:
    text = read_text(folder / SUMS, DataSetError, _WAY_OUT, "a list of sums")
    known: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        sha256, gap, name = line.partition("  ")
        if not gap or len(sha256) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataSetError(folder / SUMS, f"line {number} is no sum of a file", _WAY_OUT)
        known[name] = sha256
    there = set(files_of(folder))
    problems = [f"{name}: is missing" for name in sorted(set(known) - there)]
    problems += [f"{name}: does not belong to the data set" for name in sorted(there - set(known))]
    changed = [name for name in sorted(there & set(known)) if sha256_of(folder / name) != known[name]]
    return problems + [f"{name}: was changed" for name in changed]


def _against_croissant(folder: Path) -> list[str]:
    path = folder / CROISSANT
    said = read_json(path, DataSetError, _WAY_OUT, "the description of a data set")
    try:
        files = {one["@id"]: one["sha256"] for one in said["distribution"]}
    except (KeyError, TypeError) as error:
        raise DataSetError(path, f"describes no files ({error})", _WAY_OUT) from error
    there = set(files_of(folder)) - {CROISSANT}
    problems = [f"{CROISSANT}: does not describe {name}" for name in sorted(there - set(files))]
    for name in sorted(files):
        if name not in there:
            problems.append(f"{CROISSANT}: describes {name}, which is not there")
        elif sha256_of(folder / name) != files[name]:
            problems.append(f"{CROISSANT}: has another sum of {name}")
    return problems


def _check_row(folder: Path, row: Row, problems: list[str]) -> int:
    """Check a picture and its labels; returns how many cells are labelled."""
    name = row.text("name")
    with open_slide(folder / row.text("picture")) as slide:
        told = (row.count_or_none("width_px"), row.count_or_none("height_px"))
        if slide.size_px != told:
            problems.append(f"{name}: has {slide.size_px} px, the table says {told}")
        if abs(slide.mpp / row.number("mpp", 0.05, 50) - 1) > _SAME_SIZE:
            problems.append(f"{name}: has {slide.mpp:g} µm a pixel, the table says {row.values['mpp']}")
        if row.values.get("regions"):
            read_regions(folder / row.values["regions"], slide.frame)
    if not row.values.get("cells"):
        return 0
    points = read_labels(folder / row.values["cells"], slide.mpp)
    problems += [
        f"{name}: has {len(points[label])} {label} cells, the table says {row.values.get(label)}"
        for label in CLASSES
        if len(points[label]) != row.count_or_none(label)
    ]
    return sum(map(len, points.values()))


_SAME_SIZE = 1e-4
