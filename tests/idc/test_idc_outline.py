"""The outline runs along the threshold, in µm, with holes, without crumbs and without stairs."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from ki67.idc import HeatMap, IdcModel, OutlineOptions, outline, probability_at

MPP = 100.0
SHARP = OutlineOptions(threshold=0.5, smoothing_um=0.0, min_area_mm2=0.0, min_hole_mm2=0.0)
SMOOTH = OutlineOptions(threshold=0.5)


def disc(radius_um: float, size: int = 60, center_um: tuple[float, float] = (3000.0, 3000.0)) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size]
    distance = np.hypot((x + 0.5) * MPP - center_um[0], (y + 0.5) * MPP - center_um[1])
    return np.where(distance < radius_um, 0.95, 0.05).astype(np.float32)


def test_the_region_lies_where_the_map_says_in_micrometres() -> None:
    probability = np.full((40, 50), 0.1, np.float32)
    probability[10:20, 30:45] = 0.9
    (region,) = outline(HeatMap(probability, MPP), options=SHARP)
    assert region.label == "IDC"
    # Values 0.1 and 0.9 cross 0.5 halfway between pixel centres: at the pixels' common edge.
    assert region.geometry.bounds == pytest.approx((3000, 1000, 4500, 2000))


def test_holes_stay_and_small_ones_are_filled() -> None:
    probability = disc(2000)
    probability[disc(700) > 0.5] = 0.05
    with_hole = outline(HeatMap(probability, MPP), options=SMOOTH)
    assert len(with_hole[0].geometry.interiors) == 1
    assert with_hole.area_mm2 == pytest.approx(np.pi * (2.0**2 - 0.7**2), rel=0.03)
    filled = outline(HeatMap(probability, MPP), options=OutlineOptions(threshold=0.5, min_hole_mm2=2.0))
    assert len(filled[0].geometry.interiors) == 0


def test_an_island_in_a_hole_is_region_again() -> None:
    probability = disc(2500)
    probability[disc(1700) > 0.5] = 0.05
    probability[disc(700) > 0.5] = 0.95
    regions = outline(HeatMap(probability, MPP), options=SMOOTH)
    assert len(regions) == 2
    assert regions.union().contains(shapely.Point(3000, 3000))
    assert not regions.union().contains(shapely.Point(3000, 1800))


def test_small_regions_are_dropped_and_large_ones_come_first() -> None:
    probability = np.maximum(disc(1000, center_um=(1500, 1500)), disc(1500, center_um=(4000, 4000)))
    probability[2, 50:52] = 0.95
    everything = outline(
        HeatMap(probability, MPP), options=OutlineOptions(threshold=0.5, smoothing_um=0, min_area_mm2=0)
    )
    assert len(everything) == 3
    kept = outline(HeatMap(probability, MPP), options=OutlineOptions(threshold=0.5, smoothing_um=0, min_area_mm2=0.1))
    assert [region.region_id for region in kept] == ["idc-1", "idc-2"]
    assert kept[0].geometry.area > kept[1].geometry.area


def test_a_region_needs_a_core_well_above_the_threshold() -> None:
    probability = disc(1500)
    probability[probability > 0.5] = 0.52
    assert len(outline(HeatMap(probability, MPP), options=OutlineOptions(threshold=0.5, seed_margin=0.1))) == 0
    probability[30, 30] = 0.99
    sharp = OutlineOptions(threshold=0.5, seed_margin=0.1, smoothing_um=0)
    assert outline(HeatMap(probability, MPP), options=sharp).area_mm2 == pytest.approx(np.pi * 1.5**2, rel=0.05)


def test_edges_are_not_stair_stepped() -> None:
    (region,) = outline(HeatMap(disc(2000), MPP), options=SMOOTH)
    # A circle drawn in steps of the map's pixels is 4/π = 1.27 times as long as it should be.
    assert region.geometry.exterior.length / (2 * np.pi * 2000) < 1.03
    steps = np.diff(np.asarray(region.geometry.exterior.coords), axis=0)
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    assert np.abs(turns).max() < np.radians(40)


def test_a_region_ends_with_the_tissue_and_never_leaves_the_slide() -> None:
    probability = np.full((40, 40), 0.95, np.float32)
    whole = outline(HeatMap(probability, MPP), options=SMOOTH).union()
    assert shapely.box(0, 0, 4000, 4000).contains(whole)
    assert whole.bounds == pytest.approx((0, 0, 4000, 4000), abs=10)
    probability[:, 25:] = np.nan
    regions = outline(HeatMap(probability, MPP), options=SMOOTH)
    assert regions.union().bounds[2] == pytest.approx(2500, abs=20)
    assert regions.union().is_valid


def test_the_threshold_comes_from_the_options_or_the_model(green_model: IdcModel) -> None:
    probability = np.full((30, 30), 0.45, np.float32)
    assert len(outline(HeatMap(probability, MPP), green_model)) == 0
    assert len(outline(HeatMap(probability, MPP), green_model, OutlineOptions(threshold=0.3))) == 1
    with pytest.raises(ValueError, match="needs a threshold"):
        outline(HeatMap(probability, MPP))


def test_a_map_with_nothing_invasive_has_no_region() -> None:
    assert len(outline(HeatMap(np.full((20, 20), 0.1, np.float32), MPP), options=SMOOTH)) == 0
    assert len(outline(HeatMap(np.full((20, 20), np.nan, np.float32), MPP), options=SMOOTH)) == 0


def test_a_place_has_the_probability_that_the_outline_is_drawn_by() -> None:
    heatmap = HeatMap(disc(1500), MPP)
    (region,) = outline(heatmap, options=OutlineOptions(threshold=0.6, seed_margin=0))
    rim = np.array(region.geometry.exterior.coords)
    # Vertices are simplified by up to 5 µm, where the smoothed edge climbs by some 0.004 a µm.
    assert probability_at(heatmap, rim, 100.0) == pytest.approx(0.6, abs=0.03)
    places = np.array([[3000.0, 3000.0], [150.0, 150.0], [np.nan, 1.0]])
    assert probability_at(heatmap, places, 0.0) == pytest.approx([0.95, 0.05, np.nan], abs=1e-6, nan_ok=True)
