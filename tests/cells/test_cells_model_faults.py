"""Cell models are input: what does not fit their kind is refused in one line when they are loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from ki67.cells import load_engine
from ki67.cells.candidates import FEATURE_NAMES
from ki67.cells.forest import SHIPPED_MODEL
from ki67.cells.network import SHIPPED_NETWORK
from ki67.errors import ModelError
from ki67.files import sha256_of

SHIPPED = {"network": SHIPPED_NETWORK, "forest": SHIPPED_MODEL}

DEVIATION = {"bias": 0.1, "between": 0.2, "per_cell": 0.5, "patients": 40, "groups": 3}


def own(folder: Path, engine: str, model: onnx.ModelProto | None = None, **changes: object) -> Path:
    """A model with the shipped one's card, changed."""
    graph = folder / "own.onnx"
    if model is None:
        shutil.copy(SHIPPED[engine], graph)
    else:
        graph.write_bytes(model.SerializeToString())
    card = json.loads(SHIPPED[engine].with_suffix(".json").read_text()) | {"sha256": sha256_of(graph), "int8": None}
    card |= changes
    graph.with_suffix(".json").write_text(json.dumps(card))
    return graph


def network(classes: int = 3, step: int = 2, scale: float = 1 / 3, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """The mean light of each pixel's square, as so many maps."""
    weights = [scale / step**2] * (classes * 3 * step * step)
    nodes = [helper.make_node("Conv", ["light", "w"], ["proximity"], strides=[step, step])]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("light", kind, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("proximity", kind, [1, classes, "h2", "w2"])],
        [helper.make_tensor("w", kind, [classes, 3, step, step], weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def forest(features: int = len(FEATURE_NAMES), outputs: int = 2) -> onnx.ModelProto:
    """A plain layer in place of trees."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "w"], ["tumour_probabilities"])],
        "layer",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("tumour_probabilities", TensorProto.FLOAT, ["n", outputs])],
        [helper.make_tensor("w", TensorProto.FLOAT, [features, outputs], [0.0] * features * outputs)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_network_and_a_forest_of_the_right_kind_are_taken(tmp_path: Path) -> None:
    assert load_engine("network", own(tmp_path, "network", network())).card.engine == "network"
    assert load_engine("forest", own(tmp_path, "forest", forest())).card.engine == "forest"


@pytest.mark.parametrize(
    ("engine", "build", "complaint"),
    [
        ("network", lambda: network(classes=4), "gives proximity: .* 4 x"),
        ("network", lambda: network(step=4), "gives 1 x 3 x 16 x 24 for 1 x 3 x 64 x 96, expected 1 x 3 x 32 x 48"),
        ("network", lambda: network(scale=5.0), "gives values from 15 to 15, expected probabilities"),
        ("network", lambda: network(kind=TensorProto.DOUBLE), "takes light: tensor.double.|cannot be run"),
        ("network", forest, "takes features"),
        ("network", lambda: helper.make_model(onnx.GraphProto(), ir_version=8), "cannot be run"),
        ("forest", lambda: forest(features=7), "takes features: .* any x 7|takes features: .* n x 7"),
        ("forest", lambda: forest(outputs=3), "gives tumour_probabilities"),
        ("forest", network, "takes light"),
    ],
)
def test_graphs_of_another_kind_are_refused(
    tmp_path: Path, engine: str, build: Callable[[], onnx.ModelProto], complaint: str
) -> None:
    graph = own(tmp_path, engine, build())
    with pytest.raises(ModelError, match=complaint):
        load_engine(engine, graph)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "changes"),
    [
        ("network", {"positive_threshold": -1}),
        ("network", {"positive_threshold": float("nan")}),
        ("network", {"negative_threshold": 1.01}),
        ("network", {"negative_threshold": None}),
        ("network", {"calibration": {}}),
        ("network", {"calibration": {"positive": [1.0, 2.0]}}),
        ("network", {"calibration": {"positive": [1.0, float("inf")], "negative": [1.0, 2.0]}}),
        ("network", {"calibration": {"positive": 3, "negative": "x"}}),
        ("network", {"calibration": [1]}),
        ("network", {"classes": ["positive", "negative", "other"]}),
        ("network", {"classes": 3}),
        ("network", {"mpp": "0.5"}),
        ("network", {"mpp": 0.25}),
        ("network", {"fields": "bcdata/1"}),
        ("network", {"schema": 1}),
        ("network", {"index_deviation": 3}),
        ("network", {"index_deviation": {"bias": 0.1}}),
        ("network", {"index_deviation": {**DEVIATION, "between": -1}}),
        ("network", {"index_deviation": {**DEVIATION, "patients": 1.5}}),
        ("forest", {"features": ["Area"]}),
        ("forest", {"features": 64}),
        ("forest", {"overlap": float("nan")}),
        ("forest", {"overlap": [0.75]}),
        ("forest", {"overlap": -1}),
    ],
)
def test_cards_of_another_kind_are_refused(tmp_path: Path, engine: str, changes: dict[str, object]) -> None:
    graph = own(tmp_path, engine, **changes)
    with pytest.raises(ModelError):
        load_engine(engine, graph)  # type: ignore[arg-type]


def test_a_network_that_cannot_be_taken_apart_is_no_start(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from ki67.learning.cells.network_start import _convolutions

    with pytest.raises(ModelError, match="no network that can be trained on"):
        _convolutions(own(tmp_path, "network", network()))
