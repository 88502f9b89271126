"""How far a finished network's index is off: ``python recipes/cells_network_deviation.py [MODEL.onnx] [--write]``.

Counts, as slides are counted, all labelled fields that the model has not seen by its card: BCData, SHIDC, wroclaw;
prints F1 and error of the index by data set, the deviation that the interval of the true index rests on
(``ki67.cells.index_deviation``), and how often that interval holds the labelled index when a patient has no part in
it. ``--write`` puts all of it into the card. Without a model: the shipped one.

Where a model has learnt from every laboratory, its fields tell nothing of another one, which is what a slide mostly
comes from: ``between`` is then not less than :data:`NEW_LABORATORY`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cells_network import patient, training_sets, validation_sets
from ki67.cells.engine import NetworkEngine
from ki67.cells.index_deviation import fit_index_deviation
from ki67.cells.network import SHIPPED_NETWORK, load_network
from ki67.files import write_json
from ki67.learning.cells.recipe import read_labels
from ki67.learning.cells.unseen import UnseenField, count_fields, describe_unseen, patient_indices
from ki67.progress import configure
from ki67.scoring.intervals import ModelDeviation, corrected_share

NEW_LABORATORY = 0.5
"""How far the index of a laboratory that a model has not learnt from is off, on the logit (docs/decisions/022)."""


def held(fields: list[UnseenField]) -> tuple[int, int, float]:
    """Patients whose labelled index lies in the interval made without them, all of them, and its mean width."""
    patients = [one for one in patient_indices(fields) if sum(one.found) > 0 and sum(one.gold) > 0]
    inside, widths = 0, []
    for one in patients:
        fitted = fit_index_deviation([other for other in patients if other is not one])
        if fitted is None:
            continue
        deviation = ModelDeviation(fitted.bias, fitted.between, fitted.per_cell, fitted.patients)
        _, (low, high) = corrected_share(one.found[0], sum(one.found), deviation)
        inside += low <= one.gold[0] / sum(one.gold) <= high
        widths.append(100 * (high - low))
    return inside, len(widths), sum(widths) / max(len(widths), 1)


def main(path: Path, *, write: bool) -> None:
    """Count, fit, print, and perhaps write the card."""
    configure(quiet=True)
    model = load_network(path)
    learnt = set(model.card.details["fields"])
    sets = [chosen for chosen in (*training_sets(Path()), *validation_sets()) if chosen.layout != "simulated"]
    fields = [one for one in read_labels(sets, patient) if f"{one.group}/{one.field.name}" not in learnt]
    counted = count_fields(fields, NetworkEngine(model))
    told = describe_unseen(counted)
    for group, row in told["as_counted"].items():
        print(group, row)
    print("deviation", told["index_deviation"])
    inside, patients, width = held(counted)
    print(f"labelled index in the interval made without the patient: {inside} of {patients}, {width:.1f} points wide")
    for group in told["as_counted"]:
        others = [field for field in counted if field.group != group]
        print(f"  without {group}: {fit_index_deviation(patient_indices(others))}")
    if write:
        details = dict(model.card.details)
        part = {"index_deviation": told["index_deviation"]}
        if part["index_deviation"] is not None and any(name.startswith("points/") for name in learnt):
            own = part["index_deviation"]
            part["index_deviation"] = own | {"between": max(own["between"], NEW_LABORATORY)}
        unseen = {"as_counted": told["as_counted"], "interval_holds": [inside, patients]}
        write_json(path.with_suffix(".json"), details | part | {"unseen": unseen})


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    main(Path(names[0]) if names else SHIPPED_NETWORK, write="--write" in sys.argv)
