"""EfficientNet-Lite0 as a patch classifier; colours that no laboratory stains; what a slide looks like to a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ki67.domain import Verdict
from ki67.errors import ModelError
from ki67.idc import FeatureMean, load_model
from ki67.idc.appearance import Appearance
from ki67.learning.efficientnet_lite import BLOCKS, Convolution, load_imagenet, make_blocks
from ki67.learning.idc.adaptation import load_network
from ki67.learning.idc.augment import AugmentOptions, change_colours
from ki67.learning.idc.checkpoint import options_for
from ki67.learning.idc.lite import LiteClassifier, begin_network, build_network
from ki67.learning.idc.network import InceptionV1, NetworkOptions, normalise
from ki67.learning.idc.network_export import export
from ki67.vocabulary import IdcArchitecture

LITE = NetworkOptions(architecture=IdcArchitecture.efficientnet_lite0.value, input_px=32)


@pytest.fixture(scope="module")
def network() -> LiteClassifier:
    torch.manual_seed(1)
    made = build_network(LITE)
    assert isinstance(made, LiteClassifier)
    # As training leaves them: all different. Equal ones the exporter stores but once.
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight, module.bias):
                assert values is not None
                values.data.add_(0.1 * torch.rand(values.shape))
    return made.eval()


def test_logits_and_features_of_patches_of_any_size(network: LiteClassifier) -> None:
    for edge in (20, 50):
        patches = torch.zeros(2, 3, edge, edge)
        assert network(patches).shape == (2, 2)
        assert network.features(patches).shape == (2, 1280)
    assert network.with_auxiliary(torch.zeros(2, 3, 20, 20))[1] == []


def test_architecture_decides_the_network() -> None:
    assert isinstance(build_network(NetworkOptions(width=0.125)), InceptionV1)
    with pytest.raises(ValueError, match="resnet"):
        build_network(NetworkOptions(architecture="resnet"))
    options = options_for(IdcArchitecture.efficientnet_lite0, 50, ("other", "DCIS", "IDC")).network
    assert (options.classes, options.input_px, options.architecture) == (3, 96, "efficientnet_lite0")


def test_begins_with_what_imagenet_taught() -> None:
    first, second = begin_network(LITE), begin_network(LITE)
    assert isinstance(first, LiteClassifier)
    assert isinstance(second, LiteClassifier)
    assert torch.equal(first.last.convolution.weight, second.last.convolution.weight)
    assert not torch.equal(first.head.weight, second.head.weight)
    stem, blocks = Convolution(3, 32, 3, 2), make_blocks(BLOCKS[:2])
    load_imagenet(stem, blocks)
    assert torch.equal(stem.convolution.weight, first.stem.convolution.weight)


@pytest.fixture(scope="module")
def exported(network: LiteClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a model with its card; tests that damage the card take a copy."""
    path = tmp_path_factory.mktemp("exported") / "lite.onnx"
    card = {"name": "lite", "architecture": "EfficientNet-Lite0", "licence": "research use", "data": "none"}
    card["training"] = {"options": {"network": {"architecture": "efficientnet_lite0", "input_px": 32}}}
    export(network, path, card, patch_px=20, mpp=4.0, threshold=0.5)
    return path


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    for path in exported.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / exported.name


def test_exported_graph_says_what_the_network_says_and_becomes_it_again(
    network: LiteClassifier, exported: Path
) -> None:
    model = load_model(exported)
    patches = np.random.default_rng(2).integers(0, 256, (3, 20, 20, 3), np.uint8)
    probabilities, features = model.features(patches)
    with torch.inference_mode():
        seen = network.seen(normalise(torch.from_numpy(patches)))
        expected = torch.softmax(network.head(seen), dim=1)
    assert np.allclose(features, seen.numpy(), atol=0.02)
    assert np.allclose(probabilities, expected.numpy(), atol=0.005)
    both = np.concatenate([patches, patches.transpose(0, 2, 1, 3)])
    assert np.allclose(*np.split(model.probabilities(both), 2), atol=1e-3)
    again = load_network(model)
    assert torch.allclose(again.head.weight, network.head.weight, atol=1e-3)


def test_card_of_other_features_is_told(copy: Path) -> None:
    card = json.loads(copy.with_suffix(".json").read_text())
    appearance = {"other": [0.0] * 7, "tumour": [1.0] * 7, "spread": [1.0] * 7, "usual": 2.0, "believable": 3.0}
    copy.with_suffix(".json").write_text(json.dumps(card | {"appearance": appearance}))
    with pytest.raises(ModelError, match="gives 1280 features, its card tells of 7"):
        load_model(copy)


@pytest.mark.parametrize("field", ["other", "tumour", "spread", "usual", "believable"])
@pytest.mark.parametrize("value", [None, "wide", -1.0, [0.0, "one"]])
def test_damaged_appearance_is_told(copy: Path, field: str, value: object) -> None:
    card = json.loads(copy.with_suffix(".json").read_text())
    appearance: dict[str, object] = {name: [1.0] * 1280 for name in ("other", "tumour", "spread")}
    appearance |= {"usual": 2.0, "believable": 3.0}
    copy.with_suffix(".json").write_text(json.dumps(card | {"appearance": appearance | {field: value}}))
    with pytest.raises(ModelError, match=rf"appearance\.{field}"):
        load_model(copy)


def seen(features: list[float], patches: int) -> FeatureMean:
    found = FeatureMean()
    found.add(np.tile(np.array(features, np.float32), (patches, 1)))
    return found


KNOWN = Appearance(np.zeros(4), np.zeros(4), np.array([1.0, 1.0, 2.0, 2.0]), usual=2.0, believable=3.0)


@pytest.mark.parametrize(
    ("features", "verdict"),
    [([1.0, 1, 2, 2], Verdict.usual), ([2.5, 2.5, 5, 5], Verdict.unusual), ([4.0, 4, 8, 8], Verdict.unusable)],
)
def test_a_slide_far_from_what_was_learnt_is_told(features: list[float], verdict: Verdict) -> None:
    check = KNOWN.check(seen(features, 100))
    assert check.verdict is verdict
    assert check.value == pytest.approx(features[0])
    assert bool(check.text) is (verdict is not Verdict.usual)


def test_how_much_of_a_slide_is_carcinoma_makes_it_no_stranger() -> None:
    known = Appearance(np.zeros(4), np.array([8.0, 0.0, 0.0, 0.0]), np.ones(4), usual=2.0, believable=3.0)
    for share in (0.0, 0.3, 1.0):
        assert known.distance(np.array([8.0 * share, 0.0, 0.0, 1.0])) == pytest.approx(0.5)
    assert known.distance(np.array([16.0, 0.0, 0.0, 0.0])) == pytest.approx(4.0)


def test_few_patches_say_nothing_of_a_slide() -> None:
    check = KNOWN.check(seen([100.0] * 4, 3))
    assert check.verdict is Verdict.usual
    assert check.value is None


def test_mean_of_features_does_not_depend_on_the_parts_they_come_in() -> None:
    features = np.random.default_rng(3).normal(size=(10, 4)).astype(np.float32)
    found = FeatureMean()
    for part in (features[:3], features[3:3], features[3:]):
        found.add(part)
    assert found.patches == 10
    assert found.mean == pytest.approx(features.mean(axis=0), abs=1e-6)


def test_colours_change_and_structure_stays() -> None:
    pixels = torch.full((64, 8, 8, 3), 230.0)
    pixels[:, 2:5, 2:5] = torch.tensor([90.0, 40.0, 120.0])
    changed = change_colours(pixels, AugmentOptions(colour_share=1.0), torch.Generator().manual_seed(1))
    assert changed.min() >= 0
    assert changed.max() <= 255
    dark, bright = changed[:, 2:5, 2:5].mean(dim=(1, 2, 3)), changed[:, 6:, 6:].mean(dim=(1, 2, 3))
    assert (dark < bright - 20).all()
    assert (changed[:, 3, 3] - changed[0, 3, 3]).abs().max() > 40
    kept = change_colours(pixels, AugmentOptions(colour_share=0.0), torch.Generator().manual_seed(1))
    assert torch.equal(kept, pixels)
