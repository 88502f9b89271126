"""Hexagons, hot spots, edge, unevenness and cut-offs of one section."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry

from ki67.scoring import wilson_interval
from ki67.scoring.heterogeneity import heterogeneity
from ki67.scoring.hot_spots import find_hot_spots
from ki67.scoring.intervals import clustered_interval
from ki67.scoring.local import TumourCells, hexagon_map
from ki67.scoring.section import cut_off_classes, section_scores

REGION = box(0, 0, 4000, 3000)


def cells_of(
    share: Callable[[np.ndarray], np.ndarray] | float,
    region: BaseGeometry = REGION,
    count: int = 24000,
    seed: int = 1,
) -> TumourCells:
    generator = np.random.default_rng(seed)
    left, top, right, bottom = region.bounds
    points = generator.uniform((left, top), (right, bottom), (count, 2))
    shares = share(points) if callable(share) else share
    return TumourCells(points, generator.random(count) < shares)


def test_hexagons_tile_the_region_and_hold_every_cell_once() -> None:
    region = Point(1500, 1500).buffer(1200)
    cells = cells_of(0.3)
    inside = cells.part(np.hypot(*(cells.points_um - 1500).T) < 1190)

    found = hexagon_map(inside, region, side_um=150)

    assert found.area_um2.sum() == pytest.approx(region.area)
    assert (int(found.cells.sum()), int(found.positive.sum())) == (len(inside), int(inside.positive.sum()))
    nearest = np.hypot(*(inside.points_um[:, None] - found.centres_um[None]).transpose(2, 0, 1)).argmin(axis=1)
    assert np.array_equal(np.bincount(nearest, minlength=len(found.cells)), found.cells)


def test_the_hot_spot_is_found_where_it_is_with_its_number_of_cells() -> None:
    def share(points: np.ndarray) -> np.ndarray:
        return np.where(np.hypot(points[:, 0] - 3000, points[:, 1] - 1000) < 350, 0.7, 0.1)

    first, *others = find_hot_spots(cells_of(share), REGION)

    assert np.hypot(first.x_um - 3000, first.y_um - 1000) < 150
    assert first.cells == 500
    assert first.tissue_index_percent == pytest.approx(70, abs=5)
    assert all(np.hypot(spot.x_um - first.x_um, spot.y_um - first.y_um) > spot.radius_um + first.radius_um
               for spot in others)  # fmt: skip


def test_a_hot_spot_of_chance_alone_has_the_index_of_the_section() -> None:
    hottest = [find_hot_spots(cells_of(0.2, seed=seed), REGION)[0] for seed in range(4)]

    assert all(spot.index_percent > 23 for spot in hottest)
    assert all(spot.tissue_index_percent == pytest.approx(20, abs=2.5) for spot in hottest)
    assert all(spot.tissue_ci95_percent[0] < 20.5 for spot in hottest)


def test_shifting_the_slide_shifts_the_hot_spot_and_hardly_changes_it() -> None:
    def share(points: np.ndarray) -> np.ndarray:
        return 0.1 + 0.5 * np.exp(-((points[:, 0] - 2000) ** 2 + (points[:, 1] - 1500) ** 2) / 400**2)

    cells = cells_of(share)
    moved = TumourCells(cells.points_um + np.array([37.0, 61.0]), cells.positive)

    first = find_hot_spots(cells, REGION)[0]
    other = find_hot_spots(moved, box(37, 61, 4037, 3061))[0]

    assert other.index_percent == pytest.approx(first.index_percent, abs=1.5)
    assert np.hypot(other.x_um - 37 - first.x_um, other.y_um - 61 - first.y_um) < 120


def test_a_place_below_the_index_of_the_section_is_no_hot_spot() -> None:
    cells = cells_of(lambda points: np.where(points[:, 0] < 500, 0.9, 0.02))

    spots = find_hot_spots(cells, REGION, spots=9)

    assert 1 <= len(spots) < 9
    assert all(spot.index_percent > (cells.index_percent() or 0) for spot in spots)


def test_fewer_cells_than_a_spot_needs_give_none() -> None:
    assert find_hot_spots(cells_of(0.5, count=499), REGION) == []


def test_neighbours_that_are_alike_widen_the_interval_and_independent_ones_do_not() -> None:
    def patches(points: np.ndarray) -> np.ndarray:
        return np.where((points // 500).astype(int).sum(axis=1) % 2 == 0, 0.05, 0.35)

    def width(share: Callable[[np.ndarray], np.ndarray] | float) -> float:
        found = hexagon_map(cells_of(share), REGION)
        low, high = clustered_interval(found.positive, found.cells) or (0.0, 0.0)
        return high - low

    low, high = wilson_interval(4800, 24000)
    assert width(0.2) == pytest.approx(high - low, rel=0.25)
    assert width(patches) > 2 * (high - low)


@given(
    blocks=st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), min_size=8, max_size=40),
)
def test_the_clustered_interval_holds_the_share_and_is_no_narrower_than_wilsons(
    blocks: list[tuple[int, float]],
) -> None:
    cells = np.array([count for count, _ in blocks])
    positive = np.array([round(count * share) for count, share in blocks])
    if (cells > 0).sum() < 8:
        assert clustered_interval(positive, cells) is None
        return

    low, high = clustered_interval(positive, cells) or (1.0, 0.0)

    share = positive.sum() / cells.sum()
    plain = wilson_interval(int(positive.sum()), int(cells.sum()))
    assert 0 <= low <= share <= high <= 1
    assert high - low >= plain[1] - plain[0] - 1e-12


def test_an_even_section_is_even_and_two_halves_are_two() -> None:
    even = heterogeneity(hexagon_map(cells_of(0.25), REGION))
    halves = heterogeneity(hexagon_map(cells_of(lambda points: np.where(points[:, 0] > 2000, 0.6, 0.05)), REGION))

    assert abs(even.moran_i or 1) < 0.2
    assert (even.ashman_d or 9) < 2
    assert (halves.ashman_d or 0) > 4
    assert halves.high_share == pytest.approx(0.5, abs=0.05)
    assert (halves.moran_i or 0) > 0.7
    assert (halves.entropy or 0) > (even.entropy or 9)


def test_one_index_everywhere_has_no_entropy_and_no_spread() -> None:
    found = heterogeneity(hexagon_map(cells_of(0.0), REGION))

    assert (found.entropy, found.haralick_entropy, found.moran_i, found.ashman_d) == (0, 0, None, None)


def table_of(cells: TumourCells) -> pa.Table:
    return pa.table(
        {
            "x_um": cells.points_um[:, 0],
            "y_um": cells.points_um[:, 1],
            "label": np.where(cells.positive, "positive", "negative"),
            "in_region": np.ones(len(cells), bool),
        }
    )


def test_the_edge_is_told_apart_from_the_centre() -> None:
    def rim(points: np.ndarray) -> np.ndarray:
        inner = (np.abs(points[:, 0] - 2000) < 1500) & (np.abs(points[:, 1] - 1500) < 1000)
        return np.where(inner, 0.1, 0.4)

    found = section_scores(table_of(cells_of(rim)), REGION)

    assert found.invasive_edge.edge_index_percent == pytest.approx(40, abs=2)
    assert found.invasive_edge.centre_index_percent == pytest.approx(10, abs=2)
    assert found.guideline.hot_spot.index_percent == found.hot_spots[0].index_percent
    assert found.clustered_percent is not None


def test_cells_outside_the_region_and_other_cells_do_not_count() -> None:
    table = table_of(cells_of(0.2, count=4000))
    noisy = pa.concat_tables(
        [table, table.set_column(3, "in_region", pa.array(np.zeros(4000, bool))),
         table.set_column(2, "label", pa.array(["other"] * 4000))]
    )  # fmt: skip

    assert section_scores(noisy, REGION) == section_scores(table, REGION)


def test_a_region_without_cells_has_no_local_scores() -> None:
    found = section_scores(table_of(cells_of(0.2, count=0)), REGION)

    assert found.hot_spots == ()
    assert found.guideline.unweighted_global.index_percent is None
    assert found.invasive_edge.edge_index_percent is None
    assert found.clustered_percent is None


def test_an_index_is_equivocal_where_its_interval_holds_the_cut_off() -> None:
    rows = {row["id"]: row for row in cut_off_classes(19.0, [(17.0, 21.0), None])}

    assert (rows["st-gallen-2013"]["class"], rows["st-gallen-2013"]["equivocal"]) == ("low", True)
    assert (rows["st-gallen-2011"]["class"], rows["st-gallen-2011"]["equivocal"]) == ("high", False)
    assert (rows["ikwg-2021"]["class"], rows["ikwg-2021"]["equivocal"]) == ("between", False)
    assert all(row["source"] and row["year"] for row in rows.values())


@pytest.mark.parametrize(("index", "kind"), [(5.0, "low"), (5.1, "between"), (29.9, "between"), (30.0, "high")])
def test_a_limit_belongs_to_the_side_that_its_source_says(index: float, kind: str) -> None:
    assert cut_off_classes(index, [])[0]["class"] == kind
