"""A simulated pair: equal seeds give equal files, and the truth is what the files show."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest
import shapely

from ki67.annotations import read_regions
from ki67.errors import SimulationError
from ki67.files import sha256_of
from ki67.jobs import job
from ki67.simulate import pair as pair_module
from ki67.simulate.cells import place_cells
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import draw_sections, simulate_pair
from ki67.simulate.render import BLOCK_PX, DrawnSection, bands, draw_block, read_section
from ki67.simulate.scene import Paint, draw_paint, draw_scene
from ki67.simulate.truth import SimulationTruth
from ki67.slides import PixelFrame
from ki67.vocabulary import CellClass

OPTIONS = SimulationOptions(
    seed=11,
    size_mm=(1.4, 1.1),
    mpp=0.5,
    cells=800,
    shift_um=(40.0, -60.0),
    index_percent=37.0,
    rotation_deg=130.0,
    folds=1,
    tears=1,
    pen=1,
    out_of_focus=1,
)
FILES = (
    "he.tif", "ki67.tif", "truth.json", "he_regions.geojson", "ki67_regions.geojson", "he_cells.parquet",
    "ki67_cells.parquet", "landmarks_he.csv", "landmarks_ki67.csv", "displacement.npz",
)  # fmt: skip


@cache
def paint_of(seed: int, grade: Literal[1, 2, 3]) -> Paint:
    return draw_paint(SimulationOptions(seed=seed, grade=grade))


@pytest.fixture(scope="module", autouse=True)
def _paint_once() -> Iterator[None]:
    """Textures, which take most of the time, follow from seed and grade: drawn once for all that share them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_module, "draw_paint", lambda options: paint_of(options.seed, options.grade))
        yield


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulationTruth]:
    folder = tmp_path_factory.mktemp("pair")
    return folder, simulate_pair(folder, OPTIONS)


@pytest.fixture(scope="module")
def sections() -> tuple[DrawnSection, DrawnSection]:
    return draw_sections(OPTIONS)


def points_of(path: Path) -> np.ndarray:
    with path.open() as stream:
        return np.array([[float(row["X"]), float(row["Y"])] for row in csv.DictReader(stream)])


def test_every_file_is_there_and_nothing_else(pair: tuple[Path, SimulationTruth]) -> None:
    assert sorted(path.name for path in pair[0].iterdir()) == sorted(FILES)


def test_equal_options_give_equal_files_whatever_the_number_of_threads(
    pair: tuple[Path, SimulationTruth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_module, "draw_paint", draw_paint)
    with job(threads=1):
        simulate_pair(tmp_path, OPTIONS)

    for name in FILES:
        assert sha256_of(tmp_path / name) == sha256_of(pair[0] / name), name


def test_another_seed_gives_another_pair(sections: tuple[DrawnSection, DrawnSection]) -> None:
    other, _ = draw_sections(replace(OPTIONS, seed=12))

    assert not np.array_equal(other.cells.x_um[:50], sections[0].cells.x_um[:50])


def test_openslide_opens_both_slides_with_the_right_pixel_size(pair: tuple[Path, SimulationTruth]) -> None:
    truth = json.loads((pair[0] / "truth.json").read_text())
    for name in ("he", "ki67"):
        with openslide.OpenSlide(pair[0] / f"{name}.tif") as slide:
            assert slide.dimensions == tuple(truth[name]["size_px"])
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(OPTIONS.mpp, rel=1e-3)
            assert slide.level_count > 1
    assert truth["he"]["size_px"] == [2800, 2200]


def test_the_index_is_the_one_asked_for_and_that_of_the_counted_cells(pair: tuple[Path, SimulationTruth]) -> None:
    folder, truth = pair
    table = pq.read_table(folder / "ki67_cells.parquet")
    counted = table["counted"].to_numpy()
    labels = np.array(table["label"].to_pylist())[counted]
    regions = read_regions(folder / "ki67_regions.geojson", PixelFrame(OPTIONS.mpp)).with_label("IDC").union()
    x, y = table["x_um"].to_numpy(), table["y_um"].to_numpy()
    inside = shapely.contains_xy(regions, x, y)
    invasive = np.array(table["kind"].to_pylist()) == "invasive"

    assert truth.index_percent == pytest.approx(OPTIONS.index_percent, abs=50.0 / truth.cells + 1e-9)
    assert truth.index_percent == pytest.approx(100 * (labels == "positive").sum() / len(labels))
    assert set(labels) == {"positive", "negative"}
    assert (inside & invasive).sum() == pytest.approx(truth.cells, rel=0.002)
    assert truth.cells == pytest.approx(OPTIONS.cells, rel=0.10)
    assert json.loads((folder / "truth.json").read_text())["cells"] == truth.cells == counted.sum()


@pytest.mark.parametrize("index", [0.0, 2.0, 80.0, 100.0])
def test_any_index_is_met(sections: tuple[DrawnSection, DrawnSection], index: float) -> None:
    scene = sections[1].scene
    cells = place_cells(replace(scene, options=replace(OPTIONS, index_percent=index)), "ki67")
    labels = cells.label[cells.counted]

    assert 100 * np.mean(labels == CellClass.POSITIVE) == pytest.approx(index, abs=50.0 / len(labels) + 1e-9)


def test_hot_spots_gather_positive_cells() -> None:
    options = replace(OPTIONS, size_mm=(3.0, 2.4), cells=None)
    large = draw_scene(options, paint_of(options.seed, options.grade), None)

    def unevenness(strength: float) -> float:
        cells = place_cells(replace(large, options=replace(options, hot_spot=strength)), "ki67")
        x, y = cells.x_um[cells.counted], cells.y_um[cells.counted]
        positive = cells.label[cells.counted] == CellClass.POSITIVE
        block = (x // 300).astype(int) * 1000 + (y // 300).astype(int)
        shares = [positive[block == b].mean() for b in np.unique(block) if (block == b).sum() > 80]
        return float(np.std(shares))

    assert unevenness(1.5) > 2 * unevenness(0.0)


def test_the_map_takes_landmarks_and_regions_of_one_slide_to_the_other(pair: tuple[Path, SimulationTruth]) -> None:
    folder, truth = pair
    he, ki67 = (points_of(folder / f"landmarks_{name}.csv") * OPTIONS.mpp for name in ("he", "ki67"))
    idc_he, idc_ki67 = (
        read_regions(folder / f"{name}_regions.geojson", PixelFrame(OPTIONS.mpp)).with_label("IDC").union()
        for name in ("he", "ki67")
    )
    carried = shapely.transform(shapely.segmentize(idc_he, 5.0), truth.map_points)

    np.testing.assert_allclose(truth.map_points(he), ki67, atol=0.002)
    np.testing.assert_allclose(truth.inverse_points(ki67), he, atol=0.01)
    assert len(he) >= 30
    assert carried.symmetric_difference(idc_ki67).area < 0.002 * idc_ki67.area


def test_the_displacement_file_and_the_matrix_give_the_map(pair: tuple[Path, SimulationTruth]) -> None:
    folder, truth = pair
    with np.load(folder / "displacement.npz", allow_pickle=False) as data:
        grid = np.stack(np.meshgrid(data["x_um"], data["y_um"]), -1).reshape(-1, 2)
        shift = data["displacement_um"].reshape(-1, 2)
    matrix = np.array(json.loads((folder / "truth.json").read_text())["transform_he_to_ki67_um"]["matrix"])

    mapped = (grid + shift) @ matrix[:2, :2].T + matrix[:2, 2]

    np.testing.assert_allclose(mapped, truth.map_points(grid), atol=1e-6)
    np.testing.assert_array_equal(matrix, truth.matrix)


def test_tissue_leaves_a_margin_of_glass(pair: tuple[Path, SimulationTruth]) -> None:
    for name in ("he", "ki67"):
        with openslide.OpenSlide(pair[0] / f"{name}.tif") as slide:
            small = np.asarray(slide.get_thumbnail((400, 400)).convert("L"))
        border = np.concatenate([small[:8].ravel(), small[-8:].ravel(), small[:, :8].ravel(), small[:, -8:].ravel()])
        # pen may touch it
        assert np.median(border) > 220
        assert (small < 228).mean() > 0.2


@pytest.mark.parametrize("name", ["he", "ki67"])
def test_nuclei_are_dark_where_the_truth_says(pair: tuple[Path, SimulationTruth], name: str) -> None:
    table = pq.read_table(pair[0] / f"{name}_cells.parquet")
    centres = np.stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()], 1) / OPTIONS.mpp
    with openslide.OpenSlide(pair[0] / f"{name}.tif") as slide:
        grey = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("L")).astype(float)
    away = centres + np.array([0.0, 14.0])  # 7 µm: beside most nuclei

    def at(points: np.ndarray) -> np.ndarray:
        where = np.clip(points.astype(int), 0, np.array(grey.shape[::-1]) - 1)
        return grey[where[:, 1], where[:, 0]]

    assert np.median(at(centres)) < np.median(at(away)) - 25
    assert np.mean(at(centres) < 200) > 0.93


def test_positive_nuclei_are_brown_and_negative_ones_blue(pair: tuple[Path, SimulationTruth]) -> None:
    table = pq.read_table(pair[0] / "ki67_cells.parquet")
    labels = np.array(table["label"].to_pylist())
    clear = ~table["equivocal"].to_numpy() & table["counted"].to_numpy()
    centres = (np.stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()], 1) / OPTIONS.mpp).astype(int)
    with openslide.OpenSlide(pair[0] / "ki67.tif") as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).astype(float)
    rgb = pixels[centres[:, 1], centres[:, 0]]

    brown, blue = rgb[clear & (labels == "positive")], rgb[clear & (labels == "negative")]

    assert (brown[:, 0] > brown[:, 2] - 3).mean() > 0.9
    assert (blue[:, 2] > blue[:, 0]).mean() > 0.9
    assert brown.sum(1).mean() < blue.sum(1).mean() - 100


def test_any_rectangle_shows_the_pixels_of_the_whole(sections: tuple[DrawnSection, DrawnSection]) -> None:
    section = sections[1]
    whole = np.concatenate(list(bands(section)))

    assert whole.shape[1::-1] == section.size_px
    for left, top, width, height in ((0, 0, 256, 256), (700, 900, 333, 517), (BLOCK_PX - 3, 511, 7, 5)):
        piece = read_section(section, left, top, width, height)
        np.testing.assert_array_equal(piece, whole[top : top + height, left : left + width])


def test_blocks_meet_without_a_seam(sections: tuple[DrawnSection, DrawnSection]) -> None:
    for section in sections:
        # a block that starts elsewhere crosses the usual blocks' edges
        crossing = draw_block(section, 900, 700, 512, 512).astype(int)
        usual = read_section(section, 900, 700, 512, 512).astype(int)
        difference = np.abs(crossing - usual)

        assert difference.max() <= 2
        assert (difference > 0).mean() < 0.02


def test_the_sections_have_their_own_cells_in_the_same_tissue(sections: tuple[DrawnSection, DrawnSection]) -> None:
    he, ki67 = sections
    nest_he = he.scene.fields(he.cells.x_um, he.cells.y_um)
    same_places = ki67.scene.fields(he.cells.x_um, he.cells.y_um)

    assert len(he.cells.x_um) != len(ki67.cells.x_um)
    agreement = np.mean((nest_he.nest > 0) == (same_places.nest > 0))
    assert 0.85 < agreement < 1.0


def test_cells_do_not_lie_in_one_another(sections: tuple[DrawnSection, DrawnSection]) -> None:
    from scipy.spatial import cKDTree

    for section in sections:
        gaps = cKDTree(section.slide_xy_um).query(section.slide_xy_um, k=2)[0][:, 1]
        assert gaps.min() > 2.0


def test_a_tumour_that_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(SimulationError, match="fewer cells or a larger slide"):
        draw_sections(replace(OPTIONS, cells=100_000))


def test_pixels_half_as_large_show_the_same_tissue(sections: tuple[DrawnSection, DrawnSection]) -> None:
    coarse, _ = sections
    fine, _ = draw_sections(replace(OPTIONS, mpp=0.25))

    small = read_section(coarse, 1200, 900, 256, 256).astype(float)
    large = read_section(fine, 2400, 1800, 512, 512).astype(float).reshape(256, 2, 256, 2, 3).mean((1, 3))

    np.testing.assert_array_equal(coarse.cells.x_um, fine.cells.x_um)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.95
