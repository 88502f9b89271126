"""Landmarks and nudges are taken as they are or refined, and a wrong file is told by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from registration_scene import HE, IHC, MPP, SIDE_PX, draw_tissue, known_matrix, make_section, moved, stain

from ki67.errors import FileError, RegistrationError
from ki67.registration import ByHand, Landmarks, Transform, read_landmark_pairs, register_sections
from ki67.registration.by_hand import fit_landmarks
from ki67.registration.images import Section
from ki67.slides import PixelFrame

SIZE_UM = (SIDE_PX * MPP, SIDE_PX * MPP)
PLACES_UM = np.array([[900.0, 1000.0], [1900.0, 1100.0], [1500.0, 1900.0], [1100.0, 1700.0], [1800.0, 1600.0]])


def pair(truth: np.ndarray) -> tuple[Section, Section]:
    tissue = draw_tissue(1)
    return make_section(stain(tissue, HE, 10), "he"), make_section(stain(moved(tissue, truth), IHC, 11), "ki67")


def landmarks(truth: np.ndarray, count: int, off_um: float = 0.0) -> Landmarks:
    error = np.random.default_rng(3).normal(0, off_um, (count, 2)) if off_um else 0.0
    return Landmarks(PLACES_UM[:count], Transform(truth).map_points(PLACES_UM[:count]) + error)


def apart_um(a: Transform, b: Transform) -> float:
    return float(np.hypot(*(a.map_points(PLACES_UM) - b.map_points(PLACES_UM)).T).max())


@pytest.mark.parametrize(("count", "rigid"), [(2, True), (2, False), (3, False), (5, False)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_exact_landmarks_give_the_exact_map(count: int, rigid: bool, mirrored: bool) -> None:
    if mirrored and count == 2:
        pytest.skip("two places do not tell a mirrored section")
    truth = known_matrix(137.0, mirrored=mirrored, shift_um=(180.0, -120.0))
    assert np.allclose(fit_landmarks(landmarks(truth, count), rigid=rigid), truth, atol=1e-6)


def test_two_landmarks_never_mirror_a_section() -> None:
    truth = known_matrix(20.0, mirrored=True, shift_um=(0.0, 0.0))
    assert np.linalg.det(fit_landmarks(landmarks(truth, 2), rigid=True)) > 0


def test_landmarks_as_given_are_the_registration_and_are_still_judged() -> None:
    truth = known_matrix(137.0, mirrored=False, shift_um=(180.0, -120.0))
    wrong = known_matrix(40.0, mirrored=False, shift_um=(0.0, 0.0))
    he, ki67 = pair(truth)
    right, quality = register_sections(he, ki67, by_hand=ByHand(landmarks(truth, 3), as_given=True))
    assert apart_um(right, Transform(truth)) < 0.01
    assert (quality.accepted, quality.mode, quality.way) == (True, "landmarks", "landmarks")
    given, quality = register_sections(he, ki67, by_hand=ByHand(landmarks(wrong, 3), as_given=True))
    assert apart_um(given, Transform(wrong)) < 0.01
    assert not quality.accepted


def test_rough_landmarks_are_refined() -> None:
    truth = known_matrix(251.0, mirrored=True, shift_um=(-150.0, 90.0))
    he, ki67 = pair(truth)
    rough = landmarks(truth, 4, off_um=40.0)
    assert apart_um(Transform(fit_landmarks(rough, rigid=False)), Transform(truth)) > 3 * MPP
    transform, quality = register_sections(he, ki67, mode="affine", by_hand=ByHand(rough))
    assert apart_um(transform, Transform(truth)) < 2 * MPP
    assert quality.mode == "affine"


def test_a_nudge_as_given_moves_the_region_by_just_so_much() -> None:
    truth = known_matrix(30.0, mirrored=False, shift_um=(60.0, 0.0))
    he, ki67 = pair(truth)
    places = landmarks(truth, 3)
    plain, _ = register_sections(he, ki67, mode="rigid", by_hand=ByHand(places, as_given=True))
    moved_on, quality = register_sections(
        he, ki67, mode="rigid", by_hand=ByHand(places, shift_um=(100.0, -40.0), as_given=True)
    )
    assert np.allclose(moved_on.map_points(PLACES_UM) - plain.map_points(PLACES_UM), (100.0, -40.0))
    assert quality.mode == "nudged"
    turned, _ = register_sections(he, ki67, mode="rigid", by_hand=ByHand(places, rotate_deg=5.0, as_given=True))
    assert turned.rotation_deg - plain.rotation_deg == pytest.approx(5.0)


def test_a_small_nudge_is_refined_away() -> None:
    truth = known_matrix(30.0, mirrored=False, shift_um=(60.0, 0.0))
    he, ki67 = pair(truth)
    transform, quality = register_sections(he, ki67, mode="rigid", by_hand=ByHand(shift_um=(30.0, 20.0)))
    assert apart_um(transform, Transform(truth)) < MPP
    assert quality.mode == "rigid"


def test_a_mistyped_landmark_is_named() -> None:
    truth = known_matrix(30.0, mirrored=False, shift_um=(60.0, 0.0))
    he, ki67 = pair(truth)
    places = landmarks(truth, 5)
    places.ki67_um[3] += 2000.0
    _, quality = register_sections(he, ki67, mode="rigid", by_hand=ByHand(places, as_given=True))
    assert any("landmark pair 4 lies" in warning for warning in quality.warnings)


def test_landmarks_in_one_place_are_refused() -> None:
    same = Landmarks(np.full((2, 2), 5.0), PLACES_UM[:2])
    with pytest.raises(RegistrationError, match="the same place"):
        fit_landmarks(same, rigid=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "line 1: found the columns 'x,y'"),
        ("he_x,he_y,ki67_x,ki67_y\n1,2,3,4\n1,b,3,4\n", "line 3: could not convert"),
        ("he_x,he_y,ki67_x,ki67_y\n1,2,3\n", "line 2: found '1,2,3', expected four numbers"),
        ("he_x,he_y,ki67_x,ki67_y\n1,2,3,4\n", "has 1 pairs, at least 2 expected"),
        ("he_x,he_y,ki67_x,ki67_y\n1,2,3,4\n1,2,99999,4\n", "line 3: 1,2,99999,4 lies outside the slide"),
        ("he_x,he_y,ki67_x,ki67_y\n1,2,3,4\n1,2,nan,4\n", "line 3: found '1,2,nan,4'"),
    ],
)
def test_a_wrong_landmark_file_is_told_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=message):
        read_landmark_pairs(path, PixelFrame(0.5), PixelFrame(0.5), SIZE_UM, SIZE_UM)


def test_landmark_pixels_become_micrometres_of_their_own_slide(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("he_x,he_y,ki67_x,ki67_y\n10,20,30,40\n50,60,70,80\n", encoding="utf-8")
    found = read_landmark_pairs(path, PixelFrame(0.5), PixelFrame(0.25), SIZE_UM, SIZE_UM)
    assert np.array_equal(found.he_um, [[5, 10], [25, 30]])
    assert np.array_equal(found.ki67_um, [[7.5, 10], [17.5, 20]])
