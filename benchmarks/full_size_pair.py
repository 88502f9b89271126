"""Seconds and memory of a registration at full size: ``python benchmarks/full_size_pair.py OUT [--before SRC]``.

Two slides of 100,000 x 80,000 px at 0.25 µm, as a scanner writes them: pyramids down to one tile. What they show is
a simulated pair at 2 µm/px, enlarged five times, and below that enlarged on: a registration that read more than it
needs would be slow. The slides are written once, in some minutes; ``ki67 register`` then runs in its own process, in
a new folder each time.

Prints the wall clock and the processor's seconds of the whole command with everything that is loaded, the largest
memory it held, and the error at the landmarks. With ``--before``, the ``src`` folder of another checkout, that one
runs too, in turn with this, and ratios are printed. Asked for: 30 s and 1.5 GB on two cores. On a machine that does
other work the processor's seconds are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from ki67.files import atomic_path
from ki67.progress import configure
from ki67.registration import read_transform
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import open_slide
from registration_battery import on_glass

TURNS = 2
"""Runs of either checkout; the quickest counts."""
SIZE_PX = (100_000, 80_000)
MPP = 0.25
ENLARGED = 5
SOURCE_MPP = 2.0
SOURCE_SIZE_MM = (3.6, 2.8)
# The source lies at the top left of this much glass: a turned section needs a larger slide.
CANVAS_PX = (2500, 2000)
# The finest level that shows something: 2 µm per pixel.
SHOWN_LEVEL = 3
TILE_PX = 512
QUALITY = 90
TARGET_S, TARGET_BYTES = 30.0, 1.5e9
FIRST_SEED = 8001

Picture = NDArray[np.uint8]


def encoded(tile: Picture) -> bytes:
    """One tile as JPEG, with the colour planes halved as scanners do."""
    return bytes(
        imagecodecs.jpeg8_encode(tile, level=QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling=(2, 2))
    )


def tiles_of(picture: Picture) -> Iterator[bytes]:
    """A level's tiles row by row, the last ones filled with the edge."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % TILE_PX), (0, -width % TILE_PX), (0, 0)), mode="edge")
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            yield encoded(np.ascontiguousarray(padded[top : top + TILE_PX, left : left + TILE_PX]))


def enlarged_tiles(picture: Picture, width: int, height: int) -> Iterator[bytes]:
    """A level's tiles, each the picture enlarged to the level's size: levels must show the same."""
    scale = picture.shape[1] / width
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            back = np.array([[scale, 0, (left + 0.5) * scale - 0.5], [0, scale, (top + 0.5) * scale - 0.5]])
            way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            tile = cv2.warpAffine(picture, back, (TILE_PX, TILE_PX), flags=way, borderMode=cv2.BORDER_REPLICATE)
            yield encoded(np.asarray(tile, np.uint8))


def write_slide(path: Path, source: Picture) -> None:
    """Write a slide of the full size that shows the source."""
    if path.exists():
        return
    width, height = SIZE_PX
    level, picture = 0, source
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True) as writer:
        while True:
            if level < SHOWN_LEVEL:
                tiles = enlarged_tiles(source, width, height)
            else:
                picture = np.asarray(
                    cv2.resize(picture, (width, height), interpolation=_way(picture, width)), np.uint8
                )
                tiles = tiles_of(picture)
            per_cm = 1e4 / (MPP * 2**level)
            writer.write(
                tiles,
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                metadata=None,
                subsampling=(2, 2),
            )
            if max(width, height) <= TILE_PX:
                return
            level, width, height = level + 1, width // 2, height // 2


def _way(picture: Picture, width: int) -> int:
    return cv2.INTER_CUBIC if width > picture.shape[1] else cv2.INTER_AREA


def make_pair(out: Path, seed: int) -> None:
    """Simulate the pair and enlarge it, once."""
    source = out / "source"
    if not (source / "truth.json").exists():
        options = SimulationOptions(
            seed=seed, mpp=SOURCE_MPP, size_mm=SOURCE_SIZE_MM, rotation_deg=200.0, deformation_um=20.0
        )
        simulate_pair(source, options)
    for stain in ("he", "ki67"):
        with open_slide(source / f"{stain}.tif") as slide:
            picture = slide.read(slide.bounds_um, slide.mpp)
        height, width = picture.shape[:2]
        if width > CANVAS_PX[0] or height > CANVAS_PX[1]:
            msg = f"the simulated {stain} slide, {width} x {height} px, does not fit on {CANVAS_PX}"
            raise ValueError(msg)
        below, right = CANVAS_PX[1] - height, CANVAS_PX[0] - width
        write_slide(out / f"{stain}.tif", on_glass(picture, 0, below, 0, right))


def run(out: Path, source: Path | None = None) -> dict[str, Any]:
    """``ki67 register``, of another checkout where one is named: wall clock, seconds of processor, memory, words."""
    case = out / "case"
    shutil.rmtree(case, ignore_errors=True)
    words = ["register", str(out / "he.tif"), str(out / "ki67.tif"), "--out", str(case), "--json", "--quiet"]
    start = time.perf_counter()
    paths = [*([str(source.resolve())] if source else []), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from ki67.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        msg = f"ki67 register ended with {process.returncode}"
        raise RuntimeError(msg)
    kibibyte = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * kibibyte,
        "quality": json.loads(printed),
        "case": case,
    }


def error_um(out: Path, case: Path) -> float:
    """Median error at the simulated pair's landmarks, in µm of the large slides."""
    points = {}
    for stain in ("he", "ki67"):
        read = np.genfromtxt(out / "source" / f"landmarks_{stain}.csv", delimiter=",", skip_header=1)[:, 1:]
        points[stain] = read * SOURCE_MPP * ENLARGED
    mapped = read_transform(case / "registration" / "transform.json").map_points(points["he"])
    return float(np.median(np.hypot(*(mapped - points["ki67"]).T)))


def main() -> None:
    """Write the slides, register them, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--before", type=Path, help="the src folder of another checkout")
    given = parser.parse_args()
    configure(quiet=True)
    given.out.mkdir(parents=True, exist_ok=True)
    make_pair(given.out, given.seed)
    if given.before:
        rows = [(run(given.out, given.before), run(given.out)) for _ in range(TURNS)]
        for what, unit in (("seconds", "s"), ("cpu_seconds", "s of processor"), ("peak_bytes", "bytes")):
            before, now = (min(row[place][what] for row in rows) for place in (0, 1))
            print(f"before {before:.0f} {unit}, now {now:.0f}: {now / before:.2f} times")
        row = rows[-1][1]
    else:
        row = run(given.out)
    quality = row["quality"]
    print(
        f"{row['seconds']:.1f} s ({row['cpu_seconds']:.1f} s of processor), {row['peak_bytes'] / 1e9:.2f} GB at most"
    )
    print(f"asked for: {TARGET_S:.0f} s and {TARGET_BYTES / 1e9:.1f} GB on two cores; here {os.cpu_count()} cores")
    print(
        f"median error {error_um(given.out, row['case']):.1f} µm, {quality['mode']}, "
        f"{'accepted' if quality['accepted'] else 'refused: ' + '; '.join(quality['reasons'])}"
    )


if __name__ == "__main__":
    main()
