"""A model runs only with the card it belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from idc_scene import write_green_model
from ki67.errors import ModelError
from ki67.idc import SHIPPED_MODEL, load_model, read_card


def test_the_shipped_model_fits_its_card_and_says_what_it_is() -> None:
    model = load_model()
    assert model.path == SHIPPED_MODEL
    assert model.card.patch_um == pytest.approx(200)
    assert model.card.licence == "research use"
    assert model.card.details["split"]["by"] == "patient"
    probabilities = model.probabilities(np.full((3, 50, 50, 3), 255, np.uint8))
    assert probabilities.shape == (3,)
    assert probabilities.dtype == np.float32
    assert (probabilities < model.card.threshold).all(), "glass is no carcinoma"


def test_probabilities_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model = load_model(write_green_model(tmp_path))
    patches = np.random.default_rng(0).integers(0, 256, (150, 20, 20, 3), dtype=np.uint8)
    expected = 1 - patches[..., 1].mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(model.probabilities(patches), expected, atol=1e-5)
    assert model.probabilities(patches[:0]).shape == (0,)


def test_a_graph_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = write_green_model(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="does not belong to its card"):
        load_model(path)


def test_a_missing_graph_or_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: is missing"):
        load_model(tmp_path / "nowhere.onnx")
    path = write_green_model(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match="not used without its card"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema": 99}, "has schema 99"),
        ({"threshold": 1.5}, "threshold is 1.5, expected a number above 0 and below 1"),
        ({"mpp": 0}, "mpp is 0, expected"),
        ({"classes": ["a", "b"]}, "a class IDC"),
        ({"licence": None}, "lacks the field 'licence'"),
        ({"patch_px": "many"}, "patch_px is 'many', expected a whole number"),
    ],
)
def test_a_bad_card_is_refused(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        load_model(write_green_model(tmp_path, **changes))


def test_a_card_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="is not valid JSON"):
        read_card(path)
    path.write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(ModelError, match="is not a model card"):
        read_card(path)


def test_a_graph_that_is_none_fails_with_its_name(tmp_path: Path) -> None:
    path = write_green_model(tmp_path)
    path.write_bytes(b"nothing")
    card = json.loads(path.with_suffix(".json").read_text())
    from ki67.files import sha256_of, write_json

    write_json(path.with_suffix(".json"), card | {"sha256": sha256_of(path)})
    with pytest.raises(ModelError, match=r"green\.onnx: is no ONNX model"):
        load_model(path)
