"""Tissue that one map does not explain is found on its own."""

from __future__ import annotations

import numpy as np
import pytest
from registration_scene import HE, IHC, MPP, draw_tissue, make_section, stain

from ki67.registration import ByHand, Landmarks, Transform, register_sections
from ki67.registration.divide import Divided, Part, divide, worth_dividing
from ki67.registration.images import Section
from ki67.registration.seams import assemble

SIDE_PX = 260


def slide(pieces: list[np.ndarray | None], colour: tuple[float, float, float], seed: int) -> Section:
    """Pieces of tissue side by side on a slide; None leaves the place empty."""
    empty = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    return make_section(stain(np.hstack([empty if one is None else one for one in pieces]), colour, seed), f"{seed}")


def half_turned(one: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(one[::-1, ::-1])


A, B = draw_tissue(1, SIDE_PX), draw_tissue(2, SIDE_PX)


def first_only(fixed: Section) -> Part:
    """The map that serves the first piece."""
    zone = fixed.tissue.copy()
    zone[:, SIDE_PX:] = False
    return Part(Transform.identity(), Transform.identity(), zone)


def test_a_piece_that_was_turned_on_its_own_is_found_and_both_are_mapped() -> None:
    fixed, moving = slide([A, B], HE, 1), slide([A, half_turned(B)], IHC, 2)
    whole = first_only(fixed)
    assert worth_dividing(fixed, moving, whole)
    transform, belief, placed = assemble(fixed, moving, divide(fixed, moving, whole, 12, "affine"))
    assert len(placed) == 2
    middle = SIDE_PX * MPP / 2
    points = np.array([[middle - 300, middle], [3 * middle + 200, middle - 150]])
    mapped = transform.map_points(points)
    turned = [2 * 3 * middle - points[1, 0], 2 * middle - points[1, 1]]
    np.testing.assert_allclose(mapped, [points[0], turned], atol=10)
    np.testing.assert_allclose(transform.inverse_points(mapped), points, atol=1)
    assert transform.seams.is_empty
    assert belief.confirmed.any()


def test_a_piece_that_is_lost_is_left_without_a_map() -> None:
    fixed, moving = slide([A, B], HE, 1), slide([A, None], IHC, 2)
    whole = first_only(fixed)
    assert not worth_dividing(fixed, moving, whole)
    divided = divide(fixed, moving, whole, 12, "affine")
    transform, _, placed = assemble(fixed, moving, divided)
    assert len(placed) == 1
    middle = SIDE_PX * MPP / 2
    assert np.isnan(transform.map_points(np.array([[3 * middle, middle]]))).all()
    assert transform.unregistered.area > 0.9 * divided.left.sum() * MPP**2


def test_landmarks_that_no_one_map_serves_are_taken_piece_by_piece() -> None:
    fixed, moving = slide([A, B], HE, 1), slide([A, half_turned(B)], IHC, 2)
    middle = SIDE_PX * MPP / 2
    on_a = np.array([[middle - 300, middle], [middle + 250, middle - 200]])
    on_b = np.array([[3 * middle + 200, middle - 150], [3 * middle - 250, middle + 200]])
    turned = np.array([6 * middle, 2 * middle]) - on_b
    rough = np.random.default_rng(5).normal(0, 15, (4, 2))
    pairs = Landmarks(np.vstack([on_a, on_b]), np.vstack([on_a, turned]) + rough)

    transform, quality = register_sections(fixed, moving, mode="affine", by_hand=ByHand(pairs))

    assert quality.accepted
    assert len(transform.pieces) == 2
    np.testing.assert_allclose(transform.map_points(np.vstack([on_a, on_b])), np.vstack([on_a, turned]), atol=10)


@pytest.mark.parametrize(("blank", "astray"), [(24, 16), (50, 40)])
def test_where_nothing_tells_the_side_of_a_seam_it_is_left_without_a_map(blank: int, astray: int) -> None:
    cut, shift = SIDE_PX, 20
    scene = np.full((SIDE_PX + 80, 2 * SIDE_PX), 0.0, np.float32)
    scene[40:-40, 20:-20] = np.hstack([draw_tissue(seed, 2 * SIDE_PX)[130:390, 140:380] for seed in (3, 4)])
    scene[40:-40, cut - blank : cut + blank] = 0.35
    slid = scene.copy()
    slid[:, cut:] = np.roll(scene[:, cut:], shift, axis=0)
    fixed, moving = make_section(stain(scene, HE, 1), "fixed"), make_section(stain(slid, IHC, 2), "moving")
    down = np.eye(3)
    down[1, 2] = shift * MPP
    left = fixed.tissue.copy()
    left[:, cut + astray :] = False  # as the blocks have it
    parts = [
        Part(one, one, zone) for one, zone in ((Transform.identity(), left), (Transform(down), fixed.tissue & ~left))
    ]

    transform, _, placed = assemble(fixed, moving, Divided(tuple(parts), np.zeros_like(fixed.tissue)))

    assert len(placed) == 2
    x, y = np.meshgrid(np.arange(30, 2 * SIDE_PX - 30, 4), np.arange(50, SIDE_PX + 30, 4))
    points = np.column_stack([x.ravel(), y.ravel()]) * MPP
    error_um = np.hypot(*(transform.map_points(points) - points - np.outer(points[:, 0] >= cut * MPP, down[:2, 2])).T)
    assert np.nanmax(error_um) < 20
    assert np.isfinite(error_um).mean() > 0.8
    beyond = np.array([(cut, 40 - away) for away in (2, 5, 8)]) * MPP
    assert np.isnan(transform.map_points(beyond)).all()
