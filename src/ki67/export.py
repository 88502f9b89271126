"""The cells of a case for other programs: GeoJSON for QuPath, CSV for a spreadsheet or statistics."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from shapely.geometry import Polygon

from ki67.annotations import write_cells_geojson
from ki67.case import Summary, read_case
from ki67.case.view import AGAIN
from ki67.errors import CaseError, WriteError
from ki67.files import atomic_path
from ki67.parquet import parquet_file
from ki67.slides import PixelFrame

FORMATS = (".geojson", ".csv")

_FORMULA = r"^(\s*[=+\-@＝＋－＠]|[\t\r\n])"
"""Beginnings of what a spreadsheet takes for a formula."""


def export_cells(folder: str | Path, out: str | Path) -> Summary:
    """Write the cells of a case, a part of the table at a time.

    GeoJSON holds the cells that count, as detections with their outlines, in pixels of the Ki-67 slide as QuPath
    counts them: QuPath opens it dropped onto that slide. CSV holds every row of the cell table but not the outlines,
    in µm from the top left of level 0 (``x_um``, ``y_um``).

    Parameters
    ----------
    folder
        Folder of a case that ``score`` or ``count`` has finished.
    out
        File to write; its suffix, one of :data:`FORMATS`, says as what.

    Returns
    -------
    dict
        ``cells`` (rows written), ``file``.

    Raises
    ------
    CaseError
        Where the folder holds no counted cells, its last run was refused or did not end, or the table was changed.
    WriteError
        Where the suffix is another, or the file cannot be written.
    """
    target = Path(out)
    if target.suffix.lower() not in FORMATS:
        raise WriteError(target, "says no format that cells are written in", f"End it in {' or '.join(FORMATS)}.")
    view = read_case(folder)
    view.require_finished()
    file, frame = view.cells_file(), view.frame("ki67")
    write = _write_csv if target.suffix.lower() == ".csv" else _write_geojson
    try:
        with parquet_file(file) as stream, pq.ParquetFile(stream) as table:
            return {"cells": write(table, target, frame), "file": str(target)}
    except pa.ArrowInvalid as error:
        raise CaseError(file, "is damaged", AGAIN) from error


def _write_csv(table: pq.ParquetFile, target: Path, _frame: PixelFrame) -> int:
    names = [name for name in table.schema_arrow.names if name != "outline_um"]
    schema = pa.schema([table.schema_arrow.field(name) for name in names])
    with atomic_path(target) as path, parquet_file(path, "wb") as out, pyarrow.csv.CSVWriter(out, schema) as writer:
        for batch in table.iter_batches(columns=names):
            writer.write_batch(_as_text(batch))
    return int(table.metadata.num_rows)


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Keep a spreadsheet from running what a region is called: an apostrophe says that text follows."""
    ids = batch["region_id"]
    safe = pc.if_else(pc.match_substring_regex(ids, _FORMULA), pc.binary_join_element_wise("'", ids, ""), ids)
    return batch.set_column(batch.schema.get_field_index("region_id"), batch.schema.field("region_id"), safe)


def _write_geojson(table: pq.ParquetFile, target: Path, frame: PixelFrame) -> int:
    inside = table.read(columns=["x_um", "y_um", "label", "in_region"])
    inside = inside.filter(inside["in_region"])
    write_cells_geojson(
        target,
        inside["x_um"],
        inside["y_um"],
        inside["label"].to_pylist(),
        frame,
        chain.from_iterable(_outlines(table)),
    )
    return len(inside)


def _outlines(table: pq.ParquetFile) -> Iterator[list[Polygon | None]]:
    for batch in table.iter_batches(columns=["in_region", "outline_um"]):
        corners = batch["outline_um"].filter(batch["in_region"]).to_pylist()
        yield [Polygon(np.reshape(one, (-1, 2))) if one and len(one) >= 6 else None for one in corners]
