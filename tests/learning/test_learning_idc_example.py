"""The example's way from outlines to a model of three classes and the rest is open from end to end."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import tifffile
import torch

from ki67.idc import load_model, read_heatmap
from ki67.simulate import pair
from ki67.simulate.options import SimulationOptions
from ki67.simulate.scene import draw_paint

EXAMPLE = Path(__file__).parents[2] / "examples" / "idc_three_classes.py"


def test_from_outlines_to_a_model_a_map_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Textures take most of the time of a simulation; the patients' may be alike here.
    paint = draw_paint(SimulationOptions(seed=1))
    monkeypatch.setattr(pair, "draw_paint", lambda options: paint)
    threads = torch.get_num_threads()
    try:
        result = runpy.run_path(str(EXAMPLE))["main"]([str(tmp_path), "--small"])
    finally:
        torch.set_num_threads(threads)
    model = load_model(tmp_path / "training" / "idc_efficientnet_lite0.onnx")
    assert model.card.classes == ("other", "Normal", "DCIS", "IDC")
    assert (model.card.patch_px, model.card.core_px, model.card.mpp) == (96, 24, 2.0)
    assert result["validation_auc"] > 0.6
    idc = tmp_path / "case13" / "idc"
    assert read_heatmap(idc / "heatmap.tif").mpp == pytest.approx(24)
    with tifffile.TiffFile(idc / "other_classes.tif") as file:
        assert [page.description for page in file.pages] == ["other", "Normal", "DCIS"]
    shown = capsys.readouterr().out
    assert "labelled, called" in shown
    for name in ("roc", "calibration", "confusion"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
