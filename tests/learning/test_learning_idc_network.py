"""The network is Inception v1: its blocks, its heads, its size, and a graph that computes the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ki67.idc import load_model
from ki67.learning.idc.network import BLOCKS, InceptionV1, NetworkOptions, PatchClassifier, normalise, scaled
from ki67.learning.idc.network_export import export

SMALL = NetworkOptions(width=0.125)


def test_channels_are_those_of_table_1() -> None:
    network = InceptionV1(NetworkOptions())
    inputs = [block.branch1[0].in_channels for block in network.blocks.values()]
    assert inputs == [sizes[0] for sizes in BLOCKS.values()]
    assert [block.outputs for block in network.blocks.values()] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    weights = sum(parameter.numel() for parameter in network.parameters())
    auxiliary = sum(parameter.numel() for parameter in network.auxiliary.parameters())
    # 6 million weights without the 1000-way layer and the auxiliary heads (Szegedy et al., section 5 and Table 1).
    assert 5.8e6 < weights - auxiliary < 6.1e6


@pytest.mark.parametrize("size", [24, 50])
@pytest.mark.parametrize("classes", [2, 3])
def test_logits_and_two_auxiliary_heads(size: int, classes: int) -> None:
    network = InceptionV1(NetworkOptions(width=0.125, classes=classes))
    logits, side = network.with_auxiliary(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, classes)
    assert [head.shape for head in side] == [(2, classes), (2, classes)]
    assert network(torch.zeros(2, 3, size, size)).shape == (2, classes)


def test_the_auxiliary_heads_send_gradients_to_the_stem_only_up_to_their_block() -> None:
    network = InceptionV1(SMALL)
    _, (first, _) = network.with_auxiliary(torch.randn(4, 3, 24, 24))
    first.sum().backward()
    assert network.stem[0][0].weight.grad is not None
    assert network.blocks["4b"].branch1[0].weight.grad is None


def test_width_scales_channels_to_multiples_of_eight() -> None:
    assert [scaled(64, 1.0), scaled(64, 0.5), scaled(16, 0.125), scaled(100, 1.0)] == [64, 32, 8, 96]


def test_pixels_are_scaled_to_minus_one_to_one() -> None:
    images = normalise(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 4, 4, 3))
    assert images.shape == (2, 3, 4, 4)
    assert float(images[0].max()) == -1
    assert float(images[1].min()) == 1


def test_the_exported_graph_computes_what_pytorch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    patches = np.random.default_rng(0).integers(0, 256, (70, 24, 24, 3), dtype=np.uint8)
    network = InceptionV1(SMALL)
    network.train()
    network(torch.randn(32, 3, 24, 24))  # moves the statistics of batch normalisation off their start
    network.eval()
    # An untrained head says the same to everything, which would prove nothing: spread its answers around 0.5.
    with torch.inference_mode():
        network.head.weight.normal_(0, 0.1)
        logits = network(normalise(torch.from_numpy(patches)))
        network.head.bias.sub_(logits.mean(dim=0))
        temperature = float((logits[:, 1] - logits[:, 0]).std())
    target = tmp_path / "small.onnx"
    card = {"name": "small", "architecture": "Inception v1", "licence": "none"}
    export(network, target, card, patch_px=24, mpp=4.0, threshold=0.4, temperature=temperature)
    with torch.inference_mode():
        probabilities, _ = PatchClassifier(network, temperature)(torch.from_numpy(patches))
    expected = probabilities[:, 1].numpy()
    found = load_model(target).probabilities(patches)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=5e-3)  # weights are stored in half precision


def test_the_card_names_what_a_program_needs_and_the_graph_leaves_the_auxiliary_heads_out(tmp_path: Path) -> None:
    network = InceptionV1(SMALL).eval()
    target = tmp_path / "small.onnx"
    card = {"name": "small", "architecture": "Inception v1", "licence": "none", "data": "drawn"}
    export(network, target, card, patch_px=24, mpp=4.0, threshold=0.4)
    stored = json.loads(target.with_suffix(".json").read_text())
    assert stored["data"] == "drawn"
    assert stored["classes"] == ["other", "IDC"]
    assert (stored["patch_px"], stored["mpp"], stored["threshold"]) == (24, 4.0, 0.4)
    names = [tensor.name for tensor in onnx.load(str(target)).graph.initializer]
    assert not [name for name in names if "auxiliary" in name]
