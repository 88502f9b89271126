"""Corrections lie beside the count: they are applied in order, undone at will, and never lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import shapely
from drawn_field import MPP, draw_field
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from ki67.case.corrections import (
    Add,
    Correction,
    Counted,
    Exclude,
    Include,
    Nudge,
    Redo,
    Relabel,
    Remove,
    ReplaceRegion,
    Undo,
    effective,
    holding,
)
from ki67.cells import cell_ids
from ki67.correcting import corrected
from ki67.errors import CorrectionError
from ki67.files import sha256_of
from ki67.options import Options
from ki67.pipeline import run_count

SIDE_UM = 1000.0


def counted(count: int = 400) -> Counted:
    """An automatic count in a square, with a fold in a corner of it."""
    random = np.random.default_rng(0)
    x, y = np.round(random.uniform(-40, SIDE_UM + 40, (2, count)), 2)
    region, fold = box(0, 0, SIDE_UM, SIDE_UM), box(0, 0, 200, 200)
    folded = shapely.contains_xy(fold, x, y)
    inside = shapely.contains_xy(region, x, y) & ~folded
    table = pa.table(
        {
            "cell_id": cell_ids(x, y),
            "x_um": x,
            "y_um": y,
            "label": np.array(["positive", "negative", "other"])[random.integers(0, 3, count)],
            "region_id": ["1"] * count,
            "in_region": inside,
            "excluded": np.where(folded, "fold", ""),
            "dab_od_mean": random.uniform(0, 1, count),
        }
    )
    return Counted(table, region, {"fold": fold})


AUTOMATIC = counted()
IDS, XS, YS = (AUTOMATIC.table[name].to_pylist() for name in ("cell_id", "x_um", "y_um"))
LABELS = st.sampled_from(["positive", "negative", "other"])
ROWS = st.integers(0, len(IDS) - 1)
PLACES = st.floats(0, SIDE_UM)
AREAS = st.builds(lambda x, y, side: dict(mapping(box(x, y, x + side, y + side))), PLACES, PLACES, st.floats(1, 300))
MADE = st.one_of(
    st.builds(lambda row, to: Relabel(cell=IDS[row], x_um=XS[row], y_um=YS[row], to=to), ROWS, LABELS),
    st.builds(lambda row: Remove(cell=IDS[row], x_um=XS[row], y_um=YS[row]), ROWS),
    st.builds(lambda x, y, label: Add(x_um=x, y_um=y, label=label), PLACES, PLACES, LABELS),
    st.builds(lambda area: Exclude(area=area), AREAS),
    st.builds(lambda area: Include(area=area), AREAS),
    st.builds(lambda side: ReplaceRegion(area=dict(mapping(box(0, 0, side, side)))), st.floats(300, SIDE_UM)),
)


def log(*whats: Any) -> list[Correction]:
    return [
        Correction(number=number, by="ab", when="2026-01-01T00:00:00+00:00", why="seen", what=what)
        for number, what in enumerate(whats, start=1)
    ]


def applied(*whats: Any) -> Counted:
    return effective(AUTOMATIC, holding(log(*whats))[0])


@settings(deadline=None, max_examples=60)
@given(st.lists(MADE, max_size=8))
def test_undoing_all_gives_the_automatic_count(whats: list[Any]) -> None:
    undone = applied(*whats, *[Undo()] * len(whats))
    assert undone is AUTOMATIC
    assert len(AUTOMATIC.table) == 400


@settings(deadline=None, max_examples=60)
@given(st.lists(MADE, max_size=6), MADE)
def test_replay_undo_and_redo_give_the_same(whats: list[Any], last: Any) -> None:
    once, again = applied(*whats, last), applied(*whats, last, Undo(), Redo())
    assert once.table.equals(again.table)
    assert once.where.equals(again.where)
    if whats:
        assert applied(*whats).table.equals(applied(*whats, last, Undo()).table)


@settings(deadline=None, max_examples=60)
@given(st.lists(MADE, max_size=6))
def test_a_cell_counts_where_its_place_counts(whats: list[Any]) -> None:
    found = applied(*whats)
    x, y = (found.table[name].to_numpy() for name in ("x_um", "y_um"))
    inside = shapely.contains_xy(found.region, x, y) & (np.array(found.table["excluded"].to_pylist()) == "")
    assert found.table["in_region"].to_pylist() == inside.tolist()
    assert found.where.area <= found.region.area + 1e-6


def test_each_kind_does_what_it_says() -> None:
    row = next(row for row, label in enumerate(AUTOMATIC.table["label"].to_pylist()) if label == "negative")
    cell = {"cell": IDS[row], "x_um": XS[row], "y_um": YS[row]}
    assert applied(Relabel(**cell, to="positive")).table["label"][row].as_py() == "positive"
    assert IDS[row] not in applied(Remove(**cell)).table["cell_id"].to_pylist()
    assert len(applied(Add(x_um=500, y_um=500, label="positive")).table) == len(IDS) + 1
    middle = dict(mapping(box(400, 400, 600, 600)))
    assert applied(Exclude(area=middle)).where.area == pytest.approx(AUTOMATIC.where.area - 200**2)
    assert applied(Exclude(area=middle), Include(area=middle)).where.equals(AUTOMATIC.where)
    corner = dict(mapping(box(0, 0, 200, 200)))
    assert applied(Include(area=corner)).where.area == pytest.approx(SIDE_UM**2)
    moved = applied(Nudge(shift_um=(20, -10), rotate_deg=0))
    assert moved.region.bounds == pytest.approx((20, -10, SIDE_UM + 20, SIDE_UM - 10))


def test_a_region_beyond_what_was_counted_asks_for_a_count() -> None:
    with pytest.raises(CorrectionError, match=r"lie more than 50 µm beside what was counted\. Count it anew"):
        applied(Nudge(shift_um=(80, 0), rotate_deg=0))


def test_after_a_recount_cells_are_found_again_by_their_place() -> None:
    near = Relabel(cell=1, x_um=XS[7] + 1.0, y_um=YS[7] - 1.0, to="other")
    far = Remove(cell=2, x_um=-500.0, y_um=-500.0)
    found = applied(near, far)
    assert found.table["label"][7].as_py() == "other"
    assert [one.what for one in found.unattached] == [far]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    draw_field(folder / "field.png")
    run_count(folder / "field.png", folder / "case", Options(), mpp=MPP)
    return folder


@pytest.fixture
def case(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished / "case", tmp_path / "case")


Run = Callable[..., Any]


def test_a_case_is_corrected_from_the_command_line(ki67: Run, case: Path) -> None:
    cells = pq.read_table(case / "cells.parquet")
    negative = cells.filter(pc.equal(cells["label"], "negative"))
    kept = [path for path in case.glob("*.*") if path.stem not in {"report", "run"}]
    cell, before = negative["cell_id"][0].as_py(), {path.name: sha256_of(path) for path in kept}
    told = ("--by", "A. B.", "--why", "brown under the lens", "--json", "--quiet")

    made = ki67("correct", case, "relabel", "--cell", cell, "--to", "positive", *told)

    assert made.code == 0, made.stderr
    automatic = json.loads((case / "score.json").read_text())
    assert made.json["automatic_index_percent"] == automatic["index_percent"] < made.json["index_percent"]
    assert made.json["positive"] == automatic["positive"] + 1
    assert made.json["corrections"][0]["what"]["cell"] == cell
    area = case.parent / "area.geojson"
    area.write_text(json.dumps({"type": "Feature", "geometry": mapping(box(0, 0, 400, 800)), "properties": {}}))
    halved = ki67("correct", case, "exclude", "--area", area, *told)
    assert 0 < halved.json["positive"] + halved.json["negative"] < automatic["cells"]
    for index in (made.json["index_percent"], automatic["index_percent"]):
        assert ki67("correct", case, "undo", *told).json["index_percent"] == index
    assert corrected(case).score == corrected(case).automatic
    assert len(ki67("correct", case, "list", "--json").json["corrections"]) == 4
    assert {name: sha256_of(case / name) for name in before} == before
    assert not any((case / name).exists() for name in ("report.html", "report.pdf"))
    assert "no correction to undo" in ki67("correct", case, "undo", *told).stderr


def test_what_cannot_be_corrected_leaves_no_entry(ki67: Run, case: Path) -> None:
    told = ("--by", "A. B.", "--why", "seen", "--quiet")
    assert "holds no cell 5" in ki67("correct", case, "remove", "--cell", 5, *told).stderr
    assert "no class of cells 'red'" in ki67("correct", case, "add", "--at-um", 1, 1, "--label", "red", *told).stderr
    with FileLock(case / ".lock"):
        busy = ki67("correct", case, "add", "--at-um", 9, 9, "--label", "positive", *told)
    assert busy.code == 75
    assert not (case / "corrections.json").exists()
