"""Folds are told by the density between the nuclei, over a length, by tissue on both sides."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ki67.slides import TissueMask, open_slide
from ki67.slides.folds import GRID_UM, find_folds, fold_bands

SIDE_UM = 1400.0


def floor(seed: int = 0) -> NDArray[np.float32]:
    """Density between the nuclei of even tissue, on the grid."""
    return np.random.default_rng(seed).normal(0.18, 0.02, (180, 200)).astype(np.float32)


def band(width_px: int) -> NDArray[np.bool_]:
    """A bent band across the middle."""
    x = np.arange(20, 180)
    points = np.stack([x, 90 + 15 * np.sin(x / 45)], 1).astype(np.int32)
    drawn = cv2.polylines(np.zeros((180, 200), np.uint8), [points], False, 1, width_px)
    return np.asarray(drawn, np.bool_)


@pytest.mark.parametrize("width_px", [3, 5, 8, 12])
def test_a_band_of_double_density_is_a_fold(width_px: int) -> None:
    truth = band(width_px)
    found = fold_bands(np.where(truth, 1.9 * floor(), floor()))
    assert found[truth].mean() > 0.8
    assert truth[found].mean() > 0.5
    near = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert near[found].mean() > 0.85


def test_a_fold_is_the_same_however_the_grid_is_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = np.where(band(8), 1.9 * floor(), floor())
    whole = fold_bands(raised)
    monkeypatch.setattr("ki67.slides.folds._PART_ROWS", 23)
    assert (fold_bands(raised) == whole).all()
    assert whole.any()


def test_even_tissue_has_no_fold() -> None:
    assert not any(fold_bands(floor(seed)).any() for seed in range(5))


def test_a_dense_spot_is_no_fold() -> None:
    spot = cv2.circle(np.zeros((180, 200), np.uint8), (100, 90), 30, 1, -1).astype(bool)
    assert not fold_bands(np.where(spot, 2 * floor(), floor())).any()


def test_a_short_band_is_no_fold() -> None:
    short = np.zeros((180, 200), np.bool_)
    short[80:84, 90:110] = True
    assert not fold_bands(np.where(short, 2 * floor(), floor())).any()


def test_the_border_of_denser_tissue_is_no_fold() -> None:
    dense = floor()
    dense[:, 100:] *= 2
    assert not fold_bands(dense).any()


def test_a_dense_layer_between_two_tissues_is_no_fold() -> None:
    layers = floor()
    layers[90:] *= 1.5
    layers[86:96] = 2.5 * floor()[86:96]
    assert not fold_bands(layers).any()


def test_a_strand_of_tissue_between_fat_is_no_fold() -> None:
    assert not fold_bands(np.where(band(6), floor(), 0.01).astype(np.float32)).any()


def draw(path: Path, *, fold: bool, crowd: bool) -> Path:
    """Nuclei on pale tissue at 1 µm/px, with a fold, or with a band where the nuclei stand close."""
    rng = np.random.default_rng(4)
    side = int(SIDE_UM)
    density = np.full((side, side), 0.08, np.float32)
    places = rng.uniform(0, side, (9000, 2))
    extra = rng.uniform((0, side / 2 - 30), (side, side / 2 + 30), (500, 2)) if crowd else np.empty((0, 2))
    for x, y in np.concatenate([places, extra]):
        cv2.circle(density, (int(x), int(y)), 4, 0.35, -1)
    if fold:
        rows = np.abs(np.arange(side) - side / 2) < 30
        density[rows] += 0.9 * np.roll(density, (311, 97), (0, 1))[rows]
    colour = np.array([0.65, 0.70, 0.29]) * 1.6
    light = 242 * 10.0 ** -(cv2.GaussianBlur(density, (0, 0), 0.6)[..., None] * colour)
    cv2.imwrite(str(path), np.clip(light + rng.normal(0, 1.5, light.shape), 0, 255).astype(np.uint8)[..., ::-1])
    return path


@pytest.mark.parametrize(("fold", "crowd"), [(True, False), (False, True), (False, False)])
def test_tissue_lying_double_is_found_on_a_slide_and_a_crowd_of_nuclei_is_not(
    tmp_path: Path, fold: bool, crowd: bool
) -> None:
    path = draw(tmp_path / "slide.png", fold=fold, crowd=crowd)
    side = round(SIDE_UM / GRID_UM)
    with open_slide(path, 1.0) as slide:
        found = find_folds(slide, TissueMask(np.ones((side, side), np.bool_), GRID_UM))
    middle = slice(side // 2 - 3, side // 2 + 3)
    assert found.shape == (side, side)
    if fold:
        assert found[middle, 10:-10].mean() > 0.8
        assert found[: side // 2 - 8].mean() < 0.01
    else:
        assert not found.any()
