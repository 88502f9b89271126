"""Time and memory of exporting a case of many cells, format by format, each in a process of its own.

    python benchmarks/export_cells.py OUT [--cells 300000] [--formats geojson.gz …]

The case is made in ``OUT/case``: nuclei of 16 corners, as the program's own have in the middle. Its manifest and its
cell table are all that these formats read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from shapely.geometry import box

from ki67.case.manifest import FORMAT, MANIFEST, peak_memory_mib
from ki67.cells.measurements import MEASUREMENT_UNITS
from ki67.cells.table import CellRows, make_table, write_cells
from ki67.export import export_case
from ki67.files import sha256_of, write_json
from ki67.scoring import score_section

FORMATS = ("geojson", "geojson.gz", "csv", "parquet", "dsa.json", "ann.dcm")
CORNERS = 16
ROW = 1000
STEP_UM = 12.0
MPP = 0.25
BAND = 10_000
"""Cells of one row of tiles, which are a group of rows in the table."""


def main() -> None:
    """Make the case and export it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", type=int, default=300_000)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    case = options.out / "case"
    if options.one:
        _export(case, options.out / f"cells.{options.one}")
        return
    if options.make:
        _make_case(case, options.cells)
        return
    # A process that is started has its parent's peak for a beginning, so nothing large is done in this one.
    if not (case / MANIFEST).exists():
        subprocess.run(
            [sys.executable, __file__, str(options.out), "--cells", str(options.cells), "--make"], check=True
        )
    print(f"{options.cells:,} cells\nformat          seconds  of processor  peak MiB  file MB")
    for name in options.formats:
        command = [sys.executable, __file__, str(options.out), "--one", name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{name:14} {told}", end="")


def _export(case: Path, target: Path) -> None:
    before = peak_memory_mib() or 0.0
    start, processor = time.perf_counter(), time.process_time()
    export_case(case, target)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    size_mb = target.stat().st_size / 1e6
    peak = peak_memory_mib() or 0.0
    print(f"{seconds:8.1f} {processor:13.1f} {peak:9.0f} {size_mb:8.1f}   (program alone {before:.0f} MiB)")


def _make_case(case: Path, count: int) -> None:
    case.mkdir(parents=True)
    cells = make_table(_cells(count), ["1"])
    write_cells(case / "cells.parquet", [(top, cells[top : top + BAND]) for top in range(0, count, BAND)])
    region = box(0, 0, ROW * STEP_UM, (count / ROW + 1) * STEP_UM)
    score = score_section(pq.read_table(case / "cells.parquet"), region, region.area / 1e6, area_lost_mm2={})
    write_json(case / "score.json", score.to_dict())
    stages = {
        name: {"state": "done", "outputs": {file: sha256_of(case / file)}, "summary": {}, "versions": {"ki67": "0"}}
        for name, file in (("cells", "cells.parquet"), ("score", "score.json"))
    }
    slide = {
        "path": "ki67.svs",
        "reader": "tifffile",
        "size_px": [100_000, 100_000],
        "mpp": MPP,
        "mpp_source": "file",
        "mpp_contradicts_file": False,
        "mpp_of_file": None,
        "origin_px": [0, 0],
        "fingerprint": {},
        "warnings": [],
    }
    head = {"command": "count", "format": FORMAT, "state": "done", "models": {}}
    write_json(case / MANIFEST, {**head, "inputs": {"ki67": slide}, "stages": stages})


def _cells(count: int) -> CellRows:
    rng = np.random.default_rng(0)
    number = np.arange(count)
    x, y = STEP_UM * (number % ROW) + rng.uniform(0, 3, count), STEP_UM * (number // ROW) + rng.uniform(0, 3, count)
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    radius = rng.uniform(2.5, 4.5, (count, CORNERS, 1))
    outlines = radius * np.column_stack([np.cos(turn), np.sin(turn)]) + np.column_stack([x, y])[:, None]
    return CellRows(
        x,
        y,
        rng.integers(0, 3, count).astype(np.int8),
        rng.uniform(0.5, 1, count).astype(np.float32),
        np.zeros(count, np.int32),
        np.zeros(count, np.uint8),
        rng.uniform(0, 100, (count, len(MEASUREMENT_UNITS))).astype(np.float32),
        [*outlines.astype(np.float32)],
    )


if __name__ == "__main__":
    main()
