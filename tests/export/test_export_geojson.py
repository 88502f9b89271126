"""Cells for QuPath, looked at as its reader does (QuPathTypeAdapters, ROITypeAdapters)."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from shapely.geometry import shape
from small_case import MPP, NO_OUTLINE, ORIGIN_PX, MakeCase, cell_rows

from ki67.annotations import read_cells
from ki67.case.manifest import MANIFEST
from ki67.errors import CaseError
from ki67.export import export_case
from ki67.files import read_json, write_json
from ki67.slides import PixelFrame

OBJECT_TYPES = {"annotation", "detection", "cell", "tile", "tmaCore", "root"}


def features_of(path: Path) -> list[dict[str, Any]]:
    """What QuPath finds in a file: a collection's features, each checked for what it would drop without a word."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["type"] == "FeatureCollection"
    features: list[dict[str, Any]] = document["features"]
    for feature in features:
        assert set(feature) <= {"type", "id", "geometry", "nucleusGeometry", "properties"}
        properties = feature["properties"]
        assert properties["objectType"] in OBJECT_TYPES
        assert set(properties) <= {"objectType", "name", "color", "classification", "isLocked", "measurements"}
        assert all(isinstance(value, int | float) for value in properties["measurements"].values())
        red_green_blue = properties["classification"]["color"]
        assert len(red_green_blue) == 3
        assert all(0 <= part <= 255 for part in red_green_blue)
        for name in ("geometry", "nucleusGeometry"):
            if name in feature and feature[name]["type"] == "Polygon":
                for ring in feature[name]["coordinates"]:
                    assert ring[0] == ring[-1]
                    assert len(ring) >= 4
    return features


@pytest.mark.parametrize("name", ["cells.geojson", "CELLS.GEOJSON", "cells.geojson.gz"])
def test_cells_have_their_nucleus_class_and_measurements(case: Path, name: str) -> None:
    target = case.parent / name

    told = export_case(case, target)

    features = features_of(target)
    ids = pq.read_table(case / "cells.parquet")["cell_id"].to_pylist()
    assert told["cells"] == len(features) == 599
    first, second, bare = features[0], features[1], features[NO_OUTLINE]
    assert first["properties"]["objectType"] == "cell"
    assert first["geometry"] == first["nucleusGeometry"]
    assert first["properties"]["classification"] == {"name": "Tumor: Positive", "color": [255, 0, 0]}
    assert second["properties"]["classification"]["name"] == "Tumor: Negative"
    assert features[6]["properties"]["classification"]["name"] == "Other"
    assert first["properties"]["measurements"] == {"cell_id": ids[0], "area_um2": 1, "dab_od_mean": 1}
    assert second["properties"]["measurements"]["probability"] == 0.75
    assert (bare["geometry"]["type"], bare["properties"]["objectType"]) == ("Point", "detection")


def test_places_are_pixels_from_where_qupath_counts(case: Path) -> None:
    export_case(case, case.parent / "cells.geojson")
    rows = cell_rows(600)
    for number in (0, NO_OUTLINE, 250):
        geometry = shape(features_of(case.parent / "cells.geojson")[number]["geometry"])
        place = (rows.x_um[number] / MPP - ORIGIN_PX[0], rows.y_um[number] / MPP - ORIGIN_PX[1])
        assert geometry.centroid.coords[0] == pytest.approx(place, abs=0.02)


def test_the_program_reads_its_own_export(case: Path) -> None:
    export_case(case, case.parent / "cells.geojson.gz")
    read = read_cells(case.parent / "cells.geojson.gz", PixelFrame(MPP, ORIGIN_PX))
    assert {name: len(places) for name, places in read.items()} == {
        "Tumor: Positive": 171,
        "Tumor: Negative": 343,
        "Other": 85,
    }


def test_the_same_cells_are_the_same_bytes(case: Path) -> None:
    export_case(case, case.parent / "a.geojson.gz")
    export_case(case, case.parent / "b.geojson.gz")
    assert (case.parent / "a.geojson.gz").read_bytes() == (case.parent / "b.geojson.gz").read_bytes()


def test_memory_does_not_grow_with_the_number_of_cells(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(12_000)
    monkeypatch.setattr("ki67.export.cells._CELLS", 500)
    tracemalloc.start()
    export_case(case, tmp_path / "cells.geojson")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "cells.geojson").stat().st_size > 5_000_000
    assert peak < 3_000_000


def test_a_case_that_did_not_note_where_qupath_counts_from_is_to_be_run_again(case: Path) -> None:
    manifest = read_json(case / MANIFEST, CaseError, "")
    del manifest["inputs"]["ki67"]["origin_px"]
    write_json(case / MANIFEST, manifest)
    with pytest.raises(CaseError, match="where QuPath counts pixels from"):
        export_case(case, case.parent / "cells.geojson")
    assert not (case.parent / "cells.geojson").exists()
