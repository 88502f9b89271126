"""A scored case made in a moment: two small pictures, a map between them, cells, a score, by the house's writers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from ki67 import scoring
from ki67.annotations import Region, Regions, write_regions
from ki67.case import Stage, open_case, read_case
from ki67.cells.measurements import MEASUREMENT_UNITS
from ki67.cells.table import CellRows, make_table
from ki67.domain import domain_part
from ki67.files import write_json, write_text
from ki67.idc.heatmap import HeatMap, write_heatmap
from ki67.region_doubt import DrawnByModel, Outlined, carried_over
from ki67.registration import (
    DisplacementField,
    LocalBelief,
    RegistrationQuality,
    Transform,
    read_transform,
    write_transform,
)
from ki67.slides import PixelFrame, open_slide, write_pyramid
from ki67.stages import CaseSlide
from ki67.vocabulary import NEGATIVE, OTHER, POSITIVE

MPP = 0.5
SIDE_PX = 1200
SIDE_UM = SIDE_PX * MPP
DRAWN = DrawnByModel(0.0, (0.2, 0.4, 0.6, 0.8))


def picture(seed: int, rgb: tuple[int, int, int], side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Soft blobs of a colour on glass, another for each seed."""
    random = np.random.default_rng(seed)
    small = random.uniform(0, 1, (side_px // 16 + 2, side_px // 16 + 2))
    rows = np.linspace(0, small.shape[0] - 1.001, side_px)
    whole, part = rows.astype(int), (rows % 1)[:, None]
    down = small[whole] * (1 - part) + small[whole + 1] * part
    across = down[:, whole] * (1 - part[:, 0]) + down[:, whole + 1] * part[:, 0]
    weight = across[..., None]
    return (weight * np.array(rgb) + (1 - weight) * 240).astype(np.uint8)


def turned(degrees: float, *, mirrored: bool = False, bent_um: float = 0.0, side_um: float = SIDE_UM) -> Transform:
    """Map about the middle of a square slide, bent by waves."""
    turn = math.radians(degrees)
    side = -1.0 if mirrored else 1.0
    matrix = np.array(
        [[math.cos(turn), -side * math.sin(turn), 0], [math.sin(turn), side * math.cos(turn), 0], [0, 0, 1.0]]
    )
    middle = np.array([side_um / 2, side_um / 2])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle
    if not bent_um:
        return Transform(matrix)
    rows, columns = np.mgrid[0:17, 0:17] * side_um / 16
    waves = bent_um * np.stack([np.sin(rows / side_um * 6), np.cos(columns / side_um * 5)], axis=-1)
    return Transform(matrix, DisplacementField((0.0, 0.0), side_um / 16, waves.astype(np.float32)))


def cell_table(count: int, side_um: float, region: shapely.Geometry, seed: int = 0) -> pa.Table:
    """Cells at random, three tenths positive, with squares for outlines."""
    random = np.random.default_rng(seed)
    x, y = np.round(random.uniform(5, side_um - 5, (2, count)), 2)
    label = random.choice([OTHER, POSITIVE, NEGATIVE], count, p=[0.2, 0.24, 0.56]).astype(np.int8)
    inside = shapely.contains_xy(region, x, y)
    square = np.array([[-3, -3], [3, -3], [3, 3], [-3, 3]], np.float32)
    rows = CellRows(
        x,
        y,
        label,
        random.uniform(0.4, 1, count).astype(np.float32),
        np.where(inside, 0, -1).astype(np.int32),
        np.zeros(count, np.uint8),
        random.uniform(0, 1, (count, len(MEASUREMENT_UNITS))).astype(np.float32),
        [square + np.array([px, py], np.float32) for px, py in zip(x, y, strict=True)],
    )
    table = make_table(rows, ["idc-1"])
    return table.take(pa.array(np.lexsort((x, y))))


def make_case(
    folder: Path,
    name: str = "case",
    *,
    count: int = 3000,
    transform: Transform | None = None,
    side_px: int = SIDE_PX,
) -> Path:
    """Make slides under ``folder`` and a case of ``ki67 score`` in ``folder / name``; returns the case's folder."""
    side_um = side_px * MPP
    slides = folder / "slides"
    paths = {"he": slides / f"{name.replace('/', '-')}-he.tif", "ki67": slides / f"{name.replace('/', '-')}-ki67.tif"}
    for seed, (role, path) in enumerate(paths.items()):
        pixels = picture(seed, (150, 60, 130) if role == "he" else (120, 140, 190), side_px)
        write_pyramid(path, [pixels], (side_px, side_px), MPP, tile_px=256)
    frame = PixelFrame(MPP, (0.0, 0.0))
    region = shapely.box(0.1 * side_um, 0.1 * side_um, 0.9 * side_um, 0.9 * side_um)
    regions = Regions([Region("IDC", region, "idc-1")])
    he, ki67 = (open_slide(path) for path in paths.values())
    with he, ki67:
        inputs = {"he": CaseSlide(he).facts, "ki67": CaseSlide(ki67).facts}
    table = cell_table(count, side_um, region)
    with open_case(folder / name, "score", inputs, {"cells": "0" * 64}) as case:

        def stage(
            name: str,
            writers: dict[str, Callable[[Path], object]],
            summary: dict[str, Any],
            parameters: dict[str, Any] | None = None,
            optional: tuple[str, ...] = (),
        ) -> None:
            def work() -> dict[str, Any]:
                for file, write in writers.items():
                    case.path(file).parent.mkdir(exist_ok=True)
                    write(case.path(file))
                return summary

            case.run_stage(
                Stage(name, 1, tuple(writers), optional, name in {"score", "report"}), parameters or {}, (), work
            )

        def areas(of: Regions) -> Callable[[Path], object]:
            return lambda path: write_regions(path, of, frame)

        heat = HeatMap(_heat(side_um), 50.0)
        stage(
            "idc",
            {"idc/heatmap.tif": lambda path: write_heatmap(path, heat), "idc/regions.geojson": areas(regions)},
            {},
        )
        stage(
            "registration",
            {
                "registration/transform.json": lambda path: write_transform(path, transform or turned(90)),
                "registration/quality.json": lambda path: write_json(path, _quality(side_um).to_dict()),
            },
            {},
            optional=("registration/displacement.mha",),
        )
        nothing = areas(Regions())
        stage(
            "regions_ki67",
            {"regions_ki67.geojson": areas(regions), "unregistered.geojson": nothing},
            {"unregistered_mm2": 0.0},
        )
        lost = {"pen": 0.0, "fold": 0.0, "focus": 0.0}
        rows = max(1000, count // 50)
        stage(
            "cells",
            {
                "cells.parquet": lambda path: pq.write_table(table, path, row_group_size=rows),
                "excluded.geojson": nothing,
            },
            {"area_lost_mm2": lost},
        )
        known = {
            "area_mm2": region.area / 1e6,
            "area_lost_mm2": lost | {"unregistered": 0.0},
            "region_ids": ["idc-1"],
            "allow_few_cells": True,
            "zero_cells_allowed": False,
            "unknown_share": 0.0,
            "outline": asdict(DRAWN),
            "deviation": asdict(scoring.ModelDeviation(0.01, 0.02, 0.3, 18)),
            "warnings": [],
            "domain": domain_part(()),
        }
        carried = carried_over(
            table,
            region,
            read_transform(case.path("registration/transform.json")),
            error_um=5.0,
            unknown_share=0.0,
            outlined=Outlined(heat, DRAWN),
        )
        score = scoring.score_section(
            table,
            region,
            region.area / 1e6,
            area_lost_mm2=lost | {"unregistered": 0.0},
            region_ids=["idc-1"],
            carried=carried,
            deviation=scoring.ModelDeviation(0.01, 0.02, 0.3, 18),
            allow_few=True,
        )
        stage("score", {"score.json": lambda path: write_json(path, score.to_dict())}, {}, known)
        page = "<!doctype html><title>report</title><p>index</p>"
        pdf = "%PDF-1.4"
        files = {"report.html": lambda path: write_text(path, page), "report.pdf": lambda path: write_text(path, pdf)}
        stage("report", files, {})
    return folder / name


def a_cell(case: Path, label: str = "positive") -> tuple[float, float]:
    """A counted cell of a class with no other within 12 µm."""
    cells = read_case(case).cells
    places = np.column_stack([np.asarray(cells[name], float) for name in ("x_um", "y_um")])
    wanted = np.array([one == label for one in cells["label"].to_pylist()]) & np.asarray(cells["in_region"], bool)
    for x, y in places[wanted]:
        away = np.hypot(*(places - (x, y)).T)
        if np.sort(away)[1] > 12 and 150 < x < 450 and 150 < y < 450:
            return float(x), float(y)
    raise AssertionError("no such cell")


def _heat(side_um: float) -> NDArray[np.float32]:
    cells_across = round(side_um / 50)
    heat = np.linspace(0, 1, cells_across**2, dtype=np.float32).reshape(cells_across, cells_across)
    heat[0] = np.nan
    return heat


def _quality(side_um: float) -> RegistrationQuality:
    across = math.ceil(side_um / 150)
    every = np.ones((across, across), bool)
    error = np.full(every.shape, 4.0)
    error[0, 0] = np.nan
    belief = LocalBelief(150.0, every, every, every.astype(float), error)
    return RegistrationQuality(
        accepted=True, reasons=(), ncc=0.9, ncc_before=0.3, ncc_definition="", ncc_mpp=16, ncc_blur_um=32,
        ncc_density=0.9, mutual_information=1, tissue_dice=0.9, jacobian_min=1, jacobian_max=1, stretch_min=1,
        stretch_max=1, mirrored=False, rotation_deg=0, mode="deformable", way="shape", distinctness=0.9,
        agreement=0.6, agreement_sigma=20, blocks=100, sure_share=1, local_error_um=2.0, estimated_error_um=5.0,
        places=belief.to_dict(),
    )  # fmt: skip
