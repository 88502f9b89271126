"""The index, its interval, and the guard on the number of cells."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ki67.errors import ScoreError
from ki67.scoring import score_cells, wilson_interval


def table(positive: int, negative: int, other: int = 0, outside: int = 0, region_id: str = "a") -> pa.Table:
    labels = ["positive"] * positive + ["negative"] * negative + ["other"] * other + ["positive"] * outside
    return pa.table(
        {
            "label": pa.array(labels, pa.string()),
            "region_id": pa.array([region_id] * len(labels), pa.string()),
            "in_region": pa.array([True] * (len(labels) - outside) + [False] * outside, pa.bool_()),
        }
    )


def test_the_index_is_positive_of_all_tumour_cells() -> None:
    score = score_cells(table(300, 900, other=5000), area_mm2=0.5)

    assert score.index_percent == 25.0
    assert (score.positive, score.negative, score.other, score.cells) == (300, 900, 5000, 1200)
    assert score.cells_per_mm2 == 2400
    assert score.warnings == ()


def test_cells_outside_the_region_do_not_count() -> None:
    assert score_cells(table(300, 900, outside=800), 1.0) == score_cells(table(300, 900), 1.0)


def test_the_order_of_the_rows_does_not_matter() -> None:
    cells = pa.concat_tables([table(100, 900, region_id="b"), table(500, 100, region_id="a")])

    assert score_cells(cells, 1.0) == score_cells(cells.take(list(range(len(cells)))[::-1]), 1.0)


def test_each_region_has_its_own_index() -> None:
    cells = pa.concat_tables(
        [table(100, 900, region_id="b"), table(500, 0, 7, region_id="a"), table(0, 0, 3, region_id="c")]
    )

    score = score_cells(cells, 1.0, region_ids=["a", "d"])

    assert [(one.region_id, one.index_percent, one.cells) for one in score.regions] == [
        ("a", 100.0, 500),
        ("b", 10.0, 1000),
        ("c", None, 0),
        ("d", None, 0),
    ]
    assert score.index_percent == 40.0


@pytest.mark.parametrize(
    ("positive", "cells", "low", "high"),
    # Newcombe, Stat Med 1998;17:857-872, Table I: method 3, the Wilson score interval, to its four decimals.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons_as_published(positive: int, cells: int, low: float, high: float) -> None:
    assert wilson_interval(positive, cells) == pytest.approx((low, high), abs=5e-5)


@given(cells=st.integers(1, 1_000_000), share=st.floats(0, 1))
def test_the_interval_holds_the_index_and_stays_between_0_and_1(cells: int, share: float) -> None:
    positive = round(cells * share)

    low, high = wilson_interval(positive, cells)

    assert 0 <= low <= positive / cells <= high <= 1
    mirrored = wilson_interval(cells - positive, cells)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("positive", "cells"), [(0, 0), (-1, 5), (6, 5)])
def test_no_interval_without_a_proportion(positive: int, cells: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(positive, cells)


@pytest.mark.parametrize(("cells", "warned"), [(500, True), (999, True), (1000, False)])
def test_between_500_and_1000_cells_the_index_is_flagged(cells: int, warned: bool) -> None:
    score = score_cells(table(100, cells - 100), 1.0)

    assert bool(score.warnings) is warned
    assert all("1000 are recommended" in line for line in score.warnings)


def test_below_500_cells_the_index_is_refused_with_the_way_out() -> None:
    with pytest.raises(ScoreError, match=r"only 499 tumour cells .* needs 500 .* --allow-few-cells"):
        score_cells(table(100, 399, other=10_000), 1.0)


def test_few_cells_can_be_accepted_and_are_flagged() -> None:
    score = score_cells(table(1, 3), 1.0, allow_few=True)

    assert score.index_percent == 25.0
    assert "not reliable" in score.warnings[0]


def test_the_guard_can_be_set() -> None:
    assert score_cells(table(5, 15), 1.0, minimum_cells=20, recommended_cells=20).warnings == ()


@pytest.mark.parametrize("cells", [table(0, 0), table(0, 0, other=2000), table(0, 0, outside=2000)])
def test_without_a_tumour_cell_there_is_never_an_index(cells: pa.Table) -> None:
    with pytest.raises(ScoreError, match="no tumour cell"):
        score_cells(cells, 1.0, allow_few=True)

    score = score_cells(cells, 1.0, allow_few=True, allow_none=True)
    assert score.index_percent is None
    assert score.ci95_percent is None
    assert "there is no index" in score.warnings[0]


@pytest.mark.parametrize("area_mm2", [0.0, -1.0, math.nan, math.inf])
def test_a_region_without_area_is_refused(area_mm2: float) -> None:
    with pytest.raises(ScoreError, match="no area"):
        score_cells(table(600, 600), area_mm2)


def test_a_table_that_is_no_cell_table_is_refused() -> None:
    cells = table(600, 600)
    with pytest.raises(ScoreError, match="lacks the column 'in_region'"):
        score_cells(cells.drop_columns(["in_region"]), 1.0)
    with pytest.raises(ScoreError, match="unknown label 'Tumor'"):
        score_cells(cells.set_column(0, "label", pa.array(["Tumor"] * len(cells))), 1.0)
    with pytest.raises(ScoreError, match="1200 cells without a value in 'label'"):
        score_cells(cells.set_column(0, "label", pa.nulls(len(cells), pa.string())), 1.0)


def test_cells_without_a_region_id_count_in_the_case_only() -> None:
    cells = table(600, 600)
    score = score_cells(cells.set_column(1, "region_id", pa.nulls(len(cells), pa.string())), 1.0)

    assert score.index_percent == 50.0
    assert score.regions == ()


def test_a_score_cannot_be_changed_and_goes_to_json_unrounded() -> None:
    score = score_cells(table(400, 800), 1.0)

    with pytest.raises(ValidationError):
        score.positive = 3
    assert score.model_dump(mode="json")["index_percent"] == 100 * 400 / 1200
    assert isinstance(score.model_dump(mode="json")["ci95_percent"], list)


def test_the_area_left_out_is_told_and_the_density_is_that_of_the_counted_area() -> None:
    score = score_cells(table(300, 900), 0.5, area_lost_mm2={"pen": 0.25, "fold": 0.0})
    assert score.area_lost_mm2 == {"pen": 0.25, "fold": 0.0}
    assert score.cells_per_mm2 == 2400


def test_a_region_that_is_unusable_as_a_whole_is_refused_with_the_reason() -> None:
    with pytest.raises(ScoreError, match=r"unusable \(focus 0\.50 mm²\).*--keep-artefacts"):
        score_cells(table(0, 0), 0.0, area_lost_mm2={"pen": 0.0, "focus": 0.5})


def test_a_count_of_nothing_but_lost_area_has_no_index_and_no_density() -> None:
    score = score_cells(table(0, 0), 0.0, area_lost_mm2={"focus": 0.5}, allow_none=True)
    assert score.index_percent is None
    assert score.cells_per_mm2 is None


def test_no_area_at_all_is_refused_also_where_none_is_allowed() -> None:
    with pytest.raises(ScoreError, match="no area"):
        score_cells(table(0, 0), 0.0, area_lost_mm2={"focus": 0.0}, allow_none=True)
