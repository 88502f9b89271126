"""Colours, patches and a model small enough to know every number of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ki67.files import sha256_of, write_json

PATCH_PX = 20
MPP = 4.0

PURPLE = (90, 40, 140)
PINK = (225, 170, 200)
WHITE = (255, 255, 255)


def write_green_model(folder: Path, *, threshold: float = 0.5, **changes: object) -> Path:
    """A model whose probability of IDC is 1 - mean green / 255, so that each heat map can be worked out by hand."""
    nodes = [
        helper.make_node("Gather", ["mean", "green"], ["level"], axis=1),
        helper.make_node("Div", ["level", "white"], ["other"]),
        helper.make_node("Sub", ["one", "other"], ["tumour"]),
        helper.make_node("Concat", ["other", "tumour"], ["probabilities"], axis=1),
    ]
    constants = [
        helper.make_tensor("green", TensorProto.INT64, [1], [1]),
        helper.make_tensor("white", TensorProto.FLOAT, [1], [255.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    ]
    return _write(folder / "green.onnx", nodes, constants, ["other", "IDC"], {"threshold": threshold} | changes)


def write_colour_model(folder: Path) -> Path:
    """A model of three classes whose probabilities are the shares of red, green and blue in a patch."""
    nodes = [
        helper.make_node("Add", ["mean", "little"], ["level"]),
        helper.make_node("ReduceSum", ["level", "across"], ["sum"], keepdims=1),
        helper.make_node("Div", ["level", "sum"], ["probabilities"]),
    ]
    constants = [
        helper.make_tensor("little", TensorProto.FLOAT, [1], [1e-3]),
        helper.make_tensor("across", TensorProto.INT64, [1], [1]),
    ]
    return _write(folder / "colour.onnx", nodes, constants, ["Normal", "DCIS", "IDC"], {})


def _write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    classes: list[str],
    changes: Mapping[str, object],
) -> Path:
    """A model of the mean colour of a patch, ``mean``, with its card."""
    before = [
        helper.make_node("Cast", ["patches"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        [*before, *nodes],
        path.stem,
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["n", PATCH_PX, PATCH_PX, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(classes)])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    card = {
        "schema": 1,
        "name": path.stem,
        "architecture": f"mean {path.stem}",
        "licence": "none",
        "patch_px": PATCH_PX,
        "mpp": MPP,
        "classes": classes,
        "threshold": 0.5,
        "sha256": sha256_of(path),
    }
    write_json(path.with_suffix(".json"), {k: v for k, v in (card | changes).items() if v is not None})
    return path


def speckled(color: tuple[int, int, int], count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Noisy patches of one colour."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 12, (count, size, size, 3)) + generator.normal(0, 10, (count, 1, 1, 3))
    return np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
