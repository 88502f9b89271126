"""Patch classifiers in PyTorch; prediction runs the exported ONNX graph.

:class:`PatchNetwork` is what every one can do; :class:`InceptionV1` is the paper's, :mod:`ki67.learning.idc.lite`
holds the other. The source of Inception v1 is Szegedy et al., "Going deeper with convolutions", CVPR 2015, Table 1.
Three things differ and are said here:

* batch normalisation after every convolution in place of local response normalisation (Ioffe and Szegedy 2015),
  without which training from scratch on ten thousand patches does not get off the ground;
* ``stem_stride=1`` removes the first convolution's stride: a patch of 50 px would otherwise reach the last block as
  2 x 2 positions;
* ``width`` scales every number of channels, rounded to multiples of 8 (1.0 is the paper's network).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ki67.vocabulary import IdcArchitecture

CHANNEL_STEP = 8
"""Channel counts are kept to multiples of this, the vector width convolution kernels work in."""

AUXILIARY_POOL = 4
"""The auxiliary heads of the paper see 4 x 4 positions (5 x 5 average pooling of 14 x 14 with stride 3)."""

BLOCKS: dict[str, tuple[int, int, int, int, int, int, int]] = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels of each block: in, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (Table 1 of the paper)."""


POOLED_BEFORE = ("4a", "5a")
"""Blocks whose input is pooled first."""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What a network looks like; stored in the checkpoint and in the model's card.

    Parameters
    ----------
    classes
        Number of classes.
    width
        Factor on every number of channels; 1.0 is the network of the paper. Inception v1 only.
    stem_stride
        Stride of the first convolution: 2 in the paper, 1 for small patches. Inception v1 only.
    dropout
        Share of features dropped before the last layer (0.4 in the paper).
    architecture
        Which network, one of :class:`ki67.vocabulary.IdcArchitecture`.
    input_px
        Edge that patches are enlarged to inside the network; EfficientNet-Lite0 only.
    """

    classes: int = 2
    width: float = 1.0
    stem_stride: int = 1
    dropout: float = 0.4
    architecture: str = IdcArchitecture.inception_v1.value
    input_px: int = 96

    @property
    def model_name(self) -> str:
        """What a model of this network is called, and its files."""
        return f"idc_{self.architecture}"


class ConvUnit(nn.Sequential):
    """Convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class InceptionBlock(nn.Module):
    """Four parallel branches, joined along the channels (Fig 2b of the paper)."""

    def __init__(self, channels: tuple[int, int, int, int, int, int, int]) -> None:
        super().__init__()
        inputs, one, reduce3, three, reduce5, five, pool = channels
        self.branch1 = ConvUnit(inputs, one, 1)
        self.branch3 = nn.Sequential(ConvUnit(inputs, reduce3, 1), ConvUnit(reduce3, three, 3))
        self.branch5 = nn.Sequential(ConvUnit(inputs, reduce5, 1), ConvUnit(reduce5, five, 5))
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ConvUnit(inputs, pool, 1))
        self.outputs = one + three + five + pool

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H, W)."""
        return torch.cat([self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x)], dim=1)


class AuxiliaryHead(nn.Module):
    """Classifier on an inner block; it carries gradients to the lower layers and is not exported."""

    def __init__(self, inputs: int, width: float, classes: int) -> None:
        super().__init__()
        reduced, hidden = scaled(128, width), scaled(1024, width)
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(AUXILIARY_POOL),
            ConvUnit(inputs, reduced, 1),
            nn.Flatten(),
            nn.Linear(reduced * AUXILIARY_POOL**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.7),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to logits (N, classes)."""
        logits: Tensor = self.layers(x)
        return logits


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times the width, as a multiple of 8 and at least 8."""
    return max(CHANNEL_STEP, round(channels * width / CHANNEL_STEP) * CHANNEL_STEP)


class PatchNetwork(nn.Module, ABC):
    """A classifier of patches: features, one linear layer, perhaps side heads in training.

    Parameters
    ----------
    options
        What it looks like.
    """

    mirrored = False
    """Whether a patch is also looked at mirrored at its diagonal when it is judged, and what is seen averaged."""

    dropout: nn.Dropout
    head: nn.Linear

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Map normalised patches (N, 3, H, W) to what the last layer sees, (N, channels)."""

    @abstractmethod
    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits (N, classes) and those of the side heads, none where there are no such."""

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised patches (N, 3, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.dropout(self.features(x)))
        return logits

    def seen(self, x: Tensor) -> Tensor:
        """Return the features that a patch is judged by, (N, channels); see :attr:`mirrored`."""
        features = self.features(x)
        return (features + self.features(x.transpose(2, 3))) / 2 if self.mirrored else features


class InceptionV1(PatchNetwork):
    """GoogLeNet: stem, nine inception blocks, average pooling, one linear layer; two auxiliary heads in training.

    Parameters
    ----------
    options
        Width, stem and classes.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__(options)
        width = options.width
        stem1, stem2, stem3 = scaled(64, width), scaled(64, width), scaled(192, width)
        self.stem = nn.Sequential(
            ConvUnit(3, stem1, 7, stride=options.stem_stride),
            nn.MaxPool2d(3, stride=2, padding=1),
            ConvUnit(stem1, stem2, 1),
            ConvUnit(stem2, stem3, 3),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        blocks: dict[str, InceptionBlock] = {}
        channels = stem3
        outputs: dict[str, int] = {}
        for name, (_, *branches) in BLOCKS.items():
            sizes = [scaled(count, width) for count in branches]
            blocks[name] = InceptionBlock((channels, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]))
            channels = outputs[name] = blocks[name].outputs
        self.blocks = nn.ModuleDict(blocks)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.auxiliary = nn.ModuleDict(
            {name: AuxiliaryHead(outputs[name], width, options.classes) for name in ("4a", "4d")}
        )
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(channels, options.classes)
        self.apply(_initialise)

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and those of the two auxiliary heads."""
        side: list[Tensor] = []
        logits: Tensor = self.head(self.dropout(self._trunk(x, side)))
        return logits, side

    def features(self, x: Tensor) -> Tensor:
        """Map normalised patches (N, 3, H, W) to what the last layer sees, (N, channels)."""
        return self._trunk(x, None)

    def _trunk(self, x: Tensor, side: list[Tensor] | None) -> Tensor:
        x = self.stem(x)
        for name, block in self.blocks.items():
            x = block(self.pool(x) if name in POOLED_BEFORE else x)
            if side is not None and name in self.auxiliary:
                side.append(self.auxiliary[name](x))
        return x.mean(dim=(2, 3))


class PatchClassifier(nn.Module):
    """The exported graph: raw patches in, probabilities out. The scaling of pixels is stated here and nowhere else.

    Parameters
    ----------
    network
        Trained network.
    temperature
        Logits are divided by this before the softmax (Guo et al., ICML 2017).
    """

    def __init__(self, network: PatchNetwork, temperature: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Map patches (N, H, W, 3), uint8 RGB, to probabilities (N, classes) and features (N, channels)."""
        features = self.network.seen(normalise(patches))
        return torch.softmax(self.network.head(features) / self.temperature, dim=1), features


def normalise(patches: Tensor) -> Tensor:
    """Map RGB patches (N, H, W, 3) in 0–255 to (N, 3, H, W) in -1–1."""
    return patches.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
