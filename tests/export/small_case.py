"""A finished case made in code: a few hundred cells, a score, a heat map, and a manifest that knows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from shapely.geometry import box

from ki67.annotations import Region, Regions, write_regions
from ki67.case.manifest import FORMAT, MANIFEST
from ki67.cells.measurements import MEASUREMENT_UNITS
from ki67.cells.table import CellRows, make_table, write_cells
from ki67.files import sha256_of, write_json
from ki67.idc import HeatMap, write_heatmap
from ki67.scoring import score_section
from ki67.slides import PixelFrame, open_slide

MPP = 0.25
ORIGIN_PX = (40.0, 20.0)
SIZE_PX = (8000, 6000)
REGION_UM = box(100, 100, 1900, 1400)
NO_OUTLINE = 3
"""Place of the cell that has none."""

MakeCase = Callable[..., Path]


def cell_rows(count: int) -> CellRows:
    """Cells on a grid: every third positive, every seventh no tumour cell; octagons, one cell without an outline."""
    number = np.arange(count)
    x, y = 110.0 + 15 * (number % 100), 110.0 + 15 * (number // 100)
    label = np.where(number % 7 == 6, 0, np.where(number % 3 == 0, 1, 2)).astype(np.int8)
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    circle = 4 * np.column_stack([np.cos(turn), np.sin(turn)])
    outlines = [(circle + place).astype(np.float32) for place in np.column_stack([x, y])]
    outlines = [outline if number != NO_OUTLINE else outline[:0] for number, outline in enumerate(outlines)]
    measurements = np.ones((count, len(MEASUREMENT_UNITS)), np.float32)
    probability = np.full(count, 0.75, np.float32)
    probability[0] = np.nan
    # The last cell lies in the margin around the region.
    region_index = np.where(number == count - 1, -1, 0).astype(np.int32)
    return CellRows(x, y, label, probability, region_index, np.zeros(count, np.uint8), measurements, outlines)


def write_case(
    folder: Path, count: int = 600, slide: Path | None = None, region_name: str = "left", **score: Any
) -> Path:
    """Write a finished case; ``score`` goes to :func:`ki67.scoring.score_section`."""
    case = folder / "case"
    (case / "idc").mkdir(parents=True)
    frame = PixelFrame(MPP, ORIGIN_PX)
    write_cells(case / "cells.parquet", [(0, make_table(cell_rows(count), [region_name]))])
    write_regions(case / "regions_ki67.geojson", Regions([Region("IDC", REGION_UM, region_name)]), frame)
    probability = np.linspace(0, 1, 300 * 400, dtype=np.float32).reshape(300, 400)
    probability[:10] = np.nan
    write_heatmap(case / "idc/heatmap.tif", HeatMap(probability, 5.0))
    table = pq.read_table(case / "cells.parquet")
    found = score_section(table, REGION_UM, 2.34, area_lost_mm2={}, allow_few=True, **score)
    write_json(case / "score.json", found.to_dict())
    outputs = {
        "idc": ["idc/heatmap.tif"],
        "regions_ki67": ["regions_ki67.geojson"],
        "cells": ["cells.parquet"],
        "score": ["score.json"],
    }
    summaries = {"regions_ki67": {"unregistered_mm2": 0.0}, "cells": {"area_lost_mm2": {}}}
    stages = {
        name: {
            "state": "done",
            "outputs": {file: sha256_of(case / file) for file in files},
            "summary": summaries.get(name, {}),
            "versions": {"ki67": "0.1.0"},
            "started": "2026-11-26T10:00:00+00:00",
        }
        for name, files in outputs.items()
    }
    stages["score"]["parameters"] = {
        "area_mm2": 2.34,
        "area_lost_mm2": {},
        "region_ids": [],
        "allow_few_cells": True,
        "zero_cells_allowed": False,
        "unknown_share": 0.0,
        "deviation": None,
        "warnings": [],
        "domain": {"checks": {}},
    }
    size_px, fingerprint = SIZE_PX, {"bytes": 1, "sha256": "ab"}
    if slide is not None:
        with open_slide(slide) as opened:
            size_px, fingerprint = opened.size_px, opened.fingerprint()
    slide_record = {
        "path": str(slide or folder / "ki67.svs"),
        "reader": "tifffile",
        "size_px": size_px,
        "mpp": MPP,
        "mpp_source": "file",
        "mpp_contradicts_file": False,
        "mpp_of_file": "0.25 µm",
        "origin_px": ORIGIN_PX,
        "fingerprint": fingerprint,
        "warnings": [],
    }
    head = {"command": "score", "format": FORMAT, "state": "done", "models": {}}
    write_json(case / MANIFEST, {**head, "inputs": {"ki67": slide_record, "he": slide_record}, "stages": stages})
    return case
