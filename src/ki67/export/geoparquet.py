"""The whole cell table with the outlines as geometry: GeoParquet 1.1, for GeoPandas, DuckDB, QGIS, R."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from ki67.case import CaseView, Summary
from ki67.case.view import CellTable
from ki67.export.cells import ROWS, cell_table, outlines
from ki67.files import atomic_path
from ki67.parquet import parquet_file

VERSION: Final = "1.1.0"
GEOMETRY: Final = "geometry"
_OUTLINE: Final = "outline_um"


def write_geoparquet(view: CaseView, target: Path) -> Summary:
    """Write every row of the cell table, its outline as WKB in µm from the top left of level 0 (y down).

    There is no coordinate reference system on a slide: ``crs`` is null, as GeoParquet 1.1 has it. A cell without an
    outline has its centre for a geometry.

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
        place = table.schema.get_field_index(_OUTLINE)
        geometry = pa.field(GEOMETRY, pa.binary(), metadata={"unit": "um"})
        # Readers that use Arrow look for it in the schema, which is written first.
        geo = {"geo": json.dumps(_metadata(table))}
        schema = table.schema.set(place, geometry)
        schema = schema.with_metadata({**(schema.metadata or {}), **geo})
        with (
            atomic_path(target) as path,
            parquet_file(path, "wb") as out,
            pq.ParquetWriter(out, schema, compression="zstd") as writer,
        ):
            for batch in table.batches(ROWS, None):
                column = pa.array(shapely.to_wkb(shapes_of(batch)), pa.binary())
                writer.write_batch(batch.set_column(place, geometry, column))
        return {"cells": table.num_rows}


def _metadata(table: CellTable) -> dict[str, Any]:
    """What GeoParquet asks to be said of the geometry: which types, and their bounds."""
    kinds: set[str] = set()
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    for batch in table.batches(ROWS, ["x_um", "y_um", _OUTLINE]):
        corners, counts = outlines(batch[_OUTLINE])
        points = _centres(batch)[counts == 0]
        kinds |= {name for name, found in (("Polygon", corners), ("Point", points)) if len(found)}
        for places in (corners, points):
            if len(places):
                low, high = places.min(axis=0), places.max(axis=0)
                bounds = np.concatenate([np.minimum(bounds[:2], low), np.maximum(bounds[2:], high)])
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": sorted(kinds), "crs": None, "edges": "planar"}
    if kinds:
        column["bbox"] = bounds.tolist()
    return {"version": VERSION, "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def shapes_of(batch: pa.RecordBatch) -> NDArray[Any]:
    """Polygon, or else point, of each row in µm, (N,)."""
    corners, counts = outlines(batch[_OUTLINE])
    shapes = np.asarray(shapely.points(_centres(batch)), object)
    outlined = counts > 0
    owner = np.repeat(np.arange(int(outlined.sum())), counts[outlined])
    if len(owner):
        shapes[outlined] = shapely.polygons(shapely.linearrings(corners, indices=owner))
    return shapes


def _centres(batch: pa.RecordBatch) -> NDArray[np.float64]:
    return np.column_stack([np.asarray(batch[name], np.float64) for name in ("x_um", "y_um")])
