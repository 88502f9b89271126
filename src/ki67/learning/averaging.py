"""Exponential average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Bring the average one step nearer to the network; what is not a floating-point number is copied.

    Early on the average follows closely, or it would carry the random start along for long.
    """
    rate = 1.0 - min(decay, (1 + step) / (10 + step))
    current = network.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(current[name], rate)
        else:
            value.copy_(current[name])
