"""The whole chain on simulated pairs with known indices: ``python benchmarks/simulated_pairs.py OUT [SEED]``.

Ten pairs, indices from 2 to 80 %, each with its own seed (SEED, SEED + 1, …), turn, grade, deformation and artefacts;
nothing in the programs was fitted to them. Prints one row per pair and writes ``pairs.json``. A pair that fails is a
row too: what must not happen is a wrong index without a word.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from shapely.geometry.base import BaseGeometry

from ki67.annotations import read_regions
from ki67.errors import Ki67Error
from ki67.files import write_json
from ki67.pipeline import run_score
from ki67.progress import configure
from ki67.registration import read_transform
from ki67.scoring import index_spread
from ki67.simulate.options import SimulationOptions
from ki67.simulate.pair import simulate_pair
from ki67.slides import PixelFrame

FIRST_SEED = 101
TOLERANCE_POINTS = 3.0
INDICES = (2, 5, 9, 14, 20, 28, 38, 50, 65, 80)
TURNS = (0, 37, 90, 123, 180, 201, 248, 270, 305, 350)
FOLDS, TEARS, PENS, OUT_OF_FOCUS = {3, 7}, {4, 8}, {5, 9}, {6}


def options_of(place: int, first_seed: int) -> SimulationOptions:
    """What the pair at this place in the list is."""
    return SimulationOptions(
        seed=first_seed + place,
        index_percent=INDICES[place],
        rotation_deg=TURNS[place],
        grade=(1, 2, 3)[place % 3],
        deformation_um=10.0 + 5 * place,
        hot_spot=place % 4 / 2,
        folds=int(place in FOLDS),
        tears=int(place in TEARS),
        pen=int(place in PENS),
        out_of_focus=int(place in OUT_OF_FOCUS),
    )


def measure(folder: Path, options: SimulationOptions) -> dict[str, Any]:
    """Simulate and score one pair."""
    if not (folder / "truth.json").exists():
        simulate_pair(folder, options)
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    row: dict[str, Any] = {"options": asdict(options), "true_index_percent": truth["index_percent"]}
    start = time.perf_counter()
    try:
        result = run_score(folder / "he.tif", folder / "ki67.tif", folder / "case")
    except Ki67Error as error:
        return row | {"error": str(error)}
    row["seconds"] = time.perf_counter() - start
    row["index_percent"] = result["index_percent"]
    row["cells"] = result["cells"]
    row["ncc"] = result["registration"]["ncc"]
    row["warnings"] = result["warnings"]
    found = read_regions(folder / "case" / "idc" / "regions.geojson", PixelFrame(options.mpp)).union()
    true = read_regions(folder / "he_regions.geojson", PixelFrame(options.mpp)).with_label("IDC").union()
    row["region_dice"] = 2 * shapely.area(found & true) / (found.area + true.area)
    landmarks = np.genfromtxt(folder / "landmarks_he.csv", delimiter=",", skip_header=1)[:, 1:] * options.mpp
    wanted = np.genfromtxt(folder / "landmarks_ki67.csv", delimiter=",", skip_header=1)[:, 1:] * options.mpp
    mapped = read_transform(folder / "case" / "registration" / "transform.json").map_points(landmarks)
    row["median_error_um"] = float(np.nanmedian(np.hypot(*(mapped - wanted).T)))
    row["estimated_error_um"] = result["registration"]["estimated_error_um"]
    row["spread_percent"] = result["registration_spread_percent"]
    row["index_at_true_place_percent"] = at_true_place(folder, found, landmarks, wanted)
    return row


def at_true_place(
    folder: Path, region: BaseGeometry, he_um: NDArray[np.float64], ki67_um: NDArray[np.float64]
) -> float | None:
    """Index of the cells found, had the region been carried over without error (thin plate between landmarks)."""
    true_map = RBFInterpolator(he_um, ki67_um, kernel="thin_plate_spline")
    place = shapely.transform(shapely.segmentize(region, 50.0), true_map)
    table = pq.read_table(folder / "case" / "cells.parquet", columns=["x_um", "y_um", "label", "excluded"])
    spread = index_spread(table, place, [np.eye(3)])
    return None if spread is None else spread[0]


def line(row: dict[str, Any]) -> str:
    """Return one row of the table."""
    seed, true = row["options"]["seed"], row["true_index_percent"]
    if "error" in row:
        return f"{seed:6d} {true:6.1f}  stopped: {row['error']}"
    off = row["index_percent"] - true
    verdict = "" if abs(off) <= TOLERANCE_POINTS else "  OFF"
    return (
        f"{seed:6d} {true:6.1f} {row['index_percent']:6.1f} {off:+6.1f} {row['cells']:7d} {row['region_dice']:6.3f} "
        f"{row['ncc']:6.3f} {row['median_error_um']:8.1f} {row['estimated_error_um']:8.1f} "
        f"{spread_of(row)} {row['seconds']:6.0f}{verdict} {'; '.join(row['warnings'])}"
    )


def spread_of(row: dict[str, Any]) -> str:
    """Return the spread of the index, and whether the index at the true place lies inside."""
    low, high = row["spread_percent"]
    place = row["index_at_true_place_percent"]
    return f"{low:5.1f}-{high:4.1f} {place:5.1f} {'in ' if low <= place <= high else 'OUT'}"


def main(out: Path, first_seed: int) -> None:
    """Run all pairs."""
    configure(quiet=True)
    print("  seed   true  found    off   cells   Dice    NCC  µm off µm estim    spread true place      s")
    rows = []
    for place in range(len(INDICES)):
        rows.append(measure(out / f"pair-{place}", options_of(place, first_seed)))
        print(line(rows[-1]), flush=True)
    write_json(out / "pairs.json", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else FIRST_SEED)
