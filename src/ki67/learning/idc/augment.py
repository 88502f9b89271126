"""Random changes of patches that keep their label: geometry, stain, sharpness, compression."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

HE_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin, a residual (Ruifrok and Johnston, Anal Quant Cytol Histol 23:291, 2001)."""

WHITE_LEVEL = 255.0
DARKEST_LEVEL = 1.0
"""Pixels are kept at or above this before the logarithm, which has no value at 0."""


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Strength of each change.

    Parameters
    ----------
    stain_gain, stain_offset
        Half-width of the uniform draws that a stain's concentration is multiplied by (around 1) and moved by, after
        Tellez et al., IEEE TMI 37:2126, 2018.
    stain_vector
        Standard deviation of the noise on each component of a stain's unit vector.
    colour_share
        Share of patches whose colours are changed as no laboratory may ever have stained them, so that structure has
        to decide.
    colour_mix
        Half-width of the uniform draws by which the optical densities of the channels are mixed (3 x 3).
    colour_gain, contrast
        Each channel's density is multiplied by, and raised to, a factor drawn log-uniformly up to exp of this.
    grey_share
        Share of the patches so changed that are also drawn towards grey, anywhere from not at all to wholly.
    tint
        Largest density of a background that is not white, per channel.
    affine_share
        Share of patches that are turned by any angle and scaled.
    scale
        Scales are drawn log-uniformly from 1 / scale to scale.
    blur_share, noise
        Share of patches that are blurred, and the largest standard deviation of pixel noise in grey levels.
    jpeg_share, jpeg_quality
        Share of patches that are compressed as JPEG, and the least quality of it; the best is 90.
    """

    stain_gain: float = 0.3
    stain_offset: float = 0.06
    stain_vector: float = 0.05
    colour_share: float = 0.5
    colour_mix: float = 0.35
    colour_gain: float = 0.4
    contrast: float = 0.25
    grey_share: float = 0.25
    tint: float = 0.12
    affine_share: float = 0.5
    scale: float = 1.35
    blur_share: float = 0.2
    noise: float = 4.0
    jpeg_share: float = 0.3
    jpeg_quality: int = 20


def augment(patches: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Change a batch of patches at random.

    Parameters
    ----------
    patches
        uint8 RGB (N, H, H, 3).
    options
        Strengths.
    generator
        Source of all randomness.

    Returns
    -------
    torch.Tensor
        float32 RGB (N, H, H, 3), 0–255.
    """
    pixels = patches.to(torch.float32)
    pixels = change_stain(pixels, options, generator)
    pixels = change_colours(pixels, options, generator)
    pixels = flip_and_turn(pixels, generator)
    pixels = turn_and_scale(pixels, options, generator)
    pixels = soften(pixels, options, generator)
    return compress(pixels, options, generator)


def change_stain(pixels: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Perturb stain concentrations and stain vectors in optical density (Beer–Lambert)."""
    count = len(pixels)
    stains = functional.normalize(torch.tensor(HE_STAINS), dim=1)
    density = -torch.log(pixels.clamp(min=DARKEST_LEVEL) / WHITE_LEVEL).reshape(count, -1, 3)
    amounts = density @ torch.linalg.inv(stains)
    gain = 1.0 + options.stain_gain * _symmetric((count, 1, 3), generator)
    offset = options.stain_offset * _symmetric((count, 1, 3), generator)
    turned = stains + options.stain_vector * torch.randn((count, 3, 3), generator=generator)
    # An offset of stain belongs to stained pixels: white background stays white.
    tissue = (density.sum(dim=2, keepdim=True) / 0.3).clamp(0.0, 1.0)
    changed = (amounts * gain + offset * tissue) @ functional.normalize(turned, dim=2)
    return (WHITE_LEVEL * torch.exp(-changed)).clamp(0.0, WHITE_LEVEL).reshape(pixels.shape)


def change_colours(pixels: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Mix, strengthen and fade the colours of some patches in optical density; see :class:`AugmentOptions`."""
    chosen = torch.rand(len(pixels), generator=generator) < options.colour_share
    count = int(chosen.sum())
    if count == 0:
        return pixels
    picked = pixels[chosen]
    density = -torch.log(picked.clamp(min=DARKEST_LEVEL) / WHITE_LEVEL).reshape(count, -1, 3)
    mixing = torch.eye(3) + options.colour_mix * _symmetric((count, 3, 3), generator)
    power = torch.exp(options.contrast * _symmetric((count, 1, 1), generator))
    gain = torch.exp(options.colour_gain * _symmetric((count, 1, 3), generator))
    changed = (density @ mixing).clamp(min=0.0).pow(power) * gain
    greyed = torch.rand((count, 1, 1), generator=generator) < options.grey_share
    share = torch.rand((count, 1, 1), generator=generator) * greyed
    changed = torch.lerp(changed, changed.mean(dim=2, keepdim=True).expand_as(changed), share)
    changed = changed + options.tint * torch.rand((count, 1, 3), generator=generator) ** 2
    result = pixels.clone()
    result[chosen] = (WHITE_LEVEL * torch.exp(-changed)).reshape(picked.shape)
    return result


def flip_and_turn(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one of the eight symmetries of the square to each patch."""
    draws = torch.randint(0, 2, (3, len(pixels), 1, 1, 1), generator=generator, dtype=torch.bool)
    pixels = torch.where(draws[0], pixels.flip(1), pixels)
    pixels = torch.where(draws[1], pixels.flip(2), pixels)
    return torch.where(draws[2], pixels.transpose(1, 2), pixels)


def turn_and_scale(pixels: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Turn some patches by any angle and scale them; what comes in from outside is mirrored."""
    chosen = torch.rand(len(pixels), generator=generator) < options.affine_share
    count = int(chosen.sum())
    if count == 0:
        return pixels
    angle = torch.pi * _symmetric((count,), generator)
    factor = torch.exp(_symmetric((count,), generator) * torch.log(torch.tensor(options.scale)))
    cosine, sine, zero = torch.cos(angle) * factor, torch.sin(angle) * factor, torch.zeros(count)
    matrix = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    images = pixels[chosen].permute(0, 3, 1, 2)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    result = pixels.clone()
    result[chosen] = moved.permute(0, 2, 3, 1)
    return result


def soften(pixels: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Blur some patches slightly and add pixel noise of varying strength."""
    count = len(pixels)
    images = pixels.permute(0, 3, 1, 2)
    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    chosen = torch.rand((count, 1, 1, 1), generator=generator) < options.blur_share
    mixed = torch.where(
        chosen, torch.lerp(images, blurred, torch.rand((count, 1, 1, 1), generator=generator)), images
    )
    strength = options.noise * torch.rand((count, 1, 1, 1), generator=generator)
    noisy = mixed + strength * torch.randn(mixed.shape, generator=generator)
    return noisy.clamp(0.0, WHITE_LEVEL).permute(0, 2, 3, 1)


def compress(pixels: Tensor, options: AugmentOptions, generator: torch.Generator) -> Tensor:
    """Compress some patches as JPEG, each with a quality of its own, as a scanner or an archive would have."""
    chosen = torch.rand(len(pixels), generator=generator) < options.jpeg_share
    qualities = torch.randint(options.jpeg_quality, 91, (len(pixels),), generator=generator)
    result = pixels.clone()
    for place in torch.nonzero(chosen).flatten().tolist():
        stream = io.BytesIO()
        patch = Image.fromarray(pixels[place].round().to(torch.uint8).numpy())
        patch.save(stream, "JPEG", quality=int(qualities[place]))
        with Image.open(stream) as compressed:
            result[place] = torch.from_numpy(np.array(compressed, dtype=np.float32))
    return result


def _symmetric(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.rand(shape, generator=generator) - 1.0
