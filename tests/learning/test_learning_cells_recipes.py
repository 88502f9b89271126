"""What makes the shipped models runs from end to end, on fields small enough for a moment."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch")
MPP = 0.25


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "recipes"))
    for name in ("cells_network", "cells_network_deviation", "cells_forest"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_network_is_made_measured_and_told_by_one_command(
    recipes: None, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cells_network
    import cells_network_deviation
    from ki67.cells.network import load_network
    from ki67.learning.cells.recipe import FieldSet

    learnt = [FieldSet("points", fields, ["p1_1", "p2_1"], MPP)]
    unseen = [FieldSet("points", fields, ["p3_1"], MPP)]
    small = partial(cells_network.NetworkOptions, crop_px=96)
    changes = {
        "NetworkOptions": partial(small, steps=10, widths=(8, 16, 24, 32, 48), warmup_steps=5),
        "travelling": lambda steps: small(
            architecture="lite", steps=steps, widths=(8, 16, 24, 32, 48), shares=(("points", 2.0),), wide=True
        ),
        "draw_sections": lambda folder: None,
        "training_sets": lambda sections: learnt,
        "validation_sets": lambda: unseen,
        "teaching_sets": list,
        "FROM_SCRATCH_FOLD_STEPS": 10,
        "ONWARD_STEPS": 10,
        "FULL_STEPS": 10,
    }
    for name, value in changes.items():
        monkeypatch.setattr(cells_network, name, value)
    for name in ("training_sets", "validation_sets"):
        monkeypatch.setattr(cells_network_deviation, name, changes[name])

    cells_network.main(tmp_path / "made.onnx")
    cells_network.main(tmp_path / "again.onnx", "pair")
    with pytest.raises(SystemExit):
        cells_network.main(tmp_path / "odd.onnx", "base", tmp_path / "made.onnx")

    # Without a name the other half is the U-Net within the network that ships.
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["parts"]["unet"] == load_network().card.details["parts"]["unet"]
    assert again["options"]["widths"] == load_network().card.details["options"]["widths"]
    base, unet, card = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("made.base", "made.unet", "made")
    )
    assert unet["start"]["sha256"] == base["sha256"] != unet["sha256"]
    assert card["parts"]["unet"]["sha256"] == unet["sha256"] != card["sha256"]
    assert card["parts"]["lite"]["options"]["architecture"] == "lite"
    assert card["options"]["architecture"] == "pair"
    assert card["fields"] == unet["fields"]
    assert card["command"] == "python recipes/cells_network.py OUT.onnx"
    assert card["fields"] == ["points/p1_1", "points/p2_1"]
    assert card["unseen"]["as_counted"]["points"]["patients"] == 1


def test_the_forest_is_made_by_its_command(
    recipes: None, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cells_forest
    from ki67.cells import load_engine
    from ki67.fields.labelled_fields import read_fields
    from ki67.learning.cells.forest_training import measure_field

    drawn = [measure_field(field, "points", field.name) for field in read_fields(fields, "points", MPP)]
    monkeypatch.setattr(cells_forest, "training_fields", lambda data: drawn)
    monkeypatch.setattr(cells_forest, "simulated_fields", lambda folder: [])
    monkeypatch.setattr(sys, "argv", ["cells_forest.py", str(tmp_path / "made.onnx")])

    cells_forest.main()

    assert load_engine("forest", tmp_path / "made.onnx").card.details["command"] == "python recipes/cells_forest.py"
