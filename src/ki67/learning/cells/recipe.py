"""The whole way from labelled fields to a cell model that can be shipped.

``ki67 cells train OUT.onnx --set LAYOUT=DIR …``: cross-validation first, by patient, which chooses the thresholds and
gives honest figures; then the model, on all fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ki67.cells.card import learnt_from
from ki67.cells.channels import WORKING_MPP
from ki67.cells.network import STRIDE, load_network, maps_of
from ki67.cells.peaks import Peaks, find_peaks
from ki67.cells.score_curves import Curve, fit_curve
from ki67.errors import DataSetError, ModelError
from ki67.fields.labelled_fields import ALL_NUCLEI, read_fields
from ki67.fields.matching import match
from ki67.learning.cells.crops import Crops, NetworkField
from ki67.learning.cells.cross_validation import (
    GroupedField,
    assign_folds,
    count_by_group,
    describe_folds,
    judged_fields,
    patients_of,
    with_tumour,
)
from ki67.learning.cells.forest_training import TrainingOptions, measure_field, train
from ki67.learning.cells.network_export import export_network
from ki67.learning.cells.network_start import options_like, start_from
from ki67.learning.cells.network_training import NetworkOptions, crops_of, read_network_field, train_network
from ki67.learning.cells.thresholds import Counts, choose_thresholds
from ki67.learning.cells.unseen import count_unseen, describe_unseen
from ki67.learning.quantisation import add_int8, fields_light
from ki67.progress import message, track
from ki67.vocabulary import CLASSES, NEGATIVE, OTHER, POSITIVE, TUMOUR_CLASSES, EngineName, Layout

NETWORK_STEPS = tuple(round(0.25 + 0.05 * step, 2) for step in range(11))
"""Thresholds that cross-validation chooses among."""

REFINING_SHARE, REFINING_RATE, REFINING_OTHER_WEIGHT = 16 / 55, 0.4, 4.0
"""Second part of a network's training: its steps and learning rate as shares of the first's, and the weight of nuclei
that are no tumour cells. It takes a third off the negatives found too many on simulated sections."""

GOING_ON_STEPS, GOING_ON_RATE = 1500, 1.5e-3
"""Steps and learning rate of a training that goes on from a network: half the rate of one from scratch."""

FULLY_LABELLED = (Layout.points, Layout.qupath, Layout.simulated)
"""Layouts whose fields label every nucleus where they label any that is not tumour."""


@dataclass(frozen=True)
class FieldSet:
    """Labelled fields of one layout; ``images`` None takes all, ``radius_um`` None the layout's matching radius."""

    layout: str
    directory: Path
    images: Sequence[str] | None = None
    mpp: float | None = None
    mpp_overrides_file: bool = False
    radius_um: float | None = None


def patient_of(name: str) -> str:
    """Patient of a field: its name up to the last underscore ("p1_0299_1" is of "p1_0299"), or all of it."""
    return name.rpartition("_")[0] or name


def train_cells(
    sets: Sequence[FieldSet],
    out: str | Path,
    engine: EngineName,
    card: dict[str, Any],
    *,
    patient: Callable[[str], str] = patient_of,
    folds: int = 3,
    network: NetworkOptions | None = None,
    fold_steps: int = 2000,
    start: str | Path | None = None,
) -> dict[str, Any]:
    """Train a cell model on labelled fields; returns its card.

    Parameters
    ----------
    sets
        The fields.
    out
        The ``.onnx`` file; the card goes beside it, a network's checkpoints into ``OUT.training/``, from where a
        training that was cut short goes on.
    engine
        ``network`` or ``forest``.
    card
        Further fields of the card: name, data, licence.
    patient
        Gives the patient a field belongs to, by which cross-validation splits.
    folds
        Parts of the cross-validation.
    network
        How a network is trained; its architecture and widths are those of ``start``, where there is one.
    fold_steps
        Steps of each network of the cross-validation.
    start
        A network (``.onnx``) to go on from, in every fold too: where it has seen these fields, the card's
        ``cross_validation`` holds a warning. None trains from scratch.

    Raises
    ------
    DataSetError
        Where a set is not as described, a class is not labelled, or all fields are of one patient.
    PixelSizeError
        Where a picture has no pixel size, or one that is too coarse for nuclei.
    ModelError
        Where ``start`` cannot be gone on from, or ``out`` is no name for a model.
    """
    target = Path(out)
    if target.suffix != ".onnx":
        raise ModelError(target, "is no name for a model", "Let it end in .onnx.")
    unclear = next((chosen for chosen in sets if chosen.layout in ALL_NUCLEI), None)
    if engine == EngineName.forest and unclear is not None:
        raise DataSetError(
            unclear.directory,
            "labels nuclei of every kind, and a forest must be told which are tumour cells",
            "Leave the set out, or train a network.",
        )
    fields = read_labels(sets, patient)
    _check_enough(fields, target)
    if engine == EngineName.network:
        options = network or NetworkOptions()
        if start is not None:
            options = options_like(start, options)
        return _train_network(fields, target, card, folds, options, fold_steps, start)
    measured = [
        measure_field(one.field, one.group, one.patient) for one in track(fields, "Measuring fields", len(fields))
    ]
    return train(measured, target, card, TrainingOptions(folds=folds))


def read_labels(sets: Sequence[FieldSet], patient: Callable[[str], str] = patient_of) -> list[GroupedField]:
    """Labels of all fields, without their pixels."""
    return [
        GroupedField(chosen.layout, patient(field.name), replace(field, radius_um=chosen.radius_um))
        for chosen in sets
        for field in read_fields(
            chosen.directory, chosen.layout, chosen.mpp, chosen.images, overrides_file=chosen.mpp_overrides_file
        )
    ]


def read_pixels(fields: Sequence[GroupedField]) -> list[NetworkField]:
    """Pixels and labels of fields, for a network; says for each what its labels leave open."""
    return [
        read_network_field(
            one.field,
            one.group,
            one.patient,
            others_complete=one.group in FULLY_LABELLED and len(one.field.points[CLASSES[OTHER]]) > 0,
            tumour_told_apart=one.group not in ALL_NUCLEI,
        )
        for one in track(fields, "Reading fields", len(fields))
    ]


def _check_enough(fields: Sequence[GroupedField], out: Path) -> None:
    """Refuse what cannot be cross-validated before anything is trained."""
    judged = judged_fields(fields)
    missing = [name for name in TUMOUR_CLASSES if not any(len(one.field.points[name]) for one in judged)]
    if missing:
        raise DataSetError(
            out, f"cannot be trained: no cell is labelled {' or '.join(missing)}", "Add labelled fields."
        )
    message(f"{len(judged)} fields of {len(patients_of(judged))} patients")
    labelled = patients_of(with_tumour(judged))
    if len(labelled) < 2:
        raise DataSetError(
            out,
            f"cannot be trained: all labelled tumour cells are of one patient, '{labelled[0][1]}'",
            "Cross-validation needs fields of two; give --patient field where each field is of another patient.",
        )


def _train_network(
    fields: Sequence[GroupedField],
    out: Path,
    card: dict[str, Any],
    folds: int,
    options: NetworkOptions,
    fold_steps: int,
    start: str | Path | None,
) -> dict[str, Any]:
    warnings = [text for one in fields for text in one.field.warnings]
    if start is not None:
        names = [f"{one.group}/{one.field.name}" for one in judged_fields(fields)]
        warnings += learnt_from(load_network(start).card, names)
    for text in warnings:
        message(f"warning: {text}")
    read = read_pixels(fields)
    folder = out.with_suffix(".training")
    fold_options = replace(options, steps=fold_steps)
    part_of = assign_folds(read, folds)
    networks = cross_validate(read, folder, part_of, fold_options, start)
    seen = unseen_peaks(read, part_of, networks)
    thresholds, figures = choose_thresholds(
        lambda label, threshold: network_counts(read, seen, label, threshold), NETWORK_STEPS
    )
    message(f"cross-validated F1: {figures['f1']}")
    judged = {
        "positive_threshold": thresholds[0],
        "negative_threshold": thresholds[1],
        "calibration": calibrate(read, seen),
    }
    unseen = describe_unseen(count_unseen(read, part_of, networks, card | judged))
    network = learn(read, folder / "all", options, start)
    export_network(
        network,
        out,
        card
        | judged
        | {
            "index_deviation": unseen.pop("index_deviation"),
            "options": asdict(options),
            "cross_validation": figures
            | unseen
            | describe_folds(read, folds)
            | {"steps": fold_steps, "warnings": warnings},
            "fields": _fields_seen(read, start),
        },
    )
    return add_int8(out, fields_light(field.light for field in read))


def _fields_seen(fields: Sequence[NetworkField], start: str | Path | None) -> list[str]:
    """Names of all fields that had a say in the weights, those of the network it started from included."""
    before = [] if start is None else load_network(start).card.details.get("fields", [])
    return [*before, *(f"{field.group}/{field.field.name}" for field in fields)]


def learn(
    fields: Sequence[NetworkField], folder: Path, options: NetworkOptions, start: str | Path | None = None
) -> nn.Module:
    """Train from scratch in two steps, or go on from a network in one."""
    crops = crops_of(fields, options)
    if start is None:
        return train_in_two_steps(crops, folder, options)
    origin = load_network(start).card.sha256
    return train_network(crops, folder, options, start_from(start, crops, options), origin)


def train_in_two_steps(crops: Crops, folder: Path, options: NetworkOptions) -> nn.Module:
    """Train, then go on for a while with nuclei that are labelled as no tumour cells weighing more.

    Weighing them more from the start would make the network shy of every pale nucleus before it knows any.
    """
    first = train_network(crops, folder / "first", options)
    return train_network(crops, folder / "refined", refining(options), start=first)


def refining(options: NetworkOptions) -> NetworkOptions:
    """How the second part of a training goes, where the first went like this."""
    return replace(
        options,
        steps=max(1, round(options.steps * REFINING_SHARE)),
        learning_rate=options.learning_rate * REFINING_RATE,
        other_weight=REFINING_OTHER_WEIGHT,
        seed=options.seed + 1,
    )


def cross_validate(
    fields: Sequence[NetworkField],
    folder: Path,
    part_of: Sequence[int | None],
    options: NetworkOptions,
    start: str | Path | None = None,
) -> dict[int, nn.Module]:
    """Train a network for each part on all fields but its own."""
    parts = sorted({part for part in part_of if part is not None})
    networks = {}
    for part in parts:
        message(f"cross-validation: network {part + 1} of {len(parts)}")
        rest = [field for field, own in zip(fields, part_of, strict=True) if own != part]
        networks[part] = learn(rest, folder / f"fold-{part + 1}", options, start)
    return networks


def unseen_peaks(
    fields: Sequence[NetworkField], part_of: Sequence[int | None], networks: dict[int, nn.Module]
) -> list[Peaks | None]:
    """Peaks of each field by a network that has not seen its patient; None for fields that only teach."""
    return [
        None if part is None else peaks_of(networks[part], field) for field, part in zip(fields, part_of, strict=True)
    ]


def peaks_of(network: nn.Module, field: NetworkField) -> Peaks:
    """What a network finds on a whole field."""

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(torch.sigmoid(network(torch.from_numpy(inputs))).numpy(), np.float32)

    return find_peaks(maps_of(field.light, run))


def network_counts(
    fields: Sequence[NetworkField], peaks: Sequence[Peaks | None], label: int, threshold: float
) -> Counts:
    """Hits, cells found and cells labelled of one class, by data set."""
    judged = ((field, found) for field, found in zip(fields, peaks, strict=True) if found is not None)
    return count_by_group(
        ((field, places_um(found, found.of_class(label, threshold))) for field, found in judged), label
    )


def calibrate(fields: Sequence[NetworkField], peaks: Sequence[Peaks | None]) -> dict[str, Curve]:
    """Curves from score to probability for positive and negative, on fields the networks had not seen."""
    return {CLASSES[label]: _curve(fields, peaks, label) for label in (POSITIVE, NEGATIVE)}


def _curve(fields: Sequence[NetworkField], peaks: Sequence[Peaks | None], label: int) -> Curve:
    scores, hits, groups = [], [], []
    for field, found in zip(fields, peaks, strict=True):
        if found is None:
            continue
        own = found.of_class(label, 0.0)
        own[own] = field.field.can_judge(places_um(found, own), field.radius_um)
        right = np.zeros(int(own.sum()), np.bool_)
        truth = field.field.points[CLASSES[label]]
        right[match(truth, places_um(found, own), field.radius_um)[1]] = True
        scores.append(found.values[own, label])
        hits.append(right)
        groups.append(np.full(len(right), field.group))
    group = np.concatenate(groups)
    weight = 1.0 / np.array([np.count_nonzero(group == name) for name in group], np.float64)
    return fit_curve(np.concatenate(scores), np.concatenate(hits), weight)


def places_um(found: Peaks, own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centres (N, 2) in µm of some of the peaks."""
    return np.column_stack([found.x_px[own], found.y_px[own]]) * STRIDE * WORKING_MPP
