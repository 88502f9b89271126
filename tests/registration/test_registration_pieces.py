"""One map made of pieces: points, regions and files, both ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, box

from ki67.errors import RegionError, RegistrationError
from ki67.registration import DisplacementField, Piece, PiecewiseTransform, Transform, read_transform, write_transform


def shifted(dx_um: float, dy_um: float) -> Transform:
    matrix = np.eye(3)
    matrix[:2, 2] = dx_um, dy_um
    return Transform(matrix)


def area(*corners: float) -> MultiPolygon:
    return MultiPolygon([box(*corners)])


FIELD = DisplacementField((0.0, 0.0), 500.0, np.full((4, 4, 2), 3.0, np.float32))
LEFT = Piece(Transform(shifted(0, 100).matrix, FIELD), area(0, 0, 1000, 1000), area(0, 100, 1003, 1103))
RIGHT = Piece(shifted(500, 0), area(1000, 0, 2000, 1000), area(1500, 0, 2500, 1000))
TWO = PiecewiseTransform((LEFT, RIGHT), area(2000, 0, 2500, 1000))


def test_each_point_goes_the_way_of_its_piece_and_back() -> None:
    points = np.array([[500.0, 500.0], [1500.0, 500.0]])
    there = TWO.map_points(points)
    np.testing.assert_allclose(there, [[503, 603], [2000, 500]])
    np.testing.assert_allclose(TWO.inverse_points(there), points, atol=0.1)


def test_what_lies_on_no_piece_is_not_mapped() -> None:
    assert np.isnan(TWO.map_points(np.array([[2200.0, 500.0], [500.0, 4000.0]]))).all()
    assert np.isnan(TWO.inverse_points(np.array([[1250.0, 500.0]]))).all()


def test_a_region_is_cut_along_the_seam_and_each_part_goes_its_own_way() -> None:
    region = box(900, 400, 1100, 600)
    mapped = TWO.map_geometry(region)
    assert sorted(round(part.bounds[0]) for part in mapped.geoms) == [903, 1500]
    assert mapped.area == pytest.approx(region.area)
    assert TWO.inverse_geometry(mapped).symmetric_difference(region).area < 1.0


def test_what_of_a_region_is_left_out_is_told() -> None:
    region = box(1900, 400, 2100, 600)
    assert TWO.left_out(region).area == pytest.approx(100 * 200)
    assert TWO.map_geometry(region).area == pytest.approx(100 * 200)
    with pytest.raises(RegionError, match="nothing of the region"):
        TWO.map_geometry(box(2100, 0, 2200, 100))


def test_the_seam_is_where_pieces_touch() -> None:
    assert TWO.seams.bounds == pytest.approx((1000, 0, 1000, 1000), abs=5)
    assert PiecewiseTransform.whole(shifted(0, 0)).seams.is_empty


def test_one_piece_everywhere_is_the_plain_transform_to_the_last_bit() -> None:
    plain = Transform(np.array([[0.9, 0.1, 5], [-0.1, 0.9, 7], [0, 0, 1.0]]), FIELD)
    whole = PiecewiseTransform.whole(plain)
    points = np.random.default_rng(1).uniform(0, 1500, (50, 2))
    region = box(100, 100, 900, 700)
    assert (whole.map_points(points) == plain.map_points(points)).all()
    assert (whole.inverse_points(points) == plain.inverse_points(points)).all()
    assert whole.map_geometry(region) == plain.map_geometry(region)
    assert whole.inverse_geometry(region) == plain.inverse_geometry(region)
    assert whole.to_dict() == plain.to_dict()


@pytest.mark.parametrize("transform", [TWO, PiecewiseTransform((Piece(shifted(1, 2)),), area(0, 0, 10, 10))])
def test_the_file_gives_the_same_pieces_again(tmp_path: Path, transform: PiecewiseTransform) -> None:
    write_transform(tmp_path / "transform.json", transform)
    again = read_transform(tmp_path / "transform.json")
    points = np.random.default_rng(1).uniform(0, 2500, (80, 2))
    np.testing.assert_array_equal(again.map_points(points), transform.map_points(points))
    assert again.to_dict() == transform.to_dict()


def test_a_file_from_before_pieces_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "transform.json"
    path.write_text(json.dumps(shifted(30, 40).to_dict()), encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == "ki67-transform-1"
    np.testing.assert_allclose(read_transform(path).map_points(np.zeros((1, 2))), [[30, 40]])


def test_pieces_without_a_domain_are_refused() -> None:
    with pytest.raises(RegistrationError, match="where each of them holds"):
        PiecewiseTransform((Piece(shifted(0, 0)), RIGHT))
    with pytest.raises(RegistrationError, match="not a transform"):
        PiecewiseTransform.from_dict({"pieces": [{"matrix": "no"}]})
