"""What is under pen, in folds or out of focus keeps its row and does not count, however the slide is tiled."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

import synthetic
from ki67.cells import detect_cells
from ki67.cells.checks.staining import judge_ki67
from ki67.cells.exclusion import EXCLUSIONS, NOTHING_LOST, loss_warnings, usable_mm2
from ki67.domain import doubts
from ki67.jobs import job
from ki67.slides import open_slide
from ki67.slides.folds import GRID_UM

MPP = 0.25
WIDTH_UM, HEIGHT_UM = 320.0, 240.0
HALF_UM = WIDTH_UM / 2


FOLDER = None


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(f"{__name__}.FOLDER", tmp_path)


def detect(path, region=None, mpp=MPP, threads=None, **options):
    with job(threads=threads), open_slide(path, mpp) as slide:
        return detect_cells(slide, region, Path(tempfile.mkdtemp(dir=FOLDER), "cells.parquet"), **options)


def told(path):
    """What the checks of the stain say of a field."""
    with open_slide(path, MPP) as slide:
        return doubts(judge_ki67(slide, None))


def half_blurred():
    """A field of 320 x 240 µm whose right half is out of focus."""
    picture = synthetic.field(size=(960, 1280), spacing=40)[0]
    soft = cv2.GaussianBlur(picture, (0, 0), 2.5 / MPP) + np.random.default_rng(1).normal(0, 1.5, picture.shape)
    picture[:, 640:] = np.clip(soft, 0, 255).astype(np.uint8)[:, 640:]
    return picture


def flags(table):
    return np.array(table["excluded"].to_pylist()), table["in_region"].to_numpy(zero_copy_only=False)


@pytest.fixture(scope="module")
def blurred():
    return half_blurred()


def test_cells_out_of_focus_keep_their_row_and_do_not_count(blurred, save):
    found = detect(save(blurred))
    excluded, inside = flags(found.read_table())
    x = found.read_table()["x_um"].to_numpy()
    assert (excluded[x > HALF_UM + 16] == "focus").mean() > 0.95
    assert (excluded[x < HALF_UM - 16] == "").all()
    assert np.array_equal(inside, excluded == "")
    assert set(excluded) <= set(EXCLUSIONS)


def test_areas_add_up_to_the_region(blurred, save):
    region = shapely.box(40, 33, 290, 201).difference(shapely.box(100, 50, 130, 90))
    found = detect(save(blurred), region, margin_um=10)
    assert found.area_mm2 + sum(found.area_lost_mm2.values()) == pytest.approx(region.area / 1e6)
    right = region.intersection(shapely.box(HALF_UM, 0, WIDTH_UM, HEIGHT_UM)).area / 1e6
    assert found.area_lost_mm2["focus"] == pytest.approx(right, rel=0.1)
    assert any("of the region was not counted (out of focus" in line for line in found.warnings)


def test_cells_in_the_margin_are_excluded_too(blurred, save):
    table = detect(save(blurred), shapely.box(200, 60, 250, 110), margin_um=40).read_table()
    excluded, inside = flags(table)
    outside = ~shapely.contains_xy(shapely.box(200, 60, 250, 110), table["x_um"], table["y_um"])
    assert (excluded[outside] == "focus").any()
    assert not inside[outside].any()


@pytest.mark.parametrize("core_px", [96, 256])
def test_what_is_left_out_does_not_depend_on_the_tiling(blurred, save, core_px):
    path = save(blurred)
    whole, tiled = detect(path), detect(path, core_px=core_px, threads=3)
    assert tiled.read_table().equals(whole.read_table())
    assert tiled.area_lost_mm2 == whole.area_lost_mm2
    assert tiled.area_mm2 == whole.area_mm2


def test_the_number_of_threads_changes_nothing(blurred, save):
    path = save(blurred)
    one, three = detect(path, core_px=96, threads=1), detect(path, core_px=96, threads=3)
    assert three.read_table().equals(one.read_table())
    assert three.area_lost_mm2 == one.area_lost_mm2


def test_a_moved_region_changes_no_verdict(blurred, save):
    path = save(blurred)
    rows = detect(path).read_table().to_pylist()
    whole = {(row["x_um"], row["y_um"], row["excluded"]) for row in rows}
    part = detect(path, shapely.box(91.7, 42.3, 231, 193), margin_um=0, core_px=96).read_table().to_pylist()
    assert len(part) > 20
    assert {(row["x_um"], row["y_um"], row["excluded"]) for row in part} <= whole


def test_kept_artefacts_count_like_everything_else(blurred, save):
    path = save(blurred)
    kept, usual = detect(path, keep_artefacts=True), detect(path)
    excluded, inside = flags(kept.read_table())
    assert inside.all()
    assert (excluded == "").all()
    assert kept.area_mm2 == pytest.approx(WIDTH_UM * HEIGHT_UM / 1e6)
    assert kept.area_lost_mm2 == {"pen": 0.0, "fold": 0.0, "focus": 0.0}
    flagged = ["in_region", "excluded"]
    assert kept.read_table().drop_columns(flagged).equals(usual.read_table().drop_columns(flagged))


def test_a_field_in_focus_loses_nothing(save):
    found = detect(save(synthetic.field()[0]))
    assert found.area_lost_mm2 == {"pen": 0.0, "fold": 0.0, "focus": 0.0}
    assert set(found.read_table()["excluded"].to_pylist()) == {""}


def test_a_field_wholly_out_of_focus_has_no_area_left(save):
    soft = cv2.GaussianBlur(synthetic.field(size=(960, 1280), spacing=36)[0], (0, 0), 4.0 / MPP)
    found = detect(save(soft))
    assert found.area_mm2 < 0.08 * WIDTH_UM * HEIGHT_UM / 1e6


def test_what_lies_under_pen_is_left_out(save):
    picture = synthetic.field(size=(1600, 1600))[0].astype(float)
    picture[:, 1000:1400] *= 10.0 ** -np.array([1.0, 0.30, 0.75])
    found = detect(save(picture.astype(np.uint8)))
    excluded, inside = flags(found.read_table())
    x = found.read_table()["x_um"].to_numpy()
    under = (x > 250) & (x < 350)
    assert (excluded[under] == "pen").all()
    assert not inside[under].any()
    assert (excluded[x < 200] == "").all()
    assert found.area_lost_mm2["pen"] >= 100 * 400 / 1e6


def test_what_lies_in_a_fold_is_left_out_on_a_slide(save, monkeypatch):
    picture = synthetic.field(size=(2100, 2100), spacing=24, radius=6)[0] * 10.0 ** (-0.1 * synthetic.HEMATOXYLIN)
    picture = picture.astype(np.uint8)

    def fold(slide, tissue):
        mask = np.zeros((round(1050 / GRID_UM) + 1, round(1050 / GRID_UM) + 1), np.bool_)
        mask[50:55] = True
        return mask

    monkeypatch.setattr("ki67.cells.exclusion.find_folds", fold)
    region = shapely.box(300, 300, 700, 600)
    found = detect(save(picture), region, mpp=0.5)
    excluded, inside = flags(found.read_table())
    y = found.read_table()["y_um"].to_numpy()
    assert np.array_equal(excluded == "fold", (y >= 400) & (y < 440))
    assert not inside[excluded == "fold"].any()
    assert found.area_lost_mm2["fold"] == pytest.approx(400 * 40 / 1e6)


def test_small_losses_are_not_warned_of():
    lost = NOTHING_LOST | {"pen": shapely.MultiPolygon([shapely.box(0, 0, 100, 100)])}
    assert loss_warnings(lost, 1.0) == ()
    assert loss_warnings(lost, 0.1) == (
        "10% of the region was not counted (under pen 0.01 mm²); --keep-artefacts counts it all the same",
    )


def test_a_region_that_is_lost_as_a_whole_has_exactly_no_area():
    third = [shapely.MultiPolygon([shapely.box(0, top, 0.1, top + 0.1)]) for top in (0.0, 0.1, 0.2)]
    lost = dict(zip(("pen", "fold", "focus"), third, strict=True))
    assert usable_mm2(lost, 0.3 * 0.1 / 1e6) == 0.0


def test_tissue_without_a_nucleus_gives_an_empty_table(save):
    picture = synthetic.field(size=(600, 800))[0]
    picture[:, 400:] = synthetic.render(np.full((600, 400), synthetic.GROUND_AMOUNT), np.zeros((600, 400)), 3)
    found = detect(save(picture), shapely.box(130, 20, 190, 130), margin_um=0)
    assert len(found.read_table()) == 0
    assert found.area_mm2 == pytest.approx(60 * 110 / 1e6)


def test_tiles_of_glass_beside_the_tissue_hold_no_cell(save):
    picture = np.full((600, 1200, 3), 242, np.uint8)
    picture[:, :400] = synthetic.field(size=(600, 400))[0]
    found = detect(save(picture), core_px=96)
    assert len(found.read_table()) > 50
    assert found.read_table()["x_um"].to_numpy().max() < 102


@pytest.mark.parametrize("stain", [synthetic.DAB, synthetic.HEMATOXYLIN])
def test_a_field_of_one_stain_is_counted_and_what_is_missing_is_said(save, stain):
    amount = np.full((480, 640), 0.25)
    for y in range(24, 470, 48):
        for x in range(24, 630, 48):
            cv2.circle(amount, (x, y), 12, 0.8, -1)
    picture = synthetic.render(amount * 0, amount) if stain is synthetic.DAB else synthetic.render(amount, amount * 0)
    found = detect(save(picture))
    missing = "there is no counterstain" if stain is synthetic.DAB else "DAB is nearly absent"
    assert any(missing in text for text in told(save(picture)))
    labels = set(found.read_table()["label"].to_pylist())
    assert ("positive" if stain is synthetic.HEMATOXYLIN else "negative") not in labels


def test_a_grey_field_is_no_ki67_stain(save):
    picture = synthetic.field()[0]
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    assert any("grey" in text for text in told(save(grey)))


def test_alpha_and_sixteen_bits_change_no_cell(save, tmp_path):
    picture = synthetic.field()[0]
    plain = detect(save(picture)).read_table()
    alpha = np.dstack([picture[..., ::-1], np.full(picture.shape[:2], 255, np.uint8)])
    assert cv2.imwrite(str(tmp_path / "alpha.png"), alpha)
    assert cv2.imwrite(str(tmp_path / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    assert detect(tmp_path / "alpha.png").read_table().equals(plain)
    assert detect(tmp_path / "deep.png").read_table().equals(plain)
