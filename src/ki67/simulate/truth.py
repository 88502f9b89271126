"""The truth beside a simulated pair: parameters, regions, cells, landmarks, displacement."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from ki67.annotations import Region, Regions, write_regions
from ki67.files import atomic_path, write_json, write_text
from ki67.geometry import as_multipolygon
from ki67.parquet import parquet_file
from ki67.simulate.cells import Kind
from ki67.simulate.deformation import SectionMap
from ki67.simulate.options import SimulationOptions
from ki67.simulate.render import DrawnSection
from ki67.simulate.scene import Scene
from ki67.slides import PixelFrame
from ki67.vocabulary import CLASSES

DISPLACEMENT_STEP_UM = 50.0  # far below the shortest wave of the deformation
OUTLINE_STEP_UM = 10.0  # edges are split this finely before they are bent by the deformation
LANDMARKS = 60
RING_VERTICES = 72
REGION_LABELS = {
    "dcis": "DCIS",
    "duct": "Normal",
    "acinus": "Normal",
    "vessel": "Blood vessel",
    "necrosis": "Necrosis",
}


@dataclass(frozen=True)
class SimulationTruth:
    """What is known about a simulated pair.

    ``index_percent`` is that of the invasive tumour cells inside the invasive region of the Ki-67 section,
    ``cells`` their number.
    """

    he_path: Path
    ki67_path: Path
    index_percent: float
    positive: int
    negative: int
    equivocal: int
    idc_area_mm2: float
    section_map: SectionMap
    options: SimulationOptions

    @property
    def cells(self) -> int:
        """Counted tumour cells."""
        return self.positive + self.negative

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Rigid part of the map from H&E µm to Ki-67 µm, (3, 3)."""
        return np.asarray(self.section_map.matrix)

    def map_points(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (N, 2) of the H&E slide to the Ki-67 slide, both in µm."""
        return self.section_map.map_points(points_um)

    def inverse_points(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (N, 2) of the Ki-67 slide to the H&E slide, both in µm."""
        return self.section_map.inverse_points(points_um)


def mapped(geometry: BaseGeometry, placement: SectionMap) -> MultiPolygon:
    """Map an areal geometry to the slide; straight edges follow the deformation."""
    fine = shapely.segmentize(geometry, OUTLINE_STEP_UM)
    return as_multipolygon(shapely.make_valid(shapely.transform(fine, placement.map_points)))


def section_regions(section: DrawnSection) -> Regions:
    """Labelled regions of one section on its slide."""
    scene, placement = section.scene, section.placement
    regions = []
    if not scene.idc.is_empty:
        regions.append(Region("IDC", mapped(scene.idc, placement), "idc-1", "Invasive ductal carcinoma"))
    phi = np.linspace(0, 2 * np.pi, RING_VERTICES, endpoint=False)
    counts: dict[str, int] = {}
    for gland in scene.glands:
        label = REGION_LABELS[gland.kind]
        counts[label] = counts.get(label, 0) + 1
        outline = mapped(Polygon(gland.ring(gland.radius_um, phi)), placement)
        identity = f"{label.lower().replace(' ', '-')}-{counts[label]}"
        regions.append(Region(label, outline, identity, gland.kind))
    for number, (x, y, radius) in enumerate(scene.aggregates, start=1):
        outline = mapped(shapely.Point(x, y).buffer(radius), placement)
        regions.append(Region("Lymphocytes", outline, f"lymphocytes-{number}", "aggregate"))
    return Regions(regions)


def cell_table(section: DrawnSection) -> pa.Table:
    """All cells of one section on its slide."""
    cells = section.cells
    kinds = [k.name.lower() for k in Kind]
    columns = {
        "x_um": section.slide_xy_um[:, 0],
        "y_um": section.slide_xy_um[:, 1],
        "kind": pa.array([kinds[k] for k in cells.kind]),
        "label": pa.array([CLASSES[k] for k in cells.label]),
        "in_idc": cells.in_idc,
        "counted": cells.counted,
        "equivocal": cells.equivocal,
        "diameter_um": cells.diameter_um.astype(np.float32),
        "elongation": cells.elongation.astype(np.float32),
        "haematoxylin_od": cells.haematoxylin.astype(np.float32),
        "dab_od": cells.dab.astype(np.float32),
    }
    units = {"x_um": "um", "y_um": "um", "diameter_um": "um", "haematoxylin_od": "OD", "dab_od": "OD"}
    return pa.table(columns).replace_schema_metadata(units)


def landmarks(scene: Scene, seed: int) -> NDArray[np.float64]:
    """Points (N, 2) of the scene that can be found on both sections: structures first, then places in the tissue."""
    rng = np.random.default_rng([seed, 50])
    centres = [(g.x_um, g.y_um) for g in scene.glands if g.kind != "acinus"]
    rng.shuffle(centres)
    left, top, right, bottom = scene.tissue.bounds
    tries = rng.uniform((left, top), (right, bottom), (40 * LANDMARKS, 2))
    inside = tries[shapely.contains_xy(scene.tissue.buffer(-50.0), tries[:, 0], tries[:, 1])]
    structures = np.array(centres[: LANDMARKS // 2], dtype=np.float64).reshape(-1, 2)
    return np.concatenate([structures, inside])[:LANDMARKS]


def write_landmarks(path: Path, points_px: NDArray[np.float64]) -> None:
    """Write points as ``,X,Y`` in level-0 pixels from the corner, as the registration challenges do."""
    rows = [f"{i},{x:.3f},{y:.3f}" for i, (x, y) in enumerate(points_px)]
    write_text(path, "\n".join([",X,Y", *rows]) + "\n")


def write_displacement(path: Path, scene: Scene, section_map: SectionMap) -> None:
    """Write the displacement u(he) of the deformation on a grid over the H&E slide.

    Arrays ``x_um`` (W), ``y_um`` (H), ``displacement_um`` (H, W, 2), in NumPy's npz format without pickles.
    """
    x, y = (np.arange(0, side + DISPLACEMENT_STEP_UM, DISPLACEMENT_STEP_UM) for side in scene.size_um)
    grid = np.stack(np.meshgrid(x, y), -1)
    shift = section_map.displacement(grid.reshape(-1, 2)).reshape(grid.shape)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, x_um=x, y_um=y, displacement_um=shift)


def write_truth(out_dir: Path, he: DrawnSection, ki67: DrawnSection, truth: SimulationTruth) -> None:
    """Write every truth file of a pair into its folder; ``truth.json`` comes last."""
    for section, name in ((he, "he"), (ki67, "ki67")):
        write_regions(out_dir / f"{name}_regions.geojson", section_regions(section), PixelFrame(section.mpp))
        with atomic_path(out_dir / f"{name}_cells.parquet") as temporary, parquet_file(temporary, "wb") as stream:
            pq.write_table(cell_table(section), stream)
    points = landmarks(he.scene, truth.options.seed)
    write_landmarks(out_dir / "landmarks_he.csv", points / he.mpp)
    write_landmarks(out_dir / "landmarks_ki67.csv", truth.map_points(points) / ki67.mpp)
    write_displacement(out_dir / "displacement.npz", he.scene, truth.section_map)
    write_json(out_dir / "truth.json", truth_dict(he, ki67, truth))


def truth_dict(he: DrawnSection, ki67: DrawnSection, truth: SimulationTruth) -> dict[str, Any]:
    """Return the content of ``truth.json``."""
    return {
        "index_percent": truth.index_percent,
        "positive": truth.positive,
        "negative": truth.negative,
        "cells": truth.cells,
        "equivocal": truth.equivocal,
        "idc_area_mm2": truth.idc_area_mm2,
        "transform_he_to_ki67_um": truth.section_map.to_dict(),
        "options": asdict(truth.options),
        "he": _section_dict(he),
        "ki67": _section_dict(ki67),
    }


def _section_dict(section: DrawnSection) -> dict[str, Any]:
    kinds = {kind.name.lower(): int((section.cells.kind == kind).sum()) for kind in Kind}
    return {
        "size_px": list(section.size_px),
        "mpp": section.mpp,
        "stains_od_rgb": asdict(section.stains),
        "cells_by_kind": kinds,
        "artefacts": [artefact.to_dict() for artefact in section.artefacts],
    }
