"""The same network in whole numbers of eight bits, which a processor runs in half of the time.

Activations and weights between the first convolution and the last become whole numbers, each layer by the range that
it has on pictures of the kind that the network learnt from; sums are whole numbers too, so that they are the same on
every processor and however a slide is cut. Weights have seven bits: with eight, processors without instructions for
it lose the highest sums (ONNX Runtime's ``reduce_range``). The last convolution stays as it is.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from ki67.cells.tiling import GRID_PX
from ki67.errors import ModelError
from ki67.fields.patches import WHITE
from ki67.files import atomic_path, read_json, sha256_of, write_json
from ki67.model_files import CPU_PROVIDER, INT8, INT8_SUFFIX
from ki67.progress import message

STRENGTHS: Final = (0.5, 0.7, 1.0, 1.0, 1.0, 1.4, 1.8)
"""Optical densities of the pictures that ranges are taken from are multiplied by one of these: a darker slide than
any that was learnt from must not run out of them."""

CROP_PX, CROPS_PER_FIELD, PATCHES, BATCH, SEED = 256, 2, 512, 16, 67
"""What ranges are taken from: so many crops of each field, or so many patches, drawn with a seed."""

MOST_APART = 0.03
"""Probabilities may be this far off on average; the shipped networks' are 0.001 and 0.017 off."""

_CONVOLUTION = "Conv"


def fields_light(fields: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Batches (1, 3, S, S) of one crop of labelled fields' light (H, W, 3), at several strengths of stain."""
    generator = np.random.default_rng(SEED)
    for light in fields:
        height, width = (min(CROP_PX, side // GRID_PX * GRID_PX) for side in light.shape[:2])
        for _ in range(CROPS_PER_FIELD if height and width else 0):
            top, left = (
                int(generator.integers(0, side - kept + 1))
                for side, kept in zip(light.shape, (height, width), strict=False)
            )
            crop = light[top : top + height, left : left + width] ** generator.choice(STRENGTHS)
            yield np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)


def patches_pixels(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Batches (N, H, H, 3) of some of an IDC network's patches, at several strengths of stain."""
    generator = np.random.default_rng(SEED)
    chosen = pixels[np.sort(generator.permutation(len(pixels))[:PATCHES])]
    for first in range(0, len(chosen), BATCH):
        light = (chosen[first : first + BATCH] / WHITE) ** generator.choice(STRENGTHS)
        yield np.round(light * WHITE).astype(np.uint8)


def add_int8(graph: str | Path, pictures: Iterable[NDArray[Any]]) -> dict[str, Any]:
    """Write a network in whole numbers beside its graph, and into its card that it is there.

    Where it would say something else than the weights do (:data:`MOST_APART`), or there are no pictures, none is
    written, and that is told.

    Parameters
    ----------
    graph
        The ``.onnx`` file; its card lies beside it.
    pictures
        What the graph takes, a batch each, of the kind that it learnt from.

    Returns
    -------
    dict
        The card.
    """
    graph = Path(graph)
    whole, card = graph.with_suffix(INT8_SUFFIX), graph.with_suffix(".json")
    fields = read_json(card, ModelError, "Train or export the model again.", "a model card")
    fields = {name: value for name, value in fields.items() if name != INT8}
    batches = list(pictures)
    if not batches:
        return _without(card, fields, "there are no pictures to take ranges from")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        folded, quantised = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        _fold(graph, folded)
        network = onnx.load(str(folded))
        _begin_by_blocks(network.graph)
        onnx.save(network, str(folded))
        quantize_static(
            folded,
            quantised,
            _Pictures(network.graph.input[0].name, batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_quantize=_between_convolutions(network.graph),
        )
        written = onnx.load(str(quantised))
    _share_equal_weights(written.graph)
    onnx.checker.check_model(written)
    content = written.SerializeToString()
    apart = _apart(graph.read_bytes(), content, batches)
    if not apart <= MOST_APART:
        return _without(card, fields, f"in whole numbers it is {apart:.3f} off on average")
    with atomic_path(whole) as temporary:
        temporary.write_bytes(content)
    full: dict[str, Any] = fields | {INT8: {"sha256": sha256_of(whole), "apart": round(apart, 5)}}
    write_json(card, full)
    return full


def _without(card: Path, fields: dict[str, Any], reason: str) -> dict[str, Any]:
    message(f"the model runs in single precision: {reason}")
    write_json(card, fields)
    return fields


def _apart(graph: bytes, whole: bytes, batches: Sequence[NDArray[Any]]) -> float:
    """Mean difference of two graphs' first outputs, which are probabilities."""
    sessions = [onnxruntime.InferenceSession(one, providers=[CPU_PROVIDER]) for one in (graph, whole)]
    name = sessions[0].get_inputs()[0].name
    found = [[session.run(None, {name: batch})[0] for session in sessions] for batch in batches]
    return float(np.concatenate([np.abs(ours - theirs).ravel() for theirs, ours in found]).mean())


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, pictures: Iterable[NDArray[Any]]) -> None:
        self._name, self._pictures = name, iter(pictures)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch, None after the last."""
        batch = next(self._pictures, None)
        return None if batch is None else {self._name: batch}


def _fold(graph: Path, folded: Path) -> None:
    """Write a graph as the runtime makes it on any processor: constants computed, normalisation in convolutions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(graph), options, providers=[CPU_PROVIDER])


def _begin_by_blocks(graph: onnx.GraphProto) -> None:
    """Let the first two convolutions work on blocks of 2 x 2 pixels, where the second one takes every second pixel.

    Of three channels a processor makes little at once. With the four pixels of a block as channels the numbers and
    their order are others, and many weights are zero; what comes out is the same, in half of the time.
    """
    first = next((node for node in graph.node if node.op_type == _CONVOLUTION), None)
    if first is None or not _is(first, strides=[1, 1]):
        return
    between, second = _after(graph, first), None
    if between is not None and between.op_type == "Relu":
        second = _after(graph, between)
    if second is None or not _is(second, strides=[2, 2]):
        return
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kernels = [onnx.numpy_helper.to_array(weights[node.input[1]]) for node in (first, second)]
    own = [*first.input[1:], second.input[1]]
    # Weights that other layers have too stay as they are.
    if any(kernel.shape[2:] != (3, 3) for kernel in kernels) or any(_takers(graph, name) != 1 for name in own):
        return
    blocks = onnx.helper.make_node("SpaceToDepth", [first.input[0]], ["blocks"], "blocks", blocksize=2)
    graph.node.insert(list(graph.node).index(first), blocks)
    first.input[0] = "blocks"
    outputs, inputs = kernels[0].shape[:2]
    by_blocks = np.zeros((4, outputs, 4, inputs, 3, 3), np.float32)
    halved = np.zeros((kernels[1].shape[0], 4, outputs, 2, 2), np.float32)
    for down, across in product(range(3), range(3)):
        for row, column in product(range(2), range(2)):
            # The pixel that a tap looks at: so many blocks away, in such a place of its block.
            (block_row, place_row), (block_column, place_column) = (
                divmod(place + tap - 1, 2) for place, tap in ((row, down), (column, across))
            )
            tap = kernels[0][:, :, down, across]
            by_blocks[2 * row + column, :, 2 * place_row + place_column, :, block_row + 1, block_column + 1] = tap
        (block_row, place_row), (block_column, place_column) = (divmod(tap - 1, 2) for tap in (down, across))
        halved[:, 2 * place_row + place_column, :, block_row + 1, block_column + 1] = kernels[1][:, :, down, across]
    bias = np.tile(onnx.numpy_helper.to_array(weights[first.input[2]]), 4)
    for node, values in (
        (first, [by_blocks.reshape(4 * outputs, 4 * inputs, 3, 3), bias]),
        (second, [halved.reshape(-1, 4 * outputs, 2, 2)]),
    ):
        for place, value in enumerate(values, 1):
            weights[node.input[place]].CopyFrom(onnx.numpy_helper.from_array(value, node.input[place]))
    del second.attribute[:]
    second.attribute.extend(
        onnx.helper.make_attribute(name, value)
        for name, value in (("kernel_shape", [2, 2]), ("strides", [1, 1]), ("pads", [1, 1, 0, 0]))
    )


def _is(node: onnx.NodeProto, strides: list[int]) -> bool:
    """Whether a node is a convolution with a bias, one pixel wider at each side, of such strides."""
    # What is not told is as ONNX says.
    told: dict[str, Any] = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    told |= {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    expected = {"strides": strides, "pads": [1] * 4, "dilations": [1, 1], "group": 1}
    return (
        node.op_type == _CONVOLUTION
        and len(node.input) == 3
        and all(told[name] == value for name, value in expected.items())
    )


def _after(graph: onnx.GraphProto, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The node that takes what a node gives; None where there is not just one."""
    if _takers(graph, node.output[0]) != 1:
        return None
    return next(other for other in graph.node if node.output[0] in other.input)


def _takers(graph: onnx.GraphProto, name: str) -> int:
    """How many nodes take what has a name."""
    return sum(name in node.input for node in graph.node)


def _between_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that become whole numbers: from the first convolutions on, before the last ones.

    Not what makes a map larger: versions of the runtime differ in how they round there.
    """
    makers = {name: node for node in graph.node for name in node.output}
    after: set[str] = set()
    for node in graph.node:
        # A graph's nodes stand in the order in which they can run.
        if node.op_type == _CONVOLUTION or any(name in makers and makers[name].name in after for name in node.input):
            after.add(node.name)
    before: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type == _CONVOLUTION or node.name in before:
            before.update(makers[name].name for name in node.input if name in makers)
    return [node.name for node in graph.node if node.name in after & before and node.op_type != "Resize"]


def _share_equal_weights(graph: onnx.GraphProto) -> None:
    """Keep weights once that several layers have: a graph that looks twice has each of them twice."""
    kept: dict[tuple[object, ...], str] = {}
    named: dict[str, str] = {}
    for tensor in list(graph.initializer):
        same = (tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes())
        named[tensor.name] = kept.setdefault(same, tensor.name)
        if named[tensor.name] != tensor.name:
            graph.initializer.remove(tensor)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = named.get(name, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that the quantiser gives on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
