"""Large slides for benchmarks: 2 x 2 mm of a simulated section, repeated tile by compressed tile.

What is drawn once serves for any size; the files are pyramids as scanners write them, at 0.25 µm/px.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tifffile

from ki67.geometry import RectUm
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import open_slide, write_pyramid

MPP = 0.25
BLOCK_PX, TILE_PX = 8192, 512
BLOCK_MM2 = (BLOCK_PX * MPP / 1000) ** 2
SIMULATED = SimulationOptions(seed=71, size_mm=(4.4, 4.4), mpp=MPP, rotation_deg=0.0)


def make_block(folder: Path, stain: str) -> Path:
    """Write a pyramid of the 2 x 2 mm around the middle of the simulated cells of "he" or "ki67"."""
    path = folder / f"block_{stain}.tif"
    if not path.is_file():
        if not (folder / "simulated" / "truth.json").is_file():
            simulate_pair(folder / "simulated", SIMULATED)
        cells = pq.read_table(folder / "simulated" / f"{stain}_cells.parquet", columns=["x_um", "y_um"])
        side = BLOCK_PX * MPP
        with open_slide(folder / "simulated" / f"{stain}.tif") as slide:
            ends = (slide.bounds_um.width_um, slide.bounds_um.height_um)
            middle = (float(np.median(cells[name])) for name in ("x_um", "y_um"))
            left, top = (min(max(0.0, at - side / 2), end - side) for at, end in zip(middle, ends, strict=True))
            pixels = slide.read(RectUm(left // MPP * MPP, top // MPP * MPP, side, side), MPP)
        write_pyramid(path, [pixels], (BLOCK_PX, BLOCK_PX), MPP, tile_px=TILE_PX)
    return path


def make_slide(folder: Path, stain: str, across: int, down: int, every: int = 1) -> Path:
    """Repeat the block's compressed tiles so many times each way, taking every so-manyth level."""
    path = folder / f"{stain}_{across}x{down}_{2**every}.tif"
    if path.is_file():
        return path
    block = make_block(folder, stain)
    part = path.with_suffix(".part")
    with tifffile.TiffFile(block) as source, tifffile.TiffWriter(part, bigtiff=True) as writer:
        for page in list(source.pages)[::every]:
            data = [page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts)]
            tiles = [bytes(segment) for segments in data for segment, _ in segments]
            row = page.imagewidth // TILE_PX
            repeated = (tiles[r % row * row + c % row] for r in range(down * row) for c in range(across * row))
            per_cm = 1e4 / MPP * page.imagewidth / BLOCK_PX
            writer.write(
                repeated, shape=(page.imagelength * down, page.imagewidth * across, 3), dtype=np.uint8,
                tile=(TILE_PX, TILE_PX), photometric="rgb", compression="jpeg", subsampling=(2, 2), metadata=None,
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", subfiletype=int(page.imagewidth < BLOCK_PX),
            )  # fmt: skip
    part.replace(path)
    return path
