"""`ki67 evaluate idc` reads an index of its own, prints Table 2 and survives odd sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_curve

from ki67.errors import DataSetError
from ki67.evaluation.idc import RATE_ROWS, called_classes, confusion, evaluate_idc
from ki67.evaluation.idc_figures import calibration_points, roc_points
from ki67.evaluation.idc_sections import assemble, evaluate_section
from ki67.fields.patches import read_patches
from ki67.idc import IdcModel, load_model
from ki67.idc.model import patient_mark
from ki67.idc.surroundings import Surroundings

PINK, PURPLE = (228, 180, 205), (110, 60, 150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, six places each, 50 px."""
    root = tmp_path_factory.mktemp("patches")
    generator = np.random.default_rng(0)
    for patient in ("7001", "7002"):
        for place in range(12):
            label, x, y = int(place % 4 > 1), 50 * (place % 4), 50 * (place // 4)
            pixels = np.clip(generator.normal(PURPLE if label else PINK, 20, (50, 50, 3)), 0, 255).astype(np.uint8)
            path = root / patient / str(label) / f"{patient}_idx5_x{x + 1}_y{y + 1}_class{label}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def test_every_row_is_there_with_intervals_over_patients(folder: Path) -> None:
    result = evaluate_idc(folder)
    assert set(RATE_ROWS) <= set(result["pooled"])
    assert set(result["intervals"]) == set(RATE_ROWS)
    assert result["pooled"]["patches"] == 24
    assert result["pooled"]["patients"] == 2
    assert result["model"] == "idc_efficientnet_lite0"
    assert result["model_sha256"] == load_model().sha256


def test_patients_that_the_model_was_trained_on_are_said(folder: Path) -> None:
    model = load_model()
    split = {"split": {"training": {"patient_marks": [patient_mark("7001"), patient_mark("x")]}}}
    trained = replace(model, card=replace(model.card, details={**model.card.details, **split}))
    assert evaluate_idc(folder)["warnings"] == []
    (warning,) = evaluate_idc(folder, model=trained)["warnings"]
    assert "trained on 1 of these patients" in warning


def test_the_command_takes_the_patches_that_the_index_names(folder: Path, ki67: Callable[..., object]) -> None:
    rows = read_patches(folder)[:7]
    index = folder / "some.csv"
    lines = [f"{row.patient},{row.label},{row.path.relative_to(folder)}" for row in rows]
    index.write_text("\n".join(["patient,label,file", *lines]))
    outcome = ki67("evaluate", "idc", folder, "--index", index, "--json", "--quiet")
    assert outcome.code == 0
    assert outcome.json["pooled"]["patches"] == 7
    table = ki67("evaluate", "idc", folder, "--index", index, "--quiet")
    assert "balanced_accuracy" in table.stdout


def test_patches_of_one_class_have_no_auc(folder: Path) -> None:
    index = folder / "one.csv"
    rows = [row for row in read_patches(folder) if row.label == 1]
    lines = [f"{row.patient},{row.label},{row.path.relative_to(folder)}" for row in rows]
    index.write_text("\n".join(["patient,label,file", *lines]))
    result = evaluate_idc(folder, index)
    assert result["pooled"]["auc"] is None
    assert result["intervals"]["specificity"] is None


def test_confusion_calls_idc_at_its_threshold_and_else_the_most_probable_other_class() -> None:
    probabilities = np.array([[0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.0, 0.9]])
    called = called_classes(probabilities, tumour=2, threshold=0.35)
    assert called.tolist() == [2, 1, 0, 2]
    table = confusion(np.array([2, 1, 1, 2]), called, ("other", "DCIS", "IDC"))
    assert table["DCIS"] == {"other": 1, "DCIS": 1, "IDC": 0}
    assert table["IDC"]["IDC"] == 2


def test_the_roc_curve_of_the_figure_has_the_auc_and_its_points_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 300)
    scores = np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1).round(1)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(labels, scores), np.stack([false, true], axis=1))


def test_a_calibrated_test_lies_on_the_diagonal() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(60_000)
    labels = (generator.random(60_000) < scores).astype(np.int64)
    mean, share, weight = calibration_points(labels, scores, np.ones(60_000))
    np.testing.assert_allclose(share, mean, atol=0.02)
    assert weight.sum() == 60_000


def test_a_label_the_model_does_not_know_is_refused(folder: Path) -> None:
    index = folder / "unknown.csv"
    row = read_patches(folder)[0]
    index.write_text(f"patient,label,file\n7001,5,{row.path.relative_to(folder)}\n")
    with pytest.raises(DataSetError, match="holds the class number 5, the model knows other, IDC"):
        evaluate_idc(folder, index)


def test_labels_go_by_the_names_that_lie_beside_the_patches(folder: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    for row in read_patches(folder):
        path = turned / row.patient / str(1 - row.label) / row.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.path.read_bytes())
    card = load_model().card
    facts = {"schema": 1, "classes": ["IDC", "other"], "patch_px": card.patch_px, "mpp": card.mpp}
    (turned / "patches.json").write_text(json.dumps(facts))
    rates = ("auc", "sensitivity", "specificity")
    found, expected = (evaluate_idc(where)["pooled"] for where in (turned, folder))
    # Patches come in another order.
    assert [found[name] for name in rates] == pytest.approx([expected[name] for name in rates], abs=0.02)
    (turned / "patches.json").write_text(json.dumps(facts | {"mpp": 2.0}))
    with pytest.raises(DataSetError, match="at 2 µm, the model takes"):
        evaluate_idc(turned)


def test_one_patient_gives_no_interval_and_says_why(folder: Path, ki67: Callable[..., object]) -> None:
    index = folder / "lonely.csv"
    rows = [row for row in read_patches(folder) if row.patient == "7001"]
    lines = [f"{row.patient},{row.label},{row.path.relative_to(folder)}" for row in rows]
    index.write_text("\n".join(["patient,label,file", *lines]))
    outcome = ki67("evaluate", "idc", folder, "--index", index, "--quiet")
    assert "nan" not in outcome.stdout
    assert "they need patches of two patients or more" in outcome.stdout


def test_a_wrong_folder_is_one_line(ki67: Callable[..., object], tmp_path: Path) -> None:
    outcome = ki67("evaluate", "idc", tmp_path / "nowhere", "--quiet")
    assert outcome.code == 1
    assert "is not a folder" in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1


def test_a_section_is_put_together_and_judged_like_a_slide(folder: Path) -> None:
    rows = [row for row in read_patches(folder) if row.patient == "7001"]
    section = assemble(rows, 50, 4.0)
    assert section.pixels.shape == (150, 200, 3)
    assert section.truth.tolist() == [[0, 0, 1, 1]] * 3
    result = evaluate_section(section, load_model())
    assert result.heatmap.probability.shape == (6, 8)
    assert result.measures["true_area_mm2"] == pytest.approx(6 * 0.04)


def test_a_file_name_without_a_place_cannot_be_put_together(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "1" / "0" / "here.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(path)
    with pytest.raises(DataSetError, match="holds no place"):
        assemble(read_patches(tmp_path), 50, 4.0)


def test_patches_whose_names_tell_places_are_judged_in_their_surroundings(folder: Path, tmp_path: Path) -> None:
    with_places = evaluate_idc(folder, model=listening())
    assert with_places["with_surroundings"]
    assert with_places["patch_alone"]["pooled"]["patches"] == with_places["pooled"]["patches"] == 24
    for place, row in enumerate(read_patches(folder)):
        path = tmp_path / row.patient / str(row.label) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.path.read_bytes())
    without = evaluate_idc(tmp_path, model=listening())
    assert not without["with_surroundings"]
    assert without["pooled"]["auc"] == pytest.approx(with_places["patch_alone"]["pooled"]["auc"])
    assert without["pooled"]["threshold"] == listening().card.threshold_alone


def listening() -> IdcModel:
    """The shipped network, listening to the surroundings whatever its card says."""
    model = load_model()
    return replace(model, card=replace(model.card, surroundings=Surroundings(8, 1600.0, 1.0, 1.0, 1.0)))


def test_the_surroundings_count_on_a_real_sample(data: Path, tmp_path: Path) -> None:
    root = data / "idc_patches"
    rows = read_patches(root, root / "index.csv")
    chosen = [row for row in rows if row.columns["split"] == "val" and row.columns["random_sample"] == "1"][:700]
    index = tmp_path / "index.csv"
    lines = [f"{row.patient},{row.label},{row.path.relative_to(root)}" for row in chosen]
    index.write_text("\n".join(["patient,label,file", *lines]))
    result = evaluate_idc(root, index, listening())
    assert result["pooled"]["auc"] > result["patch_alone"]["pooled"]["auc"] + 0.005


def test_the_real_validation_sample_keeps_its_figure(data: Path, tmp_path: Path) -> None:
    root = data / "idc_patches"
    rows = read_patches(root, root / "index.csv")
    chosen = [row for row in rows if row.columns["split"] == "val" and row.columns["random_sample"] == "1"][::4]
    index = tmp_path / "index.csv"
    lines = [f"{row.patient},{row.label},{row.path.relative_to(root)}" for row in chosen]
    index.write_text("\n".join(["patient,label,file", *lines]))
    result = evaluate_idc(root, index)
    # A quarter of the patches: the standard error of this AUC is about 0.012.
    assert result["pooled"]["auc"] > 0.88
