"""Exports from the command line: each by the end of its name, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_case import MakeCase

from ki67.case.manifest import MANIFEST
from ki67.errors import CaseError, WriteError
from ki67.export import FORMATS, export_case, format_of
from ki67.files import read_json, write_json

Run = Callable[..., Any]


def test_every_format_is_written_and_leaves_one_file(ki67: Run, case: Path) -> None:
    for suffix in ("geojson", "geojson.gz", "csv", "parquet", "dsa.json", "fhir.json", "ome.tif"):
        folder = case.parent / suffix
        outcome = ki67("export", case, folder / f"result.{suffix}", "--json", "--quiet")
        assert outcome.code == 0, outcome.stderr
        assert outcome.json["file"] == str(folder / f"result.{suffix}")
        assert [file.name for file in folder.iterdir()] == [f"result.{suffix}"]


def test_the_help_names_every_format(ki67: Run) -> None:
    text = ki67("export", "--help").stdout
    assert all(one.suffixes[0] in text for one in FORMATS)


def test_the_table_is_written_for_a_spreadsheet(case: Path) -> None:
    export_case(case, case.parent / "cells.csv")
    with (case.parent / "cells.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = pq.read_table(case / "cells.parquet")
    assert [int(row["cell_id"]) for row in rows] == table["cell_id"].to_pylist()
    assert set(rows[0]) == {*table.column_names} - {"outline_um"}


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@sum(a1)", "\tx", "\r=1", " =1", "＝1"])
def test_what_a_region_is_called_is_never_run_by_a_spreadsheet(
    make_case: MakeCase, tmp_path: Path, name: str
) -> None:
    export_case(make_case(20, region_name=name), tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(newline="") as stream:
        assert next(csv.DictReader(stream))["region_id"] == "'" + name


@pytest.mark.parametrize("name", ['left, "outer"', "a=1"])
def test_other_names_of_regions_stay_as_they_are(make_case: MakeCase, tmp_path: Path, name: str) -> None:
    export_case(make_case(20, region_name=name), tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (rows[0]["region_id"], rows[-1]["region_id"]) == (name, "")


def test_what_cannot_be_exported_is_said(ki67: Run, tmp_path: Path) -> None:
    wrong, empty = ki67("export", tmp_path, tmp_path / "a.xls"), ki67("export", tmp_path, tmp_path / "a.csv")
    assert "End it in .geojson or .geojson.gz (cells for QuPath); .csv" in wrong.stderr
    assert "is no case, it has no run.json. Run 'ki67" in empty.stderr
    assert wrong.code == empty.code == 1
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("name", ["cells.json", "index.tif", "cells", ".h5ad", "cells.dcm"])
def test_an_end_that_says_no_format_is_refused(case: Path, name: str) -> None:
    assert format_of(Path(name)) is None
    with pytest.raises(WriteError, match="says no format"):
        export_case(case, case.parent / name)


def test_a_damaged_table_is_named(case: Path) -> None:
    (case / "cells.parquet").write_bytes((case / "cells.parquet").read_bytes()[:1000])
    with pytest.raises(CaseError, match=r"is damaged, or was changed after it was made\. Run the"):
        export_case(case, case.parent / "cells.csv")


@pytest.mark.parametrize(
    "name", ["a.geojson", "a.csv", "a.parquet", "a.dsa.json", "a.fhir.json", "a.ome.tif", "a.ann.dcm", "a.sr.dcm"]
)
def test_a_case_whose_last_run_was_refused_is_not_exported(case: Path, name: str) -> None:
    if name.endswith(".dcm"):
        pytest.importorskip("highdicom")
    write_json(case / MANIFEST, read_json(case / MANIFEST, CaseError, "") | {"state": "failed", "error": "no stain"})
    with pytest.raises(CaseError, match="last run was refused: no stain"):
        export_case(case, case.parent / name)
    assert not (case.parent / name).exists()
