"""The cell table for a spreadsheet or statistics: CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ki67.case import CaseView, Summary
from ki67.export.cells import ROWS, cell_table
from ki67.files import atomic_path
from ki67.parquet import parquet_file

_FORMULA: Final = r"^(\s*[=+\-@＝＋－＠]|[\t\r\n])"
"""Beginnings of what a spreadsheet takes for a formula."""


def write_csv(view: CaseView, target: Path) -> Summary:
    """Write every row of the cell table but not the outlines, in µm from the top left of level 0.

    Returns
    -------
    dict
        ``cells``: rows written.

    Raises
    ------
    CaseError
        Where the case holds no counted cells.
    WriteError
        Where the file cannot be written.
    """
    with cell_table(view) as table:
        names = [name for name in table.schema.names if name != "outline_um"]
        schema = pa.schema([table.schema.field(name) for name in names])
        with (
            atomic_path(target) as path,
            parquet_file(path, "wb") as out,
            pyarrow.csv.CSVWriter(out, schema) as writer,
        ):
            for batch in table.batches(ROWS, names):
                writer.write_batch(_as_text(batch))
        return {"cells": table.num_rows}


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Keep a spreadsheet from running what a region is called: an apostrophe says that text follows."""
    ids = batch["region_id"]
    safe = pc.if_else(pc.match_substring_regex(ids, _FORMULA), pc.binary_join_element_wise("'", ids, ""), ids)
    return batch.set_column(batch.schema.get_field_index("region_id"), batch.schema.field("region_id"), safe)
