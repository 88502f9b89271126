"""The cells of a case, for QuPath and as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapely.geometry import Point, shape

from ki67.files import sha256_of

Run = Callable[..., object]


@pytest.fixture
def case(ki67: Run, tmp_path: Path) -> Path:
    """A counted field: brown and blue nuclei on a grid."""
    pixels = np.full((800, 800, 3), (236, 234, 240), np.uint8)
    for number, (x, y) in enumerate((x, y) for x in range(60, 760, 80) for y in range(60, 760, 80)):
        color = (110, 70, 45) if number % 4 == 0 else (120, 140, 195)
        cv2.ellipse(pixels, (x, y), (17, 14), 20 * number, 0, 360, color, -1, cv2.LINE_AA)
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "field.png"), pixels[..., ::-1])
    outcome = ki67("count", tmp_path / "field.png", "--mpp", "0.25", "--out", tmp_path / "case", "--quiet")
    assert outcome.code == 0, outcome.stderr  # type: ignore[attr-defined]
    return tmp_path / "case"


def test_cells_come_as_outlines_in_pixels_of_the_slide(ki67: Run, case: Path) -> None:
    outcome = ki67("export", case, case.parent / "cells.geojson", "--json", "--quiet")
    features = json.loads((case.parent / "cells.geojson").read_text())["features"]
    table = pq.read_table(case / "cells.parquet").to_pylist()
    counted = [row for row in table if row["in_region"]]
    assert outcome.json["cells"] == len(features) == len(counted) > 40  # type: ignore[attr-defined]
    for feature, row in zip(features, counted, strict=True):
        assert feature["properties"]["objectType"] == "detection"
        centre = Point(row["x_um"] / 0.25, row["y_um"] / 0.25)
        assert shape(feature["geometry"]).buffer(2).contains(centre)


def test_the_table_is_written_for_a_spreadsheet(ki67: Run, case: Path) -> None:
    assert ki67("export", case, case.parent / "cells.csv", "--quiet").code == 0  # type: ignore[attr-defined]
    with (case.parent / "cells.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = pq.read_table(case / "cells.parquet")
    assert [int(row["cell_id"]) for row in rows] == table["cell_id"].to_pylist()
    assert set(rows[0]) == {*table.column_names} - {"outline_um"}


def test_what_a_region_is_called_is_never_run_by_a_spreadsheet(ki67: Run, case: Path) -> None:
    table = pq.read_table(case / "cells.parquet")
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@sum(a1)", "\tx", "\r=1", " =1", "＝1", 'left, "outer"', "a=1", None]
    ids = pa.array([names[number % len(names)] for number in range(len(table))], pa.string())
    place = table.column_names.index("region_id")
    pq.write_table(table.set_column(place, table.schema.field(place), ids), case / "cells.parquet")
    manifest = json.loads((case / "run.json").read_text())
    manifest["stages"]["cells"]["outputs"]["cells.parquet"] = sha256_of(case / "cells.parquet")
    (case / "run.json").write_text(json.dumps(manifest))

    assert ki67("export", case, case.parent / "cells.csv", "--quiet").code == 0  # type: ignore[attr-defined]

    with (case.parent / "cells.csv").open(newline="") as stream:
        written = [row["region_id"] for row in csv.DictReader(stream)][: len(names)]
    assert written == [*("'" + name for name in names[:8]), *names[8:10], ""]  # type: ignore[operator]


def test_what_cannot_be_exported_is_said(ki67: Run, tmp_path: Path) -> None:
    wrong, empty = ki67("export", tmp_path, tmp_path / "a.xls"), ki67("export", tmp_path, tmp_path / "a.csv")
    assert "End it in .geojson or .csv" in wrong.stderr  # type: ignore[attr-defined]
    assert "is no case, it has no run.json. Run 'ki67" in empty.stderr  # type: ignore[attr-defined]
    assert wrong.code == empty.code == 1  # type: ignore[attr-defined]
    assert not (tmp_path / "a.csv").exists()


def test_a_case_that_did_not_note_where_qupath_counts_from_is_to_be_run_again(ki67: Run, case: Path) -> None:
    manifest = json.loads((case / "run.json").read_text())
    del manifest["inputs"]["ki67"]["origin_px"]
    (case / "run.json").write_text(json.dumps(manifest))

    outcome = ki67("export", case, case.parent / "cells.geojson", "--quiet")

    assert outcome.code == 1  # type: ignore[attr-defined]
    assert "where QuPath counts pixels from" in outcome.stderr  # type: ignore[attr-defined]
    assert "'ki67 count' with this folder" in outcome.stderr  # type: ignore[attr-defined]
    again = ki67("count", case.parent / "field.png", "--mpp", "0.25", "--out", case, "--quiet")
    assert again.code == 0  # type: ignore[attr-defined]
    assert ki67("export", case, case.parent / "cells.geojson", "--quiet").code == 0  # type: ignore[attr-defined]


def test_a_damaged_table_is_named(ki67: Run, case: Path) -> None:
    (case / "cells.parquet").write_bytes((case / "cells.parquet").read_bytes()[:1000])
    outcome = ki67("export", case, case.parent / "cells.csv")
    assert outcome.code == 1  # type: ignore[attr-defined]
    assert "cells.parquet: is damaged, or was changed after it was made. Run the" in outcome.stderr  # type: ignore[attr-defined]
