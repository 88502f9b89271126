"""The cell network's recipe on patients it has not seen: ``python benchmarks/cells_cross_validation.py OUT [STEPS]``.

All labelled fields of BCData, SHIDC and wroclaw (decision 008 has figures without the last), in four parts by
patient (SHIDC's overlapping fields are one); for each part a network learns from the other three and from the twelve
simulated sections, in both steps of the recipe. STEPS is that of the first step, 5500 where it is not given: four
hours on two cores, some minutes on a graphics card. What is cut short goes on. Each part is judged at the thresholds
that the recipe would choose on the other three.
Prints F1 with 95 % intervals (draws of whole fields) and the error of the index by data set, and writes
``cross-validation.json``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cells_sources import counts, f1, index_mae_points, validation_sets
from ki67.cells.crops import NetworkField
from ki67.cells.folds import assign_folds
from ki67.cells.network_training import NetworkOptions
from ki67.cells.peaks import Peaks
from ki67.cells.recipe import NETWORK_STEPS, cross_validate, network_counts, read_labels, read_pixels
from ki67.cells.thresholds import choose_thresholds
from ki67.files import write_json
from ki67.progress import configure
from train_cells_network import draw_sections, patient, training_sets

PARTS = 4
DRAWS = 2000
NAMES = ("positive", "negative")


def main(out: Path, steps: int) -> None:
    """Train, judge, print."""
    configure(quiet=False)
    sections = out / "sections"
    draw_sections(sections)
    fields = read_pixels(read_labels([*training_sets(sections), *validation_sets()], patient))
    options = replace(NetworkOptions(), steps=steps)
    report(fields, cross_validate(fields, out, PARTS, options), out, asdict(options))


def report(fields: list[NetworkField], seen: list[Peaks | None], out: Path, options: dict[str, Any]) -> None:
    """Judge each part at the others' thresholds, print and write."""
    part_of = assign_folds(fields, PARTS)
    thresholds = {}
    for part in range(PARTS):
        others = [peaks if own != part else None for peaks, own in zip(seen, part_of, strict=True)]
        thresholds[part], _ = choose_thresholds(
            lambda label, threshold, others=others: network_counts(fields, others, label, threshold), NETWORK_STEPS
        )
    rng, found = np.random.default_rng(1), {}
    for group in sorted({field.group for field, part in zip(fields, part_of, strict=True) if part is not None}):
        rows = [
            counts(field, peaks, thresholds[part])
            for field, peaks, part in zip(fields, seen, part_of, strict=True)
            if field.group == group and peaks is not None and part is not None
        ]
        table = np.array(rows)
        drawn = [f1(table[rng.integers(0, len(table), len(table))]) for _ in range(DRAWS)]
        low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
        values = np.round(np.stack([f1(table), low, high], axis=1), 3).tolist()
        found[group] = dict(zip(NAMES, values, strict=True)) | {"index_mae_points": round(index_mae_points(table), 1)}
        print(group, found[group])
    print("thresholds", thresholds)
    result = {"parts": PARTS, "thresholds": thresholds, "figures": found, "options": options}
    write_json(out / "cross-validation.json", result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else NetworkOptions.steps)
