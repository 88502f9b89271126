"""The cell table: one row per nucleus, units in the schema's metadata."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ki67 import intensity
from ki67.cells.exclusion import EXCLUSIONS
from ki67.cells.measurements import MEASUREMENT_UNITS, column
from ki67.parquet import parquet_file
from ki67.vocabulary import CLASSES

_FIXED_UNITS = {"x_um": "um", "y_um": "um", "area_um2": "um2", "dab_od_mean": "OD", "outline_um": "um"}

ID_STEPS_PER_UM, ID_BITS = 100, 25
"""Fineness of :func:`cell_ids`, and bits for one coordinate."""

_FIELDS = [
    ("cell_id", pa.int64()), ("x_um", pa.float64()), ("y_um", pa.float64()), ("label", pa.string()),
    ("probability", pa.float32()), ("area_um2", pa.float32()), ("dab_od_mean", pa.float32()),
    ("region_id", pa.string()), ("in_region", pa.bool_()), ("excluded", pa.string()),
]  # fmt: skip


@cache
def cell_schema() -> pa.Schema:
    """Columns of the cell table; each field's metadata names its unit.

    ``cell_id`` is made of the place (:func:`cell_ids`). ``outline_um`` holds x, y, x, y, … of the outline's corners
    in µm. ``excluded`` says why a cell does not count wherever the region lies
    (:data:`ki67.cells.exclusion.EXCLUSIONS`); its ``in_region`` is False then. A cell whose class was decided by its
    density of DAB alone has no ``probability``. ``intensity`` is by the usual cuts (:mod:`ki67.intensity`); exports
    have it by those that the case was scored with.
    """
    fields = [pa.field(name, kind, metadata=_unit(_FIXED_UNITS.get(name))) for name, kind in _FIELDS]
    fields.append(pa.field(intensity.COLUMN, pa.string()))
    fields += [pa.field(name, pa.float32(), metadata=_unit(unit)) for name, unit in MEASUREMENT_UNITS.items()]
    fields.append(pa.field("outline_um", pa.list_(pa.float32()), metadata=_unit("um")))
    return pa.schema(fields, metadata={"coordinates": "micrometres in the slide's frame, origin top left, y down"})


def cell_ids(x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.int64]:
    """What cells are called: the same place has the same name, whatever else is counted, and no two share one.

    Hundredths of a µm from the slide's corner, y before x; below 2**53, so that every program can hold it. No slide
    is longer than the 335 mm that this holds.
    """
    steps = [np.round(np.asarray(values, np.float64) * ID_STEPS_PER_UM).astype(np.int64) for values in (y_um, x_um)]
    return (steps[0] << ID_BITS) | steps[1]


def _unit(unit: str | None) -> dict[str, str] | None:
    return {"unit": unit} if unit else None


@dataclass(frozen=True)
class CellRows:
    """Nuclei of one tile, in µm of the slide: (N,) arrays, measurements (N, M), outlines of (K, 2)."""

    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    label: NDArray[np.int8]
    probability: NDArray[np.float32]
    region_index: NDArray[np.int32]
    excluded: NDArray[np.uint8]
    measurements: NDArray[np.float32]
    outlines_um: Sequence[NDArray[np.float32]]


def make_table(rows: CellRows, region_ids: Sequence[str]) -> pa.Table:
    """Table of one tile.

    ``region_index`` is an index into ``region_ids``, -1 outside every region; ``excluded`` one into
    :data:`ki67.cells.exclusion.EXCLUSIONS`.
    """
    ids = np.array([*region_ids, ""], dtype=object)
    lengths = np.cumsum([0, *(outline.size for outline in rows.outlines_um)])
    labels = pa.array(np.array(CLASSES, dtype=object)[rows.label], pa.string())
    points = np.concatenate([outline.ravel() for outline in rows.outlines_um] or [np.empty(0, np.float32)])
    columns: list[pa.Array] = [
        pa.array(cell_ids(rows.x_um, rows.y_um)),
        pa.array(rows.x_um),
        pa.array(rows.y_um),
        labels,
        pa.array(rows.probability, pa.float32(), from_pandas=True),
        pa.array(column(rows.measurements, "Area")),
        pa.array(column(rows.measurements, "Mean_DAB")),
        pa.array(ids[rows.region_index], pa.string()),
        pa.array((rows.region_index >= 0) & (rows.excluded == 0)),
        pa.array(np.array(EXCLUSIONS, dtype=object)[rows.excluded], pa.string()),
        intensity.classes_of(labels, column(rows.measurements, "Mean_DAB")),
        *(pa.array(np.ascontiguousarray(values)) for values in rows.measurements.T),
        pa.ListArray.from_arrays(pa.array(lengths, pa.int32()), pa.array(points, pa.float32())),
    ]
    return pa.table(columns, schema=cell_schema())


def gather_cells(tables: Iterable[tuple[int, pa.Table]]) -> pa.Table:
    """Put the tables of all tiles together in memory, as :func:`write_cells` writes them."""
    rows: defaultdict[int, list[pa.Table]] = defaultdict(list)
    for top, table in tables:
        rows[top].append(table)
    parts = [_in_order(pa.concat_tables(rows.pop(top))) for top in sorted(rows)]
    return pa.concat_tables([cell_schema().empty_table(), *parts])


# Fast; the tables of a large slide take gigabytes without it. More threads would take turns with those that count.
_ASIDE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def write_cells(path: Path, tables: Iterable[tuple[int, pa.Table]]) -> None:
    """Write the tables of all tiles as one Parquet file, sorted by y and then x.

    What comes is put aside on the disk, beside the file, so that memory holds one row of tiles and not the slide. It
    takes about twice the room of the file there, and leaves nothing behind, whatever happens.

    Parameters
    ----------
    path
        The file.
    tables
        For each tile the top of its row of tiles, in pixels of the slide, and its table; rows of tiles have nothing
        in common from top to bottom.
    """
    rows: defaultdict[int, list[int]] = defaultdict(list)
    with tempfile.TemporaryFile(dir=path.parent) as aside:
        count = 0
        with pa.ipc.new_file(aside, cell_schema(), options=_ASIDE) as writer:
            for top, table in tables:
                for batch in table.to_batches():
                    writer.write_batch(batch)
                    rows[top].append(count)
                    count += 1
        reader = pa.ipc.open_file(aside)
        # Measurements hardly repeat: a dictionary of them costs time and room.
        words = [field.name for field in cell_schema() if pa.types.is_string(field.type)]
        with (
            parquet_file(path, "wb") as stream,
            pq.ParquetWriter(stream, cell_schema(), compression="zstd", use_dictionary=words) as out,
        ):
            for top in sorted(rows):
                row = pa.Table.from_batches([reader.get_batch(number) for number in rows[top]])
                out.write_table(_in_order(row))


def _in_order(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.lexsort((table["x_um"].to_numpy(), table["y_um"].to_numpy()))))
