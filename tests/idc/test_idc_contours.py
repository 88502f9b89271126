"""Lines of a map at zero: closed, between the pixels, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from ki67.idc.contours import zero_lines


def test_a_single_pixel_is_circled_between_it_and_its_neighbours() -> None:
    values = np.full((3, 4), -1.0)
    values[1, 2] = 3.0
    (line,) = zero_lines(values)
    assert line[0].tolist() == line[-1].tolist()
    assert shapely.normalize(shapely.Polygon(line)) == shapely.normalize(
        shapely.Polygon([(2.75, 1), (2, 1.75), (1.25, 1), (2, 0.25)])
    )


def test_pixels_that_meet_across_are_circled_apart() -> None:
    values = np.full((4, 4), -1.0)
    values[1, 1] = values[2, 2] = 1.0
    assert len(zero_lines(values)) == 2
    assert len(zero_lines(values[:, ::-1])) == 2


def test_a_hole_has_a_line_of_its_own() -> None:
    y, x = np.mgrid[:41, :41] - 20.0
    radius = np.hypot(x, y)
    ring = np.minimum(15.0 - radius, radius - 5.0)
    areas = sorted(shapely.Polygon(line).area for line in zero_lines(ring))
    assert areas == pytest.approx([np.pi * 5**2, np.pi * 15**2], rel=0.02)


def test_nothing_above_zero_has_no_line() -> None:
    assert zero_lines(np.zeros((5, 5))) == []
    assert zero_lines(np.full((5, 5), -1.0)) == []


def test_the_same_map_gives_the_same_lines_and_each_crossing_is_passed_once() -> None:
    values = np.pad(np.random.default_rng(3).normal(size=(30, 40)), 1, constant_values=-1.0)
    lines = zero_lines(values)
    assert all(np.array_equal(one, other) for one, other in zip(lines, zero_lines(values.copy()), strict=True))
    above = values > 0
    crossings = np.count_nonzero(above[1:] != above[:-1]) + np.count_nonzero(above[:, 1:] != above[:, :-1])
    assert sum(len(line) - 1 for line in lines) == crossings
