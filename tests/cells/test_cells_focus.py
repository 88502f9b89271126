"""Sharpness tells a blur and nothing else, and a field in focus loses nothing."""

import cv2
import numpy as np
import pytest

import synthetic
from ki67.cells.channels import TilePixels
from ki67.cells.focus import CELL_UM, WINDOW_CELLS, focus_limit, out_of_focus, sharpness
from ki67.cells.sampling import Sample
from ki67.cells.stains import estimate_stains
from ki67.slides import open_slide

RNG = np.random.default_rng(0)


def working(size=(960, 1280), **options):
    """A drawn field at the working resolution."""
    picture = synthetic.field(size=size, **options)[0]
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def blurred(rgb, sigma_um):
    """Blur by a sigma in µm; the camera's noise comes after the optics."""
    light = cv2.GaussianBlur(rgb, (0, 0), sigma_um / 0.5) + RNG.normal(0, 1.5, rgb.shape)
    return np.clip(light + 0.5, 0, 255).astype(np.uint8)


def sharp(rgb, stains, left_out=None):
    return sharpness(TilePixels(rgb, stains).smooth_density, left_out)


def lost(rgb):
    stains = estimate_stains(rgb.reshape(-1, 3))
    return out_of_focus(sharp(rgb, stains), focus_limit(Sample((rgb,)), stains))


def test_a_blur_lowers_the_sharpness_the_more_the_wider_it_is():
    rgb = working()
    stains = estimate_stains(rgb.reshape(-1, 3))
    values = [np.nanmedian(sharp(picture, stains)) for picture in (rgb, blurred(rgb, 1), blurred(rgb, 2))]
    assert values[0] > 1.3 * values[1] > 1.5 * values[2]


def test_pale_and_dark_nuclei_are_equally_sharp():
    rgb = working()
    pale = (np.array(synthetic.BACKGROUND) * (rgb / np.array(synthetic.BACKGROUND)) ** 0.4).astype(np.uint8)
    dark, light = (np.nanmedian(sharp(picture, estimate_stains(picture.reshape(-1, 3)))) for picture in (rgb, pale))
    assert light == pytest.approx(dark, rel=0.15)


def test_a_field_in_focus_loses_nothing():
    assert not lost(working()).any()


def test_a_blurred_part_is_lost_to_within_a_cell_or_two_and_the_rest_is_not():
    rgb = working()
    half = rgb.shape[1] // 2
    rgb[:, half:] = blurred(rgb, 2.0)[:, half:]
    found, middle = lost(rgb), half // 16
    assert found[:, middle + 2 :].mean() > 0.95
    assert not found[:, : middle - 2].any()


def test_a_field_wholly_out_of_focus_is_lost():
    # Drawn discs are few and pale beside real nuclei: with a camera's noise, too little of them would be left.
    assert lost(cv2.GaussianBlur(working(spacing=36), (0, 0), 4.0 / 0.5)).mean() > 0.9


def test_tissue_without_edges_is_not_judged():
    rgb = working()
    empty = np.clip(np.array(synthetic.GROUND) + RNG.normal(0, 1.5, rgb.shape), 0, 255).astype(np.uint8)
    half = rgb.shape[1] // 2
    rgb[:, half:] = cv2.GaussianBlur(empty, (0, 0), 2.0)[:, half:]
    stains = estimate_stains(rgb.reshape(-1, 3))
    assert np.isnan(sharp(rgb, stains)[:, half // 16 + WINDOW_CELLS :]).all()
    assert not lost(rgb).any()


def test_what_is_left_out_does_not_decide():
    rgb = working()
    mark = np.full((*rgb.shape[:2], 1), 1.0)
    mark[192:288] = 0.1
    rgb = (rgb * cv2.GaussianBlur(mark, (0, 0), 6.0)[..., None]).astype(np.uint8)
    stains, limit = estimate_stains(rgb[:160].reshape(-1, 3)), 0.6
    under = np.zeros((30, 40), bool)
    under[10:20] = True
    assert out_of_focus(sharp(rgb, stains), limit)[~under].any()
    assert not out_of_focus(sharp(rgb, stains, under), limit)[~under].any()


def test_the_grid_is_the_same_wherever_a_tile_begins():
    rgb = working()
    stains = estimate_stains(rgb.reshape(-1, 3))
    whole, part = sharp(rgb, stains), sharp(np.ascontiguousarray(rgb[64:, 128:]), stains)
    inner = slice(WINDOW_CELLS, None)
    assert np.array_equal(part[inner, inner], whole[4:, 8:][inner, inner], equal_nan=True)
    assert CELL_UM == 8.0


@pytest.mark.parametrize("name", ["bcdata/images/5.png", "bcdata/images/14.png", "shidc/p1_0309_3.jpg"])
def test_real_fields_in_focus_lose_nothing_and_blurred_ones_are_lost(cell_data, name):
    with open_slide(cell_data / "ki67_cells" / name, 0.25) as slide:
        rgb = slide.read(slide.bounds_um, 0.5)
    assert not lost(rgb).any()
    assert lost(blurred(rgb, 2.5)).mean() > 0.8
