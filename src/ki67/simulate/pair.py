"""Drawing a pair and writing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ki67.errors import SimulationError
from ki67.geometry import area_mm2
from ki67.progress import track
from ki67.simulate.artefacts import Artefact, draw_artefacts
from ki67.simulate.cells import Stain, place_cells
from ki67.simulate.deformation import IDENTITY, SectionMap, draw_waves, rigid
from ki67.simulate.nuclei import Library, draw_library
from ki67.simulate.options import SimulationOptions
from ki67.simulate.render import BLOCK_PX, DrawnSection, bands
from ki67.simulate.scene import GLASS_MARGIN, LEAST_MARGIN_UM, Scene, draw_paint, draw_scene, next_section
from ki67.simulate.stain import draw_stains
from ki67.simulate.truth import SimulationTruth, mapped, write_truth
from ki67.slides import write_pyramid
from ki67.vocabulary import CellClass

LARGEST_SHIFT_UM = 300.0
CELL_TOLERANCE = 0.05
AREA_STEPS = 5
EXPECTED_DENSITY_MM2 = 3200.0  # a first guess at the invasive cells per mm² of tumour; corrected by counting
TILE_PX = 512


def simulate_pair(out_dir: str | Path, options: SimulationOptions) -> SimulationTruth:
    """Simulate a pair of serial sections and write it with its whole truth.

    ``he.tif`` and ``ki67.tif`` are pyramidal tiled TIFFs; beside them lie ``truth.json``,
    ``he_regions.geojson``, ``ki67_regions.geojson``, ``he_cells.parquet``, ``ki67_cells.parquet``,
    ``landmarks_he.csv``, ``landmarks_ki67.csv`` and ``displacement.npz``. Each file appears whole or not at all,
    ``truth.json`` last. Equal options give equal pixels and equal truth, whatever the number of threads.

    Parameters
    ----------
    out_dir
        Folder to write to; made where it is missing.
    options
        What to simulate.

    Raises
    ------
    SimulationError
        Where the tumour asked for does not fit into the slide, or holds no cell.
    WriteError
        Where the folder cannot be written to.
    """
    folder = Path(out_dir)
    he, ki67 = draw_sections(options)
    for section, name in ((he, "H&E"), (ki67, "Ki-67")):
        rows = -(-section.size_px[1] // BLOCK_PX)
        write_pyramid(
            folder / f"{section.stain}.tif",
            track(bands(section), f"Drawing the {name} section", rows),
            section.size_px,
            section.mpp,
            tile_px=TILE_PX,
            compression="deflate" if options.jpeg_quality is None else "jpeg",
            quality=options.jpeg_quality or 90,
        )
    truth = _truth(folder, ki67, options)
    write_truth(folder, he, ki67, truth)
    return truth


def draw_sections(options: SimulationOptions) -> tuple[DrawnSection, DrawnSection]:
    """Draw the scene and the cells of both sections; no pixel is painted yet."""
    scene = _scene(options)
    library = draw_library(options.seed, options.mpp)
    rng = np.random.default_rng([options.seed, 5])
    section_map, ki67_size_um = _placement(rng, scene)
    he = _section(scene, "he", IDENTITY, scene.size_um, library)
    ki67 = _section(next_section(scene), "ki67", section_map, ki67_size_um, library)
    if not ki67.cells.counted.any():
        raise SimulationError("the simulated tumour holds no cell. Ask for a larger slide or more cells")
    return he, ki67


def _scene(options: SimulationOptions) -> Scene:
    """Draw the scene; its tumour is scaled until it holds the number of cells asked for."""
    paint = draw_paint(options)
    if options.cells is None:
        return draw_scene(options, paint, None)
    area = options.cells / EXPECTED_DENSITY_MM2 * 1e6
    scene = draw_scene(options, paint, area)
    for _ in range(AREA_STEPS):
        count = int(place_cells(next_section(scene), "ki67").counted.sum())
        if abs(count - options.cells) <= CELL_TOLERANCE * options.cells:
            break
        area *= float(np.clip(options.cells / max(count, 1), 0.5, 2.0))
        scene = draw_scene(options, paint, area)
    return scene


def _placement(rng: np.random.Generator, scene: Scene) -> tuple[SectionMap, tuple[float, float]]:
    """Draw where the Ki-67 section lies on its slide, and the slide's size in µm."""
    options = scene.options
    turn = float(rng.uniform(0, 360)) if options.rotation_deg is None else options.rotation_deg
    drawn = rng.uniform(-LARGEST_SHIFT_UM, LARGEST_SHIFT_UM, 2)
    shift = drawn if options.shift_um is None else np.asarray(options.shift_um, dtype=np.float64)
    waves = draw_waves(rng, options.deformation_um, max(scene.size_um))
    centre = np.array([scene.tissue.centroid.x, scene.tissue.centroid.y])
    about = SectionMap(rigid(turn, centre, np.zeros(2)), waves)
    left, top, right, bottom = mapped(scene.tissue, about).bounds
    margin = max(LEAST_MARGIN_UM, GLASS_MARGIN * min(scene.size_um)) + np.abs(shift)
    width, height = right - left + 2 * margin[0], bottom - top + 2 * margin[1]
    target = np.array([margin[0] - left, margin[1] - top]) + shift
    return SectionMap(rigid(turn, centre, target), waves), (float(width), float(height))


def _section(
    scene: Scene, stain: Stain, placement: SectionMap, size_um: tuple[float, float], library: Library
) -> DrawnSection:
    options = scene.options
    number = 0 if stain == "he" else 1
    tissue = max(mapped(scene.tissue, placement).geoms, key=lambda part: part.area)
    artefacts = draw_artefacts(np.random.default_rng([options.seed, 30, number]), options, tissue)
    cells = place_cells(scene, stain, _outside_tears(artefacts, placement))
    return DrawnSection(
        scene=scene,
        stain=stain,
        placement=placement,
        size_px=(round(size_um[0] / options.mpp), round(size_um[1] / options.mpp)),
        mpp=options.mpp,
        cells=cells,
        slide_xy_um=placement.map_points(np.stack([cells.x_um, cells.y_um], 1)),
        library=library,
        stains=draw_stains(np.random.default_rng([options.seed, 31, number]), stain, options.white_balance),
        artefacts=artefacts,
        blur_um=options.blur_um,
        noise=options.noise,
        seed=2 * options.seed + number,
    )


def _outside_tears(
    artefacts: tuple[Artefact, ...], placement: SectionMap
) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    """Tell which cells (scene µm) are still there: a tear takes its cells with it, from the truth too."""
    tears = [artefact for artefact in artefacts if artefact.kind == "tear"]

    def there(points_um: NDArray[np.float64]) -> NDArray[np.bool_]:
        on_slide = placement.map_points(points_um)
        kept = np.ones(len(points_um), bool)
        for tear in tears:
            kept &= tear.depth(on_slide[:, 0], on_slide[:, 1]) < 0
        return kept

    return there


def _truth(folder: Path, ki67: DrawnSection, options: SimulationOptions) -> SimulationTruth:
    cells = ki67.cells
    labels = cells.label[cells.counted]
    positive, negative = int((labels == CellClass.POSITIVE).sum()), int((labels == CellClass.NEGATIVE).sum())
    return SimulationTruth(
        he_path=folder / "he.tif",
        ki67_path=folder / "ki67.tif",
        index_percent=100.0 * positive / (positive + negative),
        positive=positive,
        negative=negative,
        equivocal=int(cells.equivocal.sum()),
        idc_area_mm2=area_mm2(mapped(ki67.scene.idc, ki67.placement)),
        section_map=ki67.placement,
        options=options,
    )
