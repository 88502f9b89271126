"""Maps as OME-TIFF: read as an OME-TIFF, pixel size and levels included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from small_case import MPP, SIZE_PX, MakeCase

from ki67.case.manifest import MANIFEST
from ki67.errors import CaseError, WriteError
from ki67.export import export_case
from ki67.files import read_json, write_json
from ki67.idc import read_heatmap
from ki67.scoring.local import HEXAGON_CELLS
from ki67.vocabulary import Layer


def test_the_index_map_holds_the_local_index(case: Path) -> None:
    told = export_case(case, case.parent / "index.ome.tif")

    assert told["layer"] == "index"
    with tifffile.TiffFile(case.parent / "index.ome.tif") as file:
        assert file.is_ome
        values, xml = file.series[0].asarray(), file.ome_metadata
    assert values.shape == (round(SIZE_PX[1] * MPP / 20), round(SIZE_PX[0] * MPP / 20))
    assert 'PhysicalSizeX="20.0"' in xml
    table = pq.read_table(case / "cells.parquet")
    known = ~np.isnan(values)
    assert known.any()
    assert np.isnan(values[-1, -1])
    # A third of the tumour cells is positive everywhere.
    assert np.abs(values[known] - 100 / 3).max() < 10
    assert table.num_rows > HEXAGON_CELLS


def test_the_heat_map_is_the_case_s_own_with_its_levels(case: Path) -> None:
    told = export_case(case, case.parent / "map.OME.TIFF", Layer.HEATMAP)

    heatmap = read_heatmap(case / "idc/heatmap.tif")
    assert told["mpp"] == 5.0
    with tifffile.TiffFile(case.parent / "map.OME.TIFF") as file:
        series = file.series[0]
        assert [level.shape for level in series.levels] == [(300, 400), (150, 200)]
        np.testing.assert_array_equal(series.asarray(), heatmap.probability)


def test_the_ome_xml_is_read_by_the_formats_own_models(case: Path) -> None:
    ome_types = pytest.importorskip("ome_types")
    export_case(case, case.parent / "index.ome.tif")

    pixels = ome_types.from_tiff(case.parent / "index.ome.tif").images[0].pixels
    assert (pixels.physical_size_x, pixels.physical_size_x_unit.value) == (20.0, "µm")
    assert (pixels.type.value, pixels.channels[0].name) == ("float", "Ki-67 index (%)")


def test_no_heat_map_is_said(case: Path) -> None:
    manifest = read_json(case / MANIFEST, CaseError, "")
    del manifest["stages"]["idc"]
    write_json(case / MANIFEST, manifest)
    with pytest.raises(CaseError, match=r"holds no heat map.*--layer index"):
        export_case(case, case.parent / "map.ome.tif", Layer.HEATMAP)


def test_a_layer_is_refused_where_there_are_none(make_case: MakeCase, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"Leave out --layer, or end it in \.ome\.tif"):
        export_case(make_case(), tmp_path / "cells.csv", Layer.INDEX)
