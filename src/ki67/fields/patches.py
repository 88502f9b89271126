"""Labelled patches on disk: an index file, or folders as the public IDC set publishes them.

The published layout (Cruz-Roa et al., SPIE 9041, 2014; Janowczyk and Madabhushi, J Pathol Inform 7:29, 2016) is
``<patient>/<0|1>/<patient>_idx5_x<X>_y<Y>_class<0|1>.png``, 50 x 50 px, 1 = invasive ductal carcinoma. An
``index.csv`` names the patches to use; its columns ``patient``, ``label`` and ``file`` are needed, others are kept.
"""

from __future__ import annotations

import csv
import math
import os
import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ki67.errors import DataSetError
from ki67.files import read_json, read_text
from ki67.idc.model import ModelCard, is_core
from ki67.progress import track

INDEX_FILE, FACTS_FILE = "index.csv", "patches.json"
"""What lies beside sampled patches: their index, and their size, resolution and classes."""

UNFINISHED_FILE = "unfinished.csv"
"""What the index is called while patches are still being written."""

FACTS_SCHEMA = 1

INDEX_COLUMNS = ("patient", "label", "file")
"""Columns an index must have."""

_PICTURE_ERRORS = (
    OSError,  # UnidentifiedImageError too
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on files that are no picture, damaged, or much larger than a patch."""

LABEL = re.compile("[0-9]{1,3}")
"""A class is a small whole number, in the index and as the name of a folder."""

PLACE = re.compile(r"(.+)_x([0-9]{1,9})_y([0-9]{1,9})_class[0-9]+\.png")
"""A file's name holds section and place: (x - 1, y - 1) is the patch's corner in pixels of the downsampled slide."""

SAME_MPP = 0.01
"""Resolutions this far apart are one: a patch then differs by half a pixel in fifty."""

WHITE = 255
"""Patches cut off at a section's edge are padded with white, which is what lies beyond a section."""


@dataclass(frozen=True, slots=True)
class PatchRow:
    """One labelled patch.

    Parameters
    ----------
    patient
        Patient the patch comes from; splits and intervals go by it.
    label
        Number of the class; in the public set 1 for invasive ductal carcinoma and 0 for anything else.
    path
        Image file.
    columns
        Every column of the index as text (empty where there is no index).
    """

    patient: str
    label: int
    path: Path
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, int, int] | None:
        """Section, and x and y of the corner in pixels at the patches' resolution; None where the name has none."""
        found = PLACE.fullmatch(self.path.name)
        return (f"{self.patient}/{found[1]}", int(found[2]) - 1, int(found[3]) - 1) if found else None


@dataclass(frozen=True, slots=True)
class PatchFacts:
    """What ``patches.json`` says.

    Parameters
    ----------
    patch_px, mpp
        Edge in pixels, and µm per pixel.
    classes
        Names in the order of their labels.
    core_px
        Edge of the square in the middle that a patch's class is of.
    """

    patch_px: int
    mpp: float
    classes: tuple[str, ...]
    core_px: int


def read_facts(directory: str | Path) -> PatchFacts | None:
    """Read what patches are, as ``ki67 idc sample`` left it; None where it left nothing.

    Raises
    ------
    DataSetError
        Where the folder is missing or the file damaged, or the sampling was cut short.
    """
    if not Path(directory).is_dir():
        raise DataSetError(directory, "is not a folder", "Name the folder that holds the patches.")
    if (Path(directory) / UNFINISHED_FILE).exists():
        raise DataSetError(directory, "holds a sampling that was cut short", "Sample the patches again.")
    path = Path(directory) / FACTS_FILE
    if not path.exists():
        return None
    try:
        fields = read_json(path, DataSetError, "Sample the patches again.", "patches.json")
        if fields["schema"] != FACTS_SCHEMA:
            raise ValueError(f"schema {fields['schema']}, expected {FACTS_SCHEMA}")
        patch_px, core_px = int(fields["patch_px"]), int(fields.get("core_px", fields["patch_px"]))
        if not is_core(core_px, patch_px):
            raise ValueError(f"a core of {core_px} px in a patch of {patch_px} px")
        return PatchFacts(patch_px, float(fields["mpp"]), tuple(map(str, fields["classes"])), core_px)
    except (ArithmeticError, ValueError, TypeError, KeyError) as error:
        raise DataSetError(path, f"cannot be read ({error})", "Sample the patches again.") from error


def read_patches(directory: str | Path, index: str | Path | None = None) -> list[PatchRow]:
    """List the labelled patches below a folder.

    Parameters
    ----------
    directory
        Folder the patches lie in.
    index
        CSV with the columns ``patient``, ``label`` and ``file`` (relative to ``directory``). Without it the folder is
        walked as ``<patient>/<label>/*.png``.

    Returns
    -------
    list of PatchRow
        In the order of the index, or sorted by path.

    Raises
    ------
    DataSetError
        Where the folder or the index is missing or empty, a column is absent, or a line is malformed (with its
        number).
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise DataSetError(folder, "is not a folder", "Name the folder that holds the patches.")
    rows = _walk(folder) if index is None else _read_index(folder, Path(index))
    if not rows:
        raise DataSetError(
            folder if index is None else index,
            "names no patches",
            "Expected <patient>/<0|1>/*.png, or an index with the columns patient, label, file.",
        )
    return rows


def rows_for_model(rows: Sequence[PatchRow], directory: str | Path, card: ModelCard) -> list[PatchRow]:
    """Number the labels of patches as a model does, and refuse patches that it was not made for.

    Parameters
    ----------
    rows
        Patches below ``directory``.
    directory
        Their folder. What its ``patches.json`` says goes; without one, labels are taken for the model's own numbers.
    card
        Of the model.

    Returns
    -------
    list of PatchRow

    Raises
    ------
    DataSetError
        Where size or resolution is not the model's, or it does not know a class.
    """
    facts = read_facts(directory)
    classes = card.classes if facts is None else facts.classes
    if facts and (facts.patch_px != card.patch_px or not math.isclose(facts.mpp, card.mpp, rel_tol=SAME_MPP)):
        raise DataSetError(
            directory,
            f"holds patches of {facts.patch_px} px at {facts.mpp:g} µm, the model takes {card.patch_px} px at "
            f"{card.mpp:g} µm",
            "Sample the patches at the model's size and resolution, or take the model that was trained on them.",
        )
    if facts and facts.core_px != card.core_px:
        raise DataSetError(
            directory,
            f"holds patches labelled by the {facts.core_px} px in their middle, the model judges {card.core_px} px",
            f"Sample the patches with --core-px {card.core_px}, or take the model that was trained on them.",
        )
    unknown = [name for name in classes if name not in card.classes]
    unknown += [f"number {row.label}" for row in rows if row.label >= len(classes)][:1]
    if unknown:
        raise DataSetError(
            directory,
            f"holds the class {unknown[0]}, the model knows {', '.join(card.classes)}",
            "Take the model that was trained on these classes, or sample the patches with its classes.",
        )
    return [replace(row, label=card.classes.index(classes[row.label])) for row in rows]


HELD_BYTES = 1 << 30
"""Patches up to 1 GiB (140,000 of 50 px, 21,000 of 128 px) are held in memory."""


def load_pixels(rows: Sequence[PatchRow], patch_px: int) -> NDArray[np.uint8]:
    """Read patches into one array.

    Smaller patches (cut off at a section's edge) are padded with white at the right and at the bottom.

    Parameters
    ----------
    rows
        What to read.
    patch_px
        Edge length of a patch in pixels.

    Returns
    -------
    numpy.ndarray
        uint8 RGB (N, patch_px, patch_px, 3).

    Raises
    ------
    DataSetError
        Where an image is missing, cannot be read or is larger than a patch, or all are smaller.
    """
    largest = 0
    pixels = _room_for((len(rows), patch_px, patch_px, 3))
    for place, row in enumerate(track(rows, "Reading patches")):
        patch = _read_image(row.path)
        height, width = patch.shape[:2]
        if height > patch_px or width > patch_px:
            raise DataSetError(
                row.path,
                f"is {width} x {height} px, expected at most {patch_px} x {patch_px}",
                "Use patches of the model's size and resolution; its card states both.",
            )
        if (height, width) != (patch_px, patch_px):
            pixels[place] = WHITE
        pixels[place, :height, :width] = patch
        largest = max(largest, min(height, width))
    if rows and largest < patch_px:
        raise DataSetError(
            rows[0].path,
            f"and all other patches are smaller than {patch_px} x {patch_px} px; the largest has {largest} px",
            "Use patches of the model's size and resolution; its card states both.",
        )
    return pixels


def _room_for(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Empty array: in memory, or, where it is large, in a file without a name that memory only caches."""
    size = math.prod(shape)
    if size <= HELD_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        # All of the room is asked for now: written to later, a full disk would end the program without a word.
        os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=shape)


def _read_image(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise DataSetError(path, "is missing", "Complete the data set or take the patch out of the index.") from error
    except _PICTURE_ERRORS as error:
        raise DataSetError(path, f"cannot be read as an image ({error})", "Replace the file.") from error


def _walk(folder: Path) -> list[PatchRow]:
    patches = [path for path in sorted(folder.glob("*/*/*.png")) if LABEL.fullmatch(path.parent.name)]
    return [PatchRow(path.parent.parent.name, int(path.parent.name), path) for path in patches]


def _read_index(folder: Path, index: Path) -> list[PatchRow]:
    text = read_text(index, DataSetError, "Name the index of these patches, a CSV file, or sample them again.")
    lines = csv.DictReader(text.splitlines())
    try:
        found = tuple(lines.fieldnames or ())
        missing = [name for name in INDEX_COLUMNS if name not in found]
        if missing:
            raise DataSetError(
                index,
                f"line 1: lacks the column(s) {', '.join(missing)}, found {', '.join(found) or 'nothing'}",
                "Expected at least patient, label, file.",
            )
        return [_row(folder, index, lines.line_num, columns) for columns in lines]
    except csv.Error as error:
        raise DataSetError(index, f"line {lines.line_num}: {error}", "Expected a CSV file.") from error


def _row(folder: Path, index: Path, line: int, columns: dict[str, str | None]) -> PatchRow:
    if None in columns or None in columns.values():
        raise DataSetError(index, f"line {line}: does not have as many fields as the header", "Correct the line.")
    values = {name: value for name, value in columns.items() if value is not None}
    if not LABEL.fullmatch(values["label"]):
        raise DataSetError(
            index, f"line {line}: the label is {values['label']!r}, expected 0, 1, …", "Correct the line."
        )
    for name in ("patient", "file"):
        if not values[name]:
            raise DataSetError(index, f"line {line}: the {name} is empty", "Correct the line.")
    return PatchRow(values["patient"], int(values["label"]), folder / values["file"], values)
