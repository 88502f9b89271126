"""The cells of a labelled field, counted as slides are: what an evaluation compares, and what a card is made of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from ki67.cells.detect import detect_cells
from ki67.cells.engine import Engine
from ki67.cells.table import cell_schema
from ki67.errors import TissueError
from ki67.fields.labelled_fields import LabelledField


def count_field(field: LabelledField, engine: Engine) -> pa.Table:
    """Cell table of a whole field (:func:`ki67.cells.table.cell_schema`), artefacts kept.

    Without a row where the picture is blank and nothing is labelled on it.

    Raises
    ------
    TissueError
        Where cells are labelled on a picture that shows no tissue.
    """
    try:
        with field.open() as slide, tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cells.parquet"
            return detect_cells(slide, None, path, engine=engine, keep_artefacts=True).read_table()
    except TissueError:
        if any(len(places) for places in field.points.values()):
            raise
        return cell_schema().empty_table()
