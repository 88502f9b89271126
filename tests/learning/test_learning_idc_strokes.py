"""Fitting a model by strokes: the last layer moves, the graph holds what was fitted, bad strokes are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch

from ki67.annotations import Region, Regions, write_regions
from ki67.errors import DataSetError, Ki67Error, ModelError
from ki67.idc import load_model
from ki67.learning.idc.lite import build_network
from ki67.learning.idc.network import NetworkOptions
from ki67.learning.idc.network_export import export
from ki67.learning.idc.strokes import HELD, Strokes, adapt_by_strokes, fit, measure
from ki67.onnx_graph import read_weights, replace_weights
from ki67.slides import open_slide, write_pyramid

MPP = 4.0
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    network = build_network(NetworkOptions(width=0.25)).eval()
    card = {"name": "small", "architecture": "Inception v1", "licence": "research use", "data": "none"}
    means = {name: [1.0] * network.head.in_features for name in ("other", "tumour", "spread")}
    card |= {"validation": {"auc": 0.5}, "appearance": {**means, "usual": 0.1, "believable": 0.2}}
    export(network, path, card, patch_px=24, mpp=MPP, threshold=0.5, temperature=1.3)
    return path


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Left half coarse blots (tumour), right half fine ones."""
    coarse = np.kron(RNG.integers(60, 230, (50, 50, 3)), np.ones((12, 12, 1)))
    fine = np.kron(RNG.integers(60, 230, (300, 300, 3)), np.ones((2, 2, 1)))
    pixels = np.concatenate([coarse, fine], axis=1).astype(np.uint8)
    path = tmp_path_factory.mktemp("slide") / "he.tif"
    write_pyramid(path, [pixels], (1200, 600), MPP)
    return path


def strokes_file(path: Path, slide_file: Path, strokes: list[tuple[str, tuple[float, float, float, float]]]) -> Path:
    regions = Regions([Region(label, shapely.box(*box), f"{place}") for place, (label, box) in enumerate(strokes)])
    with open_slide(slide_file) as slide:
        write_regions(path, regions, slide.frame)
    return path


FOUR = [
    ("IDC", (200.0, 200.0, 1000.0, 300.0)),
    ("IDC", (900.0, 1400.0, 1100.0, 2200.0)),
    ("Stroma", (2700.0, 300.0, 3600.0, 400.0)),
    ("Normal", (3600.0, 1500.0, 3900.0, 2200.0)),
]


def test_strokes_turn_a_model_that_knows_nothing_towards_what_they_say(
    tmp_path: Path, model_file: Path, slide_file: Path
) -> None:
    file = strokes_file(tmp_path / "strokes.geojson", slide_file, FOUR)
    base = load_model(model_file)
    with open_slide(slide_file) as slide:
        adapted = adapt_by_strokes(base, [slide], [file], tmp_path / "fitted.onnx")
        left = slide.read(replace(slide.bounds_um, width_um=96.0, height_um=96.0), MPP)
    fitted = load_model(tmp_path / "fitted.onnx")
    assert adapted["strokes"] == {"tumour": 2, "other": 2}
    figures = adapted["left_out"]["balanced_accuracy"]
    assert figures["after"] > 0.8 > figures["before"]
    assert fitted.probabilities(left[None])[0] > base.probabilities(left[None])[0]
    card = json.loads((tmp_path / "fitted.json").read_text())
    assert card["name"] == "small_strokes"
    assert card["adaptation"]["from_sha256"] == base.sha256
    # It was told to know these slides: what it looked like to the weights before decides no longer.
    assert base.knows_its_slides
    assert not fitted.knows_its_slides
    assert not {"validation", "appearance"} & card.keys()


def test_written_graph_gives_the_fitted_log_odds(tmp_path: Path, model_file: Path, slide_file: Path) -> None:
    file = strokes_file(tmp_path / "strokes.geojson", slide_file, FOUR)
    with open_slide(slide_file) as slide:
        adapt_by_strokes(load_model(model_file), [slide], [file], tmp_path / "fitted.onnx")
        patches = np.stack(
            [
                slide.read(replace(slide.bounds_um, x_um=x, width_um=96.0, height_um=96.0), MPP)
                for x in (100.0, 2500.0, 4000.0)
            ]
        )
    before, features = load_model(model_file).features(patches)
    after, same = load_model(tmp_path / "fitted.onnx").features(patches)
    assert np.allclose(features, same)
    assert not np.allclose(before, after, atol=0.01)


@pytest.mark.parametrize(
    ("strokes", "told"),
    [
        (FOUR[:1] + FOUR[2:], r"1 stroke\(s\) of tumour"),
        (FOUR[:3], r"1 stroke\(s\) of not tumour"),
        ([*FOUR, ("", (10.0, 10.0, 50.0, 50.0))], "stroke without a class"),
        ([*FOUR, ("IDC", (90000.0, 10.0, 90100.0, 50.0))], "stroke beside the slide"),
    ],
)
def test_strokes_that_cannot_teach_are_told(
    tmp_path: Path, model_file: Path, slide_file: Path, strokes: list, told: str
) -> None:
    file = strokes_file(tmp_path / "strokes.geojson", slide_file, strokes)
    with open_slide(slide_file) as slide, pytest.raises(DataSetError, match=told):
        adapt_by_strokes(load_model(model_file), [slide], [file], tmp_path / "fitted.onnx")
    assert not (tmp_path / "fitted.onnx").exists()


def test_malformed_strokes_are_told(tmp_path: Path, model_file: Path, slide_file: Path) -> None:
    (tmp_path / "strokes.geojson").write_text("{")
    with open_slide(slide_file) as slide, pytest.raises(Ki67Error, match=r"strokes\.geojson"):
        adapt_by_strokes(load_model(model_file), [slide], [tmp_path / "strokes.geojson"], tmp_path / "fitted.onnx")


def _two_clouds(apart: float) -> Strokes:
    tumour = np.repeat([True, True, False, False], 25)
    features = RNG.normal(size=(100, 6)) + apart * tumour[:, None]
    return Strokes(features, np.full(100, -3.0), tumour, np.repeat(np.arange(4), 25))


def test_correction_moves_wrong_log_odds_and_is_held_small() -> None:
    strokes = _two_clouds(4.0)
    assert measure(strokes)["balanced_accuracy"] == {"before": 0.5, "after": pytest.approx(1.0, abs=0.03)}
    loose, tight = fit(strokes, HELD), fit(strokes, 1000 * HELD)
    assert np.linalg.norm(tight.weight) < np.linalg.norm(loose.weight)


def test_left_out_strokes_tell_when_nothing_is_learnt() -> None:
    assert measure(_two_clouds(0.0))["balanced_accuracy"]["after"] < 0.75


def test_every_stroke_of_a_kind_weighs_the_same() -> None:
    strokes = Strokes(
        np.zeros((5, 1)), np.zeros(5), np.array([True, True, True, False, False]), np.array([0, 0, 1, 2, 3])
    )
    assert strokes.weights() == pytest.approx([0.125, 0.125, 0.25, 0.25, 0.25])


def test_weights_are_put_where_the_old_ones_lay(model_file: Path) -> None:
    content = model_file.read_bytes()
    stored = read_weights(content)
    name = "network.head.bias"
    changed = replace_weights(content, {name: stored[name] + np.float32(1)})
    assert len(changed) == len(content)
    assert read_weights(changed)[name] == pytest.approx(stored[name] + 1)
    others = {key: value for key, value in read_weights(changed).items() if key != name}
    assert all(np.array_equal(value, stored[key]) for key, value in others.items())


def test_weights_of_another_shape_or_that_are_none_are_refused(model_file: Path) -> None:
    content = model_file.read_bytes()
    with pytest.raises(ValueError, match="not float32"):
        replace_weights(content, {"network.head.bias": np.zeros(7, np.float32)})
    with pytest.raises(ValueError, match="no number"):
        replace_weights(content, {"network.head.bias": np.array([np.nan, 0], np.float32)})
    with pytest.raises(KeyError):
        replace_weights(content, {"elsewhere": np.zeros(2, np.float32)})


def test_nothing_is_written_that_differs_from_what_was_fitted(
    tmp_path: Path, model_file: Path, slide_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = strokes_file(tmp_path / "strokes.geojson", slide_file, FOUR)
    monkeypatch.setattr("ki67.learning.idc.strokes.MOST_APART", -1.0)
    with open_slide(slide_file) as slide, pytest.raises(ModelError, match="nothing was written"):
        adapt_by_strokes(load_model(model_file), [slide], [file], tmp_path / "fitted.onnx")
    assert not list(tmp_path.glob("fitted*"))


def test_graph_without_features_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not give its features"):
        _old_model(tmp_path).features(np.zeros((1, 8, 8, 3), np.uint8))


def _old_model(folder: Path):
    """A graph of one output, as older versions wrote them."""
    from onnx import TensorProto, helper

    from ki67.files import sha256_of

    nodes = [
        helper.make_node("Cast", ["patches"], ["light"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["light"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Slice", ["mean", "zero", "two", "one"], ["both"]),
        helper.make_node("Softmax", ["both"], ["probabilities"], axis=1),
    ]
    numbers = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("zero", 0), ("two", 2), ("one", 1))
    ]
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["count", 8, 8, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["count", 2])],
        numbers,
    )
    path = folder / "old.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )
    card = {
        "schema": 1, "name": "old", "architecture": "none", "licence": "research use", "patch_px": 8, "mpp": 4.0,
        "classes": ["other", "IDC"], "threshold": 0.5, "sha256": sha256_of(path),
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(card))
    return load_model(path)
