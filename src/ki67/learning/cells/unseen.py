"""How a network counts patients that it has not seen, by the very way that slides are counted.

What a network finds is not yet what is counted: what is plainly brown is positive whatever it says. So the networks
of a cross-validation are exported, each counts the fields of its part, and the figures go into the card.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ki67.cells.engine import Engine, NetworkEngine
from ki67.cells.index_deviation import PatientIndex, fit_index_deviation
from ki67.cells.network import load_network
from ki67.fields.field_count import count_field
from ki67.fields.matching import count_matches
from ki67.learning.cells.cross_validation import GroupedField
from ki67.learning.cells.network_export import export_network
from ki67.progress import track
from ki67.vocabulary import TUMOUR_CLASSES


@dataclass(frozen=True)
class UnseenField:
    """Hits, cells found and cells labelled of each tumour class on a field that its network had not seen."""

    group: str
    patient: str
    name: str
    counts: tuple[tuple[int, int, int], tuple[int, int, int]]


def count_unseen(
    fields: Sequence[GroupedField],
    part_of: Sequence[int | None],
    networks: Mapping[int, nn.Module],
    card: dict[str, Any],
) -> list[UnseenField]:
    """Count every judged field by the network of its part.

    Parameters
    ----------
    fields
        The fields.
    part_of
        Part of the cross-validation in which each is judged, None for those that only teach.
    networks
        The network of each part.
    card
        What the networks' cards say: thresholds and calibration.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for part, network in networks.items():
            path = Path(folder) / f"part-{part}.onnx"
            export_network(network, path, card)
            own = [field for field, judged_in in zip(fields, part_of, strict=True) if judged_in == part]
            found += count_fields(own, NetworkEngine(load_network(path)))
    return found


def count_fields(fields: Sequence[GroupedField], engine: Engine) -> list[UnseenField]:
    """Count fields that an engine's model has not seen."""
    return [_counted(one, engine) for one in track(fields, "Counting fields not seen", len(fields))]


def _counted(one: GroupedField, engine: Engine) -> UnseenField:
    field = one.field
    table = count_field(field, engine)
    centres = np.column_stack([table["x_um"].to_numpy(), table["y_um"].to_numpy()])
    labels = np.array(table["label"].to_pylist(), np.object_)
    judged = field.can_judge(centres, one.radius_um)
    places = {name: centres[judged & (labels == name)] for name in TUMOUR_CLASSES}
    positive, negative = (
        (
            count_matches(field.points[name], places[name], one.radius_um),
            len(places[name]),
            len(field.points[name]),
        )
        for name in TUMOUR_CLASSES
    )
    return UnseenField(one.group, one.patient, field.name, (positive, negative))


def describe_unseen(fields: Sequence[UnseenField]) -> dict[str, Any]:
    """Figures for the card: F1 and error of the index by data set, and how far an index may be off.

    ``as_counted`` holds for each data set ``f1`` (positive, negative), ``index_mae_points``,
    ``index_worst_points``, ``index_bias_points`` over its patients; ``index_deviation`` is None with few patients
    (:func:`ki67.cells.index_deviation.fit_index_deviation`).
    """
    patients = patient_indices(fields)
    groups: dict[str, Any] = {}
    for group in sorted({field.group for field in fields}):
        table = np.array([field.counts for field in fields if field.group == group])
        hits, found, labelled = table.sum(axis=0).T
        errors = np.array([
            100 * (one.found[0] / max(sum(one.found), 1) - one.gold[0] / sum(one.gold))
            for one in patients
            if one.group == group and sum(one.gold) > 0
        ])  # fmt: skip
        f1 = [round(float(value), 4) for value in 2 * hits / np.maximum(found + labelled, 1)]
        groups[group] = {
            "f1": dict(zip(TUMOUR_CLASSES, f1, strict=True)),
            "patients": len(errors),
            **_points(errors),
        }
    deviation = fit_index_deviation(patients)
    return {
        "as_counted": groups,
        "index_deviation": None if deviation is None else deviation.to_dict(),
    }


def _points(errors: Any) -> dict[str, float | None]:
    if len(errors) == 0:
        return dict.fromkeys(("index_mae_points", "index_worst_points", "index_bias_points"))
    return {
        "index_mae_points": round(float(np.abs(errors).mean()), 2),
        "index_worst_points": round(float(np.abs(errors).max()), 2),
        "index_bias_points": round(float(errors.mean()), 2),
    }


def patient_indices(fields: Sequence[UnseenField]) -> list[PatientIndex]:
    """Counts of each patient, over its fields."""
    names = sorted({(field.group, field.patient) for field in fields})
    totals = {name: np.zeros((2, 3), np.int64) for name in names}
    for field in fields:
        totals[field.group, field.patient] += np.array(field.counts)
    return [
        PatientIndex(group, patient, _pair(table[:, 1]), _pair(table[:, 2]))
        for (group, patient), table in totals.items()
    ]


def _pair(values: Any) -> tuple[int, int]:
    positive, negative = values.tolist()
    return positive, negative
