"""Make probabilities mean what they say: ``python benchmarks/calibrate_cells_network.py MODEL.onnx [--write]``.

The curve from score to probability is fitted on the validation fields of ``cells_sources.py``, because a network is
surer of fields it has learnt from, and those of its cross-validation are less sure than it is. What that flatters is
measured: each field is also judged by the curves of all others. ``--write`` puts curves and figures into the card.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.cells.network import load_network, maps_of
from ki67.cells.peaks import Peaks, find_peaks, tumour_labels
from ki67.cells.score_curves import Curve, probability
from ki67.evaluation.calibration import calibration_error
from ki67.fields.matching import match
from ki67.files import write_json
from ki67.learning.cells.crops import NetworkField
from ki67.learning.cells.recipe import calibrate, places_um, read_labels, read_pixels
from ki67.vocabulary import CLASSES, NEGATIVE, POSITIVE
from train_cells_network import validation_sets

TUMOUR = (POSITIVE, NEGATIVE)


def sure_and_right(
    field: NetworkField, found: Peaks, thresholds: tuple[float, float], curves: dict[str, Curve]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probability of each counted cell of a field, and whether a labelled one of its class is there."""
    labels = tumour_labels(found.values, *thresholds)
    sure, right = [], []
    for label in TUMOUR:
        own, truth = labels == label, field.field.points[CLASSES[label]]
        own[own] = field.field.can_judge(places_um(found, own), field.radius_um)
        hits = np.zeros(int(own.sum()), np.bool_)
        hits[match(truth, places_um(found, own), field.radius_um)[1]] = True
        sure.append(probability(found.values[own, label], curves[CLASSES[label]]))
        right.append(hits)
    return np.concatenate(sure), np.concatenate(right)


def main(path: Path, *, write: bool) -> None:
    """Fit, measure, print, and perhaps write the card."""
    model = load_network(path)
    thresholds = model.card.positive_threshold, model.card.negative_threshold
    fields = read_pixels(read_labels(validation_sets()))
    peaks = [find_peaks(maps_of(field.light, model.run)) for field in fields]
    curves = calibrate(fields, peaks)
    before = {CLASSES[label]: model.card.curves[label] for label in TUMOUR}
    result: dict[str, Any] = {"fitted_on": "validation fields", "expected_calibration_error": {}}
    for group in sorted({field.group for field in fields}):
        rows: dict[str, list[Any]] = {"before": [], "now": [], "by the curves of the other fields": []}
        for place, (field, found) in enumerate(zip(fields, peaks, strict=True)):
            if field.group != group:
                continue
            rest = [other for other in range(len(fields)) if other != place]
            others = calibrate([fields[other] for other in rest], [peaks[other] for other in rest])
            for name, chosen in zip(rows, (before, curves, others), strict=True):
                rows[name].append(sure_and_right(field, found, thresholds, chosen))
        errors = result["expected_calibration_error"][group] = {}
        for name, pairs in rows.items():
            sure, right = (np.concatenate(values) for values in zip(*pairs, strict=True))
            errors[name] = round(calibration_error(right, sure), 4)
    print(curves, result)
    if write:
        write_json(path.with_suffix(".json"), model.card.details | {"calibration": curves, "calibrated": result})


if __name__ == "__main__":
    main(Path(sys.argv[1]), write="--write" in sys.argv)
