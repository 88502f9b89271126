"""From a trained network to the ONNX graph that is shipped, and its card."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ki67.files import atomic_path, sha256_of, write_json
from ki67.idc.model import CARD_SCHEMA, FEATURES_NAME, INPUT_NAME, OUTPUT_NAME, PUBLIC_CLASSES
from ki67.learning.idc.network import PatchClassifier, PatchNetwork

OPSET = 17
"""Read by every ONNX Runtime from 1.13 on."""

HALF_FROM = 1024
"""Weights of at least this many numbers are stored in half precision."""


def export(
    network: PatchNetwork,
    path: str | Path,
    card: dict[str, Any],
    *,
    patch_px: int,
    mpp: float,
    threshold: float,
    temperature: float = 1.0,
    classes: Sequence[str] = PUBLIC_CLASSES,
    core_px: int | None = None,
) -> None:
    """Write the graph and its card.

    Batch normalisation stays apart, so that a model can be adapted; the runtime folds it in when it loads. Weights
    are stored in half precision and widened then too, which halves the file; computation stays in single precision.

    Parameters
    ----------
    network
        Trained network; the auxiliary heads are left out.
    path
        ``.onnx`` file; the card goes beside it as ``.json``.
    card
        Further fields of the card: name, architecture, licence, data, figures.
    patch_px, mpp
        Edge length of the input and µm per pixel.
    threshold
        Probability of IDC at and above which a patch is called invasive.
    temperature
        Calibration, built into the graph.
    classes
        Names of the outputs, in their order.
    core_px
        Edge of the square in the middle that the probabilities are of; None for the whole patch.
    """
    target = Path(path)
    classifier = PatchClassifier(network, temperature).to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    example = torch.zeros((2, patch_px, patch_px, 3), dtype=torch.uint8)
    with atomic_path(target) as temporary:
        with warnings.catch_warnings():
            # The exporter that needs no further package is the older one, and says so.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                classifier,
                (example,),
                str(temporary),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME, FEATURES_NAME],
                dynamic_axes={name: {0: "count"} for name in (INPUT_NAME, OUTPUT_NAME, FEATURES_NAME)},
                opset_version=OPSET,
                # Leaves batch normalisation as it is.
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                dynamo=False,
            )
        graph = onnx.load(str(temporary))
        store_in_half_precision(graph)
        onnx.checker.check_model(graph)
        temporary.write_bytes(graph.SerializeToString())
    write_json(
        target.with_suffix(".json"),
        card
        | {
            "schema": CARD_SCHEMA,
            "patch_px": patch_px,
            "core_px": patch_px if core_px is None else core_px,
            "mpp": mpp,
            "classes": list(classes),
            "threshold": threshold,
            "temperature": temperature,
            "sha256": sha256_of(target),
            "input": f"{INPUT_NAME}: uint8 RGB (N, {patch_px}, {patch_px}, 3); scaled to -1–1 inside the graph",
            "output": f"{OUTPUT_NAME}: float32 (N, {len(classes)}); "
            f"{FEATURES_NAME}: float32 (N, {network.head.in_features}), what the last layer sees",
        },
    )


def store_in_half_precision(graph: onnx.ModelProto) -> None:
    """Replace large float32 weights by float16 and a cast, in place; the runtime folds the casts when it loads.

    Parameters
    ----------
    graph
        Graph to change.
    """
    casts = []
    for tensor in graph.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < HALF_FROM:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name + ".half")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=name + ".widen", to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        graph.graph.node.insert(place, node)
