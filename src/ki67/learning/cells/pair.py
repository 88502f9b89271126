"""Two networks that look at the same pixels: the maps are the mean of both.

One learnt from nothing but nuclei, the other had seen ImageNet before: where they err, they err in other places, so
that their mean is right more often than either (Lakshminarayanan et al., NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ki67.learning.cells.lite_unet import SEEN_PX as LITE_SEEN_PX
from ki67.learning.cells.lite_unet import LiteNetwork
from ki67.learning.cells.unet import SEEN_PX as UNET_SEEN_PX
from ki67.learning.cells.unet import WIDTHS, CellNetwork

# Proximities this near to 0 and 1 are all the same.
_LEAST = 1e-6


class PairNetwork(nn.Module):
    """Proximity maps of other, positive and negative nuclei, as :class:`~ki67.learning.cells.unet.CellNetwork`'s.

    Parameters
    ----------
    widths
        Channels of the U-Net's five levels.
    """

    seen_px = tuple(max(both) for both in zip(UNET_SEEN_PX, LITE_SEEN_PX, strict=True))

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.unet = CellNetwork(widths)
        self.lite = LiteNetwork()

    def forward(self, light: Tensor) -> Tensor:
        """Logits (N, 3, H/2, W/2) from transmitted light (N, 3, H, W), 1 for the background; H, W multiples of 16."""
        return torch.logit(self.proximity(light), eps=_LEAST)

    def proximity(self, light: Tensor) -> Tensor:
        """Maps (N, 3, H/2, W/2), 0 to 1."""
        return (torch.sigmoid(self.unet(light)) + torch.sigmoid(self.lite(light))) * 0.5
