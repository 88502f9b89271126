"""A region found is held against one drawn by hand: Dice, areas, a figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon, box

from ki67.annotations import Region, Regions, write_regions
from ki67.evaluation.idc_regions import compare_regions
from ki67.idc import HeatMap, write_heatmap
from ki67.slides import PixelFrame, write_pyramid

MPP = 4.0
Run = Callable[..., object]


def squares(*bounds: tuple[float, float, float, float]) -> MultiPolygon:
    return MultiPolygon([box(*one) for one in bounds])


def test_dice_and_areas_of_known_squares() -> None:
    measures = compare_regions(squares((0, 0, 1000, 1000)), squares((500, 0, 1500, 1000), (3000, 0, 3500, 1000)))
    assert measures["dice"] == pytest.approx(2 * 0.5 / (1 + 1.5))
    assert (measures["area_mm2"], measures["true_area_mm2"]) == pytest.approx((1.0, 1.5))
    assert measures["common_area_mm2"] == pytest.approx(0.5)
    assert measures["area_error_percent"] == pytest.approx(-100 / 3)


def test_without_a_true_area_there_is_no_error_to_tell() -> None:
    assert math.isnan(compare_regions(MultiPolygon(), MultiPolygon())["dice"])
    assert compare_regions(squares((0, 0, 1, 1)), MultiPolygon())["dice"] == 0


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A slide of 1600 x 1200 µm with a heat map and a region found on it, and one drawn by hand."""
    pixels = np.full((300, 400, 3), (225, 170, 200), np.uint8)
    write_pyramid(tmp_path / "he.tif", iter([pixels]), (400, 300), MPP, compression="deflate")
    write(tmp_path / "regions.geojson", ("IDC", box(200, 200, 800, 800)))
    write_heatmap(tmp_path / "heatmap.tif", HeatMap(np.full((12, 16), 0.7, np.float32), 100.0))
    write(tmp_path / "truth.geojson", ("Tumor", box(200, 200, 800, 700)), ("DCIS", box(900, 200, 1000, 300)))
    return tmp_path


def write(path: Path, *regions: tuple[str, Polygon]) -> None:
    write_regions(path, Regions(Region(label, area, str(area)) for label, area in regions), PixelFrame(MPP))


def words(case: Path) -> tuple[object, ...]:
    return ("evaluate", "idc-region", case / "he.tif", case / "regions.geojson", case / "truth.geojson", "--quiet")


def test_the_command_takes_the_labels_that_score_takes(ki67: Run, case: Path) -> None:
    outcome = ki67(*words(case), "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["dice"] == pytest.approx(2 * 0.3 / 0.66)
    assert outcome.json["area_error_percent"] == pytest.approx(20)
    assert "left out 'DCIS'" in outcome.json["warnings"][0]
    assert "Dice: 0.909" in ki67(*words(case)).stdout


def test_a_label_chooses_other_regions_in_both_files(ki67: Run, case: Path) -> None:
    assert "no region is labelled 'DCIS'" in ki67(*words(case), "--label", "DCIS").stderr
    write(case / "regions.geojson", ("DCIS", box(900, 200, 1000, 300)))
    assert ki67(*words(case), "--label", "DCIS", "--json").json["dice"] == pytest.approx(1)


def test_nothing_found_is_a_result_and_nothing_drawn_is_an_error(ki67: Run, case: Path) -> None:
    write(case / "regions.geojson")
    assert ki67(*words(case), "--json").json["dice"] == 0
    write(case / "truth.geojson")
    outcome = ki67(*words(case))
    assert outcome.code == 1
    assert "truth.geojson: no region is labelled 'IDC'" in outcome.stderr


def test_a_figure_is_drawn_with_and_without_a_heat_map(ki67: Run, case: Path) -> None:
    sizes = []
    for name in ("with.png", "without.png"):
        assert ki67(*words(case), "--figure", case / name).code == 0
        assert (case / name).read_bytes().startswith(b"\x89PNG")
        sizes.append((case / name).stat().st_size)
        (case / "heatmap.tif").unlink(missing_ok=True)
    assert sizes[0] > sizes[1]
