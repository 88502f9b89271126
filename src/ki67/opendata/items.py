"""What goes into a data set: pictures with labels, their patients, and which part of it each is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError

SPLITS: Final = ("train", "validation", "test")
SHARES: Final = (677 / 1017, 153 / 1017, 187 / 1017)
"""Shares of the parts: the paper's 677, 153 and 187 slides."""

LAYOUT: Final = (
    "Give a CSV file with the columns patient,picture, and perhaps cells (a CSV of x,y,label or a GeoJSON), regions "
    "(a region file), split (train, validation or test) and mpp, one picture a line; places are relative to the file."
)


@dataclass(frozen=True)
class Item:
    """One picture: ``patient`` as the owner calls the patient, ``name`` as the data set calls the picture."""

    patient: str
    picture: Path
    cells: Path | None
    regions: Path | None
    mpp: float | None
    split: str
    name: str = ""
    pseudonym: str = ""


def read_items(path: Path, seed: int) -> list[Item]:
    """Read the list, name patients and pictures anew, and put whole patients into a part each.

    Names and parts are drawn with ``seed``, so that neither tells the order of the list.

    Raises
    ------
    DataSetError
        Where the list cannot be read, names a file that is not there, or puts a patient into two parts.
    """
    items = [_item(row) for row in read_rows(path, ("patient", "picture"), LAYOUT)]
    if not items:
        raise DataSetError(path, "holds no picture", LAYOUT)
    pictures = [item.picture for item in items]
    twice = next((one for one in pictures if pictures.count(one) > 1), None)
    if twice is not None:
        raise DataSetError(path, f"names the picture {twice.name!r} twice", LAYOUT)
    patients = list(dict.fromkeys(item.patient for item in items))
    draw = np.random.default_rng(seed)
    order = [patients[place] for place in draw.permutation(len(patients))]
    splits = _splits(path, items, order)
    digits = max(3, len(str(len(order))))
    pseudonyms = {patient: f"P{number:0{digits}d}" for number, patient in enumerate(order, start=1)}
    counts = dict.fromkeys(patients, 0)
    named = []
    for place in draw.permutation(len(items)):
        item = items[place]
        counts[item.patient] += 1
        pseudonym = pseudonyms[item.patient]
        name = f"{pseudonym}_{counts[item.patient]}"
        named.append(replace(item, split=splits[item.patient], name=name, pseudonym=pseudonym))
    return sorted(named, key=lambda item: item.name)


def _item(row: Row) -> Item:
    split = row.values.get("split", "")
    if split and split not in SPLITS:
        raise row.error(f"has the split {split!r}, expected {', '.join(SPLITS)}")
    picture = _file(row, "picture")
    if picture is None:
        raise row.error("has no picture")
    mpp = row.number_or_none("mpp", 0.05, 50)
    return Item(row.text("patient"), picture, _file(row, "cells"), _file(row, "regions"), mpp, split)


def _file(row: Row, column: str) -> Path | None:
    said = row.values.get(column, "")
    if not said:
        return None
    path = row.path.parent / said
    if not path.exists():
        raise row.error(f"names the {column} {said!r}, which is not there")
    return path


def _splits(path: Path, items: Sequence[Item], order: Sequence[str]) -> dict[str, str]:
    """Part of each patient: the one that is said, or by :data:`SHARES` in the drawn order."""
    said: dict[str, str] = {}
    for item in items:
        if item.split and said.setdefault(item.patient, item.split) != item.split:
            raise DataSetError(path, f"puts the patient {item.patient!r} into two splits", LAYOUT)
    ends = np.cumsum(SHARES) * len(order)
    drawn = {patient: SPLITS[int(np.searchsorted(ends, place + 0.5))] for place, patient in enumerate(order)}
    return {patient: said.get(patient, drawn[patient]) for patient in order}
