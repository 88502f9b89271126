"""The carcinoma is outlined where most nuclei are tumour cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, box

from ki67.cells.detect import CellDetection
from ki67.cells.exclusion import loss_warnings
from ki67.cells.nests import LABEL, NEST_COLUMNS, NOTE, keep_within, tumour_nests
from ki67.cells.stains import Stains
from ki67.cells.table import cell_schema
from ki67.errors import RegionError
from ki67.geometry import RectUm

SLIDE = RectUm(0.0, 0.0, 2000.0, 1500.0)
TUMOUR = Point(700, 700).buffer(400)
DUCT = Point(1600, 400).buffer(60)


def cells_of(*, tumour: bool = True) -> pa.Table:
    """Stroma everywhere (400 nuclei per mm²), tumour cells in a disc (3,000) and in a duct too small to be a nest."""
    generator = np.random.default_rng(3)
    stroma = generator.uniform((0, 0), (2000, 1500), (1200, 2))
    dense = generator.uniform((0, 0), (2000, 1500), (9000, 2))
    inside = shapely.contains_xy(TUMOUR, dense) | shapely.contains_xy(DUCT, dense)
    dense = dense[inside] if tumour else dense[:0]
    places = np.vstack([stroma, dense])
    labels = ["other"] * len(stroma) + ["positive" if n % 5 == 0 else "negative" for n in range(len(dense))]
    rows = {
        "cell_id": np.arange(len(places)), "x_um": places[:, 0], "y_um": places[:, 1], "label": labels,
        "region_id": ["1"] * len(places), "in_region": np.ones(len(places), bool),
        "excluded": ["pen" if x < 450 else "" for x in places[:, 0]],
    }  # fmt: skip
    empty = {field.name: pa.nulls(len(places), field.type) for field in cell_schema()}
    return pa.table({**empty, **rows}).cast(cell_schema()).sort_by("y_um")


def detection(table: Path | pa.Table) -> CellDetection:
    lost = {"pen": MultiPolygon([box(0, 0, 450, 1500)]), "fold": MultiPolygon(), "focus": MultiPolygon()}
    stains = Stains((240.0, 240.0, 240.0), (0.65, 0.70, 0.29), (0.27, 0.57, 0.78), False, False, 0.0, 0.0)
    warned = ("a word on the tissue", *loss_warnings(lost, 3.0))
    return CellDetection(table, 3.0 - 0.675, lost, stains, 0.3, warned)


def test_most_nuclei_are_tumour_cells_in_it_and_specks_are_left_out() -> None:
    usable = tumour_nests(cells_of().select([*NEST_COLUMNS]), SLIDE)

    (nest,) = usable
    assert (nest.label, nest.region_id) == (LABEL, "tumour-1")
    right = TUMOUR - box(0, 0, 450, 1500)
    share = nest.geometry.intersection(right).area / nest.geometry.union(right).area
    assert share > 0.75  # it is drawn a standard deviation of the smoothing wide


def test_no_carcinoma_is_told_with_what_to_do() -> None:
    with pytest.raises(RegionError, match="--regions"):
        tumour_nests(cells_of(tumour=False).select([*NEST_COLUMNS]), SLIDE)


def test_what_was_counted_in_all_tissue_counts_in_the_outline_only(tmp_path: Path) -> None:
    table, path = cells_of(), tmp_path / "cells.parquet"
    pq.write_table(table, path, row_group_size=1000)
    regions = tumour_nests(table.select([*NEST_COLUMNS]), SLIDE)

    kept, written = keep_within(detection(table), regions, SLIDE), keep_within(detection(path), regions, SLIDE)

    assert written.read_table().equals(kept.read_table())
    rows = kept.read_table()
    places = np.column_stack([rows["x_um"], rows["y_um"]])
    inside = shapely.contains_xy(regions.union(), places)
    assert 0 < (~inside).sum() < inside.sum()  # the margin
    counts = np.asarray(rows["in_region"])
    np.testing.assert_array_equal(counts, inside & (np.asarray(rows["excluded"]) == ""))
    assert set(np.asarray(rows["region_id"])[counts]) == {"tumour-1"}
    assert kept.area_mm2 == pytest.approx((regions.union() - box(0, 0, 450, 1500)).area / 1e6)
    assert kept.warnings[0] == "a word on the tissue"
    assert kept.warnings[-1] == NOTE
    assert detection(table).warnings[1] not in kept.warnings  # was of all tissue
