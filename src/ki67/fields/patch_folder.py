"""A folder of sampled patches: its index and table, and the removal of what an earlier sampling left.

Before the first patch is written, ``unfinished.csv`` names them all; it becomes ``index.csv`` when all are there. So
a sampling that was killed is known for what it is, and the next one finds every file to remove.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ki67.errors import DataSetError
from ki67.fields.patches import FACTS_FILE, INDEX_FILE, UNFINISHED_FILE, read_patches
from ki67.fields.slide_list import SPLITS, SlideEntry
from ki67.files import remove_leftovers, write_json, write_text

SAMPLED_COLUMNS = ("patient", "slide", "split", "x", "y", "label", "class", "file")

SPLIT_INDEX = "index-{}.csv"
"""Index of one split, for ``ki67 evaluate idc --index``."""


def earlier_files(folder: Path) -> list[Path]:
    """List what an earlier sampling left in a folder.

    Raises
    ------
    DataSetError
        Where the folder holds a file that no sampling wrote (hidden files are passed over), or is a file.
    """
    if folder.is_file():
        raise DataSetError(folder, "is a file", "Name a folder for the patches.")
    found = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    own: set[Path] = set()
    if (folder / FACTS_FILE).exists():
        indices = [folder / name for name in (INDEX_FILE, UNFINISHED_FILE)]
        own = {row.path for index in indices if index.exists() for row in read_patches(folder, index)}
        own |= {*indices, folder / FACTS_FILE, *(folder / SPLIT_INDEX.format(split) for split in SPLITS)}
    if found - own:
        raise DataSetError(
            folder,
            f"holds {min(found - own).relative_to(folder)}, which 'ki67 idc sample' did not write",
            "Name an empty folder, or one that holds nothing but sampled patches.",
        )
    return sorted(found)


def start_folder(folder: Path, facts: dict[str, Any], lines: Sequence[dict[str, Any]]) -> None:
    """Remove what an earlier sampling left, and list the patches that are to come.

    Parameters
    ----------
    folder
        Where to.
    facts
        Content of ``patches.json``.
    lines
        Rows of the index.

    Raises
    ------
    DataSetError
        As :func:`earlier_files`.
    """
    files = earlier_files(folder)
    if folder / INDEX_FILE in files:
        (folder / INDEX_FILE).replace(folder / UNFINISHED_FILE)
    # The list goes last, and only when the new one takes its place: it tells what is still to be removed.
    for path in files:
        if path.name not in {INDEX_FILE, UNFINISHED_FILE, FACTS_FILE}:
            path.unlink()
    remove_leftovers([*files, folder / FACTS_FILE, folder / INDEX_FILE, folder / UNFINISHED_FILE])
    for place in sorted(
        {parent for path in files for parent in path.parents if folder in parent.parents}, reverse=True
    ):
        if not any(place.iterdir()):
            place.rmdir()
    write_json(folder / FACTS_FILE, facts)
    write_text(folder / UNFINISHED_FILE, _as_csv(lines))


def finish_folder(folder: Path, lines: Sequence[dict[str, Any]]) -> Path:
    """Write the index of each split and the whole one, and return the latter."""
    for split in SPLITS:
        own = [line for line in lines if line["split"] == split]
        if own:
            write_text(folder / SPLIT_INDEX.format(split), _as_csv(own))
    return (folder / UNFINISHED_FILE).replace(folder / INDEX_FILE)


def table1(
    lines: Sequence[Mapping[str, Any]], names: Sequence[str], slides: Sequence[SlideEntry]
) -> list[dict[str, Any]]:
    """Slides and patches per split and class (Table 1 of Feng et al. 2020).

    Parameters
    ----------
    lines
        Rows of the index.
    names
        Classes.
    slides
        Every slide of the list.

    Returns
    -------
    list of dict
        Per split, also an empty one: ``split``, ``patients`` and ``slides`` that gave patches,
        ``slides_without_patches``, ``patches``, and under ``classes`` and ``class_slides`` the patches of each class
        and the slides that gave any of it.
    """
    table = []
    for split in SPLITS:
        own = [line for line in lines if line["split"] == split]
        giving = {line["slide"] for line in own}
        class_slides = {name: {line["slide"] for line in own if line["class"] == name} for name in names}
        table.append(
            {
                "split": split,
                "patients": len({line["patient"] for line in own}),
                "slides": len(giving),
                "slides_without_patches": sum(entry.split == split for entry in slides) - len(giving),
                "patches": len(own),
                "classes": {name: sum(line["class"] == name for line in own) for name in names},
                "class_slides": {name: len(class_slides[name]) for name in names},
            }
        )
    return table


def _as_csv(lines: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, SAMPLED_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()
