"""Training on drawn fields: small, but the whole way from labels on disk to a model that counts."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import synthetic
from ki67.cells import detect_cells, load_engine
from ki67.errors import DataSetError, ModelError
from ki67.fields.labelled_fields import LabelledField, read_fields
from ki67.fields.matching import count_matches
from ki67.slides import open_slide
from ki67.vocabulary import CLASSES

torch = pytest.importorskip("torch")
MPP = 0.25
CARD = {
    "name": "n",
    "positive_threshold": 0.001,
    "negative_threshold": 0.001,
    "calibration": {"positive": [5.0, -2.0], "negative": [5.0, -2.0]},
}


def small(**changes):
    from ki67.learning.cells.network_training import NetworkOptions

    return NetworkOptions(**{"steps": 60, "crop_px": 96, "crops_per_group": 4, "save_every": 20, **changes})


@pytest.fixture
def small_crops(monkeypatch):
    """Let the command train on crops of an eighth of the usual area."""
    from ki67.learning.cells import network_training

    monkeypatch.setattr(network_training, "NetworkOptions", partial(network_training.NetworkOptions, crop_px=96))


def test_a_network_trained_on_a_few_drawn_fields_counts_another(fields, tmp_path, save):
    from ki67.learning.cells.recipe import FieldSet, train_cells

    out = tmp_path / "own.onnx"
    card = train_cells(
        [FieldSet("points", fields, mpp=MPP)],
        out,
        "network",
        {"name": "own"},
        network=small(steps=150, widths=(8, 16, 24, 32, 48)),
        fold_steps=20,
        folds=2,
    )
    assert card["engine"] == "network"
    assert set(card["cross_validation"]["f1"]["positive"]) == {"points"}
    picture, centres, _ = synthetic.field(seed=9)
    with open_slide(save(picture), MPP) as slide:
        table = detect_cells(
            slide, None, out.with_suffix(".parquet"), engine=load_engine("network", out)
        ).read_table()
    found = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()])
    assert count_matches(centres * MPP, found, 2.5) >= 0.9 * len(centres)


def test_a_training_cut_short_goes_on_to_the_same_weights(fields, tmp_path, monkeypatch):
    from ki67.learning.cells import network_training
    from ki67.learning.cells.network_training import crops_of, read_network_field, train_network

    (field, *_) = read_fields(fields, "points", MPP)
    options = small(steps=12, save_every=6)
    drawn = crops_of([read_network_field(field, "points", field.name, others_complete=False)], options)
    whole = train_network(drawn, tmp_path / "whole", options)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network_training, "_log", stop)
        with pytest.raises(KeyboardInterrupt):
            train_network(drawn, tmp_path / "cut", options)
    resumed = train_network(drawn, tmp_path / "cut", options)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with pytest.raises(DataSetError, match="other options"):
        train_network(drawn, tmp_path / "cut", small(steps=13, save_every=6))
    monkeypatch.setattr(network_training, "CROPS_VERSION", 1)
    with pytest.raises(DataSetError, match="other crops"):
        train_network(drawn, tmp_path / "cut", options)


def test_the_exported_network_gives_what_the_trained_one_gave(fields, tmp_path):
    from ki67.learning.cells.network_export import export_network
    from ki67.learning.cells.network_training import read_network_field
    from ki67.learning.cells.recipe import peaks_of
    from ki67.learning.cells.unet import CellNetwork

    torch.manual_seed(3)
    network = CellNetwork().eval()
    torch.nn.init.constant_(network.head.bias, 0.0)
    (field, *_) = read_fields(fields, "points", MPP)
    mine = peaks_of(network, read_network_field(field, "points", "p", others_complete=False))
    out = tmp_path / "n.onnx"
    export_network(network, out, CARD)
    with open_slide(field.image, MPP) as slide:
        table = detect_cells(
            slide, None, out.with_suffix(".parquet"), engine=load_engine("network", out)
        ).read_table()
    assert len(table) > 20
    found = np.sort(table["x_um"].to_numpy())
    inside = np.sort(mine.x_px[mine.x_px <= slide.bounds_um.width_um])
    assert len(found) == pytest.approx(len(inside), abs=2)


def flat_crops(points, complete=(True, True, True), size=96, **changes):
    from ki67.learning.cells.crops import Crops, NetworkField

    light = np.full((size, size, 3), 0.8, np.float32)
    field = LabelledField("f", Path("f"), MPP, {})
    made = NetworkField("points", "p", field, light, tuple(points), complete, **changes)
    return Crops([made], size, torch.device("cpu"))


def upright(crops, number=1, other_weight=1.0, **changes):
    """Draws that leave a field as it is."""
    from ki67.learning.cells.crops import Draws

    drawn = crops.draw(np.random.default_rng(1), number, other_weight)
    plain = {
        "turn": np.tile(np.eye(2, dtype=np.float32), (number, 1, 1)),
        "centre": np.full((number, 2), 48, np.float32),
        "scale": np.ones(number, np.float32),
        "noise": np.zeros(number, np.float32),
        **changes,
    }
    return Draws(**(vars(drawn) | plain)).to(crops.device)


def test_where_nuclei_are_of_any_kind_only_the_positive_map_is_asked_for():
    crops = flat_crops([np.empty((0, 2)), np.array([[21, 41]]), np.array([[61, 17]])], tumour_told_apart=False)
    _, _, weight = crops.make(upright(crops))
    other, positive, negative = weight[0]
    assert positive.min() == 1
    assert other.max() == negative.max() == 0


def test_a_turned_and_enlarged_crop_has_its_peaks_where_the_nuclei_are():
    points = [np.empty((0, 2)), np.array([[30.0, 60.0]]), np.array([[70.0, 20.0]])]
    crops = flat_crops(points)
    # A quarter turn about the middle, enlarged: (x, y) of the field comes to lie at 48 + 1.25 (48 - y, x - 48).
    turn = np.array([[[0, 1], [-1, 0]]], np.float32) / 1.25
    _, target, _ = crops.make(upright(crops, turn=turn, scale=np.array([1.25], np.float32)))
    for label in (1, 2):
        (x, y) = points[label][0]
        there = 48 + 1.25 * (48 - y), 48 + 1.25 * (x - 48)
        row, column = divmod(int(target[0, label].argmax()), 48)
        assert np.hypot((column + 0.5) * 2 - there[0], (row + 0.5) * 2 - there[1]) < 1.5
        assert target[0, label].max() > 0.9


def test_pixels_and_targets_of_a_crop_belong_together():
    from ki67.learning.cells.crops import Crops, NetworkField

    rng = np.random.default_rng(5)
    places = np.array([(x, y) for x in range(20, 200, 24) for y in range(20, 200, 24)]) + rng.uniform(-4, 4, (64, 2))
    y, x = np.mgrid[:220, :220] + 0.5
    light = np.ones((220, 220, 3), np.float32)
    for place in places:
        light -= 0.7 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 18)[..., None].astype(np.float32)
    field = NetworkField(
        "points", "p", LabelledField("f", Path("f"), MPP, {}), light, (*[np.empty((0, 2))] * 2, places), (True,) * 3
    )
    crops = Crops([field], 128, torch.device("cpu"))
    made, target, _ = crops.make(crops.draw(rng, 4).to(crops.device))
    dark = torch.nn.functional.avg_pool2d(-made.mean(dim=1, keepdim=True), 2)[:, 0]
    for picture, peaks in zip(dark[:, 8:-8, 8:-8], target[:, 2, 8:-8, 8:-8], strict=True):
        shifts = {
            (down, across): float((torch.roll(picture, (down, across), (0, 1)) * peaks).sum())
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
        }
        assert max(shifts, key=shifts.get) == (0, 0)


def test_nuclei_labelled_as_no_tumour_weigh_more_and_what_is_outside_the_field_nothing():
    crops = flat_crops([np.array([[21.0, 41.0]]), np.empty((0, 2)), np.array([[61, 17]])])
    _, _, weight = crops.make(upright(crops, other_weight=4.0, centre=np.array([[28, 48]], np.float32)))
    assert weight[0, :, 20, 20].tolist() == pytest.approx([4.0] * 3, rel=0.1)
    assert weight[0, :, :, :9].max() == 0


@pytest.mark.parametrize("quality", [40, 75, 89])
def test_crops_are_compressed_as_jpeg_does(quality):
    import cv2

    from ki67.cells.network import MOST_LIGHT
    from ki67.learning.cells.crops import Jpeg

    picture, _, _ = synthetic.field(seed=4)
    picture = picture[:256, :256]
    _, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    light = torch.from_numpy(picture.astype(np.float32) * MOST_LIGHT / 255).permute(2, 0, 1)[None]
    found = Jpeg(light.device)(light, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255 / MOST_LIGHT
    # libjpeg smooths colours on the way back, so the two differ a little, and less than either from the picture.
    assert np.abs(found - expected).mean() < 0.6 * np.abs(picture - expected).mean()


def test_going_on_from_the_shipped_network_starts_where_it_stands(fields):
    from ki67.cells.network import SHIPPED_NETWORK, load_network, maps_of
    from ki67.learning.cells.network_start import options_like, start_from
    from ki67.learning.cells.network_training import crops_of
    from ki67.learning.cells.recipe import FieldSet, read_labels, read_pixels

    read = read_pixels(read_labels([FieldSet("points", fields, mpp=MPP)]))
    options = options_like(SHIPPED_NETWORK, small(crop_px=128))
    network = start_from(None, crops_of(read, options), options)
    shipped = load_network()

    def run(light):
        with torch.inference_mode():
            return torch.sigmoid(network(torch.from_numpy(light))).numpy()

    crop = read[0].light[:128, :128]
    np.testing.assert_allclose(maps_of(crop, run), maps_of(crop, shipped.in_floats.run), atol=1e-4)


def test_another_architecture_cannot_be_gone_on_from(fields):
    from ki67.errors import ModelError
    from ki67.learning.cells.network_start import start_from
    from ki67.learning.cells.network_training import crops_of
    from ki67.learning.cells.recipe import FieldSet, read_labels, read_pixels

    options = small(widths=(8, 16, 24, 32, 48))
    crops = crops_of(read_pixels(read_labels([FieldSet("points", fields, mpp=MPP)])), options)
    with pytest.raises(ModelError, match="is no network of this architecture"):
        start_from(None, crops, options)


def test_targets_peak_at_the_nuclei_and_unlabelled_classes_are_not_asked_for():
    crops = flat_crops([np.empty((0, 2)), np.array([[21.0, 41.0]]), np.array([[61.0, 17.0]])], (False, True, True))
    _, target, weight = crops.make(upright(crops))
    target, weight = target[0], weight[0]
    assert target[1, 20, 10] == pytest.approx(1, abs=1e-3)
    assert target[2, 8, 30] == pytest.approx(1, abs=1e-3)
    assert target[0].max() == 0
    assert weight[1:].min() == 1
    assert weight[0, 20, 10] == weight[0, 8, 30] == 1
    assert weight[0, 40, 40] == 0


def trained(fields, out, engine="network", **changes):
    from ki67.learning.cells.recipe import FieldSet, train_cells

    given = {"network": small(steps=10), "fold_steps": 10, **changes}
    return train_cells([FieldSet("points", fields, mpp=MPP)], out, engine, {"name": "m"}, **given)


def relabel(path, label):
    path.write_text(path.read_text().replace("positive", label).replace("negative", label))


@pytest.mark.parametrize("engine", ["network", "forest"])
@pytest.mark.parametrize(("label", "missing"), [("other", "positive or negative"), ("positive", "negative")])
def test_fields_without_cells_of_a_class_cannot_be_trained_on(fields, tmp_path, engine, label, missing):
    for path in fields.glob("*.csv"):
        relabel(path, label)
    with pytest.raises(DataSetError, match=f"no cell is labelled {missing}"):
        trained(fields, tmp_path / "m.onnx", engine)


@pytest.mark.parametrize("engine", ["network", "forest"])
def test_fields_of_one_patient_are_refused_before_anything_is_trained(fields, tmp_path, engine):
    out = tmp_path / "m.onnx"
    with pytest.raises(DataSetError, match=r"of one patient, 'p'.*--patient field"):
        trained(fields, out, engine, patient=lambda name: name[0])
    assert not out.with_suffix(".training").exists()


def test_a_model_must_have_the_suffix_of_one(fields, tmp_path):
    with pytest.raises(ModelError, match=r"own\.bin: is no name for a model"):
        trained(fields, tmp_path / "own.bin")


def test_a_forest_whose_fold_lacks_a_class_is_grown_all_the_same(fields, tmp_path):
    relabel(fields / "p2_1.csv", "negative")
    relabel(fields / "p3_1.csv", "negative")
    card = trained(fields, tmp_path / "m.onnx", "forest", folds=5)
    assert card["cross_validation"] | {"folds": 3, "patients": 3, "by": "patient"} == card["cross_validation"]


def test_simulated_fields_are_learnt_from_in_every_part_and_judged_in_none():
    from ki67.learning.cells.cross_validation import GroupedField, assign_folds

    def field(group, patient, cells=1):
        points = {name: np.zeros((cells, 2)) for name in CLASSES}
        return GroupedField(group, patient, LabelledField(patient, Path(patient), MPP, points))

    real = [field("points", "a"), field("points", "b"), field("points", "a")]
    assert assign_folds([*real, field("simulated", "c")], 3) == [0, 1, 0, None]
    assert assign_folds([field("simulated", "c"), field("simulated", "d")], 3) == [0, 1]
    # Each part leaves labelled cells to learn from, whatever the order of names.
    some = [field("points", "a", 0), field("points", "b"), field("points", "c", 0), field("points", "d")]
    assert assign_folds(some, 2) == [0, 0, 1, 1]


def test_going_on_from_a_model_that_has_seen_the_fields_is_told(fields, tmp_path, ki67, small_crops):
    from ki67.cells.network import SHIPPED_NETWORK

    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    shutil.copy(SHIPPED_NETWORK, first)
    card = json.loads(SHIPPED_NETWORK.with_suffix(".json").read_text())
    card |= {"name": "m", "fields": ["points/p2_1"], "int8": None}
    first.with_suffix(".json").write_text(json.dumps(card))
    options = ["--start", first, "--steps", "10", "--folds", "5", "--mpp", MPP]
    outcome = ki67("cells", "train", second, "--set", f"points={fields}", *options)
    assert outcome.code == 0, outcome.stderr
    assert "3 fields of 3 patients" in outcome.stderr
    assert "network 3 of 3" in outcome.stderr
    assert "warning: 1 of 3 fields have the names of fields that the model m was trained on" in outcome.stdout
    (said,) = json.loads(second.with_suffix(".json").read_text())["cross_validation"]["warnings"]
    assert "(points/p2_1, …)" in said


def test_a_forest_refuses_fields_that_do_not_tell_tumour_cells(tmp_path):
    from ki67.learning.cells.recipe import FieldSet, train_cells

    with pytest.raises(DataSetError, match="which are tumour cells"):
        train_cells([FieldSet("glioma", tmp_path)], tmp_path / "own.onnx", "forest", CARD)


def test_the_command_goes_on_from_the_shipped_network(fields, tmp_path, ki67, small_crops):
    out = tmp_path / "own.onnx"
    arguments = ["--set", f"points={fields}", "--start", "shipped", "--steps", "10", "--folds", "2"]
    outcome = ki67("cells", "train", out, *arguments, "--mpp", MPP, "--json", "--quiet")
    assert outcome.code == 0, outcome.stderr
    # Ten steps hardly move it: it finds the drawn cells of the fields that its fold had not seen.
    assert outcome.json["cross_validation"]["f1"]["positive"]["points"] > 0.7
    assert outcome.json["cross_validation"]["warnings"] == []


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--engine", "forest", "--steps", "20"], "--steps"),
        (["--engine", "forest", "--start", "shipped"], "--start"),
        (["--images", "1", "--images", "2"], "--images"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(fields, tmp_path, ki67, words, option):
    outcome = ki67("cells", "train", tmp_path / "own.onnx", "--set", f"points={fields}", *words)
    assert outcome.code == 2
    assert option in outcome.stderr


def test_fields_can_be_chosen_for_each_set(fields, tmp_path, ki67):
    words = ["--set", f"points={fields}", "--mpp", MPP, "--engine", "forest", "--json", "--quiet"]
    outcome = ki67("cells", "train", tmp_path / "own.onnx", *words, "--images", "p1_1,p3_1")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["fields"] == ["points/p1_1", "points/p3_1"]
