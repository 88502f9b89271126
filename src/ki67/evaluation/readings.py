"""Ki-67 indices as readers gave them, case by case, from a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError

NAMES: Final = ("case", "slide")
"""Columns of which a file has one; a gold standard made by ``ki67 gold make`` names slides."""

LAYOUT: Final = "Give a CSV file with the columns case,index_percent (slide in place of case will do)."

CAUSES: Final = {
    "heterogeneity": 56.0,
    "visual error": 18.3,
    "wrong cells": 14.9,
    "stain": 9.1,
    "not tumour": 1.7,
}
"""Causes of a difference, and their share in percent among 997 breast cancers where a program and people were more
than 5 points apart (PMC6382355)."""

OTHER_CAUSE: Final = "other"


@dataclass(frozen=True)
class Reading:
    """One reader's index of one case in percent; ``reader``, ``modality`` and ``cause`` are empty where not said."""

    case: str
    reader: str
    modality: str
    index_percent: float
    cause: str


def read_readings(path: Path) -> list[Reading]:
    """Read a file with one reading a line, in the file's order.

    Columns are ``case`` or ``slide``, ``index_percent``, and perhaps ``reader``, ``modality`` and ``cause``.

    Raises
    ------
    DataSetError
        Where it cannot be read, a line makes no sense, or the same reading comes twice.
    """
    readings: dict[tuple[str, str, str], Reading] = {}
    for row in read_rows(path, ("index_percent",), LAYOUT):
        reading = _reading(row)
        place = reading.modality, reading.reader, reading.case
        if place in readings:
            raise row.error(f"names the case {reading.case!r} again")
        readings[place] = reading
    if not readings:
        raise DataSetError(path, "holds no case", LAYOUT)
    return list(readings.values())


def _reading(row: Row) -> Reading:
    case = row.text(next((column for column in NAMES if column in row.values), NAMES[0]))
    reader = row.text("reader") if "reader" in row.values else ""
    cause = row.values.get("cause", "").lower()
    if cause and cause not in CAUSES and cause != OTHER_CAUSE:
        raise row.error(f"has the cause {cause!r}, expected one of {', '.join((*CAUSES, OTHER_CAUSE))}")
    return Reading(case, reader, row.values.get("modality", ""), row.number("index_percent", 0, 100), cause)


def by_reader(readings: Sequence[Reading]) -> dict[str, dict[str, float]]:
    """Index of each case for each reader, in the order in which they come."""
    indices: dict[str, dict[str, float]] = {}
    for reading in readings:
        indices.setdefault(reading.reader, {})[reading.case] = reading.index_percent
    return indices


def by_modality(path: Path, readings: Sequence[Reading]) -> dict[str, list[Reading]]:
    """Readings of each modality where the same readers read in two; all of them under ``""`` otherwise.

    Raises
    ------
    DataSetError
        Where some readers, but not all, read in more than one modality, or there are three or more.
    """
    modalities: dict[str, list[Reading]] = {}
    for reading in readings:
        modalities.setdefault(reading.modality, []).append(reading)
    readers = [{reading.reader for reading in own} for own in modalities.values()]
    if len({reader for own in readers for reader in own}) == sum(map(len, readers)):
        return {"": list(readings)}  # no reader in two of them
    if len(modalities) != 2 or readers[0] != readers[1] or "" in modalities:
        raise DataSetError(
            path,
            f"holds the modalities {', '.join(repr(name) for name in modalities)}, not each with the same readers",
            "Give two modalities, each read by every reader, or leave the column out.",
        )
    return modalities
