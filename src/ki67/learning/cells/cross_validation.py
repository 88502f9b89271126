"""Cross-validation by patient: who is judged in which part, and what was found there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ki67.fields.labelled_fields import ALL_NUCLEI, DEFAULT_RADIUS_UM, LabelledField
from ki67.fields.matching import count_matches
from ki67.learning.cells.thresholds import Counts
from ki67.vocabulary import CLASSES, TUMOUR_CLASSES, Layout

TEACHING_ONLY = (Layout.simulated, *ALL_NUCLEI)
"""Data sets that are learnt from in every part and judged in none: drawn, or without word of which nuclei are tumour
cells. They have no say in thresholds and figures, unless there is nothing else."""


@dataclass(frozen=True)
class GroupedField:
    """A labelled field; ``group`` is its data set, ``patient`` what must stay together."""

    group: str
    patient: str
    field: LabelledField

    @property
    def radius_um(self) -> float:
        """How far from a labelled point a nucleus may be found."""
        return DEFAULT_RADIUS_UM[self.group] if self.field.radius_um is None else self.field.radius_um


def judged_fields(fields: Iterable[GroupedField]) -> list[GroupedField]:
    """The fields that have a say in thresholds and figures."""
    everything = list(fields)
    return [field for field in everything if field.group not in TEACHING_ONLY] or everything


def patients_of(fields: Iterable[GroupedField]) -> list[tuple[str, str]]:
    """Data set and name of every patient, sorted."""
    return sorted({(field.group, field.patient) for field in fields})


def with_tumour(fields: Iterable[GroupedField]) -> list[GroupedField]:
    """The fields on which a tumour cell is labelled."""
    return [field for field in fields if any(len(field.field.points[name]) for name in TUMOUR_CLASSES)]


def assign_folds(fields: Sequence[GroupedField], folds: int) -> list[int | None]:
    """Part of the cross-validation in which each field is judged, None for fields that only teach.

    Patients are dealt out in turn, those with labelled tumour cells first, so that every part leaves some to learn
    from; with fewer patients than ``folds`` there are as many parts as patients.
    """
    judged = judged_fields(fields)
    labelled = patients_of(with_tumour(judged))
    dealt = [*labelled, *(patient for patient in patients_of(judged) if patient not in labelled)]
    part_of = {patient: index % folds for index, patient in enumerate(dealt)}
    return [part_of.get((field.group, field.patient)) for field in fields]


def describe_folds(fields: Sequence[GroupedField], folds: int) -> dict[str, Any]:
    """How a cross-validation was split, for the card."""
    patients = len(patients_of(judged_fields(fields)))
    return {"folds": min(folds, patients), "patients": patients, "by": "patient"}


def count_by_group(found: Iterable[tuple[GroupedField, NDArray[np.float64]]], label: int) -> Counts:
    """Hits, cells found (where labelling is complete) and cells labelled of one class, by data set.

    Parameters
    ----------
    found
        Fields with the centres (N, 2) in µm of the cells found there.
    label
        The class, an index into :data:`ki67.vocabulary.CLASSES`.
    """
    counts: dict[str, NDArray[np.float64]] = {}
    for field, places in found:
        truth, radius = field.field.points[CLASSES[label]], field.radius_um
        places = places[field.field.can_judge(places, radius)]
        hits = count_matches(truth, places, radius)
        counts[field.group] = counts.get(field.group, np.zeros(3)) + np.array([hits, len(places), len(truth)])
    return {name: (float(hits), float(n), float(truth)) for name, (hits, n, truth) in counts.items()}
