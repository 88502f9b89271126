"""A store that SpatialData's own reader opens, all of it where it belongs; skipped where it is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_case import MPP, NO_OUTLINE, REGION_UM

from ki67.case import read_case
from ki67.case.corrections import Add
from ki67.correcting import correct
from ki67.errors import MissingExtraError, WriteError
from ki67.export import export_case, spatialdata

pytestmark = pytest.mark.filterwarnings("default")
"""Its libraries warn of one another."""


def test_without_the_package_the_extra_is_named(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatialdata, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"ki67\[spatialdata\]"):
        export_case(case, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_its_own_reader_finds_cells_region_and_table(case: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("spatialdata")
    correct(case, Add(x_um=700.0, y_um=333.0, label="positive"), by="Dr A", why="missed")
    target = tmp_path / "out.zarr"

    told = export_case(case, target)

    found = reader.read_zarr(target)
    assert told["cells"] == 601
    nuclei, table = found.shapes["cells"], found.tables["table"]
    known = read_case(case).cells
    assert len(nuclei) == table.n_obs == 601
    assert set(known["cell_id"].to_pylist()) < set(nuclei.index)
    assert list(table.obs["cell_id"]) == list(nuclei.index)
    assert nuclei["outlined"].sum() == 599
    assert not nuclei["outlined"].iloc[NO_OUTLINE]
    centres = np.column_stack([nuclei.geometry.centroid.x, nuclei.geometry.centroid.y])
    assert np.allclose(centres, table.obsm["spatial"], atol=0.01)
    assert found.shapes["region"].geometry.iloc[0].equals(REGION_UM)
    assert table.obs["label"].value_counts()["positive"] == known["label"].to_pylist().count("positive") + 1
    assert np.isnan(table[table.n_obs - 1, "area_um2"].X).all()
    assert (np.asarray(table[:600, "area_um2"].X) == 1).all()
    score = json.loads(found.attrs["ki67"]["score"])
    assert score["cells"] == int((table.obs["in_region"] & (table.obs["label"] != "other")).sum())
    moved = reader.transform(nuclei, to_coordinate_system="pixels")
    assert moved.geometry.area.iloc[0] == pytest.approx(nuclei.geometry.area.iloc[0] / MPP**2)


def test_a_store_is_written_over_and_nothing_else_is(case: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("spatialdata")
    target, other = tmp_path / "out.zarr", tmp_path / "mine.zarr"
    export_case(case, target)
    export_case(case, target)
    assert len(reader.read_zarr(target).shapes["cells"]) == 600
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(WriteError, match="no Zarr store"):
        export_case(case, other)
    assert (other / "thesis.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".part-*"))
