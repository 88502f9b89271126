"""EfficientNet-Lite0 as a patch classifier, in PyTorch.

It starts from weights that know ImageNet (:mod:`ki67.learning.efficientnet_lite`), so that the labelled patches need
not teach edges and textures. They are small for a network made for photographs, and are enlarged inside it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ki67.learning.efficientnet_lite import (
    BLOCKS,
    HEAD_CHANNELS,
    STEM_CHANNELS,
    Convolution,
    load_imagenet,
    make_blocks,
)
from ki67.learning.idc.network import InceptionV1, NetworkOptions, PatchNetwork
from ki67.vocabulary import IdcArchitecture


class LiteClassifier(PatchNetwork):
    """EfficientNet-Lite0 with one linear layer for the classes; no side heads.

    Parameters
    ----------
    options
        Classes, drop-out, and the edge that patches are enlarged to.
    """

    mirrored = True

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__(options)
        self.stem = Convolution(3, STEM_CHANNELS, 3, 2)
        self.blocks = make_blocks(BLOCKS)
        self.last = Convolution(BLOCKS[-1][-1], HEAD_CHANNELS, 1)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(HEAD_CHANNELS, options.classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        """Map normalised patches (N, 3, H, W) to what the last layer sees, (N, 1280)."""
        edge = self.options.input_px
        x = functional.interpolate(x, size=(edge, edge), mode="bilinear", align_corners=False)
        x = functional.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.last(x)).mean(dim=(2, 3))

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits (N, classes); there are no side heads."""
        return self(x), []

    def load_imagenet(self) -> None:
        """Take the weights of all layers but the last (:func:`ki67.learning.efficientnet_lite.load_imagenet`)."""
        load_imagenet(self.stem, self.blocks, self.last)


def build_network(options: NetworkOptions) -> PatchNetwork:
    """Return a network with random weights.

    Raises
    ------
    ValueError
        Where there is no such architecture.
    """
    if IdcArchitecture(options.architecture) is IdcArchitecture.inception_v1:
        return InceptionV1(options)
    return LiteClassifier(options)


def begin_network(options: NetworkOptions) -> PatchNetwork:
    """Return a network to train: random weights, or those of ImageNet where the architecture has them.

    Raises
    ------
    MissingExtraError
        Where the package with the weights is not installed.
    """
    network = build_network(options)
    if isinstance(network, LiteClassifier):
        network.load_imagenet()
    return network
