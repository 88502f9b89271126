"""The cell table of a case, a part at a time, in the shapes that other programs' formats need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ki67.case import CaseView
from ki67.case.view import AGAIN, CellTable
from ki67.errors import CaseError
from ki67.intensity import INTENSITY_CUTS_OD, with_classes
from ki67.vocabulary import CLASSES

MEASUREMENTS: Final = ("cell_id", "probability", "area_um2", "dab_od_mean")
"""Columns that go with a cell into formats which hold its measurements; few, for there are many cells."""

LEAST_CORNERS: Final = 3
"""An outline with fewer encloses nothing: such a cell is written as its centre."""

_COLUMNS: Final = ("x_um", "y_um", "label", "in_region", "outline_um", *MEASUREMENTS)
ROWS: Final = 20_000
"""Rows of the table in memory at a time."""

_CELLS: Final = 2_000
"""Cells in memory at a time where they become text."""


@dataclass(frozen=True)
class CellPart:
    """Some of a case's cells, N of them.

    Parameters
    ----------
    centres_um
        (N, 2), x and y in µm of the slide.
    classes
        Place of each cell's class among :data:`ki67.vocabulary.CLASSES`, (N,).
    measurements
        :data:`MEASUREMENTS` by name, (N,) each; NaN where a cell has none.
    corners_um
        Corners of all outlines one after the other, (K, 2) in µm; no outline repeats its first corner.
    counts
        How many of the corners belong to each cell, (N,); 0 where it has no outline.
    """

    centres_um: NDArray[np.float64]
    classes: NDArray[np.int64]
    measurements: dict[str, NDArray[np.float64] | NDArray[np.int64]]
    corners_um: NDArray[np.float64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)


@contextmanager
def cell_table(view: CaseView) -> Iterator[CellTable]:
    """Open the cell table of a finished case.

    Raises
    ------
    CaseError
        Where the case has no counted cells, its last run was refused or did not end, or the table is damaged.
    """
    view.require_finished()
    with view.open_cells() as table:
        missing = [name for name in _COLUMNS if name not in table.schema.names]
        if missing:
            raise CaseError(view.cells_file(), f"has no column '{missing[0]}'", AGAIN)
        cuts_od = view.intensity_cuts_od
        if cuts_od == INTENSITY_CUTS_OD:
            yield table
            return

        def batches(rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
            return (with_classes(batch, cuts_od) for batch in table.batches(rows, columns))

        yield CellTable(table.schema, table.num_rows, batches)


def counted_cells(view: CaseView) -> Iterator[CellPart]:
    """Cells of the region, in the table's order, so few at a time that memory does not grow with their number.

    Raises
    ------
    CaseError
        As :func:`cell_table`, and where a cell has an unknown label or no finite place.
    """
    with cell_table(view) as table:
        for batch in table.batches(_CELLS, [*_COLUMNS]):
            yield _part(batch.filter(batch["in_region"]), view)


def _part(batch: pa.RecordBatch, view: CaseView) -> CellPart:
    classes = pc.index_in(batch["label"], value_set=pa.array(CLASSES))
    if classes.null_count:
        unknown = batch["label"].filter(pc.is_null(classes))[0].as_py()
        raise CaseError(view.cells_file(), f"has a cell of the unknown class '{unknown}'", AGAIN)
    corners, counts = outlines(batch["outline_um"])
    centres = np.column_stack([np.asarray(batch[name], np.float64) for name in ("x_um", "y_um")])
    if not (np.isfinite(centres).all() and np.isfinite(corners).all()):
        raise CaseError(view.cells_file(), "has a cell without a finite place", AGAIN)
    measurements = {name: _numbers(batch[name]) for name in MEASUREMENTS}
    return CellPart(centres, np.asarray(classes, np.int64), measurements, corners, counts)


def _numbers(column: pa.Array) -> NDArray[np.float64] | NDArray[np.int64]:
    if pa.types.is_integer(column.type):
        return np.asarray(column, np.int64)
    return np.asarray(column.cast(pa.float64()).fill_null(np.nan))


def outlines(column: pa.ListArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Corners (K, 2) of all outlines of a part of the table, and how many belong to each cell, (N,)."""
    values = np.asarray(pc.list_value_length(column).fill_null(0), np.int64)
    whole = (values >= 2 * LEAST_CORNERS) & (values % 2 == 0)
    corners = np.asarray(column.filter(pa.array(whole)).flatten(), np.float64).reshape(-1, 2)
    return corners, np.where(whole, values // 2, 0)
