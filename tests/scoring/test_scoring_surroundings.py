"""A carried region judged by the cells inside and beside it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from shapely.geometry import box

from ki67.domain import Verdict
from ki67.scoring.surroundings import surroundings_checks

REGION = box(500, 500, 1500, 1500)


def cells(inside: int, beside: int) -> pa.Table:
    """So many tumour cells in the region of 1 mm², and in 50 µm around it."""
    generator = np.random.default_rng(0)
    within = generator.uniform(500, 1500, (inside, 2))
    around = np.column_stack([generator.uniform(1500, 1550, beside), generator.uniform(500, 1500, beside)])
    points = np.concatenate([within, around])
    return pa.table(
        {
            "x_um": points[:, 0],
            "y_um": points[:, 1],
            "label": pa.array(["negative"] * len(points)),
            "excluded": pa.array([""] * len(points)),
        }
    )


def test_carcinoma_among_other_tissue_is_usual() -> None:
    density, edge = surroundings_checks(cells(2000, 50), REGION, 50.0)
    assert density.verdict is Verdict.usual
    assert density.value == 2000
    assert edge.verdict is Verdict.usual


def test_a_region_with_hardly_a_tumour_cell_is_said_to_lie_elsewhere() -> None:
    density, _ = surroundings_checks(cells(100, 0), REGION, 50.0)
    assert density.verdict is Verdict.unusual
    assert "100 tumour cells per mm²" in density.text


def test_cells_as_dense_beside_the_region_as_in_it_are_told() -> None:
    _, edge = surroundings_checks(cells(2000, 450), REGION, 50.0)
    assert edge.verdict is Verdict.unusual
    assert "as dense beside" in edge.text


def test_where_there_is_nothing_inside_the_edge_is_not_measured() -> None:
    density, edge = surroundings_checks(cells(0, 100), REGION, 50.0)
    assert density.verdict is Verdict.unusual
    assert edge.value is None
