"""Neighbouring blocks lead where single ones know little, and never judge what was fitted to them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from registration_scene import HE, IHC, MPP, SIDE_PX, draw_tissue, known_matrix, make_section, moved, stain

from ki67.registration import Transform
from ki67.registration.coarse import Coarse, Pose
from ki67.registration.images import Section
from ki67.registration.quality import Judged, assess, measure
from ki67.registration.refinement import follow_blocks, settle
from ki67.registration.warp import canonical_correlation


def he(seed: int = 1) -> Section:
    return make_section(stain(draw_tissue(seed), HE, 10), "he")


def ihc(matrix: np.ndarray) -> Section:
    return make_section(stain(moved(draw_tissue(1), matrix), IHC, 11), "ki67")


def places() -> np.ndarray:
    return np.array([[x, y] for x in range(1000, 2000, 200) for y in range(1000, 2000, 200)], float)


def test_settling_ends_at_the_true_affine_map_from_a_start_beside_it() -> None:
    truth = known_matrix(30.0, mirrored=False, shift_um=(60.0, -40.0))
    beside = truth @ known_matrix(0.6, mirrored=False, shift_um=(24.0, -16.0))
    found = Transform(settle(he(), ihc(truth), beside))
    apart = found.map_points(places()) - Transform(truth).map_points(places())
    assert np.hypot(*apart.T).max() < MPP / 2


def test_a_bend_is_followed_and_a_field_of_its_own_is_kept_below() -> None:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float32)
    bent = cv2.remap(draw_tissue(1), x + 3 * np.sin(y / 70), y, cv2.INTER_LINEAR)
    moving = make_section(stain(bent, IHC, 11), "ki67")
    # The image at q shows the scene at q + w(q): the way back from the moving section is known in closed form.
    px = places() / MPP - 0.5
    scene = places() + MPP * np.column_stack([3 * np.sin(px[:, 1] / 70), np.zeros(len(px))])
    error_um = []
    transform = Transform.identity()
    for _ in range(3):
        error_um.append(float(np.median(np.hypot(*(transform.inverse_points(places()) - scene).T))))
        transform = follow_blocks(he(), moving, transform)
    assert error_um[1] < 0.6 * error_um[0]
    assert error_um[2] < error_um[1]


def test_what_follows_the_blocks_is_judged_by_the_state_before() -> None:
    truth = known_matrix(0.0, mirrored=False, shift_um=(12.0, 0.0))
    fixed, moving = he(), ihc(truth)
    before = Judged(fixed, moving, Transform.identity())
    after = Judged(fixed, moving, follow_blocks(fixed, moving, before.transform), witness=before)
    pose = Pose(np.eye(3), 1.0, "shape")
    quality = assess(after, Coarse(pose, None, (pose,)), "deformable")
    assert quality.local_error_um == before.local.error_um()
    assert quality.agreement_sigma == before.coherence.sigma
    alone = replace(after, witness=None).local.error_um()
    assert alone is not None
    assert alone < quality.local_error_um


def test_the_correlation_does_not_mind_a_second_stain_on_half_of_the_section() -> None:
    density = draw_tissue(1)
    marked = np.clip(density, 0, 1) * (np.mgrid[:SIDE_PX, :SIDE_PX][1] % 60 < 30)
    light = 244 * np.exp(-density[..., None] * np.array(IHC) - 2 * marked[..., None] * np.array([0.3, 0.6, 0.8]))
    moving = make_section(np.clip(light, 0, 255).astype(np.uint8), "ki67")
    agreement = measure(he(), moving, Transform.identity())
    assert agreement.ncc_density < 0.95
    assert agreement.ncc > 0.99


def test_the_correlation_of_different_tissue_stays_far_below_that_of_a_pair() -> None:
    pair = measure(he(), ihc(np.eye(3)), Transform.identity()).ncc
    assert measure(he(2), ihc(np.eye(3)), Transform.identity()).ncc < 0.9 < pair


def test_the_canonical_correlation_undoes_any_mixing_and_is_zero_for_a_flat_image() -> None:
    generator = np.random.default_rng(3)
    a = generator.normal(size=(500, 3)).astype(np.float32)
    mixed = (a @ generator.normal(size=(3, 3)) + 5).astype(np.float32)
    assert canonical_correlation(a, mixed) > 0.999
    assert canonical_correlation(a, generator.normal(size=(500, 3)).astype(np.float32)) < 0.3
    assert canonical_correlation(a, np.ones((500, 3), np.float32)) == 0.0
