"""What each source of labelled nuclei adds to the cell network: ``python benchmarks/cells_sources.py OUT [STEPS]``.

Short trainings (600 steps where STEPS is not given, some minutes each on one core) on the same training fields of
BCData and SHIDC, without and with twelve simulated sections, without and with the sets that label nuclei of any kind
in other organs. What is cut short goes on.
F1 and error of the index on the validation fields at one threshold for both classes and sets, the best of eleven for
each variant: chosen where it is measured, so these figures compare variants and say nothing more. The forest, as
shipped, at its own thresholds.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ki67.cells import load_engine
from ki67.cells.card import CLASSES
from ki67.cells.crops import NetworkField
from ki67.cells.labelled_fields import DEFAULT_RADIUS_UM
from ki67.cells.matching import count_matches
from ki67.cells.network_training import NetworkOptions, train_network
from ki67.cells.peaks import Peaks, tumour_labels
from ki67.cells.recipe import NETWORK_STEPS, FieldSet, peaks_of, places_um, read_labels, read_pixels
from ki67.evaluation.cells import evaluate_cells
from ki67.files import write_json
from ki67.progress import configure
from train_cells_network import SHIDC_TRAIN, data_root, draw_sections, training_sets

STEPS = 600
TUMOUR = (1, 2)
OTHER_ORGANS = ("deepliif", "glioma")
VARIANTS: dict[str, tuple[str, ...]] = {
    "labelled breast fields": ("bcdata", "shidc"),
    "with simulated sections": ("bcdata", "shidc", "simulated"),
    "with other organs": ("bcdata", "shidc", *OTHER_ORGANS),
    "with both": ("bcdata", "shidc", "simulated", *OTHER_ORGANS),
}


def validation_sets() -> list[FieldSet]:
    """BCData 13–17, and SHIDC without the overlapping training fields."""
    root = data_root()
    names = [path.stem for path in sorted((root / "shidc").glob("*.jpg"))]
    shidc = [name for name in names if not name.startswith(SHIDC_TRAIN)]
    return [
        FieldSet("bcdata", root / "bcdata", [str(number) for number in range(13, 18)]),
        FieldSet("shidc", root / "shidc", shidc),
    ]


def figures(fields: list[NetworkField], peaks: list[Peaks], thresholds: tuple[float, float]) -> dict[str, Any]:
    """F1 of both classes and error of the index by set."""
    result: dict[str, Any] = {}
    for group in sorted({field.group for field in fields}):
        own = [(field, found) for field, found in zip(fields, peaks, strict=True) if field.group == group]
        counts, errors = np.zeros((2, 3)), []
        for field, found in own:
            labels = tumour_labels(found.values, *thresholds)
            numbers = [int((labels == label).sum()) for label in TUMOUR]
            for row, label in enumerate(TUMOUR):
                truth = field.field.points[CLASSES[label]]
                hits = count_matches(truth, places_um(found, labels == label), DEFAULT_RADIUS_UM[group])
                counts[row] += hits, numbers[row], len(truth)
            gold = [len(field.field.points[CLASSES[label]]) for label in TUMOUR]
            if sum(gold):
                errors.append(abs(100 * numbers[0] / max(sum(numbers), 1) - 100 * gold[0] / sum(gold)))
        positive, negative = (2 * counts[:, 0] / counts[:, 1:].sum(axis=1)).tolist()
        result[group] = {"positive": positive, "negative": negative, "index_mae_points": float(np.mean(errors))}
    return result


def best(fields: list[NetworkField], peaks: list[Peaks]) -> dict[str, Any]:
    """The figures at the threshold with the highest mean F1."""
    options = [figures(fields, peaks, (step, step)) | {"threshold": step} for step in NETWORK_STEPS]
    both, names = ("bcdata", "shidc"), ("positive", "negative")
    return max(options, key=lambda row: sum(row[group][name] for group in both for name in names))


def main(out: Path, steps: int) -> None:
    """Train what is missing, measure, print and write."""
    configure(quiet=False)
    torch.set_num_threads(1)
    sections = out / "sections"
    draw_sections(sections)
    validation = read_pixels(read_labels(validation_sets()))
    rows: dict[str, Any] = {}
    for name, layouts in VARIANTS.items():
        every = [*training_sets(sections), *(FieldSet(layout, data_root() / layout) for layout in OTHER_ORGANS)]
        fields = read_pixels(read_labels([chosen for chosen in every if chosen.layout in layouts]))
        options = replace(NetworkOptions(), steps=steps)
        network = train_network(fields, out / name.replace(" ", "-"), options)
        rows[name] = best(validation, [peaks_of(network, field) for field in validation])
        print(name, rows[name], flush=True)
        write_json(out / "cells_sources.json", rows)
    forest = load_engine("forest")
    for chosen in validation_sets():
        result = evaluate_cells(chosen.directory, chosen.layout, images=chosen.images, engine=forest)
        classes = {label: row["f1"] for label, row in result["classes"].items()}
        rows.setdefault("forest", {})[chosen.layout] = classes | {"index_mae_points": result["index_mae_points"]}
    print("forest", rows["forest"])
    write_json(out / "cells_sources.json", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS)
