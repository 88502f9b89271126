"""The list of slides that patches are drawn from, and its split by patient."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError
from ki67.slides.pixel_size import LARGEST_MPP, SMALLEST_MPP

SPLITS = ("train", "val", "test")

PAPER_SHARES = (677 / 1017, 153 / 1017, 187 / 1017)
"""Slides in training, validation and test (Table 1 of Feng et al. 2020)."""

NEEDED = ("patient", "slide", "regions")
SAFE_NAME = re.compile(r"[A-Za-z0-9._ -]*[A-Za-z0-9_-]")
"""Patients become folders, so they hold letters, digits, dots, dashes, underscores and spaces only."""

WAY_OUT = "Expected a CSV file with the columns patient, slide, regions and, if wanted, split and mpp."


@dataclass(frozen=True, slots=True)
class SlideEntry:
    """One slide with its outlines.

    Parameters
    ----------
    patient
        Splits go by it.
    slide, regions
        Files.
    split
        ``train``, ``val`` or ``test``; empty where none was given.
    mpp
        Pixel size of level 0, where the file has none.
    number
        Place in the list, from 1 on; makes names unique.
    overrides_file
        Take ``mpp`` although the file says otherwise.
    """

    patient: str
    slide: Path
    regions: Path
    split: str = ""
    mpp: float | None = None
    number: int = 1
    overrides_file: bool = False

    @property
    def name(self) -> str:
        """Name of the slide among all of the list; safe in a file name."""
        return f"{self.patient}-{self.number}".replace(" ", "_")


def read_slide_list(path: str | Path, *, overrides_file: bool = False) -> list[SlideEntry]:
    """Read a list of slides.

    Parameters
    ----------
    path
        CSV with the columns ``patient``, ``slide``, ``regions`` and perhaps ``split`` and ``mpp``; file names are
        relative to the list's folder.
    overrides_file
        Take the sizes in ``mpp`` although a slide's file says otherwise.

    Returns
    -------
    list of SlideEntry

    Raises
    ------
    DataSetError
        Where it cannot be read, a column or value is missing or wrong (with the line), a slide is listed twice, a
        patient is written in two ways, or a patient is in two splits.
    """
    source = Path(path)
    entries = [_entry(row, place) for place, row in enumerate(read_rows(source, NEEDED, WAY_OUT), start=1)]
    if not entries:
        raise DataSetError(source, "names no slide", WAY_OUT)
    check_once(entries, source)
    check_split(entries, source)
    return [replace(entry, overrides_file=overrides_file) for entry in entries]


def _entry(row: Row, place: int) -> SlideEntry:
    values = {name: row.text(name) for name in NEEDED}
    for name, value in values.items():
        if "\0" in value:
            raise row.error(f"has a {name} with a NUL character")
    if not SAFE_NAME.fullmatch(values["patient"]):
        raise row.error(f"has the patient {values['patient']!r}, which cannot be a folder's name")
    split = row.values.get("split", "")
    if split not in {"", *SPLITS}:
        raise row.error(f"has the split {split!r}, expected {', '.join(SPLITS)} or nothing")
    folder = row.path.parent
    return SlideEntry(
        values["patient"],
        folder / values["slide"],
        folder / values["regions"],
        split,
        row.number_or_none("mpp", SMALLEST_MPP, LARGEST_MPP),
        place,
    )


def check_once(entries: Sequence[SlideEntry], source: Path) -> None:
    """Refuse what would put the same tissue or patient on two sides of a split unseen.

    Raises
    ------
    DataSetError
        Where a slide is listed twice (links are followed), or two patients differ in upper and lower case only.
    """
    slides: dict[str, SlideEntry] = {}
    patients: dict[str, str] = {}
    for entry in entries:
        first = slides.setdefault(os.path.realpath(entry.slide), entry)  # takes links to themselves, unlike resolve()
        if first is not entry:
            raise DataSetError(
                source,
                f"lists the slide {entry.slide} twice, for patient {first.patient} and for {entry.patient}",
                "List a slide once, with all its regions in one file.",
            )
        spelt = patients.setdefault(entry.patient.casefold(), entry.patient)
        if spelt != entry.patient:
            raise DataSetError(
                source,
                f"names the patients {spelt} and {entry.patient}, which many file systems cannot tell apart",
                "Spell a patient in one way, and give different patients different names.",
            )


def check_split(entries: Sequence[SlideEntry], source: Path) -> None:
    """Refuse a split that cuts through a patient, or covers only some of the slides.

    Raises
    ------
    DataSetError
        With the patient.
    """
    seen: dict[str, str] = {}
    for entry in entries:
        if seen.setdefault(entry.patient, entry.split) != entry.split:
            raise DataSetError(
                source,
                f"patient {entry.patient} is in split '{seen[entry.patient]}' and in '{entry.split}'",
                "Give all slides of a patient the same split.",
            )
    if len({bool(entry.split) for entry in entries}) > 1:
        raise DataSetError(
            source, "some slides have a split and others have none", "Give every slide a split, or none."
        )


def split_by_patient(
    entries: Sequence[SlideEntry], shares: tuple[float, float, float] = PAPER_SHARES, *, seed: int = 2020
) -> list[SlideEntry]:
    """Draw a split by patient where the list has none.

    Parameters
    ----------
    entries
        Slides, none with a split (others are returned as they are).
    shares
        Shares of patients in training, validation and test.
    seed
        Of the draw.

    Returns
    -------
    list of SlideEntry
        Every one with its split; training and validation get at least one patient each.

    Raises
    ------
    ValueError
        Where the shares are negative or training or validation gets none, or there are fewer than two patients.
    """
    if all(entry.split for entry in entries):
        return list(entries)
    patients = sorted({entry.patient for entry in entries})
    if min(shares) < 0 or min(shares[:2]) <= 0:
        msg = f"the shares of training and validation must be above 0, found {shares}"
        raise ValueError(msg)
    if len(patients) < 2:
        raise ValueError("a split by patient needs at least two patients")
    order = np.random.default_rng(seed).permutation(patients)
    count = len(patients)
    test = min(round(count * shares[2] / sum(shares)), count - 2)
    validation = min(max(1, round(count * shares[1] / sum(shares))), count - test - 1)
    drawn = ["test"] * test + ["val"] * validation + ["train"] * (count - test - validation)
    split = dict(zip(order.tolist(), drawn, strict=True))
    return [replace(entry, split=split[entry.patient]) for entry in entries]
