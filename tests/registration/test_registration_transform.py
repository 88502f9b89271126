"""A transform maps points and regions both ways, keeps what it maps whole, and survives the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box

from ki67.errors import FileError, RegionError, RegistrationError
from ki67.registration import DisplacementField, Transform, read_transform, write_transform


def bent(amplitude_um: float = 30.0) -> DisplacementField:
    y, x = np.mgrid[0:41, 0:51] * 100.0
    vectors = np.stack([amplitude_um * np.sin(y / 900), amplitude_um * np.cos(x / 700)], axis=2)
    return DisplacementField((0.0, 0.0), 100.0, vectors.astype(np.float32))


def turned_and_mirrored() -> np.ndarray:
    return np.array([[-0.6, 0.8, 900.0], [0.8, 0.6, -150.0], [0.0, 0.0, 1.0]])


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 4000)), min_size=1, max_size=20))
def test_the_inverse_undoes_the_map_within_a_tenth_of_a_micrometre(points: list[tuple[float, float]]) -> None:
    transform = Transform(turned_and_mirrored(), bent())
    there = transform.map_points(np.array(points))
    assert np.abs(transform.inverse_points(there) - np.array(points)).max() < 0.15


def test_the_displacement_comes_before_the_matrix() -> None:
    shift = DisplacementField((0, 0), 10.0, np.full((3, 3, 2), (5, 0), np.float32))
    quarter_turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert np.allclose(Transform(quarter_turn, shift).map_points(np.array([[10.0, 0]])), [[0, 15]])


def test_a_fold_is_seen_in_the_jacobian_and_refused_by_the_inverse() -> None:
    vectors = np.zeros((11, 11, 2), np.float32)
    vectors[:, 5, 0] = 60
    folded = DisplacementField((0, 0), 10.0, vectors)
    assert folded.jacobian().min() <= 0
    with pytest.raises(RegistrationError, match="cannot be inverted"):
        Transform(np.eye(3), folded).inverse_points(np.array([[55.0, 50.0]]))


def test_regions_keep_holes_and_parts_and_straight_edges_bend() -> None:
    region = MultiPolygon(
        [
            Polygon(box(500, 500, 2000, 2000).exterior, [box(1000, 1000, 1200, 1200).exterior]),
            box(3000, 100, 3500, 600),
        ]
    )
    mapped = Transform(turned_and_mirrored(), bent()).map_geometry(region)
    assert len(mapped.geoms) == 2
    assert sum(len(part.interiors) for part in mapped.geoms) == 1
    assert mapped.is_valid
    assert mapped.area == pytest.approx(region.area, rel=0.02)
    assert len(mapped.geoms[0].exterior.coords) > 100


def test_a_region_mapped_there_and_back_is_the_same() -> None:
    region = box(500, 500, 2000, 1700)
    transform = Transform(turned_and_mirrored(), bent())
    back = transform.inverse_geometry(transform.map_geometry(region))
    assert back.symmetric_difference(region).area < 0.001 * region.area


def test_an_empty_region_is_refused() -> None:
    with pytest.raises(RegionError, match="empty"):
        Transform.identity().map_geometry(Polygon())


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RegistrationError, match="finite"):
        Transform.identity().map_points(np.array([[np.nan, 1.0]]))


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.eye(2), np.full((3, 3), np.nan), np.diag([0.0, 1, 1])])
def test_a_matrix_that_is_no_map_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(RegistrationError):
        Transform(matrix)


def test_mirroring_turn_and_stretch_are_told() -> None:
    transform = Transform(turned_and_mirrored() * [[1.1], [1.1], [1.0]])
    assert transform.mirrored
    assert transform.scales == pytest.approx((1.1, 1.1))
    assert not Transform.identity().mirrored


@pytest.mark.parametrize("field", [None, bent()])
def test_the_file_gives_the_same_transform_again(tmp_path: Path, field: DisplacementField | None) -> None:
    transform = Transform(turned_and_mirrored(), field)
    write_transform(tmp_path / "transform.json", transform)
    again = read_transform(tmp_path / "transform.json")
    points = np.random.default_rng(0).uniform(0, 4000, (50, 2))
    assert np.array_equal(again.map_points(points), transform.map_points(points))


def test_the_field_is_one_that_itk_reads(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    field = bent()
    write_transform(tmp_path / "transform.json", Transform(np.eye(3), field))
    image = sitk.ReadImage(str(tmp_path / "displacement.mha"))
    assert np.array_equal(sitk.GetArrayFromImage(image), field.vectors_um)
    assert image.GetSpacing() == (100.0, 100.0)


def test_a_transform_without_its_field_names_the_missing_file(tmp_path: Path) -> None:
    write_transform(tmp_path / "transform.json", Transform(np.eye(3), bent()))
    (tmp_path / "displacement.mha").unlink()
    with pytest.raises(FileError, match=r"displacement\.mha"):
        read_transform(tmp_path / "transform.json")


def test_a_rigid_rerun_removes_the_field_of_the_run_before(tmp_path: Path) -> None:
    write_transform(tmp_path / "transform.json", Transform(np.eye(3), bent()))
    write_transform(tmp_path / "transform.json", Transform(np.eye(3)))
    assert not (tmp_path / "displacement.mha").exists()


@pytest.mark.parametrize("text", ["", "[1]", "{}", json.dumps({"matrix": [[1, 2], [3]]})])
def test_a_file_that_is_no_transform_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "transform.json").write_text(text)
    with pytest.raises(FileError, match=r"transform\.json"):
        read_transform(tmp_path / "transform.json")


@pytest.mark.parametrize("damage", [b"", b"ObjectType = Image\n", None])
def test_a_damaged_field_is_refused_by_name(tmp_path: Path, damage: bytes | None) -> None:
    write_transform(tmp_path / "transform.json", Transform(np.eye(3), bent()))
    path = tmp_path / "displacement.mha"
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    with pytest.raises(FileError, match=r"displacement\.mha"):
        read_transform(tmp_path / "transform.json")
