"""The heat map says what the model says, where there is tissue, in the slide's own frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from idc_scene import MPP, PINK, PURPLE, write_colour_model, write_green_model
from ki67.annotations import Region, Regions
from ki67.errors import CaseError, TissueError
from ki67.geometry import RectUm
from ki67.idc import (
    HeatMap,
    IdcModel,
    areas_beside_mm2,
    load_model,
    predict,
    predict_classes,
    read_heatmap,
    read_heatmaps,
    write_heatmap,
    write_heatmaps,
)
from ki67.idc.prediction import Grid, make_grid, spread, usual_stride
from ki67.slides import Slide, TissueMask, open_slide, write_pyramid

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


def test_a_patch_that_is_judged_for_its_core_says_nothing_of_what_lies_around(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    model = load_model(write_green_model(tmp_path, core_px=4))
    with open_slide(write_slide(scene())) as slide:
        heatmap = predict(slide, mask_of(scene()), model, stride_px=4)
    assert heatmap.mpp == pytest.approx(16)
    assert heatmap.probability.shape == (40, 50)
    tissue = np.zeros((40, 50), bool)
    tissue[10:30, 10:40] = True
    np.testing.assert_array_equal(heatmap.tissue, tissue)
    # One patch for each place, whose middle lies there: 20 px around it, of which the map's pixel is 4.
    green = np.pad(scene()[..., 1].astype(np.float64), 8, constant_values=255)
    means = sliding_window_view(green, (20, 20)).mean(axis=(2, 3))[::4, ::4]
    np.testing.assert_allclose(heatmap.probability[tissue], 1 - means[tissue] / 255, atol=5e-3)


def test_what_lies_around_a_patch_shares_no_pixel_with_it(tmp_path: Path) -> None:
    around = {"neighbours": 4, "reach_um": 200.0, "weight": 1.0, "prior": 1.0, "scale": 1.0}
    model = load_model(write_green_model(tmp_path, core_px=4, surroundings=around))
    maps = []
    for level in (128, 0):
        pixels = np.full((200, 200, 3), 128, np.uint8)
        pixels[98:102, 98:102] = level
        write_pyramid(tmp_path / f"{level}.tif", iter([pixels]), (200, 200), MPP, compression="deflate")
        with open_slide(tmp_path / f"{level}.tif") as slide:
            maps.append(predict(slide, TissueMask(np.ones((200, 200), bool), MPP, ()), model, stride_px=4))
    raised = maps[1].probability > maps[0].probability + 1e-3
    rows, columns = np.nonzero(raised)
    # The patches that see the dot, and those a patch's edge away from them.
    assert rows.max() - rows.min() + 1 == pytest.approx(3 * 20 / 4, abs=1)
    assert not raised[rows.min() : rows.min() + 4, columns.min() : columns.min() + 4].any()


def test_each_class_has_a_map_and_those_of_a_place_sum_to_one(write_slide: WriteSlide, tmp_path: Path) -> None:
    model = load_model(write_colour_model(tmp_path))
    with open_slide(write_slide(scene())) as slide:
        maps = predict_classes(slide, mask_of(scene()), model)
        alone = predict(slide, mask_of(scene()), model)
    assert list(maps) == ["Normal", "DCIS", "IDC"]
    np.testing.assert_array_equal(maps["IDC"].probability, alone.probability)
    np.testing.assert_allclose(maps["DCIS"].probability[6:10, 12:14], PURPLE[1] / sum(PURPLE), atol=5e-3)
    total = np.sum([one.probability for one in maps.values()], axis=0)
    np.testing.assert_allclose(total[alone.tissue], 1, atol=1e-5)
    assert np.isnan(total[~alone.tissue]).all()


def test_the_area_of_a_class_is_where_it_is_the_likeliest_outside_the_carcinoma(tmp_path: Path) -> None:
    values = {"Normal": [[0.5, 0.1, np.nan], [0.1, 0.2, 0.2]], "DCIS": [[0.2, 0.6, np.nan], [0.5, 0.1, 0.35]]}
    maps = {name: HeatMap(np.array(rows, np.float32), 100.0) for name, rows in values.items()}
    tissue = TissueMask(np.ones((20, 30), bool), 10.0, ())
    none = Regions([])
    assert areas_beside_mm2(maps, none, tissue) == pytest.approx({"Normal": 0.02, "DCIS": 0.03})
    # What lies within the outline is counted, whatever the map says of it.
    around = Regions([Region("IDC", shapely.box(90, -10, 210, 160), "1")])
    assert areas_beside_mm2(maps, around, tissue) == pytest.approx({"Normal": 0.01, "DCIS": 0.02})
    tissue.mask[10:15, :10] = False
    assert areas_beside_mm2(maps, around, tissue) == pytest.approx({"Normal": 0.01, "DCIS": 0.015})


def test_maps_of_several_classes_are_kept_with_their_names(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 300, 410)).astype(np.float32)
    values[:, :50] = np.nan
    maps = {name: HeatMap(one, 48.0) for name, one in zip(("Körper <1>", "正常", "DCIS"), values, strict=True)}
    write_heatmaps(tmp_path / "maps.tif", maps)
    back = read_heatmaps(tmp_path / "maps.tif")
    assert list(back) == list(maps)
    for name, one in maps.items():
        np.testing.assert_array_equal(back[name].probability, one.probability)
        assert back[name].mpp == pytest.approx(48.0)
    whole = (tmp_path / "maps.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CaseError, match="heat map"):
        read_heatmaps(tmp_path / "cut.tif")


@pytest.mark.parametrize(("core_px", "stride_px"), [(50, 25), (24, 12), (9, 3), (7, 7), (1, 1), (49, 49)])
def test_a_core_is_overlapped_where_it_can_be_parted(core_px: int, stride_px: int) -> None:
    assert usual_stride(core_px) == stride_px
    assert core_px % stride_px == 0


def test_patches_that_share_no_pixel_are_as_far_apart_as_they_are_wide() -> None:
    assert Grid(1, 1, stride_px=9, patch_px=20, core_px=18, mpp=1.0).apart == 3
    assert Grid(1, 1, stride_px=10, patch_px=20, core_px=20, mpp=1.0).apart == 2


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
