"""Cells by intensity follow from label, density and cuts, and never touch the index."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ki67.intensity import classes_of, count, with_classes

LABELS = ["positive", "positive", "positive", "positive", "negative", "other"]
DAB_OD = np.array([0.39, 0.4, 0.6, np.nan, 0.9, 0.9])


def table() -> pa.Table:
    return pa.table(
        {"label": LABELS, "dab_od_mean": DAB_OD, "in_region": [True] * 5 + [False], "intensity": ["?"] * 6}
    )


def test_a_cut_belongs_to_the_class_above_it() -> None:
    assert classes_of(pa.array(LABELS), DAB_OD).to_pylist() == ["1+", "2+", "3+", "", "0", ""]
    assert classes_of(pa.array(LABELS), DAB_OD, (0.1, 0.2)).to_pylist() == ["3+", "3+", "3+", "", "0", ""]
    assert classes_of(pa.array([], pa.string()), np.empty(0)).to_pylist() == []


def test_only_cells_of_the_region_are_counted() -> None:
    found = count(table(), (0.4, 0.6))
    assert found.cells == {"0": 1, "1+": 1, "2+": 1, "3+": 1}
    assert found.cuts_od == (0.4, 0.6)


def test_rows_are_graded_again_where_they_can_be() -> None:
    (batch,) = table().to_batches()
    assert with_classes(batch, (0.4, 0.5)).column("intensity").to_pylist() == ["1+", "2+", "3+", "", "0", ""]
    few = batch.select(["intensity", "label"])
    assert with_classes(few, (0.4, 0.5)) is few
