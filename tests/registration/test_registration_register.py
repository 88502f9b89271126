"""Sections are found in any pose, stain apart; different tissue is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from registration_scene import HE, IHC, MPP, SIDE_PX, draw_tissue, known_matrix, make_section, moved, stain

from ki67.errors import TissueError
from ki67.registration import Transform, register_sections
from ki67.registration.coarse import find_pose
from ki67.registration.fine import affine, rigid
from ki67.registration.images import Section
from ki67.registration.local import coherence, compare, consensus, local_map
from ki67.registration.quality import measure
from ki67.registration.warp import warp
from ki67.vocabulary import RegistrationMode


@cache
def he(seed: int = 1) -> Section:
    return make_section(stain(draw_tissue(seed), HE, 10), "he")


def ihc(matrix: np.ndarray, seed: int = 1) -> Section:
    return make_section(stain(moved(draw_tissue(seed), matrix), IHC, 11), "ki67")


def error_um(found: Transform, truth: np.ndarray, section: Section) -> float:
    rows, columns = np.nonzero(section.tissue[::16, ::16])
    points = np.column_stack([columns, rows]) * 16.0 * MPP
    return float(np.median(np.hypot(*(found.map_points(points) - Transform(truth).map_points(points)).T)))


def test_the_coarse_search_finds_the_pose_and_the_same_one_again() -> None:
    truth = known_matrix(0.0, mirrored=False, shift_um=(0.0, 0.0))
    first, second = (find_pose(he(), ihc(truth)).poses for _ in range(2))
    assert not first[0].mirrored
    assert error_um(Transform(first[0].matrix), truth, he()) < 4 * MPP
    assert [pose.matrix.tolist() for pose in first] == [pose.matrix.tolist() for pose in second]


TURNED = known_matrix(137.0, mirrored=False, shift_um=(180.0, -120.0))


def test_a_turned_section_is_registered_within_a_pixel_accepted_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    transform, quality = register_sections(he(), ihc(TURNED), mode=RegistrationMode.rigid)
    assert error_um(transform, TURNED, he()) < MPP
    assert quality.accepted, quality.reasons
    assert quality.ncc > max(0.8, quality.ncc_before)
    assert quality.local_error_um is not None
    assert quality.local_error_um < MPP
    assert list(tmp_path.iterdir()) == []


def test_a_mirrored_section_is_registered_and_said_to_be_mirrored() -> None:
    truth = known_matrix(251.0, mirrored=True, shift_um=(-150.0, 90.0))
    transform, quality = register_sections(he(), ihc(truth), mode="rigid")
    assert error_um(transform, truth, he()) < MPP
    assert quality.mirrored
    assert any("upside down" in warning for warning in quality.warnings)


def test_a_field_filled_with_tissue_is_registered_without_any_outline() -> None:
    truth = known_matrix(20.0, mirrored=False, shift_um=(60.0, -30.0))
    middle = slice(110, 270)
    crop = np.eye(3)
    crop[:2, 2] = -middle.start * MPP
    fixed = make_section(stain(draw_tissue(1)[middle, middle], HE, 10), "he")
    moving = make_section(stain(moved(draw_tissue(1), truth)[middle, middle], IHC, 11), "ki67")
    assert not fixed.free
    transform, quality = register_sections(fixed, moving, mode="rigid")
    assert error_um(transform, crop @ truth @ np.linalg.inv(crop), fixed) < MPP
    assert quality.accepted, quality.reasons


def test_different_tissue_is_refused_with_a_reason() -> None:
    _, quality = register_sections(he(), ihc(np.eye(3), seed=2), mode="rigid")
    assert not quality.accepted
    assert any("different tissue" in reason for reason in quality.reasons)


def bent() -> Section:
    """The H&E section as Ki-67 section, bent by a few pixels."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float32)
    picture = cv2.remap(draw_tissue(1), x + 5 * np.sin(y / 50), y + 5 * np.cos(x / 60), cv2.INTER_LINEAR)
    return make_section(stain(picture, IHC, 11), "ki67")


def test_a_bent_section_is_followed_by_the_deformable_mode() -> None:
    # The image at q shows the scene at q + w(q): the H&E point p lies at the q with q + w(q) = p.
    points = np.array([[x_um, y_um] for x_um in range(1000, 2000, 200) for y_um in range(1000, 2000, 200)], float)
    place = points.copy()
    for _ in range(50):
        px = place / MPP - 0.5
        place = points - MPP * np.column_stack([5 * np.sin(px[:, 1] / 50), 5 * np.cos(px[:, 0] / 60)])
    transform, quality = register_sections(he(), bent(), mode=RegistrationMode.deformable)
    stiff = Transform(find_pose(he(), bent()).best.matrix)
    error, before = (np.median(np.hypot(*(one.map_points(points) - place).T)) for one in (transform, stiff))
    assert error < 0.5 * before
    assert error < MPP
    assert quality.accepted, quality.reasons
    assert quality.jacobian_min > 0.3


def test_an_empty_slide_is_refused_by_name() -> None:
    blank = make_section(np.full((SIDE_PX, SIDE_PX, 3), 244, np.uint8), "blank.tif")
    with pytest.raises(TissueError, match=r"blank\.tif"):
        register_sections(he(), blank)


@pytest.mark.parametrize("stage", [rigid, affine])
def test_elastix_turns_the_way_the_points_go(stage: object) -> None:
    truth = known_matrix(4.0, mirrored=False, shift_um=(40.0, -24.0))
    fixed, moving = he(), ihc(truth)
    warped = warp(fixed, moving, np.eye(3))
    found = stage(fixed, warped, fixed.tissue | warped.tissue)  # type: ignore[operator]
    assert error_um(Transform(found), truth, fixed) < MPP


def test_blocks_find_a_shift_its_size_and_how_sure_they_are() -> None:
    shift = known_matrix(0.0, mirrored=False, shift_um=(32.0, -16.0))
    blocks = compare(he(), ihc(shift), Transform.identity())
    found = consensus(blocks)
    local = local_map(blocks)
    assert found is not None
    assert np.allclose(found[:2, 2] + (found[:2, :2] - np.eye(2)) @ [1400, 1400], (32, -16), atol=3)
    assert np.allclose(np.median(local.shifts_um[local.sure], axis=0), (32, -16), atol=3)
    assert coherence(compare(he(), ihc(shift), Transform(shift))).sigma > 10


def test_the_correlation_rises_when_the_sections_are_superimposed() -> None:
    truth = known_matrix(90.0, mirrored=False, shift_um=(0.0, 0.0))
    before = measure(he(), ihc(truth), Transform.identity())
    after = measure(he(), ihc(truth), Transform(truth))
    assert after.ncc > 0.9 > before.ncc
    assert after.dice > 0.9
    assert after.mutual_information > before.mutual_information
