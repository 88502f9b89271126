"""How brown tumour nuclei are: 0, 1+, 2+, 3+, by cuts of their mean density of DAB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
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
    labels: Iterable[str | None], dab_od: NDArray[np.floating], cuts_od: tuple[float, float] = INTENSITY_CUTS_OD
) -> NDArray[np.object_]:
    """Intensity class of each nucleus, one of :data:`INTENSITIES`.

    Parameters
    ----------
    labels
        What each nucleus is called, N.
    dab_od
        Mean density of DAB of each, decadic, (N,); NaN where it is not known.
    cuts_od
        From which a positive nucleus is 2+ and 3+.
    """
    named = np.array([*labels], dtype=object)
    grade = np.searchsorted(cuts_od, np.asarray(dab_od, np.float64), side="right") + INTENSITIES.index("1+")
    grade = np.where(np.isnan(dab_od), 0, grade)
    grade = np.where(named == POSITIVE.label, grade, INTENSITIES.index("0"))
    return np.array(INTENSITIES, dtype=object)[np.where(np.isin(named, TUMOUR_CLASSES), grade, 0)]


def count(table: pa.Table, cuts_od: tuple[float, float]) -> IntensityCounts:
    """Count the cells of the region; the table has ``in_region`` and :data:`NEEDS`."""
    inside = table.filter(table["in_region"])
    found = classes_of(inside["label"].to_pylist(), _dab_od(inside), cuts_od).tolist()
    return IntensityCounts(cuts_od=cuts_od, cells={name: found.count(name) for name in INTENSITIES[1:]})


def with_classes(batch: pa.RecordBatch, cuts_od: tuple[float, float]) -> pa.RecordBatch:
    """Rows of a cell table with their classes by other cuts; as they are where a column for it is missing."""
    if not {COLUMN, *NEEDS} <= set(batch.schema.names):
        return batch
    place = batch.schema.get_field_index(COLUMN)
    found = classes_of(batch["label"].to_pylist(), _dab_od(batch), cuts_od)
    return batch.set_column(place, batch.schema.field(place), pa.array(found, pa.string()))


def _dab_od(rows: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
    # Cells added by hand have none, which becomes NaN.
    return np.asarray(rows["dab_od_mean"].to_numpy(zero_copy_only=False), np.float64)
