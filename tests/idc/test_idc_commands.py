"""The commands of the IDC room answer wrong use in one line, and right use with JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from idc_scene import MPP, PATCH_PX, PINK, write_colour_model
from ki67.case import read_case
from ki67.fields.patches import FACTS_SCHEMA
from ki67.idc import IdcModel, read_heatmaps

WriteSlide = Callable[..., Path]
Run = Callable[..., object]


@pytest.fixture
def slide(write_slide: WriteSlide) -> Path:
    pixels = np.full((300, 300, 3), 255, np.uint8)
    pixels[50:250, 50:250] = np.clip(np.array(PINK) + np.random.default_rng(0).normal(0, 6, (200, 200, 3)), 0, 255)
    return write_slide(pixels)


def one_line(outcome: object) -> str:
    lines = outcome.stderr.strip().splitlines()
    assert outcome.code == 1
    assert len(lines) == 1
    return lines[0]


def test_train_names_what_is_missing(ki67: Run, tmp_path: Path, patch_folder: Path) -> None:
    assert "is not a folder" in one_line(ki67("idc", "train", tmp_path / "nowhere", tmp_path / "out"))
    unsaid = ki67("idc", "train", patch_folder, tmp_path / "out")
    assert unsaid.code == 2
    assert "--mpp" in unsaid.stderr
    (patch_folder / "index.csv").unlink()
    assert "index.csv: does not exist" in one_line(ki67("idc", "train", patch_folder, tmp_path / "out", "--mpp", 4))


def test_train_refuses_a_damaged_note_beside_the_patches(ki67: Run, tmp_path: Path, patch_folder: Path) -> None:
    (patch_folder / "patches.json").write_text("{}")
    assert "patches.json: cannot be read" in one_line(ki67("idc", "train", patch_folder, tmp_path / "out"))


def write_facts(folder: Path, *classes: str, patch_px: int = PATCH_PX) -> None:
    facts = {"schema": FACTS_SCHEMA, "classes": classes, "patch_px": patch_px, "mpp": MPP}
    (folder / "patches.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("words", [("--mpp", 2), ("--patch-px", 24)])
def test_train_refuses_what_contradicts_the_patches(
    ki67: Run, tmp_path: Path, patch_folder: Path, words: tuple[object, ...]
) -> None:
    write_facts(patch_folder, "other", "IDC")
    wrong = ki67("idc", "train", patch_folder, tmp_path / "out", *words)
    assert wrong.code == 2
    assert "20 px at 4 µm" in wrong.stderr


def test_train_refuses_patches_smaller_than_said(ki67: Run, tmp_path: Path, patch_folder: Path) -> None:
    words = ("idc", "train", patch_folder, tmp_path / "out", "--mpp", 4, "--patch-px", 32, "--quiet")
    assert "the largest has 20 px" in one_line(ki67(*words))


def test_train_goes_from_patches_to_a_model_that_predicts(
    ki67: Run, tmp_path: Path, patch_folder: Path, slide: Path
) -> None:
    words = ("idc", "train", patch_folder, tmp_path / "out", "--mpp", 4, "--patch-px", 20, "--width", 0.125)
    length = ("--epochs", 2, "--patches-per-epoch", 64, "--batch", 16, "--threads", 1, "--quiet", "--json")
    outcome = ki67(*words, *length)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr == ""
    assert outcome.json["classes"] == ["other", "IDC"]
    assert outcome.json["split"]["validation"]["patients"] == 1
    first = outcome.json["model"]
    again = ("idc", "train", patch_folder, tmp_path / "again", *words[4:], *length, "--start", first)
    assert ki67(*again, "--teacher-share", 0.5).code == 0
    assert ki67(*words[:3], tmp_path / "b", "--mpp", 4, "--start", first).code == 2
    assert ki67(*words[:3], tmp_path / "c", "--mpp", 4, "--teacher-share", 0.5).code == 2
    found = ki67("idc", "predict", slide, "--out", tmp_path / "case", "--model", first, "--json")
    assert found.code == 0, found.stderr
    assert found.json["tissue_mm2"] == pytest.approx(0.64, abs=0.1)


def test_predict_takes_a_stride_that_divides_the_patch(ki67: Run, tmp_path: Path, slide: Path) -> None:
    assert ki67("idc", "predict", slide, "--out", tmp_path / "a", "--stride-px", 50, "--quiet").code == 0
    wrong = ki67("idc", "predict", slide, "--out", tmp_path / "b", "--stride-px", 7)
    assert wrong.code == 2
    assert "must divide" in wrong.stderr
    missing = ki67("idc", "predict", slide, "--out", tmp_path / "c", "--model", tmp_path / "none.onnx")
    assert "none.onnx: is missing" in one_line(missing)


def test_predict_tells_of_every_class_the_model_knows_and_keeps_their_maps(
    ki67: Run, tmp_path: Path, slide: Path, green_model: IdcModel
) -> None:
    words = ("idc", "predict", slide, "--out", tmp_path / "case", "--model", write_colour_model(tmp_path))
    outcome = ki67(*words, "--quiet")
    assert outcome.code == 0, outcome.stderr
    assert "Normal: 0." in outcome.stdout
    assert "DCIS: 0 mm²" in outcome.stdout
    again = ki67(*words, "--quiet", "--json")
    assert [other["name"] for other in again.json["other_classes"]] == ["Normal", "DCIS"]
    assert again.json["other_classes"][0]["area_mm2"] == pytest.approx(again.json["tissue_mm2"], rel=0.01)
    assert list(read_heatmaps(again.json["other_classes_file"])) == ["Normal", "DCIS"]
    assert list(read_case(tmp_path / "case").other_classes) == ["Normal", "DCIS"]
    # A model of two classes leaves nothing of the other's behind.
    plain = ki67(*words[:-1], green_model.path, "--quiet", "--json")
    assert "other_classes" not in plain.json
    assert not (tmp_path / "case" / "idc" / "other_classes.tif").exists()


def test_adapt_names_a_slide_that_cannot_be_read(ki67: Run, tmp_path: Path, slide: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"nothing")
    assert "bad.svs" in one_line(ki67("idc", "adapt", "shipped", bad, "--out", tmp_path / "new.onnx"))
    wrong = ki67("idc", "adapt", "shipped", slide, "--out", tmp_path / "new")
    assert wrong.code == 2
    assert ".onnx" in wrong.stderr


def test_strokes_fit_the_shipped_model_and_say_when_they_teach_nothing(
    ki67: Run, tmp_path: Path, slide: Path
) -> None:
    file = tmp_path / "strokes.geojson"
    squares = [("IDC", 60), ("Stroma", 100), ("IDC", 140), ("Stroma", 180)]
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, x], [x + 20, x], [x + 20, x + 20], [x, x + 20], [x, x]]],
            },
            "properties": {"classification": {"name": name}},
        }
        for name, x in squares
    ]
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    words = ("idc", "adapt", "shipped", slide, "--out", tmp_path / "new.onnx", "--strokes", file)
    fitted = ki67(*words, "--json", "--quiet")
    assert fitted.code == 0, fitted.stderr
    assert fitted.json["strokes"] == {"tumour": 2, "other": 2}
    # Everywhere the same: there is nothing to learn.
    assert any("no better than before" in line for line in fitted.json["warnings"])
    assert ki67("idc", "predict", slide, "--out", tmp_path / "a", "--model", tmp_path / "new.onnx").code == 0
    for wrong in (("--strokes", file), ("--method", "dann"), ("--steps", 5)):
        assert ki67(*words, *wrong).code == 2


def test_adapt_looks_at_its_labelled_patches_first(
    ki67: Run, tmp_path: Path, slide: Path, patch_folder: Path
) -> None:
    words = ("idc", "adapt", "shipped", slide, "--out", tmp_path / "new.onnx", "--quiet")
    dann = (*words, "--method", "dann", "--source", patch_folder)
    assert "the largest has 20 px" in one_line(ki67(*dann))
    write_facts(patch_folder, "other", "IDC")
    assert "20 px at 4 µm, the model takes 50 px" in one_line(ki67(*dann))
    write_facts(patch_folder, "other", "Normal", "DCIS", "IDC", patch_px=50)
    assert "holds the class Normal" in one_line(ki67(*dann))
    for unused in (("--source", patch_folder), ("--steps", 5)):
        wrong = ki67(*words, *unused)
        assert wrong.code == 2
        assert "--method dann" in wrong.stderr


def test_sample_names_the_list_and_the_slide(ki67: Run, tmp_path: Path) -> None:
    assert "nowhere.csv" in one_line(ki67("idc", "sample", tmp_path / "nowhere.csv", tmp_path / "out"))
    listed = tmp_path / "slides.csv"
    listed.write_text("patient,slide,regions,split\np1,a.svs,a.geojson,train\n")
    assert "a.svs" in one_line(ki67("idc", "sample", listed, tmp_path / "out"))


def test_predict_warns_of_a_slide_that_is_no_he(ki67: Run, tmp_path: Path, write_slide: WriteSlide) -> None:
    pixels = np.full((300, 300, 3), 255, np.uint8)
    noise = np.random.default_rng(0).normal(0, 6, (200, 200, 1))
    pixels[50:250, 50:250] = np.clip(np.array((150, 160, 205)) + noise, 0, 255)
    nuclei = np.kron(np.tile(np.eye(2, dtype=bool), (20, 20)), np.ones((5, 5), bool))
    pixels[50:250, 50:250][nuclei] -= np.array((90, 80, 40), np.uint8)
    model = ki67("idc", "predict", write_slide(pixels), "--out", tmp_path / "a", "--json", "--quiet")
    assert model.code == 0, model.stderr
    assert (tmp_path / "a" / "idc" / "heatmap.tif").is_file()
    assert any("hardly any eosin" in text for text in model.json["warnings"])
    assert model.json["domain"]["verdict"] == "unusable"
