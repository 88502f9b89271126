import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from PIL import Image

from ki67.errors import TissueError
from ki67.geometry import RectUm
from ki67.slides import TissueMask, open_slide, tissue_mask
from ki67.slides.mask_polygons import outline_um
from ki67.slides.tissue import find_tissue, mask_of

SLIDES = Path(os.environ.get("KI67_DATA", Path(__file__).parents[3] / "shared" / "data")) / "slides"
needs_data = pytest.mark.skipif(not SLIDES.is_dir(), reason="the real slides (KI67_DATA) are not here")
HE = (0.30, 0.38, 0.16)
PALE_IHC = (0.12, 0.07, 0.04)
INKS = {"blue": (0.9, 0.5, 0.1), "green": (0.8, 0.3, 0.6), "red": (0.05, 0.7, 0.65), "black": (1.0, 1.0, 1.05)}


def scene(stain=HE, fat=False, inks=(), edges=False):
    """A disc of tissue on glass at 8 µm per pixel: picture and truth."""
    rng = np.random.default_rng(1)
    height, width = 500, 700
    y, x = np.mgrid[:height, :width]
    tissue = (x - 330) ** 2 + (y - 250) ** 2 < 180**2
    density = np.zeros((height, width, 3), np.float32)
    density[tissue] = np.array(stain) * (1 + 0.25 * rng.standard_normal((int(tissue.sum()), 1)))
    if fat:
        cells = tissue & (x > 330) & (y < 250)
        density[cells] = 0
        density[cells & ((x % 9 == 0) | (y % 9 == 0))] = (0.05, 0.12, 0.04)
    for row, ink in enumerate(inks):
        top = 30 + 110 * row
        cv2.line(density, (20, top), (190, top + 40), INKS[ink], 26, cv2.LINE_AA)
    if edges:
        cv2.line(density, (640, 0), (650, height), (0.15, 0.15, 0.14), 3)
        for _ in range(60):
            spot = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(density, spot, int(rng.integers(1, 5)), (0.4, 0.4, 0.4), -1)
    noise = rng.normal(0, 1.2, density.shape)
    return np.clip(np.array([240, 241, 243]) * 10**-density + noise, 0, 255).astype(np.uint8), tissue


@pytest.mark.parametrize("options", [{}, {"fat": True}, {"edges": True}, {"stain": PALE_IHC, "edges": True}])
def test_tissue_is_found_and_nothing_else(options):
    pixels, truth = scene(**options)
    mask, warnings = find_tissue(pixels, 8.0)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.96
    assert warnings == ()


@pytest.mark.parametrize("stain", [HE, PALE_IHC])
@pytest.mark.parametrize("ink", list(INKS))
def test_pen_marks_are_left_out_and_named(ink, stain):
    plain, truth = scene(stain)
    pixels, _ = scene(stain, inks=(ink,) * 4)
    marked = np.abs(plain.astype(int) - pixels).max(axis=2) > 40
    mask, warnings = find_tissue(pixels, 8.0)
    assert not (mask & marked).any()
    assert (mask & truth).sum() > 0.85 * (truth & ~marked).sum()
    assert ink in warnings[0]


def test_an_empty_white_slide_has_no_tissue(tmp_path):
    rng = np.random.default_rng(0)
    empty = np.clip(rng.normal(243, 1.5, (500, 500, 3)), 0, 255).astype(np.uint8)
    for name, pixels in (("noisy", empty), ("white", np.full((500, 500, 3), 255, np.uint8))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        with open_slide(tmp_path / f"{name}.png", mpp=4.0) as slide, pytest.raises(TissueError) as caught:
            tissue_mask(slide)
        assert "\n" not in str(caught.value)


@needs_data
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("os1_he.ome.tif", 0.97, 1), ("os2_ki67_nanozoomer.ome.tif", 0.85, 1), ("cmu-1-small-region.svs", 0.3, 0.5)],
)
def test_real_fields(name, least, most):
    with open_slide(SLIDES / name) as slide:
        assert least <= tissue_mask(slide).mask.mean() <= most


def test_fraction_and_area_are_exact():
    mask = np.zeros((10, 10), bool)
    mask[2:6, 3:8] = True
    tissue = TissueMask(mask, 8.0)
    assert tissue.area_mm2 == pytest.approx(20 * 64e-6)
    assert tissue.fraction(RectUm(24, 16, 40, 32)) == pytest.approx(1)
    assert tissue.fraction(RectUm(20, 16, 8, 8)) == pytest.approx(0.5)
    assert tissue.fraction(RectUm(-100, -100, 50, 50)) == 0
    assert tissue.geometry.bounds == (24, 16, 64, 48)


def test_fractions_of_a_grid_are_those_of_its_squares():
    tissue = TissueMask(np.random.default_rng(0).random((40, 60)) < 0.5, 8.0)
    x_um, y_um = 3.3 + 17.1 * np.arange(25), 41.9 + 13.7 * np.arange(18)
    expected = [[tissue.fraction(RectUm(x, y, 45.5, 45.5)) for x in x_um] for y in y_um]
    assert tissue.fractions(x_um, y_um, 45.5) == pytest.approx(np.array(expected))


def test_an_outline_keeps_area_and_holes():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 5:55] = True
    mask[20:30, 20:40] = False
    mask[24:26, 28:30] = True
    geometry = outline_um(mask, 2.0)
    assert geometry.is_valid
    assert geometry.area == pytest.approx(mask.sum() * 4, rel=0.005)


def test_pale_collagen_beside_stained_tissue_is_tissue_and_alone_on_glass_is_not():
    collagen = np.array([0.056, 0.052, 0.043])
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:500, :700]
    around = (x - 250) ** 2 + (y - 250) ** 2 < 200**2
    alone = (x - 600) ** 2 + (y - 250) ** 2 < 70**2
    density = np.zeros((500, 700, 3))
    density[around | alone] = collagen
    density[(x - 250) ** 2 + (y - 250) ** 2 < 100**2] = PALE_IHC
    light = np.array([235, 236, 230]) * 10**-density + rng.normal(0, 1.2, density.shape)
    mask, _ = find_tissue(np.clip(light, 0, 255).astype(np.uint8), 8.0)
    assert (mask & around).sum() / around.sum() > 0.97
    assert not (mask & alone).any()


def test_a_slide_that_is_mostly_black_is_refused(tmp_path):
    Image.fromarray(np.full((300, 300, 3), (2, 1, 30), np.uint8)).save(tmp_path / "dark.png")
    with open_slide(tmp_path / "dark.png", 4.0) as slide, pytest.raises(TissueError, match="bright-field"):
        tissue_mask(slide)


def field(path, density, mpp=1.0, glass=(240, 241, 243), seed=5):
    """A field (H, W) filled with pale stroma and a few nuclei, without glass; ``density`` of its ground (OD)."""
    rng = np.random.default_rng(seed)
    side = 1200
    waves = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 6 / mpp)
    amount = 1 + 0.5 * waves / waves.std()
    nuclei = np.zeros((side, side))
    for _ in range(600):
        centre = (int(rng.integers(side)), int(rng.integers(side)))
        cv2.ellipse(nuclei, centre, (round(6 / mpp), round(3 / mpp)), float(rng.integers(180)), 0, 360, 0.25, -1)
    od = amount[..., None] * np.array(density) + nuclei[..., None] * np.array([0.65, 0.70, 0.29])
    light = np.array(glass) * 10**-od + rng.normal(0, 1.2, od.shape)
    Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("density", "glass"),
    [
        pytest.param((0.030, 0.026, 0.015), (240, 241, 243), id="pale stroma"),
        pytest.param((0.010, 0.011, 0.008), (240, 241, 243), id="palest stroma"),
        pytest.param((0.020, 0.014, 0.024), (240, 241, 243), id="mucin"),
        pytest.param((0.030, 0.026, 0.015), (238, 228, 190), id="yellow light"),
        pytest.param((0.030, 0.026, 0.015), (150, 150, 150), id="dim light"),
    ],
)
def test_a_field_without_glass_is_tissue_however_pale(tmp_path, density, glass):
    with open_slide(field(tmp_path / "field.png", density, glass=glass), 1.0) as slide:
        assert tissue_mask(slide).mask.mean() > 0.95


@pytest.mark.parametrize("light", [(1.0, 0.97, 0.8), (0.6, 0.6, 0.6)], ids=["yellow", "dim"])
def test_glass_is_told_from_tissue_in_yellow_and_dim_light(light):
    pixels, truth = scene()
    mask, _ = find_tissue((pixels * np.array(light)).astype(np.uint8), 8.0)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.96


def test_what_a_person_drew_is_tissue_where_none_can_be_told_from_glass(tmp_path):
    Image.fromarray(np.full((400, 500, 3), 240, np.uint8)).save(tmp_path / "even.png")
    with open_slide(tmp_path / "even.png", 4.0) as slide:
        tissue = mask_of(shapely.box(400, 400, 1200, 1000), slide)
    assert tissue.area_mm2 == pytest.approx(0.48, rel=0.02)
    assert "taken for tissue" in tissue.warnings[0]
