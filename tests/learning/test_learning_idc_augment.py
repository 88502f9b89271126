"""Augmentation changes how a patch looks, not what it is or how large it is, and follows its seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from idc_scene import PINK, PURPLE, speckled
from ki67.learning.idc.augment import AugmentOptions, augment, change_stain, compress, flip_and_turn, turn_and_scale

STILL = AugmentOptions(
    stain_gain=0, stain_offset=0, stain_vector=0, colour_share=0, affine_share=0, blur_share=0, noise=0, jpeg_share=0
)


def patches(count: int = 8) -> torch.Tensor:
    return torch.from_numpy(speckled(PURPLE, count, 21, 4))


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shape_and_range_stay() -> None:
    changed = augment(patches(), AugmentOptions(), seeded())
    assert changed.shape == (8, 21, 21, 3)
    assert changed.dtype == torch.float32
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 255


def test_the_same_seed_gives_the_same_patches_and_another_others() -> None:
    first = augment(patches(), AugmentOptions(), seeded())
    assert torch.equal(first, augment(patches(), AugmentOptions(), seeded()))
    assert not torch.equal(first, augment(patches(), AugmentOptions(), seeded(2)))


def test_with_every_strength_at_zero_only_symmetries_are_left() -> None:
    whole = augment(patches(), STILL, seeded())
    for before, after in zip(patches().float(), whole, strict=True):
        views = [torch.rot90(view, turn) for view in (before, before.flip(1)) for turn in range(4)]
        assert any(torch.allclose(view, after, atol=1.1) for view in views)


def test_all_eight_symmetries_occur() -> None:
    one = torch.arange(27.0).reshape(1, 3, 3, 3).repeat(200, 1, 1, 1)
    assert len({tuple(view.flatten().tolist()) for view in flip_and_turn(one, seeded())}) == 8


def test_stain_changes_leave_glass_white_and_purple_darker_than_pink() -> None:
    strong = replace(AugmentOptions(), stain_offset=0.2)
    white = change_stain(torch.full((6, 5, 5, 3), 255.0), strong, seeded())
    assert float(white.min()) == pytest.approx(255, abs=1e-3)
    purple = change_stain(torch.from_numpy(speckled(PURPLE, 30, 9, 0)).float(), AugmentOptions(), seeded())
    pink = change_stain(torch.from_numpy(speckled(PINK, 30, 9, 0)).float(), AugmentOptions(), seeded())
    assert float(purple[..., 1].mean(dim=(1, 2)).max()) < float(pink[..., 1].mean(dim=(1, 2)).min())


def test_turned_patches_have_no_empty_corners() -> None:
    flat = torch.full((20, 15, 15, 3), 120.0)
    turned = turn_and_scale(flat, replace(AugmentOptions(), affine_share=1.0, scale=1.5), seeded())
    torch.testing.assert_close(turned, flat, atol=1e-2, rtol=0)


def test_some_patches_are_compressed_and_the_rest_stay() -> None:
    before = patches(200).float()
    after = compress(before, replace(AugmentOptions(), jpeg_share=0.5), seeded())
    apart = (after - before).abs().amax(dim=(1, 2, 3))
    assert 70 < int((apart == 0).sum()) < 130
    assert 2 < float(apart.max()) < 120
    assert after.shape == before.shape
