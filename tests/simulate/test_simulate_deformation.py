"""The known map between the sections goes both ways and moves nothing further than asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ki67.simulate.deformation import IDENTITY, SectionMap, draw_waves, rigid


def a_map(seed: int, turn_deg: float, largest_um: float) -> SectionMap:
    rng = np.random.default_rng(seed)
    matrix = rigid(turn_deg, np.array([2000.0, 1500.0]), np.array([1700.0, 2100.0]))
    return SectionMap(matrix, draw_waves(rng, largest_um, 4000.0))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 360), st.floats(0, 100))
def test_the_inverse_brings_points_back(seed: int, turn_deg: float, largest_um: float) -> None:
    points = np.random.default_rng(seed).uniform(0, 4000, (50, 2))
    section_map = a_map(seed, turn_deg, largest_um)

    back = section_map.inverse_points(section_map.map_points(points))

    np.testing.assert_allclose(back, points, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(1, 100))
def test_no_point_is_displaced_further_than_asked(seed: int, largest_um: float) -> None:
    points = np.random.default_rng(seed).uniform(0, 4000, (500, 2))

    displacement = a_map(seed, 0.0, largest_um).displacement(points)

    assert np.linalg.norm(displacement, axis=1).max() <= largest_um * (1 + 1e-9)


def test_a_rigid_map_takes_the_centre_to_the_target_and_keeps_lengths() -> None:
    section_map = SectionMap(rigid(73.0, np.array([100.0, 50.0]), np.array([7.0, 9.0])))

    mapped = section_map.map_points(np.array([[100.0, 50.0], [130.0, 90.0]]))

    np.testing.assert_allclose(mapped[0], [7.0, 9.0], atol=1e-9)
    assert np.linalg.norm(mapped[1] - mapped[0]) == pytest.approx(50.0)
    assert np.degrees(section_map.rotation_rad) == pytest.approx(73.0)


def test_the_identity_moves_nothing() -> None:
    points = np.array([[3.0, 4.0]])

    np.testing.assert_array_equal(IDENTITY.map_points(points), points)
    np.testing.assert_array_equal(IDENTITY.inverse_points(points), points)
