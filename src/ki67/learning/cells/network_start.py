"""A network to go on training with, from the ONNX graph of one that was trained.

The graph holds convolutions with the batch normalisation folded in. Here it is taken apart again: the statistics of
each layer are measured on training crops, and gain and offset are set so that the network computes what the graph
does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ki67.cells.network import load_network
from ki67.errors import ModelError
from ki67.learning.cells.crops import Crops
from ki67.learning.cells.network_training import ARCHITECTURES, NetworkOptions, build_network, draw_batch
from ki67.learning.cells.unet import WIDTHS
from ki67.model_files import taking_apart

_STATISTICS_BATCHES = 6
MOST_CHANNELS = 1024
"""Of a layer; more is no card of ours."""


def options_like(path: str | Path, options: NetworkOptions) -> NetworkOptions:
    """Options for going on from a graph: its architecture and widths, as its card tells them, and all else as given.

    Raises
    ------
    ModelError
        Where graph or card are damaged, or the card tells no such architecture.
    """
    model = load_network(path)
    options_then = model.card.details.get("options")
    told = options_then if isinstance(options_then, dict) else {}
    architecture, widths = told.get("architecture", "unet"), told.get("widths", WIDTHS)
    known = architecture in ARCHITECTURES and isinstance(widths, list | tuple) and len(widths) == len(WIDTHS)
    if not known or not all(type(one) is int and 0 < one <= MOST_CHANNELS for one in widths):
        raise ModelError(
            model.path.with_suffix(".json"),
            f"tells of no network that can be gone on from (architecture {architecture}, widths {widths})",
            "Train from scratch, or start from another model.",
        )
    return replace(options, architecture=architecture, widths=tuple(widths))


def start_from(path: str | Path | None, crops: Crops, options: NetworkOptions) -> nn.Module:
    """The network of a graph, ready to be trained on.

    Parameters
    ----------
    path
        The ``.onnx`` file; None takes the shipped network.
    crops
        What it will be trained on: layers are normalised by what these look like.
    options
        Architecture, widths, and how many crops make a step.

    Raises
    ------
    ModelError
        Where the graph is damaged, or of another architecture.
    """
    source = load_network(path).path
    network = build_network(options)
    folded = _convolutions(source)
    own = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if [tuple(weight.shape) for weight, _ in folded] != [tuple(module.weight.shape) for module in own]:
        raise ModelError(
            source,
            "is no network of this architecture and these widths",
            "Train from scratch, or start from another model.",
        )
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for module, (weight, bias) in zip(own, folded, strict=True):
            module.weight.copy_(weight)
            if module.bias is not None:
                module.bias.copy_(bias)
        offsets = [bias for module, (_, bias) in zip(own, folded, strict=True) if module.bias is None]
        hooks = [
            norm.register_forward_pre_hook(_normalised(offset)) for norm, offset in zip(norms, offsets, strict=True)
        ]
        light = [draw_batch(crops, options, step)[0].cpu() for step in range(_STATISTICS_BATCHES)]
        network.eval()(torch.cat(light))
        for hook in hooks:
            hook.remove()
    return network


def _convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the graph's convolutions, in the order in which they are computed."""
    with taking_apart(path, "Train from scratch, or start from another model."):
        graph = onnx.load(str(path)).graph
        known = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
        return [(known[node.input[1]], known[node.input[2]]) for node in graph.node if node.op_type == "Conv"]


def _normalised(offset: Tensor) -> Callable[[nn.BatchNorm2d, tuple[Tensor, ...]], None]:
    """Before a layer's first use: normalise by what comes in, and undo it by gain and offset."""

    def prepare(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        module.running_mean.copy_(mean)  # type: ignore[union-attr]
        module.running_var.copy_(variance)  # type: ignore[union-attr]
        module.weight.copy_(torch.sqrt(variance + module.eps))
        module.bias.copy_(offset + mean)

    return prepare
