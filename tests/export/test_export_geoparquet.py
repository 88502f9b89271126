"""GeoParquet 1.1, by its specification (geoparquet.org/releases/v1.1.0)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from small_case import NO_OUTLINE, MakeCase

from ki67.export import export_case


def test_the_outlines_are_the_geometry_column(case: Path) -> None:
    told = export_case(case, case.parent / "cells.parquet")

    table = pq.read_table(case.parent / "cells.parquet")
    assert told["cells"] == table.num_rows == 600
    geo = json.loads(table.schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["crs"] is None
    assert column["edges"] == "planar"
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    assert {shape.geom_type for shape in shapes} == set(column["geometry_types"]) == {"Point", "Polygon"}
    assert shapes[NO_OUTLINE].geom_type == "Point"
    assert column["bbox"] == pytest.approx(shapely.total_bounds(shapes).tolist())
    centres = shapely.get_coordinates(shapely.centroid(shapes))
    np.testing.assert_allclose(centres, np.column_stack([table["x_um"], table["y_um"]]), atol=1e-3)
    assert shapely.is_valid(shapes).all()
    source = pq.read_table(case / "cells.parquet")
    assert [*table.column_names] == [name.replace("outline_um", "geometry") for name in source.column_names]
    assert table["label"].equals(source["label"])
    assert table.schema.field("area_um2").metadata == {b"unit": b"um2"}


def test_cells_without_an_outline_are_points_alone(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case(NO_OUTLINE + 1)
    export_case(case, tmp_path / "cells.parquet")
    assert pq.read_metadata(tmp_path / "cells.parquet").num_rows == NO_OUTLINE + 1
