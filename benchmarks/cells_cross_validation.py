"""The cell network's recipe on patients it has not seen: ``python benchmarks/cells_cross_validation.py OUT [STEPS]``.

All 40 labelled fields of BCData and SHIDC, in four parts by patient (SHIDC's overlapping fields are one patient); for
each part a network learns from the other three and from the twelve simulated sections, in both steps of the recipe.
STEPS is that of the first step, 5500 where it is not given: four hours on two cores, some minutes on a graphics card.
What is cut short goes on. Prints the thresholds that the recipe would choose, F1 at these, and the error of the index
by data set, and writes ``cross-validation.json``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

from cells_sources import figures, validation_sets
from ki67.cells.network_training import NetworkOptions
from ki67.cells.recipe import NETWORK_STEPS, cross_validate, network_counts, read_labels, read_pixels
from ki67.cells.thresholds import choose_thresholds
from ki67.files import write_json
from ki67.progress import configure
from train_cells_network import draw_sections, patient, training_sets

PARTS = 4


def main(out: Path, steps: int) -> None:
    """Train, judge, print."""
    configure(quiet=False)
    sections = out / "sections"
    draw_sections(sections)
    fields = read_pixels(read_labels([*training_sets(sections), *validation_sets()], patient))
    options = replace(NetworkOptions(), steps=steps)
    seen = cross_validate(fields, out, PARTS, options)
    thresholds, chosen = choose_thresholds(
        lambda label, threshold: network_counts(fields, seen, label, threshold), NETWORK_STEPS
    )
    judged = [(field, found) for field, found in zip(fields, seen, strict=True) if found is not None]
    found = figures([field for field, _ in judged], [peaks for _, peaks in judged], thresholds)
    print(f"thresholds {thresholds[0]}, {thresholds[1]}")
    for group, row in found.items():
        print(
            f"{group}: F1 {row['positive']:.3f} positive, {row['negative']:.3f} negative, "
            f"index off by {row['index_mae_points']:.1f} points"
        )
    result = {"parts": PARTS, "thresholds": thresholds, "figures": found, "by_threshold": chosen["by_threshold"]}
    write_json(out / "cross-validation.json", result | {"options": asdict(options)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else NetworkOptions.steps)
