"""What the patches around say about one patch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from ki67.idc.surroundings import Surroundings

EIGHT = Surroundings(neighbours=8, reach_um=1600.0, weight=1.0, prior=1.0, scale=1.0)
PATCH_UM = 200.0


def grid_places(rows: int, columns: int) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.column_stack([x.ravel(), y.ravel()]).astype(float) * PATCH_UM


def test_a_lone_suspicious_patch_loses_and_a_pale_one_inside_carcinoma_gains() -> None:
    normal, carcinoma = np.full((7, 7), 0.1, np.float32), np.full((7, 7), 0.9, np.float32)
    normal[3, 3], carcinoma[3, 3] = 0.9, 0.1
    assert EIGHT.on_grid(normal, PATCH_UM, 1)[3, 3] == pytest.approx(expit(logit(0.9) + 8 / 9 * logit(0.1)), abs=1e-5)
    assert EIGHT.on_grid(carcinoma, PATCH_UM, 1)[3, 3] > 0.4


def test_a_patch_is_not_its_own_neighbour() -> None:
    alone = np.full((5, 5), np.nan, np.float32)
    alone[2, 2] = 0.8
    judged = EIGHT.on_grid(alone, PATCH_UM, 1)
    assert judged[2, 2] == pytest.approx(0.8, abs=1e-6)
    assert np.isnan(judged).sum() == 24


def test_grid_and_scattered_places_agree() -> None:
    probability = np.random.default_rng(1).uniform(0.05, 0.95, (6, 9)).astype(np.float32)
    on_grid = EIGHT.on_grid(probability, PATCH_UM, 1)
    scattered = EIGHT.at_places(probability.ravel().astype(float), grid_places(6, 9), PATCH_UM).reshape(6, 9)
    # At the rim scattered places find their eight farther inside; all around they are the same eight.
    np.testing.assert_allclose(on_grid[1:-1, 1:-1], scattered[1:-1, 1:-1], atol=1e-5)


def test_overlapping_patches_are_not_heard() -> None:
    fine = np.full((9, 9), 0.5, np.float32)
    fine[4, 3] = fine[3, 4] = fine[4, 5] = 0.99
    assert EIGHT.on_grid(fine, PATCH_UM / 2, 2)[4, 4] == pytest.approx(0.5)
    places = np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]])
    judged = EIGHT.at_places(np.array([0.5, 0.99, 0.5]), places, PATCH_UM)
    assert judged[0] == pytest.approx(0.5)


def test_of_densely_drawn_patches_those_that_share_no_pixel_are_found() -> None:
    # Eight patches to the edge: 225 overlap each, far more than the nearest that are asked for first.
    four = Surroundings(neighbours=4, reach_um=1600.0, weight=1.0, prior=1.0, scale=1.0)
    probability = np.random.default_rng(3).uniform(0.05, 0.95, (30, 30)).astype(np.float32)
    on_grid = four.on_grid(probability, PATCH_UM / 8, 8)
    places = grid_places(30, 30) / 8
    scattered = four.at_places(probability.ravel().astype(float), places, PATCH_UM).reshape(30, 30)
    np.testing.assert_allclose(on_grid[8:-8, 8:-8], scattered[8:-8, 8:-8], atol=1e-5)


def test_what_lies_beyond_the_reach_is_not_heard() -> None:
    places = np.array([[0.0, 0.0], [1500.0, 0.0], [4000.0, 0.0]])
    judged = EIGHT.at_places(np.array([0.5, 0.9, 0.99]), places, PATCH_UM)
    assert judged[0] == pytest.approx(expit(logit(0.9) / 2))
    assert judged[2] == pytest.approx(0.99)


def test_fewer_neighbours_take_the_nearest() -> None:
    four = Surroundings(neighbours=4, reach_um=1600.0, weight=1.0, prior=1.0, scale=1.0)
    probability = np.full((5, 5), 0.5, np.float32)
    probability[1, 1] = probability[3, 3] = 0.99
    assert four.on_grid(probability, PATCH_UM, 1)[2, 2] == pytest.approx(0.5)
    probability[2, 1] = 0.99
    assert four.on_grid(probability, PATCH_UM, 1)[2, 2] > 0.6


def test_a_grid_smaller_than_a_patch_is_judged() -> None:
    one = np.array([[0.7]], np.float32)
    assert EIGHT.on_grid(one, PATCH_UM / 2, 2)[0, 0] == pytest.approx(0.7, abs=1e-6)
    assert EIGHT.at_places(np.array([0.7]), np.zeros((1, 2)), PATCH_UM)[0] == pytest.approx(0.7)
