"""How brown tumour nuclei are: 0, 1+, 2+, 3+, by cuts of their mean density of DAB."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ki67.vocabulary import POSITIVE, TUMOUR_CLASSES

INTENSITIES: Final = ("", "0", "1+", "2+", "3+")
"""Intensity classes: none for what is not a tumour cell, 0 for negative ones, and three of positive ones."""

INTENSITY_CUTS_OD: Final = (0.4, 0.6)
"""Mean DAB density of a nucleus from which a positive cell is 2+ and 3+: QuPath's defaults (Bankhead et al. 2017)."""

COLUMN: Final = "intensity"
NEEDS: Final = ("label", "dab_od_mean")
"""Column of the cell table that holds the class, and those that it follows from."""


class IntensityCounts(BaseModel):
    """Tumour cells of the index by intensity; positive ones of no known density (added by hand) are in no class."""

    model_config = ConfigDict(frozen=True)

    cuts_od: tuple[float, float]
    """Mean DAB density (decadic) from which a positive cell is 2+ and 3+."""
    cells: dict[str, int]
    """Cells that are 0, 1+, 2+ and 3+."""


def classes_of(
    labels: pa.Array | pa.ChunkedArray, dab_od: NDArray[np.floating], cuts_od: tuple[float, float] = INTENSITY_CUTS_OD
) -> pa.Array:
    """Intensity class of each nucleus, one of :data:`INTENSITIES`, as text.

    Parameters
    ----------
    labels
        What each nucleus is called, N words.
    dab_od
        Mean density of DAB of each, decadic, (N,); NaN where it is not known.
    cuts_od
        From which a positive nucleus is 2+ and 3+.
    """
    return pa.array(INTENSITIES).take(pa.array(_grades(labels, dab_od, cuts_od)))


def count(table: pa.Table, cuts_od: tuple[float, float]) -> IntensityCounts:
    """Count the cells of the region; the table has ``in_region`` and :data:`NEEDS`."""
    inside = table.filter(table["in_region"])
    found = np.bincount(_grades(inside["label"], _dab_od(inside), cuts_od), minlength=len(INTENSITIES)).tolist()
    return IntensityCounts(cuts_od=cuts_od, cells=dict(zip(INTENSITIES[1:], found[1:], strict=True)))


def with_classes(batch: pa.RecordBatch, cuts_od: tuple[float, float]) -> pa.RecordBatch:
    """Rows of a cell table with their classes by other cuts; as they are where a column for it is missing."""
    if not {COLUMN, *NEEDS} <= set(batch.schema.names):
        return batch
    place = batch.schema.get_field_index(COLUMN)
    return batch.set_column(place, batch.schema.field(place), classes_of(batch["label"], _dab_od(batch), cuts_od))


def _grades(
    labels: pa.Array | pa.ChunkedArray, dab_od: NDArray[np.floating], cuts_od: tuple[float, float]
) -> NDArray[np.int64]:
    """Index into :data:`INTENSITIES` of each nucleus."""
    positive = pc.equal(labels, POSITIVE.label).to_numpy(zero_copy_only=False)
    tumour = pc.is_in(labels, pa.array(TUMOUR_CLASSES)).to_numpy(zero_copy_only=False)
    grade = np.searchsorted(cuts_od, np.asarray(dab_od, np.float64), side="right") + INTENSITIES.index("1+")
    grade = np.where(np.isnan(dab_od), 0, grade)
    return np.where(positive, grade, np.where(tumour, INTENSITIES.index("0"), 0))


def _dab_od(rows: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
    # Cells added by hand have none, which becomes NaN.
    return np.asarray(rows["dab_od_mean"].to_numpy(zero_copy_only=False), np.float64)
