"""The figures show the right pixels in the right place."""

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from shapely.geometry import box

from ki67.annotations import Region, Regions
from ki67.geometry import RectUm
from ki67.html import jpeg_uri
from ki67.report import ReportData
from ki67.report.drawing import Frame, draw_outline, draw_regions, draw_scale_bar, round_length, viridis
from ki67.report.fields import FIELD_UM, OUTLINE_COLORS, Cells, choose_fields, field_pictures
from ki67.report.overview import detail_rect, heatmap_picture, resample, warped_he


@pytest.mark.parametrize(
    ("length", "expected"), [(1.0, 1), (4.99, 2), (99, 50), (100, 100), (2500, 2000), (0.3, 0.2)]
)
def test_a_scale_bar_has_a_round_length(length: float, expected: float) -> None:
    assert round_length(length) == pytest.approx(expected)


def test_a_scale_bar_is_as_long_as_it_says() -> None:
    picture = draw_scale_bar(np.full((400, 800, 3), 128, np.uint8), mpp=0.5)

    # 800 px are 400 µm; a fifth is 80 µm, so the bar has 50 µm or 100 px.
    black = (picture == 0).all(axis=2).sum(axis=1).max()
    assert black == pytest.approx(100, abs=1)


def test_the_micro_sign_of_a_scale_bar_hangs_below_the_line() -> None:
    def hanging(mpp: float) -> int:
        picture = draw_scale_bar(np.full((400, 800, 3), 255, np.uint8), mpp)
        dark = (picture < 100).all(axis=2)
        bar_top = int(np.argmax(dark.sum(axis=1) > 60))
        # Between the letters' line and the bar there is only the stem of the µ.
        return int(dark[bar_top - 12 : bar_top].sum())

    assert hanging(0.5) > 5
    assert hanging(10.0) == 0


def test_outlines_run_along_the_edge_of_the_region() -> None:
    picture = np.full((100, 100, 3), 128, np.uint8)

    draw_regions(
        picture, Frame(RectUm(1000, 1000, 200, 200), 2.0), Regions([Region("IDC", box(1040, 1040, 1160, 1160), "a")])
    )

    red = np.flatnonzero((picture[50] == (255, 0, 0)).all(axis=1))
    # The edges lie 20 and 80 px from the left, where pixels 19 and 20, 79 and 80 meet.
    assert red[red < 50].mean() == 19.5
    assert red[red > 50].mean() == 79.5


def test_a_dashed_outline_has_gaps() -> None:
    def drawn(*, dashed: bool) -> int:
        picture = np.zeros((200, 200, 3), np.uint8)
        turn = np.linspace(0, 2 * np.pi, 40)[:-1]
        draw_outline(picture, 100 + 60 * np.stack([np.cos(turn), np.sin(turn)], 1), (255, 255, 255), dashed=dashed)
        return int((picture[:, :, 0] > 128).sum())

    assert 0.5 < drawn(dashed=True) / drawn(dashed=False) < 0.8


def test_the_heat_map_lies_where_the_tissue_is(data: ReportData) -> None:
    picture = heatmap_picture(data.he, data.heatmap, None)

    height, width = picture.shape[:2]
    grey = np.ptp(picture.astype(int), axis=2) == 0
    assert grey[height // 20, width // 2]
    assert not grey[height // 2, width // 3]
    assert viridis(np.array([0.0, 1.0])).shape == (2, 3)


def test_a_heat_map_is_resampled_to_the_value_under_each_pixel(data: ReportData) -> None:
    heatmap = type(data.heatmap)(np.arange(4, dtype=np.float32).reshape(2, 2), 100.0)

    values = resample(heatmap, Frame(RectUm(50, 0, 200, 150), 50.0), (3, 4))

    np.testing.assert_array_equal(values, [[0, 1, 1, np.nan], [0, 1, 1, np.nan], [2, 3, 3, np.nan]])


def test_the_warped_section_lies_on_the_other(data: ReportData) -> None:
    frame = Frame(data.ki67.bounds_um, 4.0)
    fixed = data.ki67.read(frame.rect_um, frame.mpp)

    warped = warped_he(data.he, data.transform, frame, fixed.shape[:2])

    # The H&E tissue is pink, the Ki-67 tissue grey; both are the same shape, moved.
    tissue_he = warped[:, :, 1] < 212
    tissue_ki67 = fixed.min(axis=2) < 240
    agreement = (tissue_he == tissue_ki67).mean()
    assert agreement > 0.97
    unmoved = data.he.read(frame.rect_um, frame.mpp)[:, :, 1] < 212
    assert (unmoved == tissue_ki67).mean() < 0.93


def test_a_section_that_lies_elsewhere_altogether_is_white(data: ReportData) -> None:
    class Far:
        def inverse_points(self, points_um: np.ndarray) -> np.ndarray:
            return points_um + 1e6

    frame = Frame(data.ki67.bounds_um, 8.0)

    assert (warped_he(data.he, Far(), frame, (300, 300)) == 255).all()


def test_the_detail_lies_on_the_slide_and_only_on_large_ones(data: ReportData) -> None:
    rect = detail_rect(data.ki67, data.regions_ki67)

    assert rect is not None
    assert data.ki67.bounds_um.intersection(rect) == rect
    small = type(data.ki67)(data.ki67.pixels[:600, :600], 2.0, data.ki67.path)
    assert detail_rect(small, None) is None


def test_fields_are_the_highest_the_median_and_the_lowest_index(cells: pa.Table) -> None:
    bounds = RectUm(0, 0, 2400, 2400)

    fields = choose_fields(Cells.from_table(cells), bounds)

    by_name = {field.name: field for field in fields}
    lowest, median, highest = (by_name[f"{name} index"].index_percent for name in ("Lowest", "Median", "Highest"))
    assert lowest < median < highest
    # The chance of being positive grows from left to right.
    assert by_name["Lowest index"].rect_um.x_um < by_name["Highest index"].rect_um.x_um
    assert all(bounds.intersection(field.rect_um) == field.rect_um for field in fields)
    assert all(field.positive + field.negative >= 50 for field in fields)


def test_the_order_of_the_cells_does_not_change_the_fields(cells: pa.Table) -> None:
    bounds = RectUm(0, 0, 2400, 2400)
    turned = cells.take(list(range(len(cells)))[::-1])

    assert choose_fields(Cells.from_table(cells), bounds) == choose_fields(Cells.from_table(turned), bounds)


def test_a_slide_smaller_than_a_field_is_one_field(cells: pa.Table) -> None:
    bounds = RectUm(0, 0, FIELD_UM / 2, FIELD_UM / 3)
    x = np.linspace(1, 149, 20)
    few = pa.table(
        {"x_um": x, "y_um": x / 2, "label": ["positive"] * 20, "in_region": [True] * 20, "outline_um": [[]] * 20}
    )

    (field,) = choose_fields(Cells.from_table(few), bounds)

    assert field.rect_um == bounds
    assert (field.positive, field.negative) == (20, 0)


def test_without_tumour_cells_there_are_no_fields(cells: pa.Table) -> None:
    assert choose_fields(Cells.from_table(cells.slice(0, 0)), RectUm(0, 0, 2400, 2400)) == []


def square(middle: float) -> list[float]:
    """Corners of a nucleus 8 µm wide."""
    low, high = middle - 4, middle + 4
    return [low, low, high, low, high, high, low, high]


def test_cells_are_outlined_where_they_are(data: ReportData) -> None:
    one = pa.table(
        {
            "x_um": [1160.0, 1240.0, 1200.0],
            "y_um": [1160.0, 1240.0, 1200.0],
            "label": ["positive", "negative", "other"],
            "outline_um": [square(place) for place in (1160.0, 1240.0, 1200.0)],
            "in_region": [True] * 3,
        }
    )
    found = Cells.from_table(one)
    (field,) = choose_fields(found, RectUm(1050, 1050, 300, 300))

    plain, outlined = field_pictures(data.ki67, field, one, None)

    for label, x_um in (("positive", 1160), ("negative", 1240), ("other", 1200)):
        rows, columns = np.nonzero(
            (outlined == OUTLINE_COLORS[label]).all(axis=2) & (plain != OUTLINE_COLORS[label]).any(axis=2)
        )
        assert rows.mean() == pytest.approx((x_um - 1050) / 0.4, abs=3)
        assert columns.mean() == pytest.approx((x_um - 1050) / 0.4, abs=3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (600, 900), (1400, 1400)])
def test_a_picture_of_noise_is_encoded_in_full_colour(height: int, width: int) -> None:
    noise = np.random.default_rng(16).integers(0, 256, (height, width, 3), dtype=np.uint8)

    data = base64.b64decode(jpeg_uri(noise).partition(",")[2])

    decoded = Image.open(io.BytesIO(data))
    assert decoded.size == (width, height)
    assert [component[1:3] for component in decoded.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
    plain = Image.open(io.BytesIO(base64.b64decode(jpeg_uri(np.full((8, 8, 3), (200, 10, 60), np.uint8))[23:])))
    np.testing.assert_allclose(np.asarray(plain)[4, 4], (200, 10, 60), atol=4)
