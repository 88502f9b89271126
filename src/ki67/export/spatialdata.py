"""Cells and region as SpatialData, for squidpy, scverse and napari-spatialdata: a Zarr store, which is a folder."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from ki67.annotations import Regions
from ki67.case import CaseView, Summary
from ki67.errors import MissingExtraError, WriteError
from ki67.export.cells import cell_table
from ki67.export.geoparquet import shapes_of
from ki67.export.provenance import score_stage
from ki67.files import atomic_folder

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame

CELLS, REGION, EXCLUDED = "cells", "region", "excluded"
"""Elements: nuclei, where they were counted, what was left out of it."""

MARK_UM: Final = 1.0
"""Radius of the disc that stands for a cell without an outline; its ``outlined`` is false."""

_SIGNS: Final = ("zarr.json", ".zgroup", ".zattrs")
"""Files by which a folder is known to be a Zarr store, so that it may be written over."""

_NUMBERED: Final = ("x_um", "y_um")
_APART: Final = frozenset({"cell_id", "outline_um", *_NUMBERED})


def write_spatialdata(view: CaseView, target: Path) -> Summary:
    """Write all cells, the region and what was left out of it, in µm from the top left of level 0 (y down).

    The coordinate system ``um`` is just that; ``pixels`` are those of the slide's level 0, in which other programs
    place its picture. The table annotates the nuclei: measurements are its variables, class, intensity, region and
    why a cell does not count its observations; the score stands in the store's attributes.

    Returns
    -------
    dict
        ``cells``: how many were written.

    Raises
    ------
    MissingExtraError
        Where spatialdata is not installed.
    CaseError
        Where the case holds no counted cells.
    WriteError
        Where the folder cannot be written, or something else than a Zarr store has its name.
    """
    if find_spec("spatialdata") is None:
        raise MissingExtraError("spatialdata", "A SpatialData store")
    from spatialdata import SpatialData
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    if target.exists() and not (target.is_dir() and any((target / name).exists() for name in _SIGNS)):
        raise WriteError(target, "is there already, and is no Zarr store", "Choose another name.")
    stage = score_stage(view)
    with cell_table(view) as table:
        cells = pa.Table.from_batches(table.batches(max(1, table.num_rows), None), table.schema)
    mpp = view.frame("ki67").mpp
    places = {"um": Identity(), "pixels": Scale([1 / mpp, 1 / mpp], axes=("x", "y"))}
    shapes = {CELLS: _nuclei(cells)}
    for name, regions in ((REGION, view.regions_ki67), (EXCLUDED, view.excluded)):
        if regions is not None and len(regions):
            shapes[name] = _outlines(regions)
    data = SpatialData(
        shapes={name: ShapesModel.parse(frame, transformations=places) for name, frame in shapes.items()},
        tables={
            "table": TableModel.parse(_annotated(cells), region=CELLS, region_key="region", instance_key="cell_id")
        },
        attrs={"ki67": {"version": stage.versions["ki67"], "score": json.dumps(view.score.to_dict())}},
    )
    with atomic_folder(target) as folder, warnings.catch_warnings():
        # What its libraries will change one day is no news to who writes a case.
        warnings.simplefilter("ignore")
        data.write(folder / target.name)
    return {"cells": len(cells)}


def _nuclei(cells: pa.Table) -> GeoDataFrame:
    """Outline of each cell, by its ``cell_id``."""
    from geopandas import GeoDataFrame

    found = np.concatenate([shapes_of(batch) for batch in cells.to_batches()] or [np.empty(0, object)])
    points = shapely.get_type_id(found) == shapely.GeometryType.POINT
    found[points] = shapely.buffer(found[points], MARK_UM)
    return GeoDataFrame({"outlined": ~points, "geometry": found}, index=_ids(cells))


def _outlines(regions: Regions) -> GeoDataFrame:
    from geopandas import GeoDataFrame

    columns: dict[str, list[Any]] = {"label": [], "name": [], "geometry": []}
    for one in regions:
        columns["label"].append(one.label)
        columns["name"].append(one.region_id)
        columns["geometry"].append(one.geometry)
    return GeoDataFrame(columns)


def _annotated(cells: pa.Table) -> AnnData:
    """What is known of each cell: numbers that were measured apart from what it is called."""
    from anndata import AnnData
    from pandas import Categorical, DataFrame

    names = [name for name in cells.column_names if name not in _APART]
    measured = [name for name in names if pa.types.is_floating(cells.schema.field(name).type)]
    columns: dict[str, Any] = {"cell_id": _ids(cells), "region": Categorical([CELLS] * len(cells))}
    for name in (name for name in names if name not in measured):
        values = cells[name]
        columns["counted_in" if name == "region_id" else name] = (
            Categorical(["" if value is None else value for value in values.to_pylist()])
            if pa.types.is_string(values.type)
            else values.to_numpy()
        )
    observed = DataFrame(columns, index=[str(one) for one in columns["cell_id"].tolist()])
    numbers = np.column_stack([_floats(cells[name]) for name in measured])
    centres = np.column_stack([np.asarray(cells[name], np.float64) for name in _NUMBERED])
    return AnnData(numbers, obs=observed, var=DataFrame(index=measured), obsm={"spatial": centres})


def _ids(cells: pa.Table) -> NDArray[np.int64]:
    return np.asarray(cells["cell_id"], np.int64)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    # What a cell added by hand has not becomes NaN.
    return np.asarray(column.to_numpy(), np.float32)
