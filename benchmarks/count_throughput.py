"""``ki67 count`` against the bare network on ready-made tiles, and its reading against bare decoding, in one run.

    python benchmarks/count_throughput.py FOLDER [--area-mm2 100] [--rounds 2] [--workers 2]
    python benchmarks/count_throughput.py FOLDER --peer-python VENV/bin/python --field FIELD.png [--field-mpp 0.25]

FOLDER keeps what is made once: a simulated section at 0.25 µm/px, and slides in which 2 x 2 mm of it are repeated,
tile by compressed tile, until the area is reached: one with a level at every halving, one with every second (as
Aperio's).
Count, bare network, reading and decoding take turns. Other work on the machine only slows down, so the best round
counts; processor seconds are given beside the clock's, since they suffer less. The command runs in a process of its
own, whose peak memory is reported. With a peer, one field is counted by both: HistomicsTK's nucleus detection
with the settings of its command line tool, on the darker of haematoxylin and DAB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
import tifffile

from ki67 import slides
from ki67.cells import detect_cells, load_engine
from ki67.cells.channels import WORKING_MPP
from ki67.cells.counted_region import counted_region
from ki67.cells.detect import FOCUS_HALO_PX, MARGIN_UM
from ki67.cells.engine import NetworkEngine
from ki67.cells.network import INPUT_NAME, OUTPUT_NAME, transmitted
from ki67.cells.sampling import sample_slide
from ki67.cells.stains import estimate_stains
from ki67.cells.tiling import Tile, plan_tiles
from ki67.jobs import job
from ki67.slides import Slide, open_slide
from repeated_slide import BLOCK_MM2, MPP, make_slide

READY_PER_SHAPE = 2
PEER = """
import json, sys, time
import numpy as np, skimage.io
from histomicstk.preprocessing.color_deconvolution import color_deconvolution, stain_color_map
from histomicstk.preprocessing.color_normalization import reinhard
from histomicstk.segmentation.nuclear import detect_nuclei_kofahi
picture = skimage.io.imread(sys.argv[1])[..., :3]
start = time.perf_counter()
stains = np.array([stain_color_map[name] for name in ("hematoxylin", "dab", "null")]).T
normal = reinhard(picture, (8.63234435, -0.11501964, 0.03868433), (0.57506023, 0.10403329, 0.01364062))
nuclei = color_deconvolution(normal, stains).Stains[..., :2].min(axis=2).astype(float)
labels = detect_nuclei_kofahi(nuclei, nuclei < 60, 6, 20, 80, 10)
print(json.dumps({"seconds": time.perf_counter() - start, "nuclei": int(labels.max())}))
"""
"""HistomicsTK's detection with its command line tool's own numbers for colours, foreground, radii and least area."""


@dataclass(frozen=True)
class Taken:
    """What some work took: seconds of the clock, seconds of all processors."""

    wall: float
    cpu: float


def planned(slide: Slide, engine: NetworkEngine) -> list[Tile]:
    """The tiles that count works on."""
    tissue = slides.tissue_mask(slide)
    counted = counted_region(tissue.geometry, slide.bounds_um, MARGIN_UM)
    return plan_tiles(slide.bounds_um, counted.kept, max(engine.halo_px, FOCUS_HALO_PX))


def timed(work: Callable[[], Any]) -> Taken:
    """What work in this process takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def side_by_side(work: Callable[[Any], object], items: Iterable[Any], workers: int) -> None:
    """Work on all items on some threads; results are dropped."""

    def drop(item: Any) -> None:
        work(item)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(drop, items):
            pass


class Bare:
    """The network's session on tiles that lie ready in memory, as many and as large as those of the slide."""

    def __init__(self, slide: Slide, engine: NetworkEngine, tiles: list[Tile]) -> None:
        background = estimate_stains(sample_slide(slide, slides.tissue_mask(slide)).pixels).background_rgb
        ready: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
        self._session = engine.model.runner.session
        self._inputs: list[np.ndarray] = []
        for number, tile in enumerate(tiles):
            pixels = slide.read(tile.rect, WORKING_MPP)[engine.seen(tile.core)]
            kept = ready[pixels.shape[:2]]
            if len(kept) < READY_PER_SHAPE:
                light = transmitted(pixels, background)
                kept.append(np.ascontiguousarray(light.transpose(2, 0, 1))[None])
            self._inputs.append(kept[number % len(kept)])

    def __call__(self, workers: int) -> None:
        """Run all."""
        side_by_side(lambda light: self._session.run([OUTPUT_NAME], {INPUT_NAME: light}), self._inputs, workers)


def run_measured(
    *words: str, out: IO[str] | None = None, processors: Iterable[int] | None = None
) -> tuple[Taken, float]:
    """Run ``ki67`` as a user would, perhaps on some processors only; what it took, and its peak memory in MB."""
    keep_to = None if processors is None else partial(os.sched_setaffinity, 0, set(processors))
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "ki67", *words], stdout=out, preexec_fn=keep_to)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    taken = Taken(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)
    if child.returncode:
        raise SystemExit(f"ki67 {words[0]} ended with {child.returncode}")
    return taken, usage.ru_maxrss / 1024


def count(slide: Path, folder: Path) -> tuple[Taken, float, dict[str, Any]]:
    """Count a slide; what it took, its peak memory in MB, what it found."""
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    with (folder / "found.json").open("w") as out:
        taken, peak_mb = run_measured("count", str(slide), "--out", str(case), "--json", "--quiet", out=out)
    return taken, peak_mb, json.loads((folder / "found.json").read_text())


def level_page(tiff: tifffile.TiffFile, mpp: float) -> tifffile.TiffPage:
    """The page that is read at a resolution: the coarsest that is fine enough."""
    pages = [page for page in tiff.pages if MPP * tiff.pages[0].imagewidth / page.imagewidth <= mpp]
    return min(pages, key=lambda page: page.imagewidth)


def compressed(path: Path, mpp: float) -> list[bytes]:
    """The tiles of the level that is read at a resolution."""
    with tifffile.TiffFile(path) as tiff:
        page = level_page(tiff, mpp)
        return [data for data, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts)]


def best(rounds: list[Taken]) -> Taken:
    """The shortest, each measure on its own."""
    return Taken(min(taken.wall for taken in rounds), min(taken.cpu for taken in rounds))


def compare(name: str, ours: list[Taken], bare: list[Taken]) -> None:
    """Print one line."""
    mine, other = best(ours), best(bare)
    print(
        f"{name}: {mine.wall:.1f} s against {other.wall:.1f} s, {mine.wall / other.wall:.2f} times; "
        f"processor seconds {mine.cpu:.1f} against {other.cpu:.1f}, {mine.cpu / other.cpu:.2f} times"
    )


def whole_command(path: Path, folder: Path, rounds: int, workers: int) -> None:
    """Compare count with the bare network."""
    engine = load_engine("network")
    assert isinstance(engine, NetworkEngine)
    with open_slide(path) as slide:
        tiles = planned(slide, engine)
        bare = Bare(slide, engine, tiles)
    counts, bares = [], []
    for _ in range(rounds):
        taken, peak_mb, found = count(path, folder)
        counts.append(taken)
        bares.append(timed(partial(bare, workers)))
        print(f"  count {taken.wall:.0f} s, {taken.cpu:.0f} processor seconds; bare {bares[-1].wall:.0f} s, "
              f"{bares[-1].cpu:.0f}; peak memory of the command {peak_mb:.0f} MB", flush=True)  # fmt: skip
    cells = found["positive"] + found["negative"] + found["other"]
    print(f"{path.name}: {found['area_mm2']:.1f} mm² of tissue, {len(tiles)} tiles, {cells} nuclei")
    compare("  count against the bare network", counts, bares)


def reading(path: Path, rounds: int, workers: int) -> None:
    """Compare reading all tiles with decoding each compressed tile of the level once."""
    engine = load_engine("network")
    assert isinstance(engine, NetworkEngine)
    data = compressed(path, WORKING_MPP)
    reads, decodes = [], []
    for _ in range(rounds):
        with open_slide(path) as slide:
            rects = [tile.rect for tile in planned(slide, engine)]
            read = partial(slide.read, mpp=WORKING_MPP)
            reads.append(timed(partial(side_by_side, read, rects, workers)))
        decodes.append(timed(lambda: side_by_side(imagecodecs.jpeg8_decode, data, workers)))
    compare(f"{path.name}, reading against bare decoding", reads, decodes)


def peer(python: Path, field: Path, mpp: float, folder: Path, rounds: int) -> None:
    """Count one field with HistomicsTK and with this package, models loaded."""
    pixels = tifffile.imread(field) if field.suffix.startswith(".tif") else imagecodecs.imread(field)
    megapixels = pixels.shape[0] * pixels.shape[1] / 1e6
    engine = load_engine("network")
    theirs, ours = [], []
    for _ in range(rounds):
        done = subprocess.run([python, "-c", PEER, field], check=True, capture_output=True, text=True)
        theirs.append(json.loads(done.stdout.splitlines()[-1]))
        with job(threads=1), open_slide(field, mpp) as slide:
            start = time.perf_counter()
            found = len(detect_cells(slide, None, folder / "field.parquet", engine=engine).read_table())
            ours.append(time.perf_counter() - start)
    slower = min(row["seconds"] for row in theirs)
    print(f"{field.name}: {megapixels:.2f} Mpx; ki67 {min(ours) / megapixels:.2f} s/Mpx, {found} nuclei; "
          f"HistomicsTK {slower / megapixels:.2f} s/Mpx, {theirs[-1]['nuclei']} nuclei")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--area-mm2", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--field", type=Path)
    parser.add_argument("--field-mpp", type=float, default=MPP)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.peer_python:
        peer(chosen.peer_python, chosen.field, chosen.field_mpp, chosen.folder, chosen.rounds)
        return
    across = max(1, round((chosen.area_mm2 / BLOCK_MM2) ** 0.5))
    halving, quartering = (make_slide(chosen.folder, "ki67", across, across, every) for every in (1, 2))
    whole_command(halving, chosen.folder, chosen.rounds, chosen.workers)
    for path in (halving, quartering):
        reading(path, chosen.rounds, chosen.workers)
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
