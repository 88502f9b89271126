"""Training on drawn fields: small, but the whole way from labels on disk to a model that counts."""

import csv

import numpy as np
import pytest
import synthetic

from ki67.cells import detect_cells, load_engine
from ki67.cells.labelled_fields import read_fields
from ki67.cells.matching import count_matches
from ki67.errors import DataSetError
from ki67.slides import open_slide

torch = pytest.importorskip("torch")
MPP = 0.25
CARD = {
    "name": "n",
    "positive_threshold": 0.0,
    "negative_threshold": 0.0,
    "calibration": {"positive": [5.0, -2.0], "negative": [5.0, -2.0]},
}


@pytest.fixture
def fields(tmp_path, save):
    for seed in (1, 2, 3):
        picture, centres, positive = synthetic.field(seed=seed)
        path = save(picture, f"fields/p{seed}_1.png")
        with path.with_suffix(".csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["x", "y", "label"])
            for (x, y), brown in zip(centres, positive, strict=True):
                writer.writerow([x - 0.5, y - 0.5, "positive" if brown else "negative"])
    return tmp_path / "fields"


def small(**changes):
    from ki67.cells.network_training import NetworkOptions

    return NetworkOptions(**{"steps": 60, "crop_px": 96, "crops_per_group": 4, "save_every": 20, **changes})


def test_a_network_trained_on_a_few_drawn_fields_counts_another(fields, tmp_path, save):
    from ki67.cells.recipe import FieldSet, train_cells

    out = tmp_path / "own.onnx"
    card = train_cells(
        [FieldSet("points", fields, mpp=MPP)],
        out,
        "network",
        {"name": "own"},
        network=small(steps=150),
        fold_steps=40,
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
    from ki67.cells import network_training
    from ki67.cells.network_training import read_network_field, train_network

    (field, *_) = read_fields(fields, "points", MPP)
    drawn = [read_network_field(field, "points", field.name, others_complete=False)]
    options = small(steps=12, save_every=6)
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


def test_the_exported_network_gives_what_the_trained_one_gave(fields, tmp_path):
    from ki67.cells.network_export import export_network
    from ki67.cells.network_training import read_network_field
    from ki67.cells.recipe import peaks_of
    from ki67.cells.unet import CellNetwork

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


def test_where_nuclei_are_of_any_kind_only_the_positive_map_is_asked_for():
    from ki67.cells.network_training import _targets

    points = [np.empty((0, 2)), np.array([[10.5, 20.5]]), np.array([[30.5, 8.5]])]
    _, weight = _targets(points, (True, True, True), 48, tumour_told_apart=False)
    other, positive, negative = weight
    assert positive.min() == 1
    assert other.max() == negative.max() == 0


def test_going_on_from_the_shipped_network_starts_where_it_stands(fields):
    from ki67.cells.network import load_network, maps_of
    from ki67.cells.network_start import start_from
    from ki67.cells.recipe import FieldSet, read_sets

    read = read_sets([FieldSet("points", fields, mpp=MPP)])
    network = start_from(None, read, small(crop_px=128))
    shipped = load_network()

    def run(light):
        with torch.inference_mode():
            return torch.sigmoid(network(torch.from_numpy(light))).numpy()

    crop = read[0].light[:128, :128]
    graph = maps_of(crop, lambda light: shipped.session.run(None, {"light": light})[0])
    np.testing.assert_allclose(maps_of(crop, run), graph, atol=1e-4)


def test_another_architecture_cannot_be_gone_on_from(fields):
    from ki67.cells.network_start import start_from
    from ki67.cells.recipe import FieldSet, read_sets
    from ki67.errors import ModelError

    with pytest.raises(ModelError, match="is no network of these widths"):
        start_from(None, read_sets([FieldSet("points", fields, mpp=MPP)]), small(widths=(8, 16, 24, 32, 48)))


def test_targets_peak_at_the_nuclei_and_unlabelled_classes_are_not_asked_for():
    from ki67.cells.network_training import _targets

    points = [np.empty((0, 2)), np.array([[10.5, 20.5]]), np.array([[30.5, 8.5]])]
    target, weight = _targets(points, (False, True, True), 48)
    assert target[1, 20, 10] == 1
    assert target[2, 8, 30] == 1
    assert target[0].max() == 0
    assert weight[1:].min() == 1
    assert weight[0, 20, 10] == weight[0, 8, 30] == 1
    assert weight[0, 40, 40] == 0


def test_fields_without_tumour_cells_cannot_be_trained_on(fields, tmp_path):
    from ki67.cells.recipe import FieldSet, train_cells

    for path in fields.glob("*.csv"):
        path.write_text("x,y,label\n4,4,other\n")
    for engine in ("network", "forest"):
        with pytest.raises(DataSetError, match="cannot be trained"):
            train_cells(
                [FieldSet("points", fields, mpp=MPP)], tmp_path / "m.onnx", engine, {"name": "m"}, network=small()
            )


def test_a_forest_refuses_fields_that_do_not_tell_tumour_cells(tmp_path):
    from ki67.cells.recipe import FieldSet, train_cells

    with pytest.raises(DataSetError, match="which are tumour cells"):
        train_cells([FieldSet("glioma", tmp_path)], tmp_path / "own.onnx", "forest", CARD)


def test_the_command_goes_on_from_the_shipped_network(fields, tmp_path, ki67):
    out = tmp_path / "own.onnx"
    arguments = ["--set", f"points={fields}", "--start", "shipped", "--steps", "10", "--folds", "2"]
    outcome = ki67("cells", "train", out, *arguments, "--mpp", MPP, "--json", "--quiet")
    assert outcome.code == 0, outcome.stderr
    # Ten steps hardly move it: it finds the drawn cells of the fields that its fold had not seen.
    assert outcome.json["cross_validation"]["f1"]["positive"]["points"] > 0.7
    assert ki67("cells", "train", out, *arguments, "--engine", "forest").code == 2
