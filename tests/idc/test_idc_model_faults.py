"""A model is input: what is malformed, meant to harm or merely of another kind is refused in one line when loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from idc_scene import write_green_model
from ki67.errors import ModelError
from ki67.files import sha256_of
from ki67.idc import load_model

Change = Callable[[ModelProto], object]


def changed(folder: Path, change: Change) -> Path:
    """The green model, its graph changed and its card made to fit."""
    path = write_green_model(folder)
    model = onnx.load(str(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return seal(path)


def seal(path: Path) -> Path:
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": sha256_of(path)}))
    return path


def outside(model: ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "white")
    tensor.float_data.clear()
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


def outside_in_a_node(model: ModelProto) -> None:
    outside(model)
    tensor = model.graph.initializer.pop(1)
    constant = helper.make_node("Constant", [], ["white"])
    constant.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor))
    model.graph.node.insert(0, constant)


def endless(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], [], body=body))


def renamed(old: str, new: str) -> Change:
    def change(model: ModelProto) -> None:
        ports = [*model.graph.input, *model.graph.output]
        for port in ports:
            port.name = port.name.replace(old, new)
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = name.replace(old, new)

    return change


def length(port: str, axis: int, value: int) -> Change:
    def change(model: ModelProto) -> None:
        found = next(one for one in (*model.graph.input, *model.graph.output) if one.name == port)
        dims = found.type.tensor_type.shape.dim
        dims[axis].Clear()
        dims[axis].dim_value = value

    return change


def white(value: float) -> Change:
    def change(model: ModelProto) -> None:
        next(tensor for tensor in model.graph.initializer if tensor.name == "white").float_data[:] = [value]

    return change


def element(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (outside, "keeps weights in another file"),
        (outside_in_a_node, "keeps weights in another file"),
        (endless, "holds the operator Loop"),
        (lambda model: setattr(model.graph.node[0], "domain", "com.example"), "operator com.example.Cast"),
        (lambda model: model.functions.add(name="f", domain="d"), "brings functions of its own"),
        (lambda model: setattr(model.opset_import[0], "version", 9999), "cannot be run"),
        (lambda model: model.graph.node.pop(2), "cannot be run"),
        (lambda model: model.graph.output.pop(), "cannot be run|gives nothing"),
        (lambda model: model.graph.output.append(helper.make_tensor_value_info("mean", 1, ["n", 3])), "gives .*mean"),
        (renamed("patches", "images"), "takes images: .*expected patches"),
        (renamed("probabilities", "scores"), "gives scores: .*expected probabilities"),
        (element, "takes patches: tensor.float"),
        (length("patches", 0, 1), "takes patches: .* 1 x 20 x 20 x 3, expected .* any x 20 x 20 x 3"),
        (length("patches", 1, 30), "cannot be run|takes patches: "),
        (
            lambda model: model.graph.node[5].input.append("tumour"),
            "gives 2 x 3 for 2 x 20 x 20 x 3, expected 2 x 2",
        ),
        (lambda model: model.graph.input[0].type.tensor_type.shape.dim.pop(), "cannot be run|takes patches: "),
        (white(float("nan")), "gives numbers that are none"),
        (white(0.0), "gives numbers that are none|gives values from"),
        (white(1.0), "gives values from -254 to 255, expected probabilities"),
        (lambda model: model.graph.ClearField("node"), "cannot be run"),
        (lambda model: model.ClearField("graph"), "is no ONNX model"),
    ],
)
def test_a_graph_of_another_kind_is_refused_when_it_is_loaded(tmp_path: Path, change: Change, complaint: str) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(ModelError, match=complaint) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_probabilities_that_do_not_sum_to_one_are_refused(tmp_path: Path) -> None:
    def both(model: ModelProto) -> None:
        model.graph.node[5].input[1] = "other"

    with pytest.raises(ModelError, match="sum to"):
        load_model(changed(tmp_path, both))


@pytest.mark.parametrize("kept", [0, 1, 2, 10, 50, 100, -1])
def test_a_cut_graph_is_refused(tmp_path: Path, kept: int) -> None:
    path = write_green_model(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"green\.onnx: "):
        load_model(seal(path))


def test_bytes_changed_at_random_are_refused_or_run(tmp_path: Path) -> None:
    path = write_green_model(tmp_path)
    good, generator = path.read_bytes(), np.random.default_rng(16)
    refused = 0
    for _ in range(150):
        bad = bytearray(good)
        for place in generator.integers(0, len(bad), generator.integers(1, 4)):
            bad[place] = generator.integers(0, 256)
        path.write_bytes(bad)
        try:
            load_model(seal(path))
        except ModelError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": float("nan")},
        {"threshold": -1},
        {"threshold": "0.5"},
        {"threshold": True},
        {"threshold_alone": 1},
        {"mpp": float("inf")},
        {"mpp": [4.0]},
        {"mpp": 10**400},
        {"patch_px": 20.5},
        {"patch_px": -20},
        {"patch_px": 10**9},
        {"core_px": 22},
        {"core_px": 9},
        {"core_px": 0},
        {"core_px": "20"},
        {"classes": "other, IDC"},
        {"classes": ["IDC"]},
        {"classes": ["IDC", "IDC"]},
        {"classes": ["other", "IDC", "DCIS"]},
        {"classes": {"IDC": 1}},
        {"classes": [" ", "IDC"]},
        {"classes": ["a\nb", "IDC"]},
        {"name": 3},
        {"sha256": ["00"]},
        {"sha256": None},
        {"schema": "1"},
        {"surroundings": [1]},
        {"surroundings": {"neighbours": 4}},
        {"surroundings": {"neighbours": 4, "reach_um": 1.0, "weight": "1", "prior": 1.0, "scale": 1.0}},
        {"temperature": 0},
        {"split": {"training": {"patient_marks": 7}}},
        {"patient_marks_before": "abc"},
    ],
)
def test_a_card_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write_green_model(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | changes))
    with pytest.raises(ModelError):
        load_model(path)


@pytest.mark.parametrize("text", ["", "[" * 100_000, '"card"', "null", "\ud800", '{"schema": 1}', '{"a":' * 99])
def test_text_that_is_no_card_is_refused(tmp_path: Path, text: str) -> None:
    path = write_green_model(tmp_path)
    path.with_suffix(".json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError):
        load_model(path)


def test_folders_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no file"):
        load_model(tmp_path)
    path = write_green_model(tmp_path)
    path.with_suffix(".json").unlink()
    path.with_suffix(".json").mkdir()
    with pytest.raises(ModelError, match="folder"):
        load_model(path)


def test_a_number_that_is_none_is_refused_whenever_it_comes(tmp_path: Path) -> None:
    def only_of_mid_green(model: ModelProto) -> None:
        # 0 / 0 where the mean is exactly 100, right everywhere else.
        model.graph.initializer.append(helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0]))
        model.graph.node.insert(3, helper.make_node("Sub", ["level", "hundred"], ["off"]))
        model.graph.node.insert(4, helper.make_node("Div", ["off", "off"], ["unit"]))
        model.graph.node.insert(5, helper.make_node("Mul", ["level", "unit"], ["kept"]))
        model.graph.node[6].input[0] = "kept"

    model = load_model(changed(tmp_path, only_of_mid_green))
    assert model.probabilities(np.full((1, 20, 20, 3), 51, np.uint8)) == pytest.approx(0.8)
    with pytest.raises(ModelError, match="gives numbers that are none"):
        model.probabilities(np.full((1, 20, 20, 3), 100, np.uint8))


def test_what_runs_is_what_was_checked(tmp_path: Path) -> None:
    path = changed(tmp_path, white(255.5))
    model = load_model(path)
    again = load_model(path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert model.probabilities(np.zeros((1, 20, 20, 3), np.uint8)) == pytest.approx(1.0)
    with pytest.raises(ModelError, match="was changed while it was in use"):
        again.probabilities(np.zeros((1, 20, 20, 3), np.uint8))
