"""The cell table is written tile by tile and comes out as if all cells had been sorted at once."""

import contextlib
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import synthetic
from ki67.cells import cell_schema, detect, detect_cells
from ki67.cells.measurements import MEASUREMENT_UNITS
from ki67.cells.table import CellRows, cell_ids, gather_cells, make_table, write_cells
from ki67.errors import WriteError
from ki67.slides import open_slide


def tile(x_um, y_um):
    count = len(x_um)
    return make_table(
        CellRows(
            np.array(x_um, np.float64),
            np.array(y_um, np.float64),
            np.ones(count, np.int8),
            np.full(count, 0.9, np.float32),
            np.zeros(count, np.int32),
            np.zeros(count, np.uint8),
            np.zeros((count, len(MEASUREMENT_UNITS)), np.float32),
            [np.full((3, 2), x, np.float32) for x in x_um],
        ),
        ["1"],
    )


# Two strips of two rows each, as tiles are worked on; rows of tiles begin at 0 and 1024 px.
TILES = [
    (0, tile([9, 1], [1, 5])),
    (1024, tile([3], [600])),
    (0, tile([20], [3])),
    (1024, tile([40, 30], [600, 550])),
]


def test_cells_are_sorted_across_tiles_and_numbered(tmp_path):
    path = tmp_path / "cells.parquet"
    write_cells(path, TILES)
    table = pq.read_table(path)
    assert table.cast(cell_schema()).schema.equals(cell_schema(), check_metadata=True)
    assert table["x_um"].to_pylist() == [9, 20, 1, 30, 3, 40]
    assert table["cell_id"].to_pylist() == cell_ids(table["x_um"].to_numpy(), table["y_um"].to_numpy()).tolist()
    assert [outline[0] for outline in table["outline_um"].to_pylist()] == table["x_um"].to_pylist()


def test_no_cell_at_all_is_a_table_without_rows(tmp_path):
    path = tmp_path / "cells.parquet"
    for tables in ([], [(0, tile([], []))]):
        write_cells(path, tables)
        assert pq.read_table(path).schema.names == cell_schema().names
        assert len(pq.read_table(path)) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full is at hand")
def test_a_full_disk_is_told_and_no_tile_goes_on(tmp_path, save, monkeypatch):
    path = tmp_path / "cells.parquet"
    counted, real = [], detect._count_tile

    @contextlib.contextmanager
    def full(**_):
        with Path("/dev/full").open("r+b", buffering=0) as stream:
            yield stream

    def count_tile(*args):
        counted.append(args)
        return real(*args)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(detect, "_count_tile", count_tile)
    picture = save(synthetic.field()[0])
    with open_slide(picture, 0.25) as slide:
        with pytest.raises(WriteError, match="the disk is full"):
            detect_cells(slide, None, path, core_px=64)
        begun = len(counted)
    time.sleep(0.5)
    assert len(counted) == begun < 20
    assert sorted(tmp_path.iterdir()) == [picture]


def test_tables_in_memory_are_those_of_the_file(tmp_path):
    write_cells(tmp_path / "cells.parquet", TILES)
    assert gather_cells(TILES).equals(pq.read_table(tmp_path / "cells.parquet").cast(cell_schema()))
    assert gather_cells([]).schema.equals(cell_schema())


def test_a_cell_keeps_its_name_whatever_else_is_counted():
    far_um = np.array([249_999.99])
    assert cell_ids(far_um, far_um)[0] < 2**53
    assert cell_ids(np.array([12.5]), np.array([3.25])).tolist() == [(325 << 25) | 1250]
