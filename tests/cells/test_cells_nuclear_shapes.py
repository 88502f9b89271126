import numpy as np
import pytest

from ki67.cells.masks import Mask, stacked
from ki67.cells.measurements import STATISTICS, statistics
from ki67.cells.nuclear_shapes import shapes_of, trace, traced_perimeter


def stack_of(masks):
    return stacked([Mask(mask, 0, 0) for mask in masks]).pixels


def outline(mask):
    return trace(stack_of([mask])).corners


def shape_of(mask):
    shapes = shapes_of(stack_of([mask]))
    return {name: getattr(shapes, name)[0] for name in ("perimeter", "convex_area", "feret", "min_feret")}


def disc(radius):
    y, x = np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2]
    return x * x + y * y <= radius * radius


def test_outline_of_a_rectangle_has_its_four_corners():
    assert outline(np.ones((3, 5), bool)).tolist() == [[0, 0], [5, 0], [5, 3], [0, 3]]


def test_perimeter_of_a_rectangle_cuts_each_corner_as_imagej_does():
    # ImageJ: 2 * (5 + 3) - 4 * (2 - sqrt 2)
    assert shape_of(np.ones((3, 5), bool))["perimeter"] == pytest.approx(16 - 4 * (2 - np.sqrt(2)))


def test_single_pixel_counts_every_second_corner():
    # ImageJ reports 2.828 for one pixel: 4 - 2 * (2 - sqrt 2)
    assert shape_of(np.ones((1, 1), bool))["perimeter"] == pytest.approx(2.828427, abs=1e-6)


def test_perimeter_of_a_disc_is_four_percent_more_than_the_circle_as_imagejs_is():
    # An outline in steps of 0, 45 and 90 degrees is longer than the circle; ImageJ's discs have a circularity of 0.9.
    circumference = 2 * np.sqrt(np.pi * disc(20).sum())
    assert shape_of(disc(20))["perimeter"] == pytest.approx(1.045 * circumference, rel=0.015)


def test_holes_do_not_change_the_outline():
    mask = disc(8)
    holed = mask.copy()
    holed[8:10, 8:10] = False
    assert np.array_equal(outline(mask), outline(holed))


@pytest.mark.parametrize("seed", range(20))
def test_outline_encloses_exactly_the_pixels_of_a_filled_mask(seed):
    import cv2
    from scipy import ndimage

    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((30, 30)), (0, 0), 2)
    labels, _ = ndimage.label(noise > np.median(noise))
    mask = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    x, y = outline(mask).T
    area = (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == np.count_nonzero(mask)
    assert traced_perimeter(trace(stack_of([mask])))[0] > 0


def test_feret_of_a_rectangle_is_its_diagonal_and_its_short_side():
    shape = shape_of(np.ones((3, 4), bool))
    assert shape["feret"] == pytest.approx(5.0)
    assert shape["min_feret"] == pytest.approx(3.0)


def test_convex_area_of_an_l_shape():
    mask = np.ones((4, 4), bool)
    mask[:2, 2:] = False
    assert shape_of(mask)["convex_area"] == pytest.approx(16 - 2)


def test_nuclei_measured_together_are_as_measured_alone():
    rng = np.random.default_rng(1)
    masks = [disc(int(radius)) for radius in rng.integers(0, 12, 30)] + [
        np.eye(9, dtype=bool) | np.eye(9, k=1, dtype=bool)
    ]
    together = shapes_of(stack_of(masks))
    corners = together.outlines.split(together.outlines.corners)
    for number, mask in enumerate(masks):
        alone = shapes_of(stack_of([mask]))
        assert np.array_equal(corners[number], alone.outlines.corners)
        assert [together.perimeter[number], together.convex_area[number], together.feret[number],
                together.min_feret[number]] == list(shape_of(mask).values())  # fmt: skip


def test_median_of_whole_values_is_the_upper_of_the_middle_two():
    rows = statistics(np.array([1, 9, 4, 200], np.uint8), np.array([4]), np.ones(1))
    assert rows[0, STATISTICS.index("Median")] == 9


def test_negative_values_are_ordered():
    values = np.array([0.5, -0.25, -3.0, 0.0], np.float32)
    row = dict(zip(STATISTICS, statistics(values, np.array([4]), np.ones(1))[0], strict=True))
    assert (row["Min"], row["Median"], row["Max"]) == (-3.0, -0.125, 0.5)


def test_statistics_are_imagejs():
    from scipy import stats

    rng = np.random.default_rng(3)
    groups = [rng.gamma(2.0, size=size).astype(np.float32).astype(float) for size in (5, 40, 1)]
    found = statistics(np.concatenate(groups).astype(np.float32), np.array([5, 40, 1]), np.array([2.0, 3.0, 1.0]))
    row = dict(zip(STATISTICS, found[1], strict=True))
    assert row["Mean"] == pytest.approx(groups[1].mean())
    assert row["StdDev"] == pytest.approx(groups[1].std(ddof=1))
    assert row["Median"] == pytest.approx(np.median(groups[1]))
    assert row["Skew"] == pytest.approx(stats.skew(groups[1]))
    assert row["Kurt"] == pytest.approx(stats.kurtosis(groups[1]))
    assert row["IntDen"] == pytest.approx(3.0 * groups[1].mean())
    assert found[2].tolist() == pytest.approx(
        [groups[2][0], 0, groups[2][0], groups[2][0], groups[2][0], 0, 0, groups[2][0]]
    )
