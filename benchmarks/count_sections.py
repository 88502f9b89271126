"""Counting alone on simulated Ki-67 sections, all cells known: ``python benchmarks/count_sections.py OUT [SEED]``.

Five seeds (SEED, SEED + 1, …), indices from 3 to 75 %; cells are counted in the true outline of the carcinoma, so
that what is measured is the count and nothing before it. Prints index and counts beside the truth and writes
``sections-ENGINE.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ki67.annotations import read_regions
from ki67.cells import Engine, detect_cells, load_engine
from ki67.files import write_json
from ki67.progress import configure
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import PixelFrame, open_slide

FIRST_SEED = 801
INDICES = (3, 12, 25, 48, 75)
SIZE_MM = (3.0, 2.4)


def measure(folder: Path, options: SimulationOptions, engine: Engine) -> dict[str, Any]:
    """Simulate and count one section."""
    if not (folder / "truth.json").exists():
        simulate_pair(folder, options)
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    region = read_regions(folder / "ki67_regions.geojson", PixelFrame(options.mpp)).with_label("IDC").union()
    with open_slide(folder / "ki67.tif") as slide:
        table = detect_cells(slide, region, folder / "found.parquet", engine=engine).read_table()
    labels = np.array(table["label"].to_pylist(), dtype=object)[table["in_region"].to_numpy()]
    cells = pq.read_table(folder / "ki67_cells.parquet")
    counted = cells["counted"].to_numpy()
    known = np.array(cells["label"].to_pylist(), dtype=object)[counted]
    found = {name: int((labels == name).sum()) for name in ("positive", "negative")}
    true = {name: int((known == name).sum()) for name in ("positive", "negative")}
    return {
        "seed": options.seed,
        "true_index_percent": truth["index_percent"],
        "index_percent": 100 * found["positive"] / max(sum(found.values()), 1),
        "found": found,
        "true": true,
        "count_error_percent": 100 * (sum(found.values()) / sum(true.values()) - 1),
    }


def main() -> None:
    """Count all sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("seed", type=int, nargs="?", default=FIRST_SEED)
    parser.add_argument("--engine", choices=("network", "forest"), default="network")
    parser.add_argument("--model", type=Path, default=None)
    chosen = parser.parse_args()
    configure(quiet=True)
    engine = load_engine(chosen.engine, chosen.model)
    rows = []
    print(" seed   true  found    off   cells    true  count off  positive off  negative off")
    for place, index in enumerate(INDICES):
        grade = (1, 2, 3)[place % 3]
        options = SimulationOptions(
            seed=chosen.seed + place, index_percent=float(index), size_mm=SIZE_MM, grade=grade, hot_spot=place % 3 / 2
        )
        row = measure(chosen.out / f"{chosen.seed + place}", options, engine)
        rows.append(row)
        off = row["index_percent"] - row["true_index_percent"]
        apart = [100 * (row["found"][name] / max(row["true"][name], 1) - 1) for name in ("positive", "negative")]
        print(
            f"{row['seed']:5d} {row['true_index_percent']:6.1f} {row['index_percent']:6.1f} {off:+6.1f} "
            f"{sum(row['found'].values()):7d} {sum(row['true'].values()):7d} {row['count_error_percent']:+9.1f}% "
            f"{apart[0]:+12.1f}% {apart[1]:+12.1f}%",
            flush=True,
        )
    write_json(chosen.out / f"sections-{chosen.engine}.json", rows)


if __name__ == "__main__":
    main()
