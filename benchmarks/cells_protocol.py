"""How a recipe for the cell network does on patients and laboratories it has not seen.

``python benchmarks/cells_protocol.py OUT [--left-out shidc …] [--folds 5] [--steps 300] [--architecture lite]``

Leaves each laboratory (BCData, SHIDC, wroclaw) out in turn, trains on the training fields of the others and counts
all its fields; with ``--folds`` it cross-validates by patient over all fields instead. Every training has the same
short length, 300 steps of 8 crops; the full recipe does better. Thresholds come from the other laboratories'
validation fields (in a cross-validation from the other parts), never from the fields they judge. What is cut short
goes on. ``--model FILE.onnx`` judges a finished network on all fields at its own thresholds instead, which tells
something only of fields it has not learnt from.

Prints F1 with 95 % intervals (draws of whole patients), the error of the index, all of it also for thirds of nuclear
size and stain strength, and the mean of F1 positive and negative over the laboratories; writes ``protocol.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cells_sources import counts, f1, index_mae_points
from ki67.cells.channels import WORKING_MPP
from ki67.cells.network import load_network, maps_of
from ki67.cells.peaks import Peaks, find_peaks
from ki67.files import write_json
from ki67.learning.cells.crops import NetworkField
from ki67.learning.cells.cross_validation import assign_folds
from ki67.learning.cells.network_training import NetworkOptions, crops_of, train_network
from ki67.learning.cells.recipe import NETWORK_STEPS, FieldSet, network_counts, peaks_of, read_labels, read_pixels
from ki67.learning.cells.thresholds import choose_thresholds
from ki67.progress import configure, message
from ki67.vocabulary import TUMOUR_CLASSES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))
from cells_network import (
    SHORT_STEPS,
    draw_sections,
    patient,
    teaching_sets,
    training_sets,
    travelling,
    validation_sets,
)

LABORATORIES = {"bcdata": "BCData", "shidc": "SHIDC", "points": "wroclaw"}
DRAWS = 2000
_FARTHEST_PX = 14

Thresholds = tuple[float, float]


def all_sets(sections: Path) -> tuple[list[FieldSet], list[FieldSet]]:
    """Training sets, with those that only teach, and validation sets."""
    return [*training_sets(sections), *teaching_sets()], validation_sets()


def leave_out(out: Path, left_out: Sequence[str], options: NetworkOptions) -> dict[str, Any]:
    """Train without each of the laboratories and judge its fields."""
    sections = out / "sections"
    draw_sections(sections)
    teaching, validating = (read_pixels(read_labels(chosen, patient)) for chosen in all_sets(sections))
    result = {}
    for group in left_out:
        message(f"without {LABORATORIES[group]}")
        crops = crops_of([field for field in teaching if field.group != group], options)
        network = train_network(crops, out / f"without-{group}", options)
        others = [field for field in validating if field.group != group]
        thresholds = thresholds_on(others, [peaks_of(network, field) for field in others])
        unseen = [field for field in (*teaching, *validating) if field.group == group]
        result[group] = judged(unseen, [peaks_of(network, field) for field in unseen], [thresholds] * len(unseen))
    return result


def cross_validated(out: Path, folds: int, options: NetworkOptions) -> dict[str, Any]:
    """Cross-validate by patient over all fields, each part at the others' thresholds."""
    sections = out / "sections"
    draw_sections(sections)
    teaching, validating = all_sets(sections)
    fields = read_pixels(read_labels([*teaching, *validating], patient))
    part_of = assign_folds(fields, folds)
    found: list[Peaks | None] = [None] * len(fields)
    for part in range(folds):
        message(f"part {part + 1} of {folds}")
        crops = crops_of([field for field, own in zip(fields, part_of, strict=True) if own != part], options)
        network = train_network(crops, out / f"fold-{part + 1}-of-{folds}", options)
        for index, (field, own) in enumerate(zip(fields, part_of, strict=True)):
            if own == part:
                found[index] = peaks_of(network, field)
    known = [
        (field, peaks, own) for field, peaks, own in zip(fields, found, part_of, strict=True) if peaks is not None
    ]
    thresholds = {}
    for part in range(folds):
        rest = [(field, peaks) for field, peaks, own in known if own != part]
        thresholds[part] = thresholds_on([field for field, _ in rest], [peaks for _, peaks in rest])
    result = {}
    for group in LABORATORIES:
        rows = [row for row in known if row[0].group == group]
        chosen = [thresholds[own] for _, _, own in rows if own is not None]
        result[group] = judged([row[0] for row in rows], [row[1] for row in rows], chosen)
    return result


def finished(model: Path | None) -> dict[str, Any]:
    """Judge a finished network on every labelled field, at its own thresholds."""
    network = load_network(model)
    thresholds = network.card.positive_threshold, network.card.negative_threshold
    names = list(LABORATORIES)
    sets = [chosen for chosen in (*training_sets(Path()), *validation_sets()) if chosen.layout in names]
    fields = read_pixels(read_labels(sets, patient))
    result = {}
    for group in names:
        own = [field for field in fields if field.group == group]
        peaks = [find_peaks(maps_of(field.light, network.run)) for field in own]
        result[group] = judged(own, peaks, [thresholds] * len(own))
    return result


def thresholds_on(fields: list[NetworkField], peaks: list[Peaks]) -> Thresholds:
    """Thresholds by the recipe's rule."""
    return choose_thresholds(lambda label, step: network_counts(fields, peaks, label, step), NETWORK_STEPS)[0]


def judged(fields: list[NetworkField], peaks: list[Peaks], thresholds: list[Thresholds]) -> dict[str, Any]:
    """Figures of fields, of all and of thirds by nuclear size and by stain strength."""
    table = np.array([counts(*row) for row in zip(fields, peaks, thresholds, strict=True)])
    patients = np.array([field.patient for field in fields])
    looks = np.array([appearance(field) for field in fields])
    result = _figures(table, patients) | {"thresholds": sorted(set(thresholds)), "strata": {}}
    for name, values in zip(("nuclear size, µm", "stain strength, OD"), looks.T, strict=True):
        for low, high in zip(
            *(np.nanquantile(values, np.array(cuts) / 3) for cuts in ((0, 1, 2), (1, 2, 3))), strict=True
        ):
            own = (values >= low) & (values <= high)
            result["strata"][f"{name} {low:.2f}-{high:.2f}"] = _figures(table[own], patients[own])
    result["by_field"] = {
        field.field.name: {"counts": rows.tolist(), "size_um": _known(size), "strength_od": _known(strength)}
        for field, rows, (size, strength) in zip(fields, table, looks, strict=True)
    }
    return result


def _known(value: float) -> float | None:
    """A figure for JSON: a field without labelled cells has no size."""
    return None if np.isnan(value) else float(value)


def _figures(table: NDArray[np.int64], patients: NDArray[np.str_]) -> dict[str, Any]:
    """F1 of both classes with intervals, and how far the index is off."""
    names = np.unique(patients)
    rows_of = [np.flatnonzero(patients == name) for name in names]
    rng = np.random.default_rng(1)
    draws = [np.concatenate([rows_of[k] for k in rng.integers(0, len(names), len(names))]) for _ in range(DRAWS)]
    with np.errstate(invalid="ignore"):
        spread = np.nanpercentile([f1(table[rows]) for rows in draws], (2.5, 97.5), axis=0)
        values = f1(table)
    errors = index_errors(table)
    return {
        **{
            name: [round(float(value), 3) for value in (values[k], spread[0, k], spread[1, k])]
            for k, name in enumerate(TUMOUR_CLASSES)
        },
        "index_mae_points": round(index_mae_points(table), 1),
        "index_bias_points": round(float(errors.mean()), 1),
        "index_worst_points": round(float(np.abs(errors).max()), 1),
        "fields": len(table),
    }


def index_errors(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how many points the index of each labelled field is too high."""
    labelled = table[table[:, :, 2].sum(axis=1) > 0]
    found, truth = (100 * labelled[:, 0, k] / np.maximum(labelled[:, :, k].sum(axis=1), 1) for k in (1, 2))
    return np.asarray(found - truth)


def appearance(field: NetworkField) -> tuple[float, float]:
    """Diameter in µm and optical density of a field's labelled tumour nuclei, from their mean profile.

    Half the diameter is where the mean density around the labelled centres has fallen half way to its lowest.
    """
    places = np.concatenate(field.points[1:])
    if len(places) == 0:
        return float("nan"), float("nan")
    density = -np.log10(np.clip(field.light.mean(axis=2), 1 / 255, 1)).astype(np.float32)
    size = 2 * _FARTHEST_PX + 1
    patches = [cv2.getRectSubPix(density, (size, size), (float(x) - 0.5, float(y) - 0.5)) for x, y in places]
    mean = np.mean(patches, axis=0)
    y, x = np.mgrid[:size, :size] - _FARTHEST_PX
    ring = np.hypot(x, y).round().astype(int)
    profile = (
        np.bincount(ring.ravel(), mean.ravel())[: _FARTHEST_PX + 1] / np.bincount(ring.ravel())[: _FARTHEST_PX + 1]
    )
    inner = float(profile[:3].mean())
    below = np.flatnonzero(profile < (inner + profile.min()) / 2)
    return 2 * WORKING_MPP * float(below[0] if len(below) else _FARTHEST_PX), inner


def report(result: dict[str, Any], out: Path, options: NetworkOptions | None) -> None:
    """Print and write."""
    for group, row in result.items():
        print(LABORATORIES[group], {name: value for name, value in row.items() if name not in ("strata", "by_field")})
        for name, part in row["strata"].items():
            print("   ", name, part)
    top = {name: round(float(np.mean([row[name][0] for row in result.values()])), 3) for name in TUMOUR_CLASSES}
    print("mean over laboratories", top)
    written = {"mean": top, "laboratories": result, "options": None if options is None else asdict(options)}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "protocol.json", written)


def main() -> None:
    """Read the words, run, report."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--left-out", choices=LABORATORIES, nargs="+", default=list(LABORATORIES))
    words.add_argument("--folds", type=int, default=0)
    words.add_argument("--steps", type=int, default=SHORT_STEPS)
    words.add_argument("--architecture", choices=("lite", "unet"), default="lite")
    words.add_argument("--model", type=Path)
    given = words.parse_args()
    configure(quiet=False)
    options = replace(travelling(given.steps), architecture=given.architecture)
    if given.model is not None:
        report(finished(given.model), given.out, None)
    elif given.folds:
        report(cross_validated(given.out, given.folds, options), given.out, options)
    else:
        report(leave_out(given.out, given.left_out, options), given.out, options)


if __name__ == "__main__":
    main()
