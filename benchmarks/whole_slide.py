"""Seconds and memory of the whole chain on whole slides, beside the floor: ``python benchmarks/whole_slide.py OUT``.

Simulated pairs at 0.25 µm/px, one for each area of glass (25, 50, 100, 200 and 400 mm² unless ``--areas-mm2`` says
otherwise; 192 is 16 x 12 mm, 300 is 20 x 15 mm), are made once and kept. Each is scored by ``ki67 score`` in a
process of its own, in a new folder. Right after it comes the floor, on the same threads: both bare networks on as
many patches and tiles as that case took, ready in memory, and each compressed tile that they need decoded once. That
is done with the networks in single precision too, by which the chain was measured before they ran in whole numbers.
Other work on the machine only slows down, so of several ``--rounds`` the best counts; processor seconds are given
beside the clock's.

Prints each stage's seconds, the ratio to the floor (asked for: 1.5 at most), the largest memory, and how time and
memory grow with the tissue, as exponents (asked for: 1.05 at most, and about 0). Writes ``whole_slide.json`` and
``growth.png``.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from shapely import STRtree, box

from count_throughput import Bare, Taken, best, level_page, run_measured, side_by_side, timed
from idc_throughput import READY
from idc_throughput import bare as bare_idc
from ki67.case import read_case
from ki67.cells import MARGIN_UM, load_engine
from ki67.cells.channels import WORKING_MPP
from ki67.cells.counted_region import counted_region
from ki67.cells.detect import FOCUS_HALO_PX
from ki67.cells.engine import NetworkEngine
from ki67.cells.tiling import plan_tiles
from ki67.files import write_json
from ki67.geometry import RectUm
from ki67.idc import load_model
from ki67.idc.prediction import judged_patches, make_grid, tissue_share
from ki67.jobs import job
from ki67.progress import configure
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import Slide, tissue_mask

MPP = 0.25
AREAS_MM2 = (25.0, 50.0, 100.0, 200.0, 400.0)
FIRST_SEED, INDEX_PERCENT = 7200, 22.0


def make_pair(folder: Path, area_mm2: float) -> Path:
    """Simulate the pair of an area, where it is not there yet."""
    if not (folder / "truth.json").is_file():
        side = math.sqrt(area_mm2 / 12)
        simulate_pair(
            folder,
            SimulationOptions(
                seed=FIRST_SEED + round(area_mm2),
                size_mm=(round(4 * side, 2), round(3 * side, 2)),
                mpp=MPP,
                index_percent=INDEX_PERCENT,
            ),
        )
    return folder


def score(pair: Path, case: Path, threads: int) -> tuple[Taken, float]:
    """Score a pair on so many processors; what it took, and its peak memory in MB."""
    shutil.rmtree(case, ignore_errors=True)
    words = ("score", str(pair / "he.tif"), str(pair / "ki67.tif"), "--out", str(case), "--quiet")
    return run_measured(*words, processors=sorted(os.sched_getaffinity(0))[:threads])


def compressed_in(path: Path, mpp: float, rects: Sequence[RectUm]) -> list[bytes]:
    """The compressed tiles that some rectangles need of the level that is read at a resolution."""
    with tifffile.TiffFile(path) as tiff:
        width, page = tiff.pages[0].imagewidth, level_page(tiff, mpp)
        side_um = MPP * width / page.imagewidth * page.tilewidth
        across = math.ceil(page.imagewidth / page.tilewidth)
        grid = [
            box(column * side_um, row * side_um, (column + 1) * side_um, (row + 1) * side_um)
            for row in range(math.ceil(page.imagelength / page.tilelength))
            for column in range(across)
        ]
        needed = np.unique(STRtree(grid).query([rect.polygon for rect in rects], predicate="intersects")[1])
        offsets, counts = ([values[n] for n in needed] for values in (page.dataoffsets, page.databytecounts))
        return [data for data, _ in page.parent.filehandle.read_segments(offsets, counts) if data]


class Floor:
    """What no chain can do without: the networks on what this case showed them, and its tiles decoded once.

    ``in_floats`` takes the networks in single precision, as they were before decision 039.
    """

    def __init__(self, pair: Path, case: Path, threads: int, *, in_floats: bool = False) -> None:
        view = read_case(case)
        self._threads = threads
        with job(threads=threads):
            self._idc = load_model()
            engine = load_engine("network")
            assert isinstance(engine, NetworkEngine)
            if in_floats:
                self._idc = self._idc.in_floats
                engine = replace(engine, model=engine.model.in_floats)
            _ = self._idc.runner, engine.model.runner
        with view.open_slide("he") as he:
            self._patches, of_he = patches_of(he, self._idc)
        with view.open_slide("ki67") as ki67:
            regions = view.regions_ki67
            assert regions is not None
            kept = counted_region(regions.union(), ki67.bounds_um, MARGIN_UM).kept
            tiles = plan_tiles(ki67.bounds_um, kept, max(engine.halo_px, FOCUS_HALO_PX))
            self._bare = Bare(ki67, engine, tiles)
        edge = self._idc.card.patch_px
        self._ready = np.random.default_rng(0).integers(0, 256, (READY, edge, edge, 3), dtype=np.uint8)
        self._data = [
            *compressed_in(pair / "he.tif", self._idc.card.mpp, of_he),
            *compressed_in(pair / "ki67.tif", WORKING_MPP, [tile.rect for tile in tiles]),
        ]

    def __call__(self) -> dict[str, Taken]:
        """Do each once."""
        return {
            "IDC network": timed(partial(bare_idc, self._idc, self._ready, self._patches)),
            "cell network": timed(partial(self._bare, self._threads)),
            "decoding": timed(partial(side_by_side, imagecodecs.jpeg8_decode, self._data, self._threads)),
        }


def patches_of(he: Slide, model: Any) -> tuple[int, list[RectUm]]:
    """How many patches the model judges on a slide, and where they lie."""
    grid = make_grid(he, model)
    wanted = judged_patches(tissue_share(tissue_mask(he), grid), grid)
    offset = grid.cover - 1
    return int(wanted.sum()), [grid.rect(row - offset, column - offset, 1, 1) for row, column in np.argwhere(wanted)]


def measure(out: Path, area_mm2: float, rounds: int, threads: int) -> dict[str, Any]:
    """Score one pair so many times, each with its floor after it; print and return what it took."""
    pair = make_pair(out / f"pair_{area_mm2:g}", area_mm2)
    case = out / f"case_{area_mm2:g}"
    runs, peaks, floors, floor = [], [], [], None
    for _ in range(rounds):
        taken, peak_mb = score(pair, case, threads)
        runs.append(taken)
        peaks.append(peak_mb)
        floor = floor or Floor(pair, case, threads)
        floors.append(floor())
    before = Floor(pair, case, threads, in_floats=True)()
    view = read_case(case)
    lowest = {name: best([one[name] for one in floors]) for name in floors[0]}
    whole = best(runs)
    wall, cpu = (sum(getattr(taken, name) for taken in lowest.values()) for name in ("wall", "cpu"))
    row = {
        "glass_mm2": area_mm2,
        "tissue_mm2": view.stages["idc"].summary["tissue_mm2"],
        "counted_mm2": view.score.area_mm2,
        "cells": view.score.cells,
        "index_percent": view.score.index_percent,
        "seconds": whole.wall,
        "processor_seconds": whole.cpu,
        "floor_seconds": wall,
        "floor_processor_seconds": cpu,
        "floor": {name: taken.wall for name, taken in lowest.items()},
        "floor_in_single_precision": {name: taken.wall for name, taken in before.items()},
        "ratio": whole.wall / wall,
        "processor_ratio": whole.cpu / cpu,
        "peak_memory_mb": min(peaks),
        "stages": {name: record.seconds for name, record in view.stages.items()},
    }
    print(
        f"{area_mm2:g} mm² of glass, {row['tissue_mm2']:.1f} of tissue, {row['counted_mm2']:.1f} counted, "
        f"{row['cells']} tumour cells, {row['index_percent']:.1f} %"
    )
    print(
        f"  {whole.wall:.1f} s against a floor of {wall:.1f} s, {row['ratio']:.2f} times; processor seconds "
        f"{whole.cpu:.1f} against {cpu:.1f}, {row['processor_ratio']:.2f} times; {row['peak_memory_mb']:.0f} MB"
    )
    print("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row["stages"].items() if seconds >= 0.1))
    for name, told in (
        ("floor", "floor"),
        ("floor_in_single_precision", "the same with networks in single precision"),
    ):
        parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in row[name].items())
        print(f"  {told}: {parts}, together {sum(row[name].values()):.1f} s", flush=True)
    return row


def exponent(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Power of the tissue's area that a measure grows with, by least squares of logarithms."""
    area, value = (np.log([row[key] for row in rows]) for key in ("tissue_mm2", name))
    return float(np.polyfit(area, value, 1)[0])


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds and memory against the tissue."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    area = [row["tissue_mm2"] for row in rows]
    left.loglog(area, [row["seconds"] for row in rows], "o-", label="ki67 score")
    left.loglog(area, [row["floor_seconds"] for row in rows], "s--", label="floor: bare networks, decoding once")
    left.set(xlabel="tissue on the H&E slide (mm²)", ylabel="seconds")
    left.legend(frameon=False)
    right.semilogx(area, [row["peak_memory_mb"] for row in rows], "o-")
    right.set(xlabel="tissue on the H&E slide (mm²)", ylabel="largest memory (MB)", ylim=(0, None))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--areas-mm2", type=float, nargs="+", default=AREAS_MM2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    configure(quiet=True)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = [measure(given.out, area, given.rounds, given.threads) for area in given.areas_mm2]
    result: dict[str, Any] = {"threads": given.threads, "rounds": given.rounds, "rows": rows}
    if len(rows) > 2:
        names = ("seconds", "processor_seconds", "peak_memory_mb")
        result["exponents"] = {name: exponent(rows, name) for name in names}
        told = ", ".join(f"{name} {power:.2f}" for name, power in result["exponents"].items())
        print(f"grows with the tissue to the power of: {told}")
        draw(rows, given.out / "growth.png")
    write_json(given.out / "whole_slide.json", result)
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
