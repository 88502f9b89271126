"""The heat map says what the model says, where there is tissue, in the slide's own frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from idc_scene import MPP, PINK, PURPLE
from ki67.errors import CaseError, TissueError
from ki67.geometry import RectUm
from ki67.idc import HeatMap, IdcModel, predict, read_heatmap, write_heatmap
from ki67.idc.prediction import make_grid, spread
from ki67.slides import Slide, TissueMask, open_slide

WriteSlide = Callable[..., Path]


def scene() -> NDArray[np.uint8]:
    """200 x 160 px: glass, a pink square (x 40 to 160, y 40 to 120 px), its right half purple."""
    pixels = np.full((160, 200, 3), 255, np.uint8)
    pixels[40:120, 40:160] = PINK
    pixels[40:120, 100:160] = PURPLE
    return pixels


def mask_of(pixels: NDArray[np.uint8]) -> TissueMask:
    return TissueMask(np.any(pixels < 250, axis=2), MPP, ())


def test_only_tissue_has_a_probability_and_it_is_the_mean_of_the_patches_over_it(
    write_slide: WriteSlide, green_model: IdcModel
) -> None:
    with open_slide(write_slide(scene())) as slide:
        heatmap = predict(slide, mask_of(scene()), green_model)
    # Half a patch is 10 px = 40 µm, and the map starts at the slide's corner.
    assert heatmap.mpp == pytest.approx(40)
    assert heatmap.probability.shape == (16, 20)
    tissue = np.zeros((16, 20), bool)
    tissue[4:12, 4:16] = True
    np.testing.assert_array_equal(heatmap.tissue, tissue)
    np.testing.assert_allclose(heatmap.probability[6:10, 6:8], 1 - PINK[1] / 255, atol=5e-3)
    np.testing.assert_allclose(heatmap.probability[6:10, 12:14], 1 - PURPLE[1] / 255, atol=5e-3)
    halfway = (PINK[1] + PURPLE[1]) / 2
    # Left of the border: two patches lie in pink, two astride it.
    np.testing.assert_allclose(heatmap.probability[6:10, 9], 1 - (PINK[1] + halfway) / 2 / 255, atol=5e-3)


def test_a_stride_of_a_whole_patch_judges_each_place_once(write_slide: WriteSlide, green_model: IdcModel) -> None:
    with open_slide(write_slide(scene())) as slide:
        heatmap = predict(slide, mask_of(scene()), green_model, stride_px=20)
    assert heatmap.mpp == pytest.approx(80)
    assert heatmap.probability.shape == (8, 10)
    assert heatmap.probability[3, 5] == pytest.approx(1 - PURPLE[1] / 255, abs=5e-3)


def test_the_map_is_the_same_at_another_resolution_of_the_slide(
    write_slide: WriteSlide, green_model: IdcModel
) -> None:
    fine = scene().repeat(2, axis=0).repeat(2, axis=1)
    with open_slide(write_slide(scene())) as slide, open_slide(write_slide(fine, MPP / 2, "fine.tif")) as other:
        first = predict(slide, mask_of(scene()), green_model)
        second = predict(other, mask_of(scene()), green_model)
    assert second.mpp == first.mpp
    np.testing.assert_allclose(second.probability, first.probability, atol=0.02)


def test_nothing_far_from_tissue_is_read(
    write_slide: WriteSlide, green_model: IdcModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.full((700, 700, 3), 255, np.uint8)
    pixels[20:60, 20:60] = pixels[620:660, 620:660] = PINK
    read: list[RectUm] = []
    original = Slide.read

    def remember(self: Slide, region_um: RectUm, mpp: float) -> NDArray[np.uint8]:
        read.append(region_um)
        return original(self, region_um, mpp)

    monkeypatch.setattr(Slide, "read", remember)
    with open_slide(write_slide(pixels)) as slide:
        predict(slide, mask_of(pixels), green_model)
    assert read
    assert sum(rect.width_um * rect.height_um for rect in read) < 0.05 * (700 * MPP) ** 2


def test_a_slide_without_tissue_is_refused(write_slide: WriteSlide, green_model: IdcModel) -> None:
    with open_slide(write_slide(scene())) as slide, pytest.raises(TissueError, match="holds no tissue"):
        predict(slide, TissueMask(np.zeros((160, 200), bool), MPP, ()), green_model)


def test_a_stride_that_does_not_divide_the_patch_is_refused(write_slide: WriteSlide, green_model: IdcModel) -> None:
    with open_slide(write_slide(scene())) as slide, pytest.raises(ValueError, match="must divide"):
        make_grid(slide, green_model, 7)


def test_a_place_takes_the_mean_of_the_patches_that_were_judged() -> None:
    nothing = np.nan
    scores = np.array([[nothing, 0.2, 0.4], [nothing, nothing, 0.9]], np.float32)
    mean = spread(scores, np.array([[1.0, 1.0]], np.float32), 2)
    np.testing.assert_allclose(mean, [[0.2, 0.5]], atol=1e-6)


def test_the_file_keeps_values_gaps_and_pixel_size(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((300, 410)).astype(np.float32)
    values[:50] = np.nan
    write_heatmap(tmp_path / "map.tif", HeatMap(values, 100.0))
    back = read_heatmap(tmp_path / "map.tif")
    np.testing.assert_array_equal(back.probability, values)
    assert back.mpp == pytest.approx(100.0)


def test_a_damaged_or_foreign_map_is_refused(tmp_path: Path, write_slide: WriteSlide) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0")
    with pytest.raises(CaseError, match="cannot be read as a heat map"):
        read_heatmap(tmp_path / "bad.tif")
    with pytest.raises(CaseError, match="is no heat map"):
        read_heatmap(write_slide(scene()))
