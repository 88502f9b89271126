"""A model follows slides of another stain without their labels, and says in its card that it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from idc_scene import PINK, PURPLE, speckled
from ki67.errors import DataSetError, ModelError
from ki67.fields.metrics import rank_auc
from ki67.idc import IdcModel, load_model
from ki67.idc.model import patient_mark
from ki67.learning.idc.adaptation import AdaptOptions, adapt_model, adapt_statistics, draw_slides, load_network
from ki67.learning.idc.checkpoint import TrainingOptions
from ki67.learning.idc.network import NetworkOptions
from ki67.learning.idc.recipe import finish, make_card
from ki67.learning.idc.training import PatchSet, predict_logits, train

SIZE = 20
OPTIONS = TrainingOptions(
    epochs=6,
    patches_per_epoch=96,
    batch=16,
    learning_rate=5e-3,
    patch_px=SIZE,
    precision="float32",
    average_decay=0.8,
    network=NetworkOptions(width=0.125),
)


def patches(seed: int, patient: str, shift: tuple[int, int, int] = (0, 0, 0)) -> PatchSet:
    """Pink and purple patches, as another laboratory's stain shifts them."""
    pixels = [
        speckled(color, 40, SIZE, seed + place).astype(int) + shift for place, color in enumerate((PINK, PURPLE))
    ]
    both = np.clip(np.concatenate(pixels), 0, 255).astype(np.uint8)
    return PatchSet(both, np.repeat([0, 1], 40), (patient,) * 80)


OURS, VALIDATION = patches(0, "a"), patches(10, "b")
THEIRS = patches(20, "c", (-90, -90, -40))  # so dark that their pink is as dark as our purple


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> IdcModel:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    network = train(OURS, VALIDATION, folder / "run", OPTIONS)
    finish(network, VALIDATION, folder / "ours.onnx", make_card([], [], OPTIONS, "drawn"), OPTIONS, mpp=4.0)
    return load_model(folder / "ours.onnx")


def balanced(model: IdcModel, patches: PatchSet) -> float:
    called = model.probabilities(patches.pixels) >= model.card.threshold
    return float((called[patches.labels == 1].mean() + (~called[patches.labels == 0]).mean()) / 2)


def test_the_network_comes_back_from_the_exported_graph(model: IdcModel) -> None:
    network = load_network(model)
    logits = predict_logits(network, VALIDATION.pixels) / model.card.details["temperature"]
    expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(model.probabilities(VALIDATION.pixels), expected, atol=0.01)


def test_the_shipped_model_can_be_adapted() -> None:
    shipped = load_model().in_floats
    network = load_network(shipped)
    patches = speckled(PURPLE, 8, 50, 3)
    logits = predict_logits(network, patches) / shipped.card.details["temperature"]
    expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(shipped.probabilities(patches), expected, atol=0.01)


def test_a_model_without_its_weights_by_name_is_refused(green_model: IdcModel) -> None:
    with pytest.raises(ModelError, match="does not say how it was built"):
        load_network(green_model)


def test_new_statistics_win_back_what_another_stain_cost(model: IdcModel, tmp_path: Path) -> None:
    assert balanced(model, VALIDATION) > 0.95
    before = balanced(model, THEIRS)
    details = model.card.details | {"appearance": {"usual": 1.0}}
    knowing = replace(model, card=replace(model.card, core_px=10, details=details))
    target = adapt_model(
        knowing, THEIRS.pixels, tmp_path / "new.onnx", AdaptOptions(mix=1.0), slides=[{"slide": "a.svs"}]
    )
    adapted = load_model(target)
    assert balanced(adapted, THEIRS) > before + 0.2
    card = adapted.card.details["adaptation"]
    assert (card["method"], card["patches"], card["from_sha256"]) == ("adabn", 80, model.sha256)
    assert adapted.card.threshold == model.card.threshold
    assert adapted.card.core_px == 10
    assert "validation" not in adapted.card.details
    assert "appearance" not in adapted.card.details
    assert card["measured_before"]["validation"] == model.card.details["validation"]


def test_on_the_same_slides_new_statistics_change_little(model: IdcModel) -> None:
    network = load_network(model)
    before = predict_logits(network, VALIDATION.pixels)
    adapt_statistics(network, OURS.pixels)
    after = predict_logits(network, VALIDATION.pixels)
    assert rank_auc(VALIDATION.labels, after[:, 1] - after[:, 0]) == pytest.approx(1)
    still = load_network(model)
    adapt_statistics(still, THEIRS.pixels, mix=0.0)
    np.testing.assert_allclose(predict_logits(still, VALIDATION.pixels), before, atol=1e-5)


def test_the_adversarial_way_needs_and_uses_labelled_patches(model: IdcModel, tmp_path: Path) -> None:
    options = AdaptOptions("dann", mix=1.0, steps=20, batch=32)
    with pytest.raises(ValueError, match="labelled patches"):
        adapt_model(model, THEIRS.pixels, tmp_path / "none.onnx", options)
    first = load_model(adapt_model(model, THEIRS.pixels, tmp_path / "a.onnx", options, source=OURS))
    again = load_model(adapt_model(model, THEIRS.pixels, tmp_path / "b.onnx", options, source=OURS))
    assert first.sha256 == again.sha256
    assert balanced(first, THEIRS) > balanced(model, THEIRS) + 0.2
    assert first.card.patients_trained_on == model.card.patients_trained_on | {patient_mark("a")}


def test_patches_are_drawn_from_tissue_only(write_slide: Callable[..., Path], model: IdcModel) -> None:
    pixels = np.full((400, 400, 3), 255, np.uint8)
    pixels[100:300, 100:300] = np.clip(np.array(PINK) + np.random.default_rng(0).normal(0, 6, (200, 200, 3)), 0, 255)
    drawn, seen, _ = draw_slides([write_slide(pixels)], model.card, replace(AdaptOptions(), patches=70))
    assert drawn.shape == (70, SIZE, SIZE, 3)
    assert seen == [{"slide": "slide.tif", "patches": 70}]
    assert (drawn < 250).any(axis=3).mean(axis=(1, 2)).min() >= 0.5


def test_a_few_patches_are_too_few(write_slide: Callable[..., Path], model: IdcModel) -> None:
    # Tissue, not a sheet of one colour: smooth blotches of pink.
    blotches = np.random.default_rng(0).normal(0, 30, (12, 12, 3))
    texture = cv2.resize(blotches, (3 * SIZE * 4, 3 * SIZE * 4), interpolation=cv2.INTER_CUBIC)
    slide = write_slide(np.clip(np.array(PINK) + texture, 0, 255).astype(np.uint8))
    with pytest.raises(DataSetError, match="Adapting needs 64"):
        draw_slides([slide], model.card, replace(AdaptOptions(), patches=60))


def test_the_command_adapts_and_the_result_predicts(
    write_slide: Callable[..., Path], model: IdcModel, tmp_path: Path, ki67: Callable[..., object]
) -> None:
    pixels = np.full((400, 400, 3), 255, np.uint8)
    pixels[100:300, 100:300] = np.clip(np.array(PINK) + np.random.default_rng(0).normal(0, 6, (200, 200, 3)), 0, 255)
    slide = write_slide(pixels)
    outcome = ki67("idc", "adapt", model.path, slide, "--out", tmp_path / "new.onnx", "--json", "--quiet")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["method"] == "adabn"
    found = ki67("idc", "predict", slide, "--out", tmp_path / "case", "--model", tmp_path / "new.onnx", "--quiet")
    assert found.code == 0, found.stderr
    wrong = ki67("idc", "adapt", model.path, slide, "--out", tmp_path / "new.onnx", "--method", "dann")
    assert wrong.code == 2
