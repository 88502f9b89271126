"""Writing a data set: pixels and labels, named anew, and nothing else of the files they come from."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ki67.annotations import read_regions, write_regions
from ki67.cells import is_field
from ki67.errors import DataSetError
from ki67.fields.labelled_fields import read_labels
from ki67.files import make_folder, sha256_of, write_json, write_text
from ki67.opendata.description import CARD, COLUMNS, CROISSANT, SUMS, TABLE, Description, card, croissant
from ki67.opendata.items import Item, read_items
from ki67.opendata.pictures import unnamed, write_pixels
from ki67.progress import track
from ki67.slides import PixelFrame, Slide, open_slide
from ki67.vocabulary import CLASSES

FIELDS, SLIDES = "fields", "slides"
KEY_COLUMNS: Final = ("name", "patient", "picture", "original_patient")


def export_dataset(
    list_csv: str | Path, out: str | Path, said: Description, *, seed: int = 0, lossless: bool = False
) -> dict[str, Any]:
    """Write a data set from a list of pictures (:mod:`ki67.opendata.items`).

    Pixels are read and written anew, so that labels, overviews, scanner's notes and file names cannot come along.
    Which picture became which stands in ``OUT.key.csv`` beside the data set, for the owner alone.

    Parameters
    ----------
    list_csv
        The list.
    out
        Folder of the data set, new or empty.
    said
        What the owner says of it.
    seed
        Draws the names, and the parts of patients for whom the list says none.
    lossless
        Slides without loss too, many times as large.

    Returns
    -------
    dict
        ``out``, ``key``; ``pictures``, ``patients``, ``splits``: pictures of each; ``bytes``; ``warnings``.

    Raises
    ------
    DataSetError
        Where the list makes no sense, the folder is not empty, or labels lie outside their picture.
    SlideError, AnnotationError, WriteError
        Where a file cannot be read or written.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise DataSetError(folder, "is not empty", "Choose another folder.")
    items = read_items(Path(list_csv), seed)
    warnings: list[str] = []
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as unfinished:
        whole = Path(unfinished) / folder.name
        size = _write_all(items, whole, said, warnings, lossless=lossless)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    key = folder.with_name(f"{folder.name}.key.csv")
    names = [(one.name, one.pseudonym, str(one.picture), one.patient) for one in items]
    write_text(key, _csv(KEY_COLUMNS, [dict(zip(KEY_COLUMNS, row, strict=True)) for row in names]))
    return {
        "out": str(folder),
        "key": str(key),
        "pictures": len(items),
        "patients": len({one.pseudonym for one in items}),
        "splits": {split: sum(one.split == split for one in items) for split in sorted({one.split for one in items})},
        "bytes": size,
        "warnings": warnings,
    }


def _write_all(items: list[Item], folder: Path, said: Description, warnings: list[str], *, lossless: bool) -> int:
    """Write everything into a folder; returns how many bytes."""
    rows = [_write(item, folder, warnings, lossless=lossless) for item in track(items, "Writing", len(items))]
    write_text(folder / TABLE, _csv(tuple(COLUMNS), rows))
    write_text(folder / CARD, card(said, rows))
    sums = {name: sha256_of(folder / name) for name in files_of(folder)}
    sizes = {name: (folder / name).stat().st_size for name in sums}
    write_json(folder / CROISSANT, croissant(said, sums, sizes))
    sums[CROISSANT] = sha256_of(folder / CROISSANT)
    write_text(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))
    return sum((folder / name).stat().st_size for name in sums)


def files_of(folder: Path) -> list[str]:
    """Files of a data set by their names relative to it, but the list of sums."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != SUMS)


def _write(item: Item, folder: Path, warnings: list[str], *, lossless: bool) -> dict[str, str]:
    """Write one picture with its labels; returns its line of the table."""
    with open_slide(item.picture, item.mpp) as slide:
        warnings += slide.named_warnings
        field = is_field(slide)
        home = folder / (FIELDS if field else SLIDES)
        width, height = slide.size_px
        frame = PixelFrame(slide.mpp)
        picture = home / f"{item.name}.tif"
        write_pixels(slide, picture, lossless=field or lossless)
        row = {
            "name": item.name,
            "kind": "field" if field else "slide",
            "patient": item.pseudonym,
            "split": item.split,
            "picture": picture.relative_to(folder).as_posix(),
            "width_px": str(width),
            "height_px": str(height),
            "mpp": repr(slide.mpp),
        }
        if item.cells is not None:
            points = _labels(item.cells, slide)
            _check_inside(item.cells, points, slide)
            path = home / (f"{item.name}.csv" if field else f"{item.name}_cells.csv")
            write_text(path, _points(points, slide.mpp))
            row |= {"cells": path.relative_to(folder).as_posix()}
            row |= {name: str(len(places)) for name, places in points.items()}
        if item.regions is not None:
            regions = read_regions(item.regions, slide.frame)
            path = home / f"{item.name}.geojson"
            write_regions(path, unnamed(regions), frame)
            row |= {"regions": path.relative_to(folder).as_posix()}
    return row


def _labels(path: Path, slide: Slide) -> dict[str, NDArray[np.float64]]:
    """Labelled cells in µm; GeoJSON counts pixels as QuPath does, a table from the corner."""
    points = read_labels(path, slide.mpp)
    if path.suffix.lower() == ".csv":
        return points
    corner_um = np.array(slide.frame.origin_px) * slide.mpp
    return {label: places + corner_um for label, places in points.items()}


def _check_inside(path: Path, points: Mapping[str, NDArray[np.float64]], slide: Slide) -> None:
    places = np.concatenate(list(points.values())) / slide.mpp
    outside = int(((places < -1) | (places > np.array(slide.size_px) + 1)).any(axis=1).sum())
    if outside:
        found = f"has {outside} of {len(places)} labels outside the picture {slide.path.name}"
        raise DataSetError(path, found, "Give coordinates in pixels of this picture.")


def _points(points: Mapping[str, NDArray[np.float64]], mpp: float) -> str:
    """Lines x, y, label in pixels, the centre of the first one (0, 0); in order of place, which tells nothing."""
    rows = [
        (round(y / mpp - 0.5, 3), round(x / mpp - 0.5, 3), label)
        for label in CLASSES
        for x, y in points.get(label, np.empty((0, 2))).tolist()
    ]
    return "x,y,label\n" + "".join(f"{x:.10g},{y:.10g},{label}\n" for y, x, label in sorted(rows))


def _csv(columns: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
