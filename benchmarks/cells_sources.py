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
from numpy.typing import NDArray

from ki67.cells import load_engine
from ki67.cells.peaks import Peaks, tumour_labels
from ki67.evaluation.cells import evaluate_cells
from ki67.fields.matching import count_matches
from ki67.files import write_json
from ki67.learning.cells.crops import NetworkField
from ki67.learning.cells.network_training import NetworkOptions, crops_of, train_network
from ki67.learning.cells.recipe import NETWORK_STEPS, FieldSet, peaks_of, places_um, read_labels, read_pixels
from ki67.progress import configure
from ki67.vocabulary import CLASSES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))
from cells_network import data_root, draw_sections, training_sets, validation_sets

STEPS = 600
TUMOUR = (1, 2)
OTHER_ORGANS = ("deepliif", "glioma")
VARIANTS: dict[str, tuple[str, ...]] = {
    "labelled breast fields": ("bcdata", "shidc"),
    "with simulated sections": ("bcdata", "shidc", "simulated"),
    "with other organs": ("bcdata", "shidc", *OTHER_ORGANS),
    "with both": ("bcdata", "shidc", "simulated", *OTHER_ORGANS),
}


def counts(field: NetworkField, peaks: Peaks, thresholds: tuple[float, float]) -> NDArray[np.int64]:
    """Hits, cells found and cells labelled (2, 3) of positive and negative on one field."""
    labels = tumour_labels(peaks.values, *thresholds)
    rows = []
    for label in TUMOUR:
        truth, radius = field.field.points[CLASSES[label]], field.radius_um
        places = places_um(peaks, labels == label)
        places = places[field.field.can_judge(places, radius)]
        rows.append([count_matches(truth, places, radius), len(places), len(truth)])
    return np.array(rows)


def f1(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 (2,) of counts (fields, 2, 3)."""
    hits, found, truth = table.sum(axis=0).T
    return np.asarray(2 * hits / (found + truth))


def index_mae_points(table: NDArray[np.int64]) -> float:
    """Mean absolute error of the index over those of the fields (fields, 2, 3) on which something is labelled."""
    labelled = table[table[:, :, 2].sum(axis=1) > 0]
    found, truth = (100 * labelled[:, 0, k] / np.maximum(labelled[:, :, k].sum(axis=1), 1) for k in (1, 2))
    return float(np.abs(found - truth).mean())


def figures(fields: list[NetworkField], peaks: list[Peaks], thresholds: tuple[float, float]) -> dict[str, Any]:
    """F1 of both classes and error of the index by set."""
    result: dict[str, Any] = {}
    for group in sorted({field.group for field in fields}):
        own = [(field, found) for field, found in zip(fields, peaks, strict=True) if field.group == group]
        table = np.array([counts(field, found, thresholds) for field, found in own])
        positive, negative = f1(table).tolist()
        result[group] = {"positive": positive, "negative": negative, "index_mae_points": index_mae_points(table)}
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
        network = train_network(crops_of(fields, options), out / name.replace(" ", "-"), options)
        rows[name] = best(validation, [peaks_of(network, field) for field in validation])
        print(name, rows[name], flush=True)
        write_json(out / "cells_sources.json", rows)
    forest = load_engine("forest")
    for chosen in validation_sets():
        result = evaluate_cells(chosen.directory, chosen.layout, chosen.mpp, images=chosen.images, engine=forest)
        classes = {label: row["f1"] for label, row in result["classes"].items()}
        rows.setdefault("forest", {})[chosen.layout] = classes | {"index_mae_points": result["index_mae_points"]}
    print("forest", rows["forest"])
    write_json(out / "cells_sources.json", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS)
