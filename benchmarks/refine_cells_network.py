"""Go on with the cell network on all sources: ``python benchmarks/refine_cells_network.py START.onnx OUT.onnx``.

START is the network that is gone on from. It learns from the sets of ``train_cells_network.py``: half an hour on one
core; a training that was cut short goes on. No network is left that has not seen the training fields, so thresholds
and calibration are fitted on the validation fields of ``cells_sources.py``. How much that flatters is measured: each
validation field is also counted with what all others would have chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cells_sources import figures, validation_sets
from ki67.cells.calibration import probability
from ki67.cells.card import CLASSES, NEGATIVE, POSITIVE, checked_card
from ki67.cells.labelled_fields import DEFAULT_RADIUS_UM
from ki67.cells.matching import match
from ki67.cells.network_export import export_network
from ki67.cells.network_training import NetworkField, NetworkOptions
from ki67.cells.peaks import Peaks, tumour_labels
from ki67.cells.recipe import NETWORK_STEPS, calibrate, learn, network_counts, peaks_of, places_um, read_sets
from ki67.cells.thresholds import choose_thresholds
from ki67.progress import configure
from train_cells_network import CARD, draw_sections, training_sets

OPTIONS = NetworkOptions(steps=3000, learning_rate=1e-3, other_weight=2.0, seed=3)
TUMOUR = (POSITIVE, NEGATIVE)
BINS = 10


def chosen_on(fields: Sequence[NetworkField], peaks: Sequence[Peaks]) -> tuple[float, float]:
    """Thresholds of positive and negative by the rule of every training."""
    return choose_thresholds(lambda label, step: network_counts(fields, peaks, label, step), NETWORK_STEPS)[0]


def without(items: Sequence[Any], place: int) -> list[Any]:
    """All items but one."""
    return [item for other, item in enumerate(items) if other != place]


def cross_fitted(fields: Sequence[NetworkField], peaks: Sequence[Peaks]) -> dict[str, Any]:
    """F1, index error and calibration error by set, each field judged by what the others chose."""
    result: dict[str, Any] = {}
    for group in sorted({field.group for field in fields}):
        counts, errors, sure, right = np.zeros((2, 3)), [], [], []
        for place, (field, found) in enumerate(zip(fields, peaks, strict=True)):
            if field.group != group:
                continue
            rest = without(fields, place), without(peaks, place)
            labels = tumour_labels(found.values, *chosen_on(*rest))
            curves = calibrate(*rest)
            numbers, gold = [], []
            for row, label in enumerate(TUMOUR):
                own, truth = labels == label, field.field.points[CLASSES[label]]
                hits = np.zeros(int(own.sum()), np.bool_)
                hits[match(truth, places_um(found, own), DEFAULT_RADIUS_UM[group])[1]] = True
                counts[row] += hits.sum(), len(hits), len(truth)
                score = found.values[own][:, [POSITIVE, NEGATIVE]].sum(axis=1)
                sure.append(probability(score, curves[CLASSES[label]]))
                right.append(hits)
                numbers.append(len(hits))
                gold.append(len(truth))
            if sum(gold):
                errors.append(abs(100 * numbers[0] / max(sum(numbers), 1) - 100 * gold[0] / sum(gold)))
        f1 = 2 * counts[:, 0] / counts[:, 1:].sum(axis=1)
        result[group] = {
            "positive": round(float(f1[0]), 4),
            "negative": round(float(f1[1]), 4),
            "index_mae_points": round(float(np.mean(errors)), 2),
            "expected_calibration_error": round(_calibration_error(np.concatenate(sure), np.concatenate(right)), 4),
        }
    return result


def _calibration_error(sure: Any, right: Any) -> float:
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, weights=sure - right, minlength=BINS)
    return float(np.abs(gaps).sum() / max(len(right), 1))


def main(start: Path, out: Path) -> None:
    """Train on, choose thresholds and curves, write graph and card."""
    configure(quiet=False)
    torch.set_num_threads(1)
    sections = out.with_suffix(".sections")
    draw_sections(sections)
    fields = read_sets(training_sets(sections))
    network = learn(fields, out.with_suffix(".training"), OPTIONS, start)
    validation = read_sets(validation_sets())
    peaks = [peaks_of(network, field) for field in validation]
    thresholds = chosen_on(validation, peaks)
    measured = {
        "thresholds_and_calibration": "fitted on the validation fields",
        "at_thresholds_of_the_other_fields": cross_fitted(validation, peaks),
        "at_one_threshold": {str(step): figures(validation, peaks, step) for step in NETWORK_STEPS},
    }
    begun = checked_card(start, "network")
    card = CARD | {
        "command": "python benchmarks/train_cells_network.py, then python benchmarks/refine_cells_network.py",
        "positive_threshold": thresholds[0],
        "negative_threshold": thresholds[1],
        "calibration": calibrate(validation, peaks),
        "options": asdict(OPTIONS),
        "started_from": {"sha256": begun.sha256, "options": begun.details.get("options")},
        "validation": measured,
        "fields": [f"{field.group}/{field.field.name}" for field in fields],
    }
    export_network(network, out, card)
    print(thresholds, card["calibration"], measured["at_thresholds_of_the_other_fields"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
