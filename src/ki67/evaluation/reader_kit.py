"""What readers of a competition are given: blinded slides, and a sheet each with an order of its own and a clock."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ki67.annotations import Regions, read_regions, write_regions
from ki67.csv_rows import Row, read_rows
from ki67.errors import DataSetError
from ki67.files import make_folder, write_text
from ki67.html import jpeg_uri
from ki67.opendata.pictures import unnamed, write_pixels
from ki67.progress import track
from ki67.report.overview import slide_picture
from ki67.report.templating import environment
from ki67.slides import PixelFrame, open_slide

LAYOUT: Final = (
    "Give a CSV file with the columns slide,picture and perhaps regions (a region file) and mpp, one slide a line; "
    "places are relative to the file."
)
ANSWER_COLUMNS: Final = ("slide", "reader", "index_percent", "seconds")
"""What ``ki67 compete`` reads."""

_READER = re.compile(r"[\w.-]{1,40}")


@dataclass(frozen=True)
class _Given:
    slide: str
    picture: Path
    regions: Path | None
    mpp: float | None
    code: str = ""


def make_kit(
    slides_csv: str | Path,
    out: str | Path,
    readers: Sequence[str],
    *,
    seed: int = 0,
    minutes: float = 30.0,
    washout_days: int | None = None,
) -> dict[str, Any]:
    """Write a blinded package: ``slides/CODE.tif`` with regions, and for each reader a ``.html`` and a ``.csv``.

    Codes and each reader's order are drawn with ``seed``. A slide's file holds its pixels and nothing else. Which
    code is which slide stands in ``OUT.key.csv`` beside the package, for who holds the competition.

    Parameters
    ----------
    slides_csv
        The slides (:data:`LAYOUT`).
    out
        Folder of the package, new or empty.
    readers
        Names of the readers, letters, digits, dots and dashes.
    seed
        Of codes and orders.
    minutes
        Time for all slides; the paper gave 30.
    washout_days
        Days for which a reader must not have seen these slides, told on the sheet; None tells nothing.

    Returns
    -------
    dict
        ``out``, ``key``, ``slides``, ``readers``: order of codes of each; ``warnings``.

    Raises
    ------
    DataSetError
        Where the list makes no sense, a reader's name cannot be a file's, or the folder is not empty.
    SlideError, AnnotationError, WriteError
        Where a file cannot be read or written.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise DataSetError(folder, "is not empty", "Choose another folder.")
    _check_readers(folder, readers)
    draw = np.random.default_rng(seed)
    given = _coded(_read(Path(slides_csv)), draw)
    orders = {reader: [given[place].code for place in draw.permutation(len(given))] for reader in readers}
    warnings: list[str] = []
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as unfinished:
        whole = Path(unfinished) / folder.name
        pictures = {one.code: _blinded(one, whole, warnings) for one in track(given, "Blinding slides", len(given))}
        for reader, order in orders.items():
            sheet = environment().get_template("reader_sheet.html")
            text = sheet.render(
                reader=reader, order=order, pictures=pictures, seconds=round(minutes * 60), washout_days=washout_days
            )
            write_text(whole / f"{reader}.html", text)
            rows = [{"slide": code, "reader": reader} for code in order]
            write_text(whole / f"{reader}.csv", _csv(ANSWER_COLUMNS, rows))
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    key = folder.with_name(f"{folder.name}.key.csv")
    write_text(key, _csv(("code", "slide"), [{"code": one.code, "slide": one.slide} for one in given]))
    return {"out": str(folder), "key": str(key), "slides": len(given), "readers": orders, "warnings": warnings}


def _check_readers(folder: Path, readers: Sequence[str]) -> None:
    wrong = [name for name in readers if not _READER.fullmatch(name)]
    if wrong or not readers:
        found = f"cannot have a reader called {wrong[0]!r}" if wrong else "has no reader"
        raise DataSetError(folder, found, "Name readers with letters, digits, dots and dashes: --reader NAME.")
    if len({name.lower() for name in readers}) < len(readers):
        raise DataSetError(folder, "has two readers of one name", "Name each reader once.")


def _read(path: Path) -> list[_Given]:
    rows = read_rows(path, ("slide", "picture"), LAYOUT)
    given = [_given(row) for row in rows]
    if not given:
        raise DataSetError(path, "holds no slide", LAYOUT)
    names = [one.slide for one in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataSetError(path, f"names the slide {twice!r} twice", LAYOUT)
    return given


def _given(row: Row) -> _Given:
    def place(column: str) -> Path | None:
        said = row.values.get(column, "")
        if said and not (row.path.parent / said).exists():
            raise row.error(f"names the {column} {said!r}, which is not there")
        return row.path.parent / said if said else None

    picture = place("picture")
    if picture is None:
        raise row.error("has no picture")
    return _Given(row.text("slide"), picture, place("regions"), row.number_or_none("mpp", 0.05, 50))


def _coded(given: Sequence[_Given], draw: np.random.Generator) -> list[_Given]:
    order = [given[place] for place in draw.permutation(len(given))]
    return [
        _Given(one.slide, one.picture, one.regions, one.mpp, f"S{number:02d}")
        for number, one in enumerate(order, start=1)
    ]


def _blinded(given: _Given, folder: Path, warnings: list[str]) -> str:
    """Write a slide and its regions under its code; returns a picture of it as a data URI."""
    with open_slide(given.picture, given.mpp) as slide:
        warnings += slide.named_warnings
        write_pixels(slide, folder / "slides" / f"{given.code}.tif")
        regions: Regions | None = None
        if given.regions is not None:
            regions = unnamed(read_regions(given.regions, slide.frame))
            write_regions(folder / "slides" / f"{given.code}.geojson", regions, PixelFrame(slide.mpp))
        return jpeg_uri(slide_picture(slide, regions))


def _csv(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
