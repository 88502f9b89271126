"""A training learns, repeats itself, goes on after a kill as if nothing had happened, and ends as a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idc_scene import PINK, PURPLE, speckled
from ki67.errors import DataSetError, ModelError, WriteError
from ki67.fields.patches import read_patches
from ki67.idc import load_model
from ki67.learning.idc.augment import AugmentOptions
from ki67.learning.idc.checkpoint import TrainingOptions, options_for
from ki67.learning.idc.network import InceptionV1, NetworkOptions
from ki67.learning.idc.recipe import finish, make_card, split_rows, train_model
from ki67.learning.idc.training import PatchSet, draw_weights, predict_margins, rate_at, train
from ki67.vocabulary import IdcArchitecture

TINY = TrainingOptions(
    epochs=3,
    patches_per_epoch=48,
    batch=16,
    patch_px=20,
    precision="float32",
    average_decay=0.8,
    network=NetworkOptions(width=0.125),
    augment=AugmentOptions(colour_share=0),  # the drawn classes differ in colour
)


def patches(seed: int, patients: tuple[str, ...]) -> PatchSet:
    pixels = np.concatenate([speckled(PINK, 12, 20, seed), speckled(PURPLE, 12, 20, seed + 1)])
    return PatchSet(pixels, np.repeat([0, 1], 12), tuple(patients[place % len(patients)] for place in range(24)))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Sums in another order are other sums: equal results need an equal number of threads.
    torch.set_num_threads(1)


TRAINING, VALIDATION = patches(0, ("a", "b", "c")), patches(50, ("d", "e"))


def same(first: InceptionV1, second: InceptionV1) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(TRAINING, VALIDATION, tmp_path / "whole", TINY)

    from ki67.learning.idc import training

    original, calls = training._run_epoch, []

    def killed(*arguments: object) -> float:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_run_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(TRAINING, VALIDATION, tmp_path / "cut", TINY)
    monkeypatch.undo()
    again = train(TRAINING, VALIDATION, tmp_path / "cut", TINY)
    assert same(whole, again)
    assert (tmp_path / "cut" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()


def test_it_learns_purple_from_pink(tmp_path: Path) -> None:
    network = train(TRAINING, VALIDATION, tmp_path, replace(TINY, epochs=6, learning_rate=5e-3))
    margins = predict_margins(network, VALIDATION.pixels)
    assert margins[:12].max() < margins[12:].min()
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert log[0] == "epoch,loss,validation_auc,validation_balanced_accuracy"
    assert len(log) == 7


def test_a_folder_with_a_training_of_other_options_is_refused(tmp_path: Path) -> None:
    train(TRAINING, VALIDATION, tmp_path, replace(TINY, epochs=1))
    with pytest.raises(DataSetError, match="other options"):
        train(TRAINING, VALIDATION, tmp_path, replace(TINY, epochs=1, mixup=0.5))


def test_a_training_of_before_options_had_a_core_goes_on(tmp_path: Path) -> None:
    options = options_for(IdcArchitecture.inception_v1, 20, core_px=20, width=0.125)
    options = replace(options, epochs=1, patches_per_epoch=32, batch=16)
    train(TRAINING, VALIDATION, tmp_path, options)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del stored["options"]["core_px"]
    torch.save(stored, tmp_path / "checkpoint.pt")
    train(TRAINING, VALIDATION, tmp_path, replace(options, epochs=1))
    cored = options_for(IdcArchitecture.inception_v1, 20, core_px=10, width=0.125)
    with pytest.raises(DataSetError, match="other options"):
        train(TRAINING, VALIDATION, tmp_path, replace(cored, epochs=1, patches_per_epoch=32, batch=16))


def test_a_folder_with_a_training_on_other_patches_is_refused(tmp_path: Path) -> None:
    once = replace(TINY, epochs=1)
    train(TRAINING, VALIDATION, tmp_path, once)
    with pytest.raises(DataSetError, match="other training patches and validation patches"):
        train(VALIDATION, TRAINING, tmp_path, once)
    with pytest.raises(DataSetError, match="other start"):
        train(TRAINING, VALIDATION, tmp_path, once, start=InceptionV1(TINY.network))


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    once = replace(TINY, epochs=1)
    train(TRAINING, VALIDATION, tmp_path, once)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(DataSetError, match=r"checkpoint\.pt: is damaged"):
        train(TRAINING, VALIDATION, tmp_path, once)


def test_an_epoch_that_was_logged_but_not_kept_is_logged_once(tmp_path: Path) -> None:
    train(TRAINING, VALIDATION, tmp_path / "whole", replace(TINY, epochs=2))
    log = (tmp_path / "whole" / "log.csv").read_text()
    train(TRAINING, VALIDATION, tmp_path / "cut", replace(TINY, epochs=2))
    (tmp_path / "cut" / "log.csv").write_text(log + "3,0.1,0.9,0.9\n")
    train(TRAINING, VALIDATION, tmp_path / "cut", replace(TINY, epochs=2))
    assert (tmp_path / "cut" / "log.csv").read_text() == log


def test_a_training_that_goes_astray_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no longer a number"):
        train(TRAINING, VALIDATION, tmp_path, replace(TINY, learning_rate=1e30))
    with pytest.raises(ValueError, match="must be a finite number"):
        replace(TINY, mixup=float("inf"))


def test_a_file_in_the_folders_place_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(WriteError, match="cannot be made a folder"):
        train(TRAINING, VALIDATION, tmp_path / "run", TINY)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="patient b is in training and validation"):
        train(TRAINING, patches(9, ("b", "z")), tmp_path, TINY)


def test_a_set_of_one_class_is_refused(tmp_path: Path) -> None:
    one = PatchSet(TRAINING.pixels[:12], TRAINING.labels[:12], TRAINING.patients[:12])
    with pytest.raises(DataSetError, match="training patches hold none of class IDC"):
        train(one, VALIDATION, tmp_path, TINY)


def test_patience_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    # Six epochs on patches that are told apart from the first on: nothing gets better than AUC 1.
    train(TRAINING, VALIDATION, tmp_path, replace(TINY, epochs=12, learning_rate=5e-3, patience=2))
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    best = max(range(len(rows)), key=lambda place: float(rows[place][2]))
    assert len(rows) == best + 3


def test_a_restart_learns_from_what_its_start_sees(tmp_path: Path) -> None:
    start = InceptionV1(TINY.network).eval()
    still = replace(TINY, epochs=1, learning_rate=0.0, average_decay=0.0)
    network = train(TRAINING, VALIDATION, tmp_path / "still", still, start=start)
    for name, value in network.named_parameters():
        assert torch.equal(value, start.state_dict()[name])
    with pytest.raises(ValueError, match="needs a network to start from"):
        train(TRAINING, VALIDATION, tmp_path / "none", replace(TINY, teacher_share=0.5))
    train(TRAINING, VALIDATION, tmp_path / "taught", replace(TINY, epochs=1, teacher_share=0.5), start=network)


def test_patches_are_drawn_with_classes_alike_and_patients_in_balance() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    patients = ("a",) * 6 + ("b",) * 2 + ("a", "b")
    weights = draw_weights(PatchSet(np.zeros((10, 2, 2, 3), np.uint8), labels, patients), 1.0)
    assert weights[labels == 0].sum() == pytest.approx(0.5)
    assert weights[:6].sum() == pytest.approx(weights[6:8].sum())
    even = draw_weights(PatchSet(np.zeros((10, 2, 2, 3), np.uint8), labels, patients), 0.0)
    assert even[0] == pytest.approx(even[7])


def test_the_rate_climbs_and_falls_to_nothing() -> None:
    total = TINY.epochs * TINY.steps_per_epoch
    rates = [rate_at(step, replace(TINY, warmup=0.3)) for step in range(total + 1)]
    assert max(rates) <= TINY.learning_rate
    assert rates[0] < rates[1] < rates[2]
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_turning_a_patch_does_not_change_what_eight_views_see() -> None:
    network = InceptionV1(TINY.network).eval()
    pixels = VALIDATION.pixels[:6]
    turned = np.ascontiguousarray(np.rot90(pixels, 1, (1, 2)))
    first, second = predict_margins(network, pixels, flips=True), predict_margins(network, turned, flips=True)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_recipe_ends_in_a_model_that_predicts_as_its_card_says(patch_folder: Path, tmp_path: Path) -> None:
    options = replace(TINY, epochs=6, learning_rate=5e-3, core_px=TINY.patch_px - 4)
    target = train_model(patch_folder, tmp_path / "out", options, mpp=2.0, data="drawn")
    model = load_model(target)
    assert model.card.core_px == TINY.patch_px - 4
    card = json.loads(target.with_suffix(".json").read_text())
    assert model.card.mpp == 2.0
    seen = card["split"]["training"]
    assert (seen["patients"], seen["patches"], seen["patches_by_label"]) == (3, 18, {"0": 9, "1": 9})
    assert len(seen["patient_marks"]) == 3
    on = train_model(patch_folder, tmp_path / "on", options, mpp=2.0, data="drawn", marks_before=["0123456789ab"])
    assert load_model(on).card.patients_trained_on == model.card.patients_trained_on | {"0123456789ab"}
    assert card["split"]["validation"]["patients"] == 1
    assert card["validation"]["auc"] == 1.0
    found = model.probabilities(VALIDATION.pixels) >= model.card.threshold
    assert found.tolist() == VALIDATION.labels.astype(bool).tolist()


def test_a_graph_that_says_something_else_than_its_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ki67.learning.idc import recipe

    network, original = InceptionV1(TINY.network).eval(), recipe.export

    def wrong(_: InceptionV1, *arguments: Any, **named: Any) -> None:
        original(InceptionV1(TINY.network).eval(), *arguments, **named)

    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([0.0, 4.0]))
    monkeypatch.setattr(recipe, "export", wrong)
    with pytest.raises(ModelError, match="differ by"):
        finish(network, VALIDATION, tmp_path / "x.onnx", make_card([], [], TINY, "drawn"), TINY, mpp=4.0)


def test_an_index_without_a_split_is_refused(patch_folder: Path) -> None:
    with pytest.raises(DataSetError, match="no rows with split = train"):
        split_rows([], patch_folder / "index.csv")


def test_a_misspelt_split_is_refused(patch_folder: Path) -> None:
    index = patch_folder / "index.csv"
    index.write_text(index.read_text().replace(",train", ",Train", 1))
    with pytest.raises(DataSetError, match="holds the split 'Train', expected train, val, test"):
        split_rows(read_patches(patch_folder, index), index)


def test_three_classes_are_learned_and_exported_in_their_order(tmp_path: Path) -> None:
    names = ("Normal", "DCIS", "IDC")
    options = replace(
        TINY, epochs=10, learning_rate=1e-2, class_names=names, network=NetworkOptions(width=0.125, classes=3)
    )

    def three(seed: int, patient: str) -> PatchSet:
        colors = ((225, 170, 200), (40, 160, 90), (90, 40, 140))
        pixels = np.concatenate([speckled(color, 10, 20, seed + place) for place, color in enumerate(colors)])
        return PatchSet(pixels, np.repeat([0, 1, 2], 10), (patient,) * 30)

    validation = three(30, "b")
    network = train(three(0, "a"), validation, tmp_path / "run", options)
    finish(network, validation, tmp_path / "three.onnx", make_card([], [], options, "drawn"), options, mpp=4.0)
    model = load_model(tmp_path / "three.onnx")
    assert model.card.classes == names
    assert (model.all_probabilities(validation.pixels).argmax(axis=1) == validation.labels).mean() > 0.9
    assert ((model.probabilities(validation.pixels) >= model.card.threshold) == (validation.labels == 2)).mean() > 0.9


def test_a_class_that_no_patch_shows_is_refused(tmp_path: Path) -> None:
    options = replace(TINY, class_names=("Normal", "DCIS", "IDC"), network=NetworkOptions(width=0.125, classes=3))
    with pytest.raises(DataSetError, match="hold none of class IDC"):
        train(TRAINING, VALIDATION, tmp_path, options)
    with pytest.raises(ValueError, match="2 outputs for the classes"):
        train(TRAINING, VALIDATION, tmp_path, replace(options, network=NetworkOptions(classes=2)))
