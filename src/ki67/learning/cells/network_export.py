"""From a trained cell network to the ONNX graph that is shipped."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ki67.cells.card import CARD_SCHEMA
from ki67.cells.channels import WORKING_MPP
from ki67.cells.network import INPUT_NAME, OUTPUT_NAME, SEEN
from ki67.cells.tiling import GRID_PX
from ki67.files import atomic_path, sha256_of, write_json
from ki67.learning.cells.pair import PairNetwork
from ki67.vocabulary import CLASSES

OPSET = 17
"""Read by every ONNX Runtime from 1.13 on."""


class _Proximity(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, light: Tensor) -> Tensor:
        if isinstance(self.network, PairNetwork):
            return self.network.proximity(light)
        return torch.sigmoid(self.network(light))


def export_network(network: nn.Module, path: str | Path, card: dict[str, Any]) -> dict[str, Any]:
    """Write graph and card; returns the card.

    Parameters
    ----------
    network
        Trained network; batch normalisation is folded into the convolutions.
    path
        The ``.onnx`` file.
    card
        Further fields: name, data, licence, figures, ``positive_threshold``, ``negative_threshold``.
    """
    target = Path(path)
    module = _Proximity(network).to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    with atomic_path(target) as temporary:
        with warnings.catch_warnings():
            # The exporter that needs no further package is the older one, and says so.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                module,
                (torch.ones((1, 3, 4 * GRID_PX, 4 * GRID_PX)),),
                str(temporary),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes={INPUT_NAME: {2: "height", 3: "width"}, OUTPUT_NAME: {2: "height2", 3: "width2"}},
                opset_version=OPSET,
                dynamo=False,
            )
        onnx.checker.check_model(onnx.load(str(temporary)))
    full = card | {
        "schema": CARD_SCHEMA,
        "engine": "network",
        "mpp": WORKING_MPP,
        "classes": list(CLASSES),
        "input": f"{INPUT_NAME}: float32 (1, 3, H, W), transmitted light, 1 for the background; H, W of {GRID_PX}",
        "output": f"{OUTPUT_NAME}: float32 (1, 3, H/2, W/2), proximity 0 to 1 of {', '.join(CLASSES)}",
        SEEN: list(network.seen_px),  # type: ignore[arg-type]
        "sha256": sha256_of(target),
    }
    write_json(target.with_suffix(".json"), full)
    return full
