"""A case as it is with its corrections: one view that report and every export read, whatever people changed.

Cells that were added by hand have a place and a class; what is measured of a nucleus they have not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ki67 import scoring
from ki67.annotations import Region, Regions
from ki67.case import CaseView, read_case
from ki67.case.corrections import Counted, Nudge, ReplaceRegion, holding, read_corrections
from ki67.case.manifest import MANIFEST
from ki67.case.view import CellTable
from ki67.correcting import CorrectedCase, FinishedCase, corrected
from ki67.files import sha256_of
from ki67.geometry import as_multipolygon
from ki67.intensity import COLUMN, NEEDS, with_classes
from ki67.vocabulary import EXCLUSION_KINDS

CHANGED = ("label", "region_id", "in_region", "excluded")
"""Columns of the cell table that a correction may change."""

_ROWS = 20_000


@dataclass(frozen=True)
class CorrectedView(CaseView):
    """A case whose cells, region and score are those with its corrections; everything else is the case's own."""

    found: CorrectedCase | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder and the manifest; the corrections are read again."""
        return corrected_view, (CaseView(self.folder, self.record, self.slide_paths),)

    @property
    def corrections(self) -> CorrectedCase:
        """What people corrected, and the score without and with it."""
        assert self.found is not None
        return self.found

    @property
    def score(self) -> scoring.Score:
        """The score with the corrections."""
        return self.corrections.score

    @property
    def score_sha256(self) -> str:
        """Name of what the score is made of: the automatic one, and the corrections."""
        made_of = f"{super().score_sha256} {self.corrections.version}"
        return hashlib.sha256(made_of.encode()).hexdigest()

    @property
    def cells_sha256(self) -> str:
        """Name of what the cells are made of."""
        return hashlib.sha256(f"{super().cells_sha256} {self.corrections.version}".encode()).hexdigest()

    @cached_property
    def regions_ki67(self) -> Regions | None:
        """The region that is counted now; the case's own where it was not moved."""
        own = super().regions_ki67
        moved = any(isinstance(one.what, ReplaceRegion | Nudge) for one in self.corrections.holding)
        if not moved:
            return own
        known = [] if own is None else list(own)
        label = known[0].label if known else "IDC"
        name = known[0].region_id if len(known) == 1 else "corrected"
        return Regions([Region(label, as_multipolygon(self._counted.region), name)])

    @cached_property
    def excluded(self) -> Regions | None:
        """Parts of the region that are not counted now; None where there are none."""
        kinds = [(kind, area) for kind, area in self._counted.left_out.items() if not area.is_empty]
        return Regions(Region(EXCLUSION_KINDS[kind].label, area, kind) for kind, area in kinds) if kinds else None

    def read_cells(self, columns: Sequence[str] | None = None, filters: pc.Expression | None = None) -> pa.Table:
        """Read the cells as they are now, or some columns or rows of them."""
        with self.open_cells() as table:
            # What is filtered by need not be among the columns.
            batches = table.batches(_ROWS, columns if filters is None else None)
            parts = [pa.Table.from_batches([batch]) for batch in batches]
            whole = parts if filters is None else [part.filter(filters) for part in parts]
            read = pa.concat_tables(whole) if whole else table.schema.empty_table()
        return read if columns is None else read.select([*columns])

    @contextmanager
    def open_cells(self) -> Iterator[CellTable]:
        """Open the cells as they are now, to read them a part at a time."""
        with super().open_cells() as table:
            overlay = _Overlay(table, self._counted, self.intensity_cuts_od)
            yield CellTable(table.schema, len(self._counted.table), overlay.batches)

    @property
    def _counted(self) -> Counted:
        assert self.corrections.counted is not None
        return self.corrections.counted


def corrected_view(view: CaseView) -> CaseView:
    """Return the view of a finished case with its corrections; itself where none holds.

    Raises
    ------
    CaseError, CorrectionError, ScoreError
        As :func:`ki67.correcting.corrected`.
    """
    hold, _ = holding(read_corrections(view.folder))
    if not hold:
        return view
    found = corrections_of(view)
    return CorrectedView(view.folder, view.record, view.slide_paths, found=found)


def corrections_of(view: CaseView) -> CorrectedCase:
    """What people corrected in a case, and its score without and with that.

    Raises
    ------
    CaseError, CorrectionError, ScoreError
        As :func:`ki67.correcting.corrected`.
    """
    return corrected(view.folder, FinishedCase(view, sha256_of(view.folder / MANIFEST)))


def read_corrected(folder: str | Path, *, he: str | Path | None = None, ki67: str | Path | None = None) -> CaseView:
    """Read a case with its corrections, as :func:`ki67.case.read_case` reads it without.

    Raises
    ------
    CaseError, CorrectionError, ScoreError
        As :func:`corrected_view`.
    """
    return corrected_view(read_case(folder, he=he, ki67=ki67))


class _Overlay:
    """Rows of the automatic cell table, changed, left out and added to as the corrections say."""

    def __init__(self, table: CellTable, counted: Counted, cuts_od: tuple[float, float]) -> None:
        self._table, self._counted, self._cuts_od = table, counted, cuts_od
        self._rows: NDArray[np.int64] | None = None

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read some columns; the cells that were added come last."""
        asked = self._table.schema.names if columns is None else [*columns]
        names = [*asked, *(name for name in NEEDS if COLUMN in asked and name not in asked)]
        own = self._own_rows()
        start = 0
        for batch in self._table.batches(rows, names):
            first, last = np.searchsorted(own, [start, start + len(batch)])
            start += len(batch)
            changed = self._changed(batch.take(pa.array(own[first:last] - (start - len(batch)))), int(first), names)
            yield with_classes(changed, self._cuts_od).select(asked)
        added = self._counted.table.slice(len(own))
        if len(added):
            yield with_classes(self._added(added, names), self._cuts_od).select(asked)

    def _own_rows(self) -> NDArray[np.int64]:
        """Row of the automatic table for each row of the counted one, up to the first that was added by hand."""
        if self._rows is None:
            parts = [np.asarray(batch["cell_id"], np.int64) for batch in self._table.batches(_ROWS, ["cell_id"])]
            ids = np.concatenate([np.empty(0, np.int64), *parts])
            order = np.argsort(ids, kind="stable")
            wanted = np.asarray(self._counted.table["cell_id"], np.int64)
            place = np.minimum(np.searchsorted(ids[order], wanted), max(len(ids) - 1, 0))
            found = order[place] if len(ids) else np.zeros(len(wanted), np.int64)
            known = (ids[found] == wanted) if len(ids) else np.zeros(len(wanted), bool)
            # Kept rows stand in the table's order, added ones behind them.
            runs = known & np.concatenate([[True], np.diff(found) > 0])[: len(wanted)]
            end = len(wanted) if runs.all() else int(np.argmin(runs))
            self._rows = found[:end].astype(np.int64)
        return self._rows

    def _changed(self, batch: pa.RecordBatch, first: int, names: Sequence[str]) -> pa.RecordBatch:
        now = self._counted.table.slice(first, len(batch))
        for name in CHANGED:
            if name in names:
                place = batch.schema.get_field_index(name)
                field = batch.schema.field(place)
                batch = batch.set_column(place, field, now[name].combine_chunks().cast(field.type))
        return batch

    def _added(self, added: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
        schema = pa.schema([self._table.schema.field(name) for name in names], metadata=self._table.schema.metadata)
        arrays = [
            added[field.name].combine_chunks().cast(field.type)
            if field.name in added.column_names
            else pa.nulls(len(added), field.type)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def finished(view: CaseView) -> CaseView:
    """Return a view of a run that has only its report to write yet, as one that has ended."""
    return replace(view, record=view.record.model_copy(update={"state": "done"}))
