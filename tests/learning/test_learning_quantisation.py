"""Networks in whole numbers say what their weights say, on every cut of the pixels, and are not taken for others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ki67 import idc
from ki67.cells.network import SHIPPED_NETWORK, load_network
from ki67.errors import ModelError
from ki67.files import sha256_of
from ki67.learning.quantisation import CROP_PX, CROPS_PER_FIELD, add_int8, fields_light, patches_pixels
from ki67.model_files import CPU_PROVIDER, CUDA_PROVIDER, INT8_SUFFIX, Runner, run_on
from ki67.vocabulary import Device


def twice_looked(path: Path) -> Path:
    """A graph of two views through the same two convolutions each, whose first one has batch normalisation."""
    rng = np.random.default_rng(3)
    weights = {
        "w1": rng.normal(0, 0.2, (8, 3, 3, 3)),
        "w2": rng.normal(0, 0.1, (8, 8, 3, 3)),
        "w3": rng.normal(0, 0.1, (1, 8, 1, 1)),
        "scale": rng.uniform(0.5, 1.5, 8),
        "shift": rng.normal(0, 0.1, 8),
        "mean": rng.normal(0, 0.1, 8),
        "var": rng.uniform(0.5, 1.5, 8),
    }
    nodes = []
    for view, pixels in (("a", "x"), ("b", "turned")):
        if view == "b":
            nodes.append(helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 1, 3, 2]))
        nodes += [
            helper.make_node("Conv", [pixels, "w1"], [f"{view}1"], f"{view}.first", pads=[1] * 4),
            helper.make_node(
                "BatchNormalization", [f"{view}1", "scale", "shift", "mean", "var"], [f"{view}2"], f"{view}.norm"
            ),
            helper.make_node("Relu", [f"{view}2"], [f"{view}3"], f"{view}.relu"),
            helper.make_node("Conv", [f"{view}3", "w2"], [f"{view}4"], f"{view}.second", pads=[1] * 4),
            helper.make_node("Relu", [f"{view}4"], [f"{view}5"], f"{view}.relu2"),
            helper.make_node("Conv", [f"{view}5", "w3"], [f"{view}6"], f"{view}.last"),
            helper.make_node("GlobalAveragePool", [f"{view}6"], [f"{view}7"], f"{view}.mean"),
        ]
    nodes += [helper.make_node("Add", ["a7", "b7"], ["both"], "sum"), helper.make_node("Sigmoid", ["both"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "views",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 1])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    path.with_suffix(".json").write_text(json.dumps({"name": "views"}))
    return path


def test_what_lies_between_the_convolutions_becomes_whole_numbers_each_weight_once(tmp_path: Path) -> None:
    graph = twice_looked(tmp_path / "views.onnx")
    pictures = np.random.default_rng(4).random((6, 1, 3, 32, 32), np.float32)
    card = add_int8(graph, pictures)
    whole = graph.with_suffix(INT8_SUFFIX)
    assert card["name"] == "views"
    assert card["int8"]["sha256"] == sha256_of(whole)
    assert 0 < card["int8"]["apart"] < 0.01
    assert json.loads(graph.with_suffix(".json").read_text()) == card
    written = onnx.load(str(whole)).graph
    kernels = [numpy_helper.to_array(tensor) for tensor in written.initializer if len(tensor.dims) == 4]
    # The last one stays in floats, and each is there once though two views go through it.
    assert sorted((kernel.dtype.name, kernel.shape) for kernel in kernels) == [
        ("float32", (1, 8, 1, 1)),
        ("int8", (8, 3, 3, 3)),
        ("int8", (8, 8, 3, 3)),
    ]
    assert max(np.abs(kernel).max() for kernel in kernels if kernel.dtype == np.int8) <= 64
    import onnxruntime

    found, expected = (
        np.concatenate([session.run(None, {"x": picture})[0] for picture in pictures])
        for session in (
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (whole, graph)
        )
    )
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_the_shipped_networks_say_in_whole_numbers_what_their_weights_say() -> None:
    rng = np.random.default_rng(5)
    network = load_network()
    light = np.clip(rng.normal(0.8, 0.15, (1, 3, 192, 256)), 0, 1).astype(np.float32)
    apart = np.abs(network.run(light) - network.in_floats.run(light))
    assert 0 < apart.max() < 0.15
    assert apart.mean() < 0.01
    model = idc.load_model()
    patches = rng.integers(90, 255, (40, 50, 50, 3), dtype=np.uint8)
    apart = np.abs(model.probabilities(patches) - model.in_floats.probabilities(patches))
    assert 0 < apart.max() < 0.2
    assert apart.mean() < 0.05


def test_whole_numbers_are_the_same_to_the_bit_wherever_the_pixels_end() -> None:
    network = load_network()
    light = np.random.default_rng(6).random((1, 3, 512, 480), np.float32)
    whole = network.run(light)
    first, last = network.seen_px
    cut = network.run(np.ascontiguousarray(light[:, :, 96:448, 64:416]))
    inside = slice(-(-first // 2), (352 - last) // 2)
    across, down = (slice(start // 2 + inside.start, start // 2 + inside.stop) for start in (64, 96))
    # The last convolution is in floats: its sums may differ in their last bit.
    np.testing.assert_allclose(cut[:, :, inside, inside], whole[:, :, down, across], atol=1e-6)
    model = idc.load_model()
    patches = np.random.default_rng(7).integers(0, 256, (40, 50, 50, 3), dtype=np.uint8)
    alone = np.concatenate([model.probabilities(patches[n : n + 1]) for n in range(len(patches))])
    np.testing.assert_array_equal(model.probabilities(patches), alone)


@pytest.mark.parametrize(
    ("listed", "used", "device", "runs"),
    [
        ([CPU_PROVIDER], CPU_PROVIDER, Device.cpu, SHIPPED_NETWORK.with_suffix(INT8_SUFFIX)),
        ([CPU_PROVIDER], CPU_PROVIDER, Device.auto, SHIPPED_NETWORK.with_suffix(INT8_SUFFIX)),
        ([CUDA_PROVIDER, CPU_PROVIDER], CPU_PROVIDER, Device.cpu, SHIPPED_NETWORK.with_suffix(INT8_SUFFIX)),
        ([CUDA_PROVIDER, CPU_PROVIDER], CUDA_PROVIDER, Device.auto, SHIPPED_NETWORK),
        ([CUDA_PROVIDER, CPU_PROVIDER], CUDA_PROVIDER, Device.cuda, SHIPPED_NETWORK),
        # Listed, and not there: the processor runs what a processor runs.
        ([CUDA_PROVIDER, CPU_PROVIDER], CPU_PROVIDER, Device.auto, SHIPPED_NETWORK.with_suffix(INT8_SUFFIX)),
    ],
)
def test_a_card_runs_the_weights_themselves(
    monkeypatch: pytest.MonkeyPatch, listed: list[str], used: str, device: Device, runs: Path
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: listed)
    started: list[tuple[Path, str, Device]] = []

    def run(graph: Path, sha256: str, device: Device) -> Runner:
        started.append((graph, sha256, device))
        return cast(Runner, SimpleNamespace(provider=CPU_PROVIDER if device is Device.cpu else used))

    card = load_network().card
    run_on(device, SHIPPED_NETWORK, card, run)
    assert started[-1][:2] == (runs, sha256_of(runs))
    run_on(device, SHIPPED_NETWORK, replace(card, int8=None), run)
    assert started[-1] == (SHIPPED_NETWORK, card.sha256, device)


def test_no_version_of_the_runtime_makes_maps_larger_in_whole_numbers() -> None:
    # Those up to 1.23 did where the numbers before and after have one scale, and rounded otherwise than later ones.
    graph = onnx.load(str(SHIPPED_NETWORK.with_suffix(INT8_SUFFIX))).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    larger = [node for node in graph.node if node.op_type == "Resize"]
    assert len(larger) == 6
    for node in larger:
        before = makers[node.input[0]]
        (after,) = (other for other in graph.node if node.output[0] in other.input)
        assert (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
        assert values[before.input[1]] != values[after.input[1]]


def test_a_model_whose_whole_numbers_are_missing_or_anothers_is_refused(tmp_path: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(SHIPPED_NETWORK.with_suffix(suffix), tmp_path / f"mine{suffix}")
    with pytest.raises(ModelError, match=r"mine\.int8\.onnx: is missing; the card of mine\.onnx says that it lies"):
        load_network(tmp_path / "mine.onnx")
    shutil.copy(SHIPPED_NETWORK, tmp_path / "mine.int8.onnx")
    with pytest.raises(ModelError, match=r"mine\.int8\.onnx: does not belong to its card"):
        load_network(tmp_path / "mine.onnx")
    card = json.loads((tmp_path / "mine.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps(card | {"int8": 7}))
    with pytest.raises(ModelError, match=r"mine\.json: says int8 is 7, expected an object"):
        load_network(tmp_path / "mine.onnx")


def test_pictures_are_crops_and_patches_at_several_strengths() -> None:
    rng = np.random.default_rng(8)
    fields = [
        rng.random((300, 280, 3), np.float32),
        rng.random((100, 90, 3), np.float32),
        np.ones((8, 8, 3), np.float32),
    ]
    shapes = [light.shape for light in fields_light(fields)]
    assert shapes == [(1, 3, CROP_PX, CROP_PX)] * CROPS_PER_FIELD + [(1, 3, 96, 80)] * CROPS_PER_FIELD
    pixels = rng.integers(0, 256, (20, 5, 5, 3), dtype=np.uint8)
    batches = list(patches_pixels(pixels))
    assert [len(batch) for batch in batches] == [16, 4]
    assert len({float(batch.mean().round(0)) for batch in batches}) == 2


def test_a_network_that_begins_at_every_pixel_begins_by_blocks_and_says_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    shapes = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (8, 6, 3, 3), "b2": (8,), "w3": (2, 8, 1, 1), "b3": (2,)}
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["light", "w1", "b1"], ["1"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["1"], ["2"], "relu"),
        helper.make_node("Conv", ["2", "w2", "b2"], ["3"], "second", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["3"], ["4"], "relu2"),
        helper.make_node("Conv", ["4", "w3", "b3"], ["5"], "last"),
        helper.make_node("Sigmoid", ["5"], ["y"], "sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "by blocks",
        [helper.make_tensor_value_info("light", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, "h2", "w2"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    path.with_suffix(".json").write_text("{}")
    pictures = rng.random((4, 1, 3, 32, 48), np.float32)
    add_int8(path, pictures)
    whole = path.with_suffix(INT8_SUFFIX)
    assert any(node.op_type == "SpaceToDepth" for node in onnx.load(str(whole)).graph.node)
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(str(one), providers=["CPUExecutionProvider"]) for one in (whole, path)]
    found, expected = (np.concatenate([one.run(None, {"light": x})[0] for x in pictures]) for one in sessions)
    # Edges are where blocks could go wrong; whole numbers alone are off by a hundredth.
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_what_would_say_something_else_is_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("ki67.learning.quantisation.message", told.append)
    graph = twice_looked(tmp_path / "views.onnx")
    pictures = np.random.default_rng(4).random((2, 1, 3, 32, 32), np.float32)
    assert "int8" in add_int8(graph, pictures)
    assert add_int8(graph, []) == json.loads(graph.with_suffix(".json").read_text()) == {"name": "views"}
    monkeypatch.setattr("ki67.learning.quantisation.MOST_APART", 0.0)
    assert add_int8(graph, pictures) == {"name": "views"}
    assert told[0].startswith("the model runs in single precision: there are no pictures")
    assert told[1].startswith("the model runs in single precision: in whole numbers it is 0.0")
