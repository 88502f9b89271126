"""Motions drawn from an estimated error are as large as it says."""

from __future__ import annotations

import numpy as np
import pytest

from ki67.registration import draw_motions
from ki67.registration.transform import apply_matrix
from ki67.registration.uncertainty import estimated_error_um

POINTS_UM = np.random.default_rng(1).uniform(0, 5000, (400, 2))


@pytest.mark.parametrize("error_um", [1.0, 12.0])
def test_the_median_motion_is_the_error(error_um: float) -> None:
    moved = [
        np.hypot(*(apply_matrix(motion, POINTS_UM) - POINTS_UM).T) for motion in draw_motions(error_um, POINTS_UM)
    ]
    assert np.median(moved) == pytest.approx(error_um, rel=0.15)


def test_equal_input_gives_equal_motions() -> None:
    assert np.array_equal(draw_motions(5.0, POINTS_UM), draw_motions(5.0, POINTS_UM))


def test_the_fewer_parts_know_their_shift_the_larger_the_estimate() -> None:
    assert estimated_error_um(3.0, 1.0, 2.0) == pytest.approx(6.0)
    assert estimated_error_um(3.0, 0.25, 2.0) == pytest.approx(12.0)
    assert estimated_error_um(0.1, 1.0, 4.0) == pytest.approx(4.0)
    assert estimated_error_um(3.0, 0.0, 2.0) is None
    assert estimated_error_um(None, 0.0, 2.0) is None
